/* A receipt: what has to be the same for an answer to come out again, and what came out.
 *
 *   {"version": 1, "created": RFC 3339,
 *    "model", "digest": of the manifest, so of all files and parameters,
 *    "build": {"version", "id"}, "kernels": whose arithmetic,
 *    "request": as the engine got it: messages or prompt, tools, format, n, and under "options" all
 *               that the model, the setting and the client said, the seed always,
 *    "prompt": {"n_tokens", "sha256": of the ids, 32 bits each, little-endian},
 *    "output": [{"n_tokens", "tokens_sha256", "sha256": of thinking, text and calls, "why"}]}
 *              Before a piece of another kind than the one before (of "text" at the beginning), and
 *              before every call, two bytes are hashed: 0 and "h", "t" or "c".
 *
 * `cria replay` runs "request" again and compares. */
#pragma once

#include <jansson.h>

#include "engine/gen.h"

struct receipt;

/* request: with a seed in its options (receipt_settle); copied.  n: its choices.  NULL with e. */
struct receipt *receipt_new(const char *model, const char *digest, const json_t *request,
                            struct err *e);
void receipt_free(struct receipt *p); /* accepts NULL */
/* True once the last choice is complete. */
bool receipt_add(struct receipt *p, const struct gen_event *ev);
/* Once, after that; json_decref.  NULL: out of memory. */
json_t *receipt_json(struct receipt *p);

/* What chance would decide is decided now: a request without a seed gets one. */
int receipt_settle(json_t *request, struct err *e);

/* What differs between two receipts, in words, one a line: "kernels: avx2, was avx512".  Times and
 * names do not count.  *same_output: the answers are the same. */
void receipt_compare(const json_t *then, const json_t *now, struct buf *out, bool *same_output);
