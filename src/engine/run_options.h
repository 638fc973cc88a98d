/* The options of a model run: `-o NAME=VALUE`, `/set parameter NAME VALUE`, "options" of a request.
 * Ollama's names and defaults (COMPAT.md 2.7) and our own beyond them. */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "engine/decode.h"

enum { RUN_MAX_STOP = 64, RUN_MAX_BIAS = 1024 };

struct run_options {
    int num_ctx, num_batch, num_thread; /* 0: the engine's defaults; a num_ctx that is less than an
                                         * opened engine has holds for the request */
    int num_keep, num_predict, seed;
    int num_draft;     /* tokens guessed at once; 0: none */
    const char *draft; /* path of a draft model, or NULL; in keep */
    bool penalize_newline, shift, ignore_eos;
    struct sampler_opts sampler; /* its seed and bias are set by run_options_request */
    struct str stop[RUN_MAX_STOP];
    struct logit_bias bias[RUN_MAX_BIAS];
    struct str breaker[RUN_MAX_STOP]; /* of DRY */
    int n_stop, n_bias, n_breaker;
    struct arena keep; /* owns the texts */
};

void run_options_init(struct run_options *o);
void run_options_fini(struct run_options *o);

/* Set one option from its text.  ERR_NOT_FOUND: an unknown name (lists the known); ERR_USAGE: a
 * value of another type ("option "top_k" must be of type integer"), out of range. */
int run_options_set(struct run_options *o, const char *name, const char *value, struct err *e);

/* The same from a JSON value of the option's type; null changes nothing.  A list replaces the one
 * before.  Options that name files are unknown here. */
int run_options_set_json(struct run_options *o, const char *name, json_t *v, struct err *e);

/* The value of one as run_options_set_json takes it; json_decref.  NULL for a name that is unknown
 * there, or when memory is out. */
json_t *run_options_get_json(const struct run_options *o, const char *name);

/* Do the options need the model to be opened again? */
bool run_options_reopen(const struct run_options *o, const struct run_options *before);

/* Append "name value" lines of what differs from the defaults. */
void run_options_print(const struct run_options *o, struct buf *out);

/* The engine's and a request's part.  DRY's breakers are tokenized into o's arena. */
void run_options_engine(const struct run_options *o, struct engine_opts *out);
int run_options_request(struct run_options *o, const struct vocab *v, struct decode_request *r,
                        struct err *e);
