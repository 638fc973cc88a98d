/* One `cria run`: an open model, its options, a conversation, and how answers are shown. */
#pragma once

#include "cli/display.h"
#include "engine/run_options.h"
#include "engine/prompt.h"

struct turn {
    const char *role; /* "user", "assistant"; static */
    struct buf text;  /* owned */
};

struct chat {
    const char *path; /* of the model; borrowed */
    const char *name; /* as the user calls it; borrowed; NULL: as path */
    const char *lora; /* path of an adapter or NULL */
    float lora_scale;
    struct run_options options;
    struct buf system;   /* owned; empty: no system message */
    struct buf template; /* owned; instead of the file's own; empty: the file's */
    bool raw;            /* the text is the prompt: no template, no conversation */
    bool json;           /* answers as JSON lines instead of text */
    bool verbose;        /* timings on stderr after each answer */
    struct display display;
    struct engine *engine; /* owned, like all below; NULL before chat_open */
    struct session *session;
    struct engine *draft_engine; /* NULL without the option draft, and its session */
    struct session *draft;
    struct turn *turn; /* [n_turn] */
    int n_turn, cap_turn;
    int n_history; /* the first turns, which the model brings: any roles in any order */
};

/* Set an option of the run (engine/run_options.h).  ERR_USAGE also for an unknown one; those that
 * Ollama's clients still send but that mean nothing here are accepted with a warning on stderr. */
int chat_set_option(struct chat *c, const char *name, const char *value, struct err *e);
/* The same from "NAME=VALUE". */
int chat_assign_option(struct chat *c, const char *assignment, struct err *e);

/* Open the model with the options as they stand, or again when they have changed.  The
 * conversation stays. */
int chat_open(struct chat *c, struct err *e);
void chat_fini(struct chat *c);

/* Ask: print the answer as it comes and, unless raw, remember both.  0; -1 with e set;
 * ERR_CANCELLED when Ctrl-C ended it. */
int chat_ask(struct chat *c, struct str text, struct err *e);

/* A message that stands before the conversation; role is static.  Before the first question. */
int chat_add_history(struct chat *c, const char *role, struct str text, struct err *e);

/* Forget the conversation; the system message and the history stay. */
void chat_clear(struct chat *c);
