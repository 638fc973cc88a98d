/* Put a request to a model: queue, load, start, and deliver its events.  The dialects meet models
 * only here.
 *
 *   ask_start -> models.h (resolve the name, load or wait) -> gen_start -> fn ... fn(GEN_END)
 *
 * A client that leaves cancels; a slow one pauses the task.  When the queue is full the request is
 * answered at once with 503, Retry-After and Ollama's text, in its dialect. */
#pragma once

#include "engine/gen.h"
#include "server/request.h"

/* What is known of the model by name once it is there. */
struct ask_model {
    const char *name; /* as it is stored, short form: "llama3.2:1b" */
    const struct gen_info *info;
    const json_t *messages;        /* of the Modelfile (MESSAGE), or NULL; [{"role", "content"}] */
    const char *system, *template; /* of the Modelfile, or NULL */
    int64_t load_ns;               /* what this request waited for the load */
};

struct ask {
    const char *model;        /* the name as the client wrote it */
    json_t *gen;              /* for gen_start, taken over.  "options" are merged over the model's
                               * parameters here; num_ctx, num_batch, num_thread, lora... also choose
                               * how it is loaded */
    const json_t *keep_alive; /* the client's value, or NULL: number of seconds or Go duration */
    bool load_only; /* load, or unload with keep_alive 0: GEN_END comes without a request */
    /* Called once the model is there and before gen_start, to complete `gen` with what the model
     * brings (system message, history).  NULL: not wanted.  -1 with e: ends with that error. */
    int (*ready)(void *ctx, const struct ask_model *m, json_t *gen, struct err *e);
    gen_event_fn *fn; /* GEN_END is the last call, also when the model could not be loaded (err) */
    void *ctx;
};

/* From a handler.  fn or a refusal's reply follows: after GEN_END fn owes the request its end; when
 * this returns -1 the request was answered and ended here, fn is never called, and a->gen is gone.
 */
int ask_start(struct request *r, const struct ask *a);
/* The model of a started ask, from fn; NULL before it was loaded. */
const struct ask_model *ask_model(const struct request *r);
