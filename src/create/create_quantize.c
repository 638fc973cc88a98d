/* `create -q TYPE`: the engine's quantizer between the source and the store. */
#include <stdio.h>

#include "base/cores.h"
#include "create/create_priv.h"
#include "engine/quantize.h"

const char *create_file_type(const struct gguf *g) {
    uint32_t id = UINT32_MAX;
    size_t n[QT_COUNT] = {0}, best = 0;
    if (gguf_get_u32(g, "general.file_type", &id, NULL) == 1 && gguf_file_type_name(id))
        return gguf_file_type_name(id);
    if (gguf_n_tensor(g) == 0) return "unknown";
    for (int i = 0; i < gguf_n_tensor(g); i++)
        n[gguf_tensor_at(g, i)->type] += gguf_tensor_at(g, i)->n_bytes;
    for (size_t i = 1; i < QT_COUNT; i++)
        if (n[i] > n[best]) best = i;
    return qtype_name((uint32_t)best);
}

struct run {
    struct create_bar bar;
    uint64_t all;
};

static int on_progress(void *ctx, double done_bytes) {
    struct run *r = ctx;
    return create_progress(&r->bar, (uint64_t)done_bytes, r->all);
}

int create_find_mix(const char *name, int *mix, struct err *e) {
    char known[400];
    *mix = mix_by_name(name);
    if (*mix >= 0 && mix_base_type(*mix) >= 0) return 0;
    mix_list(known, sizeof known);
    return err_set(e, ERR_USAGE, "quantize: type \"%s\"; one of %s is accepted", name, known);
}

static void warn(struct creation *k, const struct quantize_summary *s) {
    char text[200];
    if (s->n_requantize) {
        snprintf(text, sizeof text,
                 "warning: %d tensors were quantized already; their errors add up, an F16 or BF16 "
                 "source is better",
                 s->n_requantize);
        create_say(k, text, NULL);
    }
    if (s->n_blind) {
        snprintf(text, sizeof text,
                 "warning: %d tensors get fewer than 2.4 bits per value; little is left of them",
                 s->n_blind);
        create_say(k, text, NULL);
    }
}

static int say_quality(struct creation *k, const char *in, const char *out, struct err *e) {
    struct quality q;
    char text[200];
    create_say(k, "measuring quality", NULL);
    if (create_measure(in, out, k->o, &q, e) != 0) return -1;
    snprintf(
        text, sizeof text,
        "quality: KL divergence %.6f, same first choice %.1f%%, perplexity %.4f (source %.4f), "
        "%d tokens",
        q.kl, 100 * q.same_top, q.ppl, q.ppl_source, q.n_tok);
    create_say(k, text, NULL);
    return 0;
}

static int run(struct creation *k, struct quantizer *q, const char *status, const char *out,
               struct err *e) {
    struct quantize_summary s;
    char text[100];
    const int n = k->o->n_threads ? k->o->n_threads : cores_default_threads(e);
    if (n < 0) return -1;
    quantize_summarize(q, &s);
    warn(k, &s);
    create_say(k, status, NULL);
    struct run r = {{k, status}, s.in_bytes};
    if (quantize_run(q, out, n, on_progress, &r, e) != 0) return -1;
    quantize_summarize(q, &s);
    snprintf(text, sizeof text, "quantized: RMSE %.4g, %.1f MB -> %.1f MB", s.rmse,
             (double)s.in_bytes / 1e6, (double)s.out_bytes / 1e6);
    create_say(k, text, NULL);
    return 0;
}

int create_quantize(struct creation *k, const char *in, const char *out, struct err *e) {
    struct quantize_opts o = {0};
    char status[100];
    if (create_find_mix(k->o->quantize, &o.mix, e) != 0) return -1;
    struct gguf *g = gguf_open(in, e);
    if (!g) return -1;
    snprintf(status, sizeof status, "quantizing %s model to %s", create_file_type(g),
             gguf_file_type_name((uint32_t)o.mix));
    gguf_close(g);
    struct quantizer *q = quantize_new(in, &o, e);
    int rc = q ? run(k, q, status, out, e) : -1;
    quantize_free(q);
    return rc == 0 && k->o->quality ? say_quality(k, in, out, e) : rc;
}
