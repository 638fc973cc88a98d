/* An opened model with everything needed to run it in this process: file, vocabulary, weights,
 * threads, KV pool, workspace.  The commands and libcria stand on this. */
#pragma once

#include "base/err.h"
#include "engine/prefix.h"
#include "model/forward.h"
#include "text/chat/chat.h"
#include "text/vocab.h"

struct engine;

struct engine_opts {
    int n_ctx;      /* 0: the smaller of 4096 and the model's training context; at most the number
                     * of learned positions where a model has those */
    bool cap_ctx;   /* never more than the training context */
    int n_batch;    /* prefill chunk; 0: 512 */
    int n_threads;  /* 0: cores_default_threads() */
    int n_parallel; /* sequences that will run at once; 0: 1 */
    int n_kv;       /* tokens that the KV cache holds over all of them; 0: n_ctx each; at least that
                     * of one */
    enum qtype k_type,
        v_type;               /* zero value F32; engine_user_opts() gives the user's default, F16 */
    const char *const *lora;  /* [n_lora] adapter files, or NULL: the first is applied to every
                               * sequence that names none (engine_adapter_named) */
    const float *lora_scale;  /* [n_lora], NULL: ones */
    int n_lora;               /* at most ENGINE_MAX_LORA */
    int spare_rank;           /* of adapters that may be added later (engine_add_adapter) */
    struct str chat_template; /* instead of the file's own; empty: the file's */
    const char *renderer;     /* a built-in one (Modelfile RENDERER) instead; or NULL */
    bool vocab_only;          /* tokenize and show: no weights are bound */
    const char *cache;        /* folder of the prefix cache on disk, or NULL: in memory only */
    uint64_t cache_bytes;     /* that its files may take; 0: DEFAULT_CACHE_BYTES */
    /* Called when the model and the number of threads are known and nothing is reserved yet: may
     * change the sizes in *o.  NULL: they stay. */
    int (*fit)(void *ctx, struct engine *g, struct engine_opts *o, struct err *e);
    void *fit_ctx;
};
enum { ENGINE_MAX_LORA = 16 };
#define DEFAULT_CACHE_BYTES ((uint64_t)2 << 30)

/* What a user gets who says nothing: cache type F16 or the setting KV_CACHE_TYPE, the context of
 * the setting CONTEXT_LENGTH where o->n_ctx is 0, the folder and size of the settings CACHE and
 * CACHE_SIZE (static text, the same on every call).  ERR_USAGE when a setting does not parse. */
int engine_user_opts(struct engine_opts *o, struct err *e);

/* Errors are one line that names the file.  Cheap: weights stay mapped. */
struct engine *engine_open(const char *path, const struct engine_opts *o, struct err *e);
void engine_close(struct engine *g);

const struct gguf *engine_gguf(const struct engine *g);
const struct vocab *engine_vocab(const struct engine *g);
/* The file's chat template, or that of the options; NULL with ERR_UNSUPPORTED when it has none
 * (engine_has_template false) or an unknown one. */
bool engine_has_template(const struct engine *g);
const struct chat_template *engine_template(const struct engine *g, struct err *e);
const struct model *engine_model(const struct engine *g); /* NULL when vocab_only */
struct forward *engine_forward(struct engine *g);
struct team *engine_team(struct engine *g);
struct kv_pool *engine_kv(struct engine *g);
struct prefix *
engine_prefix(struct engine *g); /* NULL: an embedding model, which looks both ways */
const struct adapter *engine_adapter(const struct engine *g); /* the first of lora[], or NULL */
/* The one of this name: its path as it was given, or the file's name with or without .gguf; empty:
 * none (*out NULL).  ERR_NOT_FOUND. */
int engine_adapter_named(const struct engine *g, struct str name, const struct adapter **out,
                         struct err *e);
/* One more, under a name that none has; the file is the engine's from now on, also after a failure.
 * Sequences may run meanwhile; one thread at a time adds.  ERR_LIMIT: of a higher rank than there
 * is room for (spare_rank, or that of one given at opening), or ENGINE_MAX_LORA are there. */
int engine_add_adapter(struct engine *g, const char *name, struct gguf *file, float scale,
                       struct err *e);
int engine_n_ctx(const struct engine *g);
int engine_n_batch(const struct engine *g);
int engine_n_out(const struct engine *g);   /* rows whose logits one batch may return */
int engine_n_vocab(const struct engine *g); /* ids below it have both a text and a logit */
struct step_cost *engine_step_cost(struct engine *g); /* see speculate.h; with the forward's user */
double engine_load_s(const struct engine *g);         /* time engine_open took */
