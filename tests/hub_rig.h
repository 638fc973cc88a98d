/* What the tests of the conversion share: a store in a temporary folder, `cria create` from Hugging
 * Face folders, and comparing the model that comes out with the one that went in. */
#pragma once

#include "gguf/read.h"
#include "support.h"

extern char *hub_dir; /* folders and Modelfiles; the store is hub_dir/store */

int hub_set_up(void **state);
int hub_tear_down(void **state);

/* `cria create NAME -f Modelfile` with this text; the test fails when it does. */
void hub_create(const char *name, const char *text);
/* The file of the first layer of this kind ("model", "adapter") in the store. */
void hub_layer(const char *name, const char *kind, char path[1400]);
/* `cria create` with this Modelfile must fail with code 1, say all these words (NULL-terminated)
 * and leave the store as it was. */
void hub_refused(const char *text, const char *const *words);
void hub_refused_folder(const char *name, const char *const *words); /* hub_dir/NAME */
#define REFUSED(name, ...) hub_refused_folder(name, (const char *const[]){__VA_ARGS__, NULL})

const char *hub_path(const char *name); /* hub_dir/NAME, in a ring of four */
struct gguf *hub_open(const char *path);
const char *hub_golden(const char *name); /* the path of a golden model */

/* Convert hub_dir/NAME, as NAME; the GGUF's path. */
void hub_folder(const char *name, char path[1400]);
/* The same, and it must say this word on stderr. */
void hub_warned(const char *name, const char *word, char path[1400]);

/* Write the golden model as a folder with these flags (hf.h) and convert it; the GGUF's path. */
void hub_convert(const char *name, unsigned flags, char path[1400]);

/* Bit by bit, but for what a family's publishing costs; names of gemma models begin with that. */
void hub_same_tensors(const char *of, const struct gguf *want, const struct gguf *got);
/* Everything that the model reads of the metadata, as numbers. */
void hub_same_hparams(const char *of, const struct gguf *want, const struct gguf *got);
void hub_same_vocab(const char *of, const struct gguf *want, const struct gguf *got, bool scores);
void hub_same_logits(const char *of, const char *want, const char *got);
/* Convert hub_dir/FOLDER and compare all that with the golden model. */
void hub_same_as_golden(const char *folder, const char *name);

/* A key's number; the test fails when it is not there. */
int64_t hub_int(const struct gguf *g, const char *key);
double hub_num(const struct gguf *g, const char *key);
