/* The corpus of the guide, the model that ships: topics written by hand become questions and
 * answers to learn from, and others to be tested with.  models/guide/README.md has the form.
 *
 *     guide_read (each file), guide_read_help  ->  topics, words, frames
 *     guide_expand                             ->  one question of a pattern
 *     corpus_write                             ->  train.jsonl, valid.jsonl, offtopic-valid.jsonl
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* Numbers that are the same everywhere for one seed: splitmix64 (Steele, Lea, Flood 2014). */
struct chance {
    uint64_t state;
};
int chance_below(struct chance *c, int n); /* 0..n-1, n >= 1 */
bool chance_of(struct chance *c, int percent);

struct phrase {
    char kind; /* the sign at the line's beginning: "?" a question, "+" a thing to do... */
    const char *text;
    const char *where; /* "commands.txt:12" */
};

struct topic {
    const char *name, *say;
    struct phrase *phrase;
    int n_phrase, cap;
    int count; /* examples to make of it; 0: by its phrases */
};

/* A word that stands for others, "a|b|c". */
struct word {
    const char *name, *choices;
};

/* A question with "~" where a phrase of that kind goes. */
struct frame {
    char kind;
    bool held; /* for tests only */
    const char *text;
};

/* Strings live in the arena. */
struct guide {
    struct arena a;
    struct topic *topic;
    struct word *word;
    struct frame *frame;
    const char **alike; /* groups "a|b|c" of words that may stand for each other anywhere */
    const char **same; /* groups "a b c" of topics: the answer of one answers another's questions */
    int n_topic, cap_topic, n_word, cap_word, n_frame, cap_frame, n_alike, cap_alike;
    int n_same, cap_same;
    int at;             /* the topic that lines are about, while reading */
    const char *filler; /* "a|b|c": words that a question can do without; NULL: none */
};

/* Add what a file says.  Errors: "FILE:LINE: what was found; what is accepted". */
int guide_read(struct guide *g, const char *path, struct err *e);

/* Add a topic for the options of each command.  PATH holds the output of `cria help` and, behind
 * lines "@ NAME", that of `cria help NAME`, of every command. */
int guide_read_help(struct guide *g, const char *path, struct err *e);

struct topic *guide_add_topic(struct guide *g, const char *name, struct err *e);
int guide_add_phrase(struct guide *g, struct topic *t, struct phrase p, struct err *e);

void guide_fini(struct guide *g);

/* Append one of the texts that a pattern stands for: {a|b} is one of these, <word> one of the
 * word's, <junk> a made-up word. */
int guide_expand(const struct guide *g, const char *pattern, struct chance *c, struct buf *out,
                 struct err *e);

/* How much of a question may change; each more than those before it. */
enum variety {
    VARY_AROUND, /* a greeting before it, a word behind it */
    VARY_WORDS,  /* another word of the same meaning, fewer words that say little */
    VARY_ORDER,  /* words lost, words swapped */
};

/* Change a question a little, as people differ. */
int guide_vary(const struct guide *g, struct chance *c, enum variety v, struct buf *b,
               struct err *e);

/* What makes two questions the same: lower case, no punctuation around words, single blanks. */
void guide_normalize(struct str s, struct buf *out);

/* Write the three files into FOLDER. */
int corpus_write(const struct guide *g, const char *folder, uint64_t seed, struct err *e);
