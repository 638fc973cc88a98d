/* Opening a model for gen_local: within a memory limit, with its draft model, and what is known of
 * it then. */
#include <stdlib.h>
#include <string.h>

#include "engine/local.h"
#include "engine/memory.h"
#include "engine/prompt.h"
#include "engine/speculate.h"

enum { DEFAULT_PARALLEL = 4, LEAST_CTX = 2048, CTX_STEP = 256 };

/* What options come to, without reserving anything.  UINT64_MAX: they are refused. */
static uint64_t bytes_of(struct engine *g, const struct engine_opts *o) {
    const struct model *m = engine_model(g);
    const struct memory_model mm = {
        .hp = model_hparams(m),
        .encoder = model_is_embedding(m),
        .positions_end = model_positions_end(m),
        .n_text = vocab_size(engine_vocab(g)),
        .file_bytes = gguf_file_bytes(engine_gguf(g)),
    };
    struct memory_sizes sizes;
    struct memory_need need;
    if (memory_sizes(&mm, o, &sizes, NULL) != 0) return UINT64_MAX;
    const int n_threads = team_size(engine_team(g));
    return memory_need(&mm, &sizes, n_threads, &need, NULL) == 0 ? memory_total(&need) : UINT64_MAX;
}

/* The largest value from lo to hi, in steps, of *field with which o fits; 0: not even lo. */
static int largest(struct engine *g, struct engine_opts *o, int *field, int lo, int hi, int step,
                   uint64_t max_bytes) {
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

/* One that was asked for is not made smaller, but told is what would do. */
static int too_large_a_context(struct engine *g, const char *path, const struct engine_opts *o,
                               uint64_t need, uint64_t max, struct err *e) {
    struct engine_opts try = *o;
    struct err why;
    too_large(path, need, max, o->n_ctx, &why);
    if (!largest(g, &try, &try.n_ctx, CTX_STEP, o->n_ctx, CTX_STEP, max))
        return err_set(e, why.code, "%s; one of %d tokens would not fit either", why.msg, CTX_STEP);
    return err_set(e, why.code, "%s; %d tokens would fit", why.msg, try.n_ctx);
}

struct opening {
    const char *path;
    const struct gen_opts *o;
    struct engine_opts fitted;
    bool ctx_reduced;
};

/* Options that fit into max_bytes: fewer pages, which sequences share, as long as one can have its
 * whole context; then a smaller context, if it was left open. */
static int shrink(const struct opening *p, struct engine *g, struct engine_opts *o, struct err *e) {
    const int n_ctx = engine_n_ctx(g), train = model_n_ctx_train(engine_model(g));
    const int least = train > 0 && train < LEAST_CTX ? train : LEAST_CTX;
    const uint64_t max = p->o->max_bytes;
    struct engine_opts try = *o;
    try.n_ctx = n_ctx, try.n_kv = 1; /* the least that is possible */
    const uint64_t need = bytes_of(g, &try);
    if (need > max) {
        if (p->o->engine.n_ctx) return too_large_a_context(g, p->path, &try, need, max, e);
        if (n_ctx <= least) return too_large(p->path, need, max, n_ctx, e);
        if (!largest(g, &try, &try.n_ctx, least, n_ctx, CTX_STEP, max)) {
            try.n_ctx = least;
            return too_large(p->path, bytes_of(g, &try), max, least, e);
        }
    }
    const int most = (try.n_ctx + 2 * KV_PAGE) * o->n_parallel;
    if (!largest(g, &try, &try.n_kv, 1, most, KV_PAGE, max)) try.n_kv = 1;
    *o = try;
    return 0;
}

/* Before anything is reserved: what the options come to may be many times what the process may
 * have.  What is wrong with options that are refused is told when they are used. */
static int fit(void *ctx, struct engine *g, struct engine_opts *o, struct err *e) {
    struct opening *p = ctx;
    const int n_ctx = engine_n_ctx(g);
    const uint64_t need = bytes_of(g, o), max = p->o->max_bytes;
    if (max && need > max && need != UINT64_MAX && shrink(p, g, o, e) != 0) return -1;
    p->ctx_reduced = o->n_ctx && o->n_ctx < n_ctx;
    p->fitted = *o;
    return 0;
}

static int open_engine(struct local *g, const char *path, const struct gen_opts *o,
                       struct engine_opts *eo, struct err *e) {
    struct opening p = {.path = path, .o = o};
    eo->fit = fit, eo->fit_ctx = &p;
    g->engine = engine_open(path, eo, e);
    if (!g->engine) return -1;
    *eo = p.fitted;
    g->base.info.ctx_reduced = p.ctx_reduced;
    return 0;
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
    if (eo.spare_rank < GEN_ADAPTER_RANK) eo.spare_rank = GEN_ADAPTER_RANK;
    if (eo.n_parallel == 0) eo.n_parallel = DEFAULT_PARALLEL;
    if (o->parser && !(g->parser = strdup(o->parser))) return err_nomem(e, path);
    if (open_engine(g, path, o, &eo, e) != 0 || open_draft(g, o, e) != 0) return -1;
    describe(g, &eo);
    return check_total(g, path, o, e) == 0 ? list_control(g, e) : -1;
}
