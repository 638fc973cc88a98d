/* tokenizer.ggml.merges: "left right" pairs in order of priority, made into a table of ids.
 *
 * Three text lookups per merge would dominate the load of a 128k vocabulary (280k merges), so the
 * result is guessed first: merges are listed in the order of their results, many in a row giving
 * the same or the next token. */
#include "base/log.h"
#include "text/bytemap.h"
#include "text/tables.h"

#define KEY "tokenizer.ggml.merges"

/* Pieces that merging starts from.  A byte that is no token still takes part: others may merge it.
 */
static bool load_bytes(struct vocab *v) {
    for (unsigned b = 0; b < 256; b++) {
        char *text = arena_alloc(&v->arena, 2);
        if (!text) return false;
        const char byte = (char)b;
        v->byte_id[b] = vocab_intern(v, (struct str){text, bytemap_encode(&byte, 1, text)});
        if (v->byte_id[b] < 0) return false;
    }
    return true;
}

static bool equals_pair(struct str whole, struct str left, struct str right) {
    return whole.n == left.n + right.n && memcmp(whole.p, left.p, left.n) == 0 &&
           memcmp(whole.p + left.n, right.p, right.n) == 0;
}

/* The piece "left"+"right"; guess is the result of the merge before. */
static int32_t result_of(struct vocab *v, struct str left, struct str right, int32_t guess) {
    for (int32_t id = guess; id < guess + 2 && id < v->n; id++)
        if (equals_pair(v->text[id], left, right)) return id;
    char joined[2 * VOCAB_MAX_TOKEN_BYTES];
    memcpy(joined, left.p, left.n);
    memcpy(joined + left.n, right.p, right.n);
    const struct str text = {joined, left.n + right.n};
    const int32_t id = symtab_find(&v->by_text, v->text, text);
    if (id >= 0) return id;
    const char *kept = arena_strndup(&v->arena, joined, text.n);
    return kept ? vocab_intern(v, (struct str){kept, text.n}) : -1;
}

static bool split(struct str line, struct str *left, struct str *right) {
    const char *blank = line.n > 2 ? memchr(line.p + 1, ' ', line.n - 2) : NULL;
    if (!blank || line.n > VOCAB_MAX_TOKEN_BYTES) return false;
    *left = (struct str){line.p, (size_t)(blank - line.p)};
    *right = (struct str){blank + 1, line.n - left->n - 1};
    return true;
}

/* Merges on their way into the table, whose slots are fetched from memory meanwhile: the table of a
 * large vocabulary has 8 MB and every slot is a miss. */
struct queue {
    struct merge m[16];
    int n;
};

static bool flush(struct vocab *v, struct queue *q) {
    for (int i = 0; i < q->n; i++)
        if (!mergetab_add(&v->merges, q->m[i])) return false;
    q->n = 0;
    return true;
}

static bool enqueue(struct vocab *v, struct queue *q, struct merge m) {
    mergetab_prefetch(&v->merges, m.left, m.right);
    q->m[q->n++] = m;
    return q->n < 16 || flush(v, q);
}

static int add_merges(struct vocab *v, const struct gguf_kv *kv, const char *path, struct err *e) {
    struct queue q = {.n = 0};
    uint64_t cursor = 0;
    uint32_t n_bad = 0, rank = 0;
    int32_t result = 0;
    for (; rank < kv->n; rank++) {
        struct str left, right;
        if (!split(gguf_next_str(kv, &cursor), &left, &right)) {
            n_bad++;
            continue;
        }
        const int32_t l = vocab_intern(v, left), r = vocab_intern(v, right);
        result = l < 0 || r < 0 ? -1 : result_of(v, v->text[l], v->text[r], result);
        if (result < 0) goto fail;
        if (!enqueue(v, &q, (struct merge){(uint32_t)l, (uint32_t)r, rank, (uint32_t)result}))
            goto fail;
    }
    if (!flush(v, &q)) goto fail;
    if (n_bad > 0)
        log_msg(LOG_WARN, "%s: key '%s': %u entries are no pair of pieces and are left out", path,
                KEY, n_bad);
    return 0;
fail:
    return err_set(e, ERR_FORMAT, "%s: key '%s': entry %u or one before cannot be indexed", path,
                   KEY, rank);
}

int vocab_load_merges(struct vocab *v, const struct gguf *g, struct err *e) {
    if (!v->raw && !load_bytes(v)) return err_nomem(e, "vocabulary");
    const struct gguf_kv *kv;
    const int found = gguf_get_arr(g, KEY, GGUF_STR, &kv, e);
    if (found < 0) return -1;
    if (!found) {
        if (str_is(str_of(v->pre), "kimi-k2")) return 0; /* whole words and bytes only */
        return err_set(e, ERR_FORMAT, "%s: key '%s' is missing; the tokenizer needs it",
                       gguf_path(g), KEY);
    }
    if (kv->n > VOCAB_MAX_MERGES)
        return err_set(e, ERR_FORMAT, "%s: key '%s' has %llu entries; at most %d", gguf_path(g),
                       KEY, (unsigned long long)kv->n, VOCAB_MAX_MERGES);
    if (!mergetab_init(&v->merges, (uint32_t)kv->n)) return err_nomem(e, "vocabulary");
    return add_merges(v, kv, gguf_path(g), e);
}
