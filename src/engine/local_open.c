/* Opening a model for gen_local: within a memory limit, with its draft model, and what is known of
 * it then. */
#include <stdlib.h>
#include <string.h>

#include "engine/local.h"
#include "engine/memory.h"
#include "engine/prompt.h"
#include "engine/speculate.h"

enum { DEFAULT_PARALLEL = 4, LEAST_CTX = 2048, CTX_STEP = 256 };

/* What options come to, without opening anything.  UINT64_MAX: they are refused. */
static uint64_t bytes_of(const struct local *g, const struct engine_opts *o) {
    const struct model *m = engine_model(g->engine);
    const struct memory_model mm = {
        .hp = model_hparams(m),
        .encoder = model_is_embedding(m),
        .positions_end = model_positions_end(m),
        .n_text = vocab_size(engine_vocab(g->engine)),
        .file_bytes = gguf_file_bytes(engine_gguf(g->engine)),
    };
    struct memory_sizes sizes;
    struct memory_need need;
    if (memory_sizes(&mm, o, &sizes, NULL) != 0) return UINT64_MAX;
    const int n_threads = team_size(engine_team(g->engine));
    return memory_need(&mm, &sizes, n_threads, &need, NULL) == 0 ? memory_total(&need) : UINT64_MAX;
}

/* The largest value from lo to hi, in steps, of *field with which o fits; 0: not even lo. */
static int largest(const struct local *g, struct engine_opts *o, int *field, int lo, int hi,
                   int step, uint64_t max_bytes) {
    int fits = 0, a = 0, b = (hi - lo) / step;
    while (a <= b) {
        const int mid = a + (b - a) / 2;
        *field = lo + mid * step;
        if (bytes_of(g, o) <= max_bytes)
            fits = *field, a = mid + 1;
        else
            b = mid - 1;
    }
    *field = fits;
    return fits;
}

static int too_large(const char *path, uint64_t need, uint64_t max, int n_ctx, struct err *e) {
    return err_set(e, ERR_LIMIT,
                   "%s: needs %.1f MB of memory with a context of %d tokens; %.1f MB are allowed",
                   path, (double)need * 1e-6, n_ctx, (double)max * 1e-6);
}

/* Options that fit into max_bytes: fewer pages, which sequences share, as long as one can have its
 * whole context; then a smaller context, if it was left open. */
static int shrink(struct local *g, const char *path, const struct gen_opts *go,
                  struct engine_opts *o, struct err *e) {
    const int n_ctx = engine_n_ctx(g->engine), train = g->base.info.n_ctx_train;
    const int least = train > 0 && train < LEAST_CTX ? train : LEAST_CTX;
    struct engine_opts try = *o;
    try.n_ctx = n_ctx, try.n_kv = 1; /* the least that is possible */
    uint64_t need = bytes_of(g, &try);
    if (need > go->max_bytes) {
        if (go->engine.n_ctx || n_ctx <= least)
            return too_large(path, need, go->max_bytes, n_ctx, e);
        if (!largest(g, &try, &try.n_ctx, least, n_ctx, CTX_STEP, go->max_bytes)) {
            try.n_ctx = least;
            return too_large(path, bytes_of(g, &try), go->max_bytes, least, e);
        }
    }
    const int most = (try.n_ctx + 2 * KV_PAGE) * o->n_parallel;
    if (!largest(g, &try, &try.n_kv, 1, most, KV_PAGE, go->max_bytes)) try.n_kv = 1;
    g->base.info.ctx_reduced = try.n_ctx < n_ctx;
    *o = try;
    return 0;
}

/* Opened once to know the model, again when that would take too much: nothing is touched yet. */
static int open_engine(struct local *g, const char *path, const struct gen_opts *o,
                       struct engine_opts *eo, struct err *e) {
    struct memory_need need;
    g->engine = engine_open(path, eo, e);
    if (!g->engine) return -1;
    memory_taken(g->engine, &need);
    if (o->max_bytes == 0 || memory_total(&need) <= o->max_bytes) return 0;
    g->base.info.n_ctx_train = model_n_ctx_train(engine_model(g->engine));
    if (shrink(g, path, o, eo, e) != 0) return -1;
    engine_close(g->engine);
    g->engine = engine_open(path, eo, e);
    return g->engine ? 0 : -1;
}

static int open_draft(struct local *g, const struct gen_opts *o, struct err *e) {
    if (!o->draft) return 0;
    struct engine_opts d = {.n_ctx = engine_n_ctx(g->engine),
                            .n_threads = o->engine.n_threads,
                            .k_type = o->engine.k_type,
                            .v_type = o->engine.v_type};
    g->draft_engine = engine_open(o->draft, &d, e);
    if (!g->draft_engine || speculate_check_draft(g->engine, g->draft_engine, e) != 0) return -1;
    g->draft = session_new(g->draft_engine, e);
    return g->draft ? 0 : -1;
}

static int check_total(const struct local *g, const char *path, const struct gen_opts *o,
                       struct err *e) {
    const struct gen_info *i = &g->base.info;
    if (o->max_bytes == 0 || i->n_bytes <= o->max_bytes) return 0;
    return too_large(path, i->n_bytes, o->max_bytes, i->n_ctx, e);
}

static void describe(struct local *g, const struct engine_opts *o) {
    const struct chat_caps caps = prompt_caps(g->engine);
    struct memory_need need, draft = {0};
    const struct model *m = engine_model(g->engine);
    const bool reduced = g->base.info.ctx_reduced;
    memory_taken(g->engine, &need);
    if (g->draft_engine) memory_taken(g->draft_engine, &draft);
    g->base.info = (struct gen_info){
        .arch = model_arch(m),
        .n_ctx = engine_n_ctx(g->engine),
        .n_ctx_train = model_n_ctx_train(m),
        .n_parallel = o->n_parallel,
        .n_embd = model_n_embd(m),
        .n_vocab = engine_n_vocab(g->engine),
        .embedding = model_is_embedding(m),
        .tools = caps.tools,
        .thinking = caps.thinking,
        .insert = caps.insert,
        .ctx_reduced = reduced,
        .n_bytes = memory_total(&need) + memory_total(&draft),
        .weight_bytes = need.weights + draft.weights,
        .load_ns = (int64_t)(engine_load_s(g->engine) * 1e9),
    };
}

/* Tokens that are no text unless somebody asks. */
static int list_control(struct local *g, struct err *e) {
    const struct vocab *v = engine_vocab(g->engine);
    for (int32_t id = 0; id < engine_n_vocab(g->engine); id++)
        if (vocab_attr(v, id) == TOKEN_CONTROL) ids_push(&g->control, id);
    return g->control.failed ? err_nomem(e, "vocabulary") : 0;
}

int local_open(struct local *g, const char *path, const struct gen_opts *o, struct err *e) {
    struct engine_opts eo = o->engine;
    if (o->renderer) eo.renderer = o->renderer;
    eo.cap_ctx = true;
    if (eo.n_parallel == 0) eo.n_parallel = DEFAULT_PARALLEL;
    if (o->parser && !(g->parser = strdup(o->parser))) return err_nomem(e, path);
    if (open_engine(g, path, o, &eo, e) != 0 || open_draft(g, o, e) != 0) return -1;
    describe(g, &eo);
    return check_total(g, path, o, e) == 0 ? list_control(g, e) : -1;
}
