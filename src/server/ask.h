/* Put a request to a model: queue, load, start, and deliver its events.  The dialects meet models
 * only here.
 *
 *   ask_start -> models.h (resolve the name, load or wait) -> gen_start -> fn ... fn(GEN_END)
 *
 * When a model cannot answer, one that may stand in for it is asked (ask_chain.c): then `ready` is
 * called again, with a request as it was at first, and request_served says who answers.
 *
 * A client that leaves cancels; a slow one pauses the task.  When the queue is full the request is
 * answered at once with 503, Retry-After and Ollama's text, in its dialect. */
#pragma once

#include "engine/gen.h"
#include "policy/chain.h"
#include "policy/pii.h"
#include "server/request.h"

/* What is known of the model by name once it is there. */
struct ask_model {
    const char *name;   /* as it is stored, short form: "llama3.2:1b" */
    const char *asked;  /* as it was asked for */
    const char *digest; /* of its manifest, 64 hex digits */
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
    bool whole; /* the client gets nothing before GEN_END: another model may still answer then, and
                 * the events come late and all at once */
    bool goes_on; /* the request asks again after this: what it has used is counted at its end */
    bool follows; /* a part of the answer is there already, and request_served made it: no other
                   * model may make the rest */
    /* Called once the model is there and before gen_start, to complete `gen` with what the model
     * brings (system message, history).  NULL: not wanted.  -1 with e: ends with that error. */
    int (*ready)(void *ctx, const struct ask_model *m, json_t *gen, struct err *e);
    const json_t *later; /* what `ready` puts into `gen` beside what the model brings; or NULL */
    json_t *keeps; /* what the handler is going to keep of the request, an object, or NULL: before
                    * ask_start returns, and before the first event, its texts are filtered in place
                    * as those of `gen` are (ask_pii.c) */
    gen_event_fn *fn; /* GEN_END is the last call, also when the model could not be loaded (err) */
    void *ctx;
    /* ---- of the steps (ask_steps.h); a handler leaves them zero ---- */
    int64_t start_ns;       /* since when the request's time runs; 0: since now */
    int64_t first_token_ns; /* so long the first piece of an answer may take from now on; 0: as long
                             * as the request */
    struct pii_policy pii;  /* of the answer's texts; all off: they stay */
    struct chain_end *fate; /* set by the last step before GEN_END comes or -1; or NULL */
};

/* From a handler.  fn or a refusal's reply follows: after GEN_END fn owes the request its end; when
 * this returns -1 the request was answered and ended here, fn is never called, and a->gen is gone.
 */
int ask_start(struct request *r, const struct ask *a);
/* The model of a started ask, from fn; NULL before it was loaded. */
const struct ask_model *ask_model(const struct request *r);
/* From fn: text and call of an event as they may be kept, borrowed for the call; they differ (true)
 * where values were put back that the policy keeps from everybody but the client. */
bool ask_kept(const struct gen_event *ev, struct str *text, const json_t **call);
/* From now on this thread tells events of the ask it is in to another request, too: for that one
 * the model is the same.  NULL: no longer. */
void ask_model_lend(const struct request *to);
