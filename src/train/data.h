/* Training data: a JSONL file as tokens, with the tokens that are to be learned marked.
 *
 *   lines.c -> example.c (any format -> a conversation) -> data_encode.c (the model's chat template
 *   -> tokens and marks) -> data.c (all of a file, counted) -> data_split.c (train, validation)
 *
 * An example is one sequence or, of preferences, a pair: sequences 2k (chosen) and 2k + 1
 * (rejected). */
#pragma once

#include "base/sha256.h"
#include "text/chat/chat.h"
#include "text/vocab.h"
#include "train/example.h"

/* Something about a line that was not simply taken. */
struct data_issue {
    const char *path;
    int line, column; /* column 0: of the whole line */
    enum example_fault fault;
    int other;        /* of a duplicate: the line that came first; else 0 */
    const char *says; /* what was found; what is accepted; may be empty */
};
typedef void data_issue_fn(void *ctx, const struct data_issue *issue);

/* Zero values are the defaults. */
struct data_opts {
    const struct vocab *vocab;        /* NULL: lines are read and counted, nothing is tokenized */
    const struct chat_template *chat; /* NULL: the plain one, as for a model that has none */
    struct str system;                /* for examples without a system message; may be empty */
    int max_tokens;                   /* longest sequence in tokens; 0: 1 << 20 */
    bool cut;                         /* longer ones lose their end instead of being left out */
    bool last_only;                   /* learn a conversation's last answer only */
    bool skip_bad;                    /* count erroneous lines instead of failing at the first */
    int64_t now_s;                    /* the date for templates that tell it, which must not change
                                       * when a run is resumed; 0: 26 July 2024 */
    data_issue_fn *on_issue;          /* or NULL; also called for the error that ends reading */
    void (*on_progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes); /* or NULL */
    void *ctx;                                                               /* of both */
    const volatile int *stop;                                                /* or NULL */
};

struct data_seq {
    size_t at; /* its tokens are tok[at .. at + n), labels alike */
    int n, n_label;
    int line;
};

struct data_counts {
    int n_line; /* that are not blank */
    int n_format[EXAMPLE_N_FORMAT];
    enum example_format first; /* format of the first good line */
    int n_fault[EXAMPLE_N_FAULT];
    uint8_t file_digest[SHA256_BYTES]; /* of the file's bytes */
};

struct dataset {
    int32_t *tok;   /* [n_tok], owned: all sequences end to end */
    int32_t *label; /* [n_tok], owned; as in batch.h: the sequence's next token where that is to be
                     * learned, else -1 */
    size_t n_tok, n_label;
    struct data_seq *seq; /* [n_seq], owned; ascending at and line */
    int n_seq;
    bool pairs;    /* all examples are preferences */
    int n_example; /* n_seq, or n_seq / 2 */
    size_t cap_tok, cap_seq, cap_example;

    uint64_t *hash, *prompt_hash; /* [n_example], owned: example_hash, example_prompt_hash */
    struct data_counts count;
    uint8_t digest[SHA256_BYTES]; /* of tokens, labels and lengths: what training sees */
};

/* Read PATH.  ERR_FORMAT "PATH: line N, column C: ..." at the first erroneous line (unless
 * skip_bad), and when no example is left; ERR_CANCELLED.  With no vocabulary, sequences have no
 * tokens: n counts the bytes of their texts instead.  dataset_fini also after a failure. */
int dataset_read(struct dataset *d, const char *path, const struct data_opts *o, struct err *e);
void dataset_fini(struct dataset *d);

/* What it holds in memory. */
uint64_t dataset_bytes(const struct dataset *d);

/* ---- parts: data_split.c ---- */

/* Some of the examples, ascending.  All-zero is none. */
struct data_part {
    const struct dataset *data; /* borrowed */
    int32_t *example;           /* [n], owned */
    int n;
};

int data_part_all(const struct dataset *d, struct data_part *out, struct err *e);
/* About fraction of the examples (at least one, never all) go to valid, the others to train, such
 * that examples of one prompt stay on one side.  The same examples and seed give the same parts.
 * fraction 0: valid is empty.  ERR_FORMAT when all examples have one prompt. */
int data_part_split(const struct dataset *d, double fraction, uint64_t seed,
                    struct data_part *train, struct data_part *valid, struct err *e);
void data_part_fini(struct data_part *p);

/* Which side of such a split each of n prompts goes to: to_valid [n].  Returns how many do. */
int data_choose(const uint64_t *prompt_hash, int n, double fraction, uint64_t seed, bool *to_valid,
                struct err *e);

/* Examples of valid that train has as well. */
struct data_leaks {
    int n_same;   /* whole */
    int n_prompt; /* the same prompt, another answer */
    int line;     /* of the first of them, in valid's file; 0: none */
};
int data_leaks_find(const struct dataset *train, const struct dataset *valid,
                    struct data_leaks *out, struct err *e);
/* valid without those: the part of it that train does not know. */
int data_part_unknown(const struct dataset *train, const struct dataset *valid,
                      struct data_part *out, struct err *e);

/* Lengths of a part's sequences, in tokens (bytes without a vocabulary). */
struct data_stats {
    int n; /* sequences; 0: all else is 0 */
    int min, median, p95, max;
    double mean;
    uint64_t total, n_label;
};
int data_part_stats(const struct data_part *p, struct data_stats *out, struct err *e);

/* ---- one example: data_encode.c ---- */

/* A sequence on its way into a dataset; all-zero is empty. */
struct data_row {
    struct ids ids; /* owned */
    bool *learn;    /* [ids.n], owned */
    bool changes;   /* EXAMPLE_LAST_ONLY */
    int n_label;
};

/* The tokens of an example: its messages and those that follow (chosen, rejected, NULL: none).  The
 * answers' tokens, with the one that ends each, are marked.  An error or EXAMPLE_EMPTY with e set;
 * lengths are not judged. */
enum example_fault data_encode(const struct data_opts *o, const struct example *x,
                               const json_t *follow, struct data_row *out, struct err *e);
void data_row_fini(struct data_row *r);
