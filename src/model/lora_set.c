/* Reading adapter files: the keys and pairs that llama.cpp's loader asks for (llama-adapter.cpp),
 * checked as strictly. */
#include "model/lora_set.h"

#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

enum { HALF = sizeof ".lora_a" - 1 };

static bool is_weight(const struct gguf_tensor *t) {
    const struct quant_type *q = quant_type(t->type);
    return q && q->decode && t->ne[2] == 1 && t->ne[3] == 1;
}

static int check_keys(struct lora_set *s, const char *arch, struct err *e) {
    static const char *const key[] = {"general.type", "adapter.type", "general.architecture"};
    const char *const want[] = {"adapter", "lora", arch};
    for (int i = 0; i < 3; i++) {
        s->arch = STR("missing");
        const int got = gguf_get_str(s->g, key[i], &s->arch, e);
        if (got < 0) return -1;
        if (want[i] ? str_is(s->arch, want[i]) : got == 1) continue;
        return err_set(e, ERR_FORMAT, "%s: key '%s' is %.*s; %s is needed", gguf_path(s->g), key[i],
                       (int)(s->arch.n < 40 ? s->arch.n : 40), s->arch.p,
                       want[i] ? want[i] : "a name");
    }
    if (gguf_get_f32(s->g, "adapter.lora.alpha", &s->alpha, e) < 0) return -1;
    if (s->alpha >= 0 && s->alpha < 1e6f) return 0;
    return err_set(e, ERR_FORMAT, "%s: key 'adapter.lora.alpha' is %g; 0 to 1e6 is accepted",
                   gguf_path(s->g), (double)s->alpha);
}

/* The pair whose A is t; nothing for a B that has its A. */
static int add(struct lora_set *s, const struct gguf_tensor *t, struct err *e) {
    const char *path = gguf_path(s->g);
    const size_t n = strlen(t->name);
    const char half =
        n > HALF && !strncmp(t->name + n - HALF, ".lora_", HALF - 1) ? t->name[n - 1] : '\0';
    char other[GGUF_MAX_NAME_BYTES + 1];
    if (half != 'a' && half != 'b')
        return err_set(e, ERR_FORMAT, "%s: tensor '%s' is no part of a LoRA adapter", path,
                       t->name);
    memcpy(other, t->name, n + 1), other[n - 1] = half == 'a' ? 'b' : 'a';
    const struct gguf_tensor *b = gguf_tensor(s->g, other);
    if (!b) return err_set(e, ERR_FORMAT, "%s: tensor '%s' is missing", path, other);
    if (half == 'b') return 0;
    struct lora_set_pair *p = &s->pair[s->n];
    char *name = strndup(t->name, n - HALF);
    if (!name) return err_nomem(e, path);
    *p = (struct lora_set_pair){name, t, b, (int)t->ne[1], 1};
    s->n++;
    if (!is_weight(t) || !is_weight(b) || t->ne[1] != b->ne[0] || t->ne[1] > LORA_MAX_RANK)
        return err_set(e, ERR_FORMAT, "%s: tensors '%s.lora_a' and '.lora_b' do not fit each other",
                       path, name);
    if (s->alpha > 0) p->scale = s->alpha / (float)p->rank;
    return 0;
}

int lora_set_take(struct lora_set *s, struct gguf *g, const char *arch, struct err *e) {
    *s = (struct lora_set){.g = g};
    if (check_keys(s, arch, e) != 0) return -1;
    const char *path = gguf_path(g);
    const int n = gguf_n_tensor(g);
    s->pair = calloc((size_t)n + 1, sizeof *s->pair);
    if (!s->pair) return err_nomem(e, path);
    for (int i = 0; i < n; i++)
        if (add(s, gguf_tensor_at(s->g, i), e) != 0) return -1;
    if (s->n) return 0;
    return err_set(e, ERR_FORMAT, "%s: the adapter has no tensors", path);
}

int lora_set_open(struct lora_set *s, const char *path, const char *arch, struct err *e) {
    *s = (struct lora_set){0};
    struct gguf *g = gguf_open(path, e);
    return g ? lora_set_take(s, g, arch, e) : -1;
}

void lora_set_close(struct lora_set *s) {
    for (int i = 0; i < s->n; i++)
        free(s->pair[i].name);
    free(s->pair);
    gguf_close(s->g);
    *s = (struct lora_set){0};
}

const struct lora_set_pair *lora_set_find(const struct lora_set *s, const char *name) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->pair[i].name, name) == 0) return &s->pair[i];
    return NULL;
}
