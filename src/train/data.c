/* See data.h: a whole file. */
#include "train/data.h"

#include <limits.h>
#include <stdlib.h>

#include "train/example_priv.h"
#include "train/reader.h"

enum { DEFAULT_MAX_TOKENS = 1 << 20 };

/* ---- growing ---- */

/* Room for n more of size bytes in *p; *cap counts objects. */
static int grow(void **p, size_t *cap, size_t have, size_t n, size_t size) {
    if (have + n <= *cap) return 0;
    size_t to = *cap ? *cap + *cap / 2 : 64;
    if (to < have + n) to = have + n;
    void *more = realloc(*p, to * size);
    if (!more) return -1;
    *p = more;
    *cap = to;
    return 0;
}

static int grow_tokens(struct dataset *d, size_t n) {
    size_t cap = d->cap_tok;
    if (grow((void **)&d->tok, &cap, d->n_tok, n, sizeof *d->tok) != 0) return -1;
    return grow((void **)&d->label, &d->cap_tok, d->n_tok, n, sizeof *d->label);
}

static int grow_examples(struct dataset *d) {
    size_t cap = d->cap_example;
    const size_t have = (size_t)d->n_example;
    if (grow((void **)&d->hash, &cap, have, 1, sizeof *d->hash) != 0) return -1;
    return grow((void **)&d->prompt_hash, &d->cap_example, have, 1, sizeof *d->prompt_hash);
}

/* ---- one example ---- */

/* Bytes of what is said in it. */
static size_t n_bytes_said(const json_t *list) {
    size_t n = 0, i;
    const json_t *m;
    json_array_foreach(list, i, m) n += json_string_length(json_object_get(m, "content"));
    return n;
}

static int add_seq(struct dataset *d, int line, size_t n, int n_label) {
    if (grow((void **)&d->seq, &d->cap_seq, (size_t)d->n_seq, 1, sizeof *d->seq) != 0) return -1;
    d->seq[d->n_seq++] = (struct data_seq){
        .at = d->n_tok, .n = n < INT_MAX ? (int)n : INT_MAX, .n_label = n_label, .line = line};
    return 0;
}

static int add_row(struct dataset *d, const struct data_row *r, int line, struct sha256 *sum) {
    const size_t n = r->ids.n;
    const uint64_t length = n;
    if (grow_tokens(d, n) != 0 || add_seq(d, line, n, r->n_label) != 0) return -1;
    int32_t *tok = d->tok + d->n_tok, *label = d->label + d->n_tok;
    memcpy(tok, r->ids.v, n * sizeof *tok);
    for (size_t i = 0; i < n; i++)
        label[i] = i + 1 < n && r->learn[i + 1] ? tok[i + 1] : -1;
    sha256_add(sum, &length, sizeof length);
    sha256_add(sum, tok, n * sizeof *tok);
    sha256_add(sum, label, n * sizeof *label);
    d->n_tok += n;
    d->n_label += (size_t)r->n_label;
    return 0;
}

struct loading {
    struct dataset *d;
    struct data_opts o;
    struct reader r;
    struct sha256 sum;
};

static void cut_row(struct data_row *r, size_t max) {
    r->ids.n = max;
    r->n_label = 0;
    for (size_t i = 1; i < max; i++)
        r->n_label += r->learn[i];
}

/* Is the row, perhaps cut, worth learning? */
static enum example_fault judge(struct loading *l, struct data_row *r, bool *cut, struct err *e) {
    const size_t max = (size_t)l->o.max_tokens, n = r->ids.n;
    if (n < 2) {
        err_set(e, ERR_FORMAT, "%zu token%s; there is nothing to foretell", n, n == 1 ? "" : "s");
        return EXAMPLE_SHORT;
    }
    if (n > max && !l->o.cut) {
        err_set(e, ERR_FORMAT, "%zu tokens; at most %zu are accepted", n, max);
        return EXAMPLE_LONG;
    }
    if (n > max) {
        err_set(e, ERR_FORMAT, "%zu tokens; the first %zu are taken", n, max);
        cut_row(r, max);
        *cut = true;
    }
    if (r->n_label > 0) return EXAMPLE_FINE;
    err_set(e, ERR_FORMAT, "no token to learn is left among %zu", r->ids.n);
    return EXAMPLE_MASKED;
}

/* One row, or the two of a preference. */
static enum example_fault encode(struct loading *l, const struct example *x, struct data_row row[2],
                                 bool *cut, struct err *e) {
    const json_t *follow[2] = {x->chosen, x->rejected};
    for (int i = 0; i < 1 + (x->chosen != NULL); i++) {
        enum example_fault f = data_encode(&l->o, x, follow[i], &row[i], e);
        if (f == EXAMPLE_FINE) f = judge(l, &row[i], cut, e);
        if (f != EXAMPLE_FINE) return f;
    }
    return EXAMPLE_FINE;
}

static int add_encoded(struct loading *l, const struct example *x, bool *added, struct err *e) {
    struct data_row row[2] = {{.n_label = 0}, {.n_label = 0}};
    struct err why = {0};
    bool cut = false;
    const int line = l->r.lines.number;
    const enum example_fault f = encode(l, x, row, &cut, &why);
    int rc = f == EXAMPLE_FINE ? 0 : reader_fault(&l->r, f, 0, 0, &why, e);
    *added = f == EXAMPLE_FINE;
    for (int i = 0; f == EXAMPLE_FINE && rc == 0 && i < 1 + (x->chosen != NULL); i++)
        if (add_row(l->d, &row[i], line, &l->sum) != 0) rc = err_nomem(e, l->r.lines.path);
    if (*added && rc == 0 && cut) rc = reader_fault(&l->r, EXAMPLE_CUT, 0, 0, &why, e);
    if (*added && rc == 0 && (row[0].changes || row[1].changes)) {
        err_set(&why, ERR_FORMAT,
                "the chat template changes earlier answers when a conversation "
                "goes on; those are not learned");
        rc = reader_fault(&l->r, EXAMPLE_LAST_ONLY, 0, 0, &why, e);
    }
    data_row_fini(&row[0]);
    data_row_fini(&row[1]);
    return rc;
}

static int add_measured(struct loading *l, const struct example *x, struct err *e) {
    const int line = l->r.lines.number;
    const size_t n = x->text ? json_string_length(x->text) : n_bytes_said(x->messages);
    int rc = add_seq(l->d, line, n + n_bytes_said(x->chosen), 0);
    if (rc == 0 && x->chosen) rc = add_seq(l->d, line, n + n_bytes_said(x->rejected), 0);
    return rc == 0 ? 0 : err_nomem(e, l->r.lines.path);
}

static int add(struct loading *l, const struct example *x, struct err *e) {
    struct dataset *d = l->d;
    bool added = true;
    if (grow_examples(d) != 0) return err_nomem(e, l->r.lines.path);
    if ((l->o.vocab ? add_encoded(l, x, &added, e) : add_measured(l, x, e)) != 0) return -1;
    if (!added) return 0;
    d->hash[d->n_example] = l->r.hash;
    d->prompt_hash[d->n_example++] = l->r.prompt_hash;
    return 0;
}

/* ---- the file ---- */

static int load(struct loading *l, const char *path, struct err *e) {
    struct example x;
    int got;
    if (reader_open(&l->r, path, &l->o, &l->d->count, e) != 0) return -1;
    while ((got = reader_next(&l->r, &x, e)) > 0) {
        const int rc = add(l, &x, e);
        example_fini(&x);
        if (rc != 0) return -1;
        if (l->d->n_seq > INT_MAX - 2)
            return err_set(e, ERR_LIMIT, "%s: more than the %d examples that are accepted", path,
                           INT_MAX / 2);
    }
    l->d->pairs = l->r.pairs;
    return got == 0 ? reader_end(&l->r, l->d->n_example, e) : -1;
}

int dataset_read(struct dataset *d, const char *path, const struct data_opts *o, struct err *e) {
    struct loading l = {.d = d, .o = *o, .r = {.lines = {.fd = -1}}};
    struct chat_template *plain = NULL;
    *d = (struct dataset){0};
    if (l.o.max_tokens <= 0) l.o.max_tokens = DEFAULT_MAX_TOKENS;
    if (l.o.vocab && !l.o.chat) {
        l.o.chat = plain = chat_template_plain(e);
        if (!plain) return -1;
    }
    sha256_init(&l.sum);
    int rc = load(&l, path, e);
    if (sha256_final(&l.sum, d->digest) != 0 && rc == 0) rc = err_nomem(e, path);
    reader_close(&l.r);
    chat_template_free(plain);
    return rc;
}

void dataset_fini(struct dataset *d) {
    free(d->tok);
    free(d->label);
    free(d->seq);
    free(d->hash);
    free(d->prompt_hash);
    *d = (struct dataset){0};
}

uint64_t dataset_bytes(const struct dataset *d) {
    return d->cap_tok * (sizeof *d->tok + sizeof *d->label) + d->cap_seq * sizeof *d->seq +
           d->cap_example * (sizeof *d->hash + sizeof *d->prompt_hash);
}
