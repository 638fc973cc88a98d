/* The tables of pretok_data.c. */
#pragma once

enum { PRETOK_MAX_STAGES = 6 };

/* Stages that are no regular expressions (or would be slow as such). */
#define PRETOK_DIGITS_ASCII "#ascii" /* 1234567 -> 1 234 567, ASCII digits only */
#define PRETOK_DIGITS_TAIL                                                                         \
    "#tail" /* the same for \p{N}; what stands before joins the first group */

struct pretok_pattern {
    const char *stage[PRETOK_MAX_STAGES]; /* PCRE2 patterns; unused ones are NULL */
};

struct pretok_name {
    const char *name; /* tokenizer.ggml.pre; NULL ends the table */
    const struct pretok_pattern *pattern;
    unsigned flags;
};

extern const struct pretok_name pretok_names[];
extern const struct pretok_pattern pretok_default;
