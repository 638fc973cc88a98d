/* The name of an answer: SHA-256 over everything that it depends on.
 *
 * The prompt's tokens are not among it: they are a function of the model (its manifest names the
 * file with tokenizer and template, the adapter, and the Modelfile's texts) and of the inputs
 * below, so that equal inputs have equal tokens; and this way an answer is found without a model
 * loaded. Two different inputs that happen to render alike are computed twice, no more.
 *
 * Options go in by their effect: the model's parameters under the request's, those that have the
 * default left out, numbers in one form.  Keys of the request, its options and its messages are
 * sorted.  What lies deeper (tools, a schema, a call's arguments) keeps its order: templates print
 * it and grammars follow it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"

enum { ANSWER_KEY_BYTES = SHA256_BYTES, ANSWER_KEY_HEX = 2 * ANSWER_KEY_BYTES };

struct answer_inputs {
    const char *model;    /* digest of its manifest */
    const char *tenant;   /* who may see it; "": everybody */
    const char *way;      /* names what is made of `gen` once the model is there: the route */
    const char *settings; /* of the server that change answers: context, type of the KV cache */
    const char *day;      /* where the template tells it; "" */
    const char *filter;   /* what is done with personal data in the answer; "" */
    const json_t *gen; /* engine/gen.h, as the dialect made it: "user" and "tenant" are left out */
    const json_t *params; /* of the Modelfile; or NULL */
    const json_t *later;  /* what is added to `gen` once the model is there; or NULL */
};

struct answer_key {
    uint8_t bytes[ANSWER_KEY_BYTES];
    bool reproducible; /* asked again, the model would say the same: temperature 0, or a seed */
};

/* ERR_USAGE: options that are none (the model would refuse them); ERR_NOMEM.  Any thread. */
int answer_key(const struct answer_inputs *in, struct answer_key *out, struct err *e);

void answer_key_hex(const uint8_t key[ANSWER_KEY_BYTES], char out[ANSWER_KEY_HEX + 1]);

/* Does the text of a template ask what day it is? */
bool answer_tells_day(const char *template, size_t n);
