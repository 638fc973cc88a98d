/* Training data in tests: files of lines, a vocabulary of bytes with the special tokens of chat
 * templates, what of a data set is learned. */
#pragma once

#include "support.h"
#include "train/data.h"

/* A vocabulary: every byte, "\n\n", "he", and these special tokens (separated by blanks); the first
 * two are the begin token (added to prompts) and the end token; none: there are no such.  Lives in
 * `dir`. */
struct data_vocab {
    struct gguf *g;
    struct vocab *v;
};
void data_vocab_open(struct data_vocab *d, const char *dir, const char *specials);
void data_vocab_close(struct data_vocab *d);
/* The special tokens that the template in golden file chat/templates/FILE has. */
void data_vocab_for(struct data_vocab *d, const char *dir, const char *template_file);

/* Write text as DIR/NAME; the path (static ring, valid for the next 7 calls). */
const char *data_file(const char *dir, const char *name, const char *text);

/* What is learned of sequence s, runs of it between "[" and "]": "[Hello<|im_end|>]". */
void data_learned(const struct vocab *v, const struct dataset *d, int s, struct buf *out);
/* All of it. */
void data_text(const struct vocab *v, const struct dataset *d, int s, struct buf *out);
