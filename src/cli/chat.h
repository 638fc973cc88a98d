/* One `cria run`: who answers, with which options, a conversation, and how answers are shown. */
#pragma once

#include "cli/display.h"
#include "cli/talk.h"
#include "engine/run_options.h"

struct turn {
    const char *role; /* "user", "assistant"; static */
    struct buf text;  /* owned */
};

struct chat {
    const char *path; /* of the model; borrowed; NULL: a server answers */
    const char *name; /* as the user calls it; borrowed; NULL: as path */
    const char *lora; /* path of an adapter or NULL */
    float lora_scale;
    struct run_options options;
    json_t *given;                 /* owned: the options that were set, for requests */
    json_t *format;                /* owned: "json" or a schema; NULL: free */
    json_t *think;                 /* owned: true, false, a level; NULL: the model's own way */
    const char *keep_alive;        /* borrowed, for a server; NULL: its own */
    struct buf system;             /* owned; empty: no system message */
    struct buf template;           /* owned; instead of the file's own; empty: the file's */
    const char *renderer, *parser; /* built-in names, borrowed; or NULL */
    bool raw;                      /* the text is the prompt: no template, no conversation */
    bool json;                     /* answers as JSON lines instead of text */
    bool verbose;                  /* timings on stderr after each answer */
    bool hide_thinking;
    struct display display;
    struct talk *talk; /* owned; NULL before chat_open */
    struct turn *turn; /* [n_turn], owned */
    int n_turn, cap_turn;
    int n_history; /* the first turns, which the model brings: any roles in any order */
};

void chat_init(struct chat *c);

/* Set an option of the run (engine/run_options.h).  ERR_USAGE also for an unknown one; those that
 * Ollama's clients still send but that mean nothing here are accepted with a warning on stderr. */
int chat_set_option(struct chat *c, const char *name, const char *value, struct err *e);
/* The same from "NAME=VALUE". */
int chat_assign_option(struct chat *c, const char *assignment, struct err *e);
/* "json", or a JSON schema; "" or NULL: free. */
int chat_set_format(struct chat *c, const char *text, struct err *e);
/* "true", "false", "low" "medium" "high" "max"; NULL: the model's own way. */
int chat_set_think(struct chat *c, const char *text, struct err *e);

/* Open the model with the options as they stand, or again when they have changed; where a server
 * answers, see that it has it.  The conversation stays. */
int chat_open(struct chat *c, struct err *e);
void chat_fini(struct chat *c);

/* Ask: print the answer as it comes and, unless raw, remember both.  0; -1 with e set;
 * ERR_CANCELLED when Ctrl-C ended it. */
int chat_ask(struct chat *c, struct str text, struct err *e);

/* A message that stands before the conversation; role is static.  Before the first question. */
int chat_add_history(struct chat *c, const char *role, struct str text, struct err *e);

/* Forget the conversation; the system message and the history stay. */
void chat_clear(struct chat *c);

/* The conversation as messages: [{"role", "content"}]; json_decref.  NULL: a text is no UTF-8. */
json_t *chat_messages(const struct chat *c);
