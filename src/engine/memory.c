/* See memory.h. */
#include "engine/memory.h"

#include "cpu/cpu.h"

enum {
    DEFAULT_CTX = 4096,
    DEFAULT_BATCH = 512,
    OUT_BYTES = 64 << 20, /* of logits in one batch: bounds memory where all rows are asked for */
    /* Resident after tokenizing, less the file: 22.0 MB with Llama 3's 128k entries, 18.0 with
     * Qwen 2's 152k, 13.2 with Phi 3's 32k. */
    PROGRAM_BYTES = 11 << 20,
    TEXT_BYTES = 64,
};

static int at_least(int v, int min) {
    return v > min ? v : min;
}

int memory_sizes(const struct memory_model *m, const struct engine_opts *o, struct memory_sizes *s,
                 struct err *e) {
    const struct hparams *h = m->hp;
    const int n_parallel = o->n_parallel ? o->n_parallel : 1, train = h->n_ctx_train;
    *s = (struct memory_sizes){.n_ctx = o->n_ctx, .spare_rank = o->spare_rank};
    if (s->n_ctx == 0) s->n_ctx = train > 0 && train < DEFAULT_CTX ? train : DEFAULT_CTX;
    /* There is nothing to compute beyond. */
    if ((m->positions_end || o->cap_ctx) && train > 0 && s->n_ctx > train) s->n_ctx = train;
    s->n_batch = o->n_batch ? o->n_batch : DEFAULT_BATCH;
    /* A model that looks both ways must see a text at once. */
    if (s->n_batch > s->n_ctx || m->encoder) s->n_batch = s->n_ctx;
    s->n_batch = at_least(s->n_batch, n_parallel);

    s->n_vocab = h->n_vocab < m->n_text ? h->n_vocab : m->n_text;
    s->n_out = s->n_batch;
    if (!m->encoder && (size_t)s->n_out * (size_t)h->n_vocab > OUT_BYTES / sizeof(float))
        s->n_out = (int)(OUT_BYTES / sizeof(float) / (size_t)h->n_vocab);
    s->n_out = at_least(s->n_out, n_parallel);

    /* Two pages more than the tokens: a context shift leaves two that are partly used. */
    const int64_t one = (int64_t)s->n_ctx + 2 * KV_PAGE;
    int64_t max_tokens = one * n_parallel;
    if (o->n_kv > 0 && o->n_kv < max_tokens) max_tokens = o->n_kv > one ? o->n_kv : one;
    if (max_tokens > INT32_MAX / 2)
        return err_set(e, ERR_USAGE, "num_ctx %d times num_parallel %d: too many tokens", s->n_ctx,
                       n_parallel);
    s->kv = (struct kv_opts){o->k_type, o->v_type, (int)max_tokens};
    return 0;
}

struct forward_opts memory_forward_opts(const struct memory_sizes *s, int max_rank) {
    return (struct forward_opts){
        .n_ctx = s->n_ctx, .max_rows = s->n_batch, .max_out = s->n_out, .max_rank = max_rank};
}

static uint64_t vocab_bytes(int n_text) {
    return PROGRAM_BYTES + (uint64_t)n_text * TEXT_BYTES;
}

int memory_need(const struct memory_model *m, const struct memory_sizes *s, int n_threads,
                struct memory_need *out, struct err *e) {
    const struct forward_opts f = memory_forward_opts(s, s->spare_rank);
    const struct op_limits lim = forward_limits(m->hp, m->encoder, &f);
    struct kv_need kv;
    if (kv_need(m->hp, &s->kv, &kv, e) != 0) return -1;
    *out = (struct memory_need){
        .weights = m->file_bytes,
        .vocab = vocab_bytes(m->n_text),
        .kv = kv.bytes,
        .kv_token_bytes = kv.token_bytes,
        .compute =
            forward_need_bytes(m->hp, m->encoder, &f) + cpu_ops()->scratch_bytes(&lim, n_threads),
    };
    return 0;
}

void memory_taken(struct engine *g, struct memory_need *out) {
    *out = (struct memory_need){
        .weights = gguf_file_bytes(engine_gguf(g)),
        .vocab = vocab_bytes(vocab_size(engine_vocab(g))),
        .kv = (uint64_t)kv_pool_n_page(engine_kv(g)) * kv_page_bytes(engine_kv(g)),
        .kv_token_bytes = kv_pool_token_bytes(engine_kv(g)),
        .compute = forward_mem_bytes(engine_forward(g)) + team_scratch_bytes(engine_team(g)),
    };
}

uint64_t memory_total(const struct memory_need *n) {
    return n->weights + n->vocab + n->kv + n->compute;
}
