/* What the events of a generation add up to, by choice: for replies that come whole, and for the
 * sums at the end of a stream. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "engine/gen.h"

enum { GATHER_MAX_CHOICES = 128 };

struct gather_choice {
    struct buf thinking, text;
    json_t *calls;    /* owned: [{"id", "function": {"name", "arguments": object}}], or NULL */
    json_t *logprobs; /* owned: tokens of the text, or NULL */
    struct buf stop;  /* the stop text that ended it */
    enum gen_why why;
    int n_call;
    bool done;
};

struct gather {                   /* one event at a time */
    struct gather_choice *choice; /* [n], owned */
    int n;
    bool keep;              /* texts and logprobs, too; false: only what is counted */
    bool failed;            /* memory ran out */
    int n_thinking;         /* tokens of thinking, of all choices */
    struct gen_stats stats; /* of GEN_END, or of GEN_PROMPT before it */
};

/* 0, or -1 without memory.  gather_fini also after that. */
int gather_init(struct gather *g, int n, bool keep);
void gather_fini(struct gather *g);
void gather_add(struct gather *g, const struct gen_event *ev);
