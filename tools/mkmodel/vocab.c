/* Vocabularies: made up, or another file's. */
#include "vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample/rng.h"
#include "text/bytemap.h"

enum {
    TYPE_NORMAL = 1,
    TYPE_CONTROL = 3,
    TYPE_UNUSED = 5,
    MAX_BYTES = 24,
    MAX_MERGED = 15,
    N_BYTE = 256
};

static const char *const control[] = {"<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>",
                                      "<|im_end|>"};
enum { N_CONTROL = sizeof control / sizeof *control };

/* ---- made up ---- */

struct maker {
    int n_token, n, n_merge;
    char (*text)[MAX_BYTES];      /* [n_token] in the byte alphabet */
    char (*merge)[2 * MAX_BYTES]; /* "LEFT RIGHT" */
    int *slot;                    /* [n_slot] hash table of tokens, -1: free */
    uint32_t n_slot;              /* a power of two */
    struct rng rng;
};

/* Where a text is in the table, or the free slot it would get (FNV-1a, linear probing). */
static uint32_t find(const struct maker *m, const char *text) {
    uint32_t h = 2166136261u;
    for (const char *p = text; *p; p++)
        h = (h ^ (uint8_t)*p) * 16777619u;
    for (h &= m->n_slot - 1; m->slot[h] >= 0; h = (h + 1) & (m->n_slot - 1))
        if (strcmp(m->text[m->slot[h]], text) == 0) break;
    return h;
}

static void add(struct maker *m, const char *text) {
    m->slot[find(m, text)] = m->n;
    snprintf(m->text[m->n++], MAX_BYTES, "%s", text);
}

/* A token of those there are, early ones more often: as in a real vocabulary, most merges build on
 * short, frequent pieces. */
static int draw(struct maker *m) {
    const double u = rng_unit(&m->rng);
    return (int)(u * u * m->n);
}

/* Bytes that make text: letters, digits, blank, some marks. */
static bool is_plain(const char *text) {
    static const char blank[] = "\xc4\xa0"; /* the blank of the byte alphabet, U+0120 */
    const char *p = strncmp(text, blank, 2) == 0 ? text + 2 : text;
    for (; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))) return false;
    return true;
}

/* One more merge.  A blank only leads: the pre-tokenizers never put one inside a word. */
static void add_merge(struct maker *m) {
    char joined[MAX_MERGED + 1];
    for (;;) {
        const char *a = m->text[draw(m)], *b = m->text[draw(m)];
        const size_t n_a = strlen(a), n_b = strlen(b);
        if (n_a + n_b > MAX_MERGED) continue;
        if (!is_plain(a) || !is_plain(b) || (uint8_t)b[0] == 0xc4) continue;
        memcpy(joined, a, n_a), memcpy(joined + n_a, b, n_b + 1);
        if (m->slot[find(m, joined)] >= 0) continue;
        snprintf(m->merge[m->n_merge++], sizeof *m->merge, "%s %s", a, b);
        add(m, joined);
        return;
    }
}

static int make_init(struct maker *m, int n_token, uint64_t seed) {
    *m = (struct maker){.n_token = n_token, .n_slot = 1024};
    while (m->n_slot < 2 * (uint32_t)n_token)
        m->n_slot *= 2;
    m->text = calloc((size_t)n_token, sizeof *m->text);
    m->merge = calloc((size_t)n_token, sizeof *m->merge);
    m->slot = malloc(m->n_slot * sizeof *m->slot);
    if (!m->text || !m->merge || !m->slot) return -1;
    memset(m->slot, -1, m->n_slot * sizeof *m->slot);
    rng_seed(&m->rng, seed);
    for (int b = 0; b < N_BYTE; b++) {
        const char byte = (char)b;
        char text[4] = {0};
        bytemap_encode(&byte, 1, text);
        add(m, text);
    }
    while (m->n < n_token - N_CONTROL)
        add_merge(m);
    for (int i = 0; i < N_CONTROL; i++)
        add(m, control[i]);
    return 0;
}

static int put_made(const struct maker *m, struct str *text, int32_t *type, struct gguf_writer *w,
                    struct err *e) {
    const uint32_t first = (uint32_t)(m->n_token - N_CONTROL);
    for (int i = 0; i < m->n; i++) {
        text[i] = str_of(m->text[i]);
        type[i] = i < (int)first ? TYPE_NORMAL : TYPE_CONTROL;
    }
    if (gguf_set_str(w, "tokenizer.ggml.model", STR("gpt2"), e) != 0) return -1;
    if (gguf_set_str(w, "tokenizer.ggml.pre", STR("llama-bpe"), e) != 0) return -1;
    if (gguf_set_strs(w, "tokenizer.ggml.tokens", text, (uint64_t)m->n, e) != 0) return -1;
    if (gguf_set_arr(w, "tokenizer.ggml.token_type", GGUF_I32, type, (uint64_t)m->n, e) != 0)
        return -1;
    for (int i = 0; i < m->n_merge; i++)
        text[i] = str_of(m->merge[i]);
    if (gguf_set_strs(w, "tokenizer.ggml.merges", text, (uint64_t)m->n_merge, e) != 0) return -1;
    if (gguf_set_u32(w, "tokenizer.ggml.bos_token_id", first, e) != 0) return -1;
    if (gguf_set_u32(w, "tokenizer.ggml.eos_token_id", first + 1, e) != 0) return -1;
    if (gguf_set_u32(w, "tokenizer.ggml.padding_token_id", first + 2, e) != 0) return -1;
    return gguf_set_bool(w, "tokenizer.ggml.add_bos_token", true, e);
}

int vocab_make(struct gguf_writer *w, int n_token, uint64_t seed, struct err *e) {
    struct maker m;
    struct str *text = calloc((size_t)n_token, sizeof *text);
    int32_t *type = calloc((size_t)n_token, sizeof *type);
    int rc = make_init(&m, n_token, seed);
    rc = rc == 0 && text && type ? put_made(&m, text, type, w, e) : err_nomem(e, "vocabulary");
    free(text), free(type);
    free(m.text), free(m.merge), free(m.slot);
    return rc;
}

/* ---- copied ---- */

static int copy_tokens(struct gguf_writer *w, const struct gguf_kv *kv, int n_token,
                       struct err *e) {
    struct str *text = calloc((size_t)n_token, sizeof *text);
    char(*pad)[16] = calloc((size_t)n_token, sizeof *pad);
    int rc = text && pad ? 0 : err_nomem(e, "vocabulary");
    uint64_t cursor = 0;
    for (int i = 0; rc == 0 && i < n_token; i++) {
        if ((uint64_t)i < kv->n) {
            text[i] = gguf_next_str(kv, &cursor);
            continue;
        }
        snprintf(pad[i], sizeof pad[i], "[PAD%d]", i);
        text[i] = str_of(pad[i]);
    }
    if (rc == 0) rc = gguf_set_strs(w, "tokenizer.ggml.tokens", text, (uint64_t)n_token, e);
    free(text), free(pad);
    return rc;
}

/* An array with 4-byte elements, one for each token; `fill` for the new ones. */
static int copy_words(struct gguf_writer *w, const struct gguf_kv *kv, int n_token,
                      const void *fill, struct err *e) {
    char key[64];
    uint8_t *v = calloc((size_t)n_token, 4);
    if (!v) return err_nomem(e, "vocabulary");
    memcpy(v, kv->data, kv->n * 4);
    for (int i = (int)kv->n; i < n_token; i++)
        memcpy(v + 4 * (size_t)i, fill, 4);
    snprintf(key, sizeof key, "%.*s", (int)kv->key.n, kv->key.p);
    const int rc = gguf_set_arr(w, key, kv->elem_type, v, (uint64_t)n_token, e);
    free(v);
    return rc;
}

static int copy_key(struct gguf_writer *w, const struct gguf_kv *kv, int n_token, struct err *e) {
    const int32_t unused = TYPE_UNUSED;
    const float never = -1000;
    const bool is_list = kv->type == GGUF_ARR && kv->n <= (uint64_t)n_token;
    if (str_is(kv->key, "tokenizer.ggml.tokens")) return copy_tokens(w, kv, n_token, e);
    if (str_is(kv->key, "tokenizer.ggml.token_type") && is_list && kv->elem_type == GGUF_I32)
        return copy_words(w, kv, n_token, &unused, e);
    if (str_is(kv->key, "tokenizer.ggml.scores") && is_list && kv->elem_type == GGUF_F32)
        return copy_words(w, kv, n_token, &never, e);
    return gguf_copy_kv(w, kv, e);
}

static int copy_from(struct gguf_writer *w, const struct gguf *g, int n_token, struct err *e) {
    const struct gguf_kv *tokens;
    const int got = gguf_get_arr(g, "tokenizer.ggml.tokens", GGUF_STR, &tokens, e);
    if (got < 0) return -1;
    if (got == 0)
        return err_set(e, ERR_FORMAT, "%s: has no tokenizer.ggml.tokens; a vocabulary is needed",
                       gguf_path(g));
    if (tokens->n > (uint64_t)n_token)
        return err_set(e, ERR_FORMAT, "%s: has %llu tokens; the shape takes %d at most",
                       gguf_path(g), (unsigned long long)tokens->n, n_token);
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        if (str_starts(kv->key, STR("tokenizer.")) && copy_key(w, kv, n_token, e) != 0) return -1;
    }
    return 0;
}

int vocab_copy(struct gguf_writer *w, const char *path, int n_token, struct err *e) {
    struct gguf *g = gguf_open(path, e);
    if (!g) return -1;
    const int rc = copy_from(w, g, n_token, e);
    gguf_close(g);
    return rc;
}
