/* Constrained answers: a grammar (GBNF text, or a JSON schema turned into it) and an acceptor that
 * reads an answer byte by byte or token by token.
 *
 *   schema -> schema_to_gbnf -> text -> grammar_parse -> graph of nodes -> states (dfa.h)
 *          -> accept_byte, accept_mask -> sampler (sample/constrain.h)
 *
 * A rule is a small graph of nodes; a call of a rule is a node, too, so that repetitions cost a
 * node each and never a copy of what is repeated.  All of it is bounded: a hostile grammar is
 * refused by grammar_parse (ERR_FORMAT, ERR_LIMIT) or stopped by accept_byte (ERR_LIMIT). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum {
    GRAMMAR_MAX_BYTES = 4 << 20, /* of grammar text */
    GRAMMAR_MAX_NODES = 1 << 18,
    GRAMMAR_MAX_DEPTH = 100, /* of groups */
    GRAMMAR_MAX_CLASS = 512, /* ranges */
    GRAMMAR_MAX_REPEAT = 1 << 16,
    GRAMMAR_MAX_CP = 0x10ffff,
    ACCEPT_MAX_ITEMS = 1 << 14, /* positions in the grammar at one time, and steps between them */
    ACCEPT_MAX_FRAMES = 1 << 18,
};

enum grammar_kind { NODE_EMPTY, NODE_CHAR, NODE_SET, NODE_SPLIT, NODE_CALL, NODE_END };

struct grammar_node {
    enum grammar_kind kind;
    int32_t rule; /* the one it belongs to */
    int32_t next;
    int32_t arg; /* code point, set, the other branch, or the rule called */
};

struct grammar_range {
    uint32_t lo, hi; /* code points, both included */
};

struct grammar_set {
    int32_t first, n; /* into range[]: ascending and apart once parsed */
    bool negated;     /* while parsing */
};

struct grammar_rule {
    struct str name; /* borrowed while parsing; empty for a group */
    int32_t start;   /* node, -1 while it is only named */
    int32_t link;    /* parser's own */
};

/* Read-only once parsed; any number of acceptors in any threads share it. */
struct grammar {
    struct grammar_node *node;
    struct grammar_set *set;
    struct grammar_range *range;
    struct grammar_rule *rule;
    int n_node, n_set, n_range, n_rule;
    int cap_node, cap_set, cap_range, cap_rule;
    int root;        /* rule */
    struct dfa *dfa; /* its states, made while acceptors read (dfa.h, which has a lock); owned */
};

/* Parse GBNF.  Refused: no rule `root`, names without a rule, left recursion, a root that never
 * ends, limits above. grammar_free the result. */
struct grammar *grammar_parse(struct str text, struct err *e);
void grammar_free(struct grammar *g);

/* Refuse rules that reach themselves before they read anything; drop branches that never end; bring
 * the ranges of each set in order. */
int grammar_finish(struct grammar *g, struct err *e);

/* How much of the code points lo..hi a CHAR or SET node reads. */
enum grammar_part { READS_NONE, READS_SOME, READS_ALL };
enum grammar_part grammar_reads(const struct grammar *g, const struct grammar_node *nd, uint32_t lo,
                                uint32_t hi);

struct acceptor;

/* At the start of root; borrows g.  One thread at a time for one acceptor; those of one grammar
 * share what they learn of it, hence wait for each other.  NULL with ERR_NOMEM or ERR_LIMIT. */
struct acceptor *accept_new(const struct grammar *g, struct err *e);
void accept_free(struct acceptor *a);
/* 1 when b may follow and was read; 0 when not, and nothing changed; -1 when the grammar is too
 * ambiguous to follow (ERR_LIMIT): the acceptor is of no use then. */
int accept_byte(struct acceptor *a, uint8_t b, struct err *e);
/* The answer may end here. */
bool accept_done(const struct acceptor *a);

/* ---- tokens of a vocabulary ---- */

struct vocab;
struct grammar_vocab; /* a vocabulary's texts as a tree; made once a model, read by any thread */

/* Of the ids below n_vocab.  Control tokens are never allowed, end tokens where the answer may end.
 */
struct grammar_vocab *grammar_vocab_new(const struct vocab *v, int n_vocab, struct err *e);
void grammar_vocab_free(struct grammar_vocab *gv);

/* Set bit id of allowed[(n_vocab + 31) / 32] for each token that may come next, clear all others.
 * Returns how many are allowed (0: the answer can neither go on nor end), -1 with ERR_LIMIT. */
int accept_mask(struct acceptor *a, const struct grammar_vocab *gv, uint32_t *allowed,
                struct err *e);
/* 1: id may come next (nothing changes); 0: not; -1 with ERR_LIMIT. */
int accept_allows(struct acceptor *a, const struct grammar_vocab *gv, int32_t id, struct err *e);
/* Read a token: as accept_byte, for all its bytes or none.  An end token where the answer may end:
 * 1, and nothing changes. */
int accept_token(struct acceptor *a, const struct grammar_vocab *gv, int32_t id, struct err *e);
/* As accept_byte, for all bytes of a text or none; stay: nothing changes. */
int accept_text(struct acceptor *a, struct str text, bool stay, struct err *e);
/* accept_mask remembers it, or few bytes may come. */
bool accept_mask_is_cheap(struct acceptor *a, const struct grammar_vocab *gv);

/* ---- a client's format ---- */

/* The grammar of "json", a JSON schema, {"gbnf": text} or {"regex": text}.  ERR_USAGE for anything
 * else; errors of the parts as they are. */
struct grammar *grammar_of_format(const json_t *format, struct err *e);
