/* Running the patterns of pretok_data.c with PCRE2.  All quantifiers there repeat single
 * characters or are possessive, so matching needs no stack and no backtracking beyond one run; the
 * fallback to the interpreter is for processors (or sandboxes) without JIT. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/pretok_data.h"
#include "text/uclass.h"

enum stage_kind { STAGE_REGEX, STAGE_DIGITS_ASCII, STAGE_DIGITS_TAIL };

struct stage {
    enum stage_kind kind;
    bool jit;
    pcre2_code *code; /* owned */
};

struct pretok {
    unsigned flags;
    int n_stage;
    struct stage stage[PRETOK_MAX_STAGES];
};

static void push_cut(struct cuts *c, size_t end) {
    if (c->n == c->cap) {
        const size_t cap = c->cap ? 2 * c->cap : 64;
        size_t *p = realloc(c->end, cap * sizeof *p);
        if (!p) {
            c->failed = true;
            return;
        }
        c->end = p;
        c->cap = cap;
    }
    c->end[c->n++] = end;
}

void cuts_fini(struct cuts *c) {
    free(c->end);
    *c = (struct cuts){0};
}

static int compile(struct stage *s, const char *pattern, struct err *e) {
    if (strcmp(pattern, PRETOK_DIGITS_ASCII) == 0) {
        s->kind = STAGE_DIGITS_ASCII;
        return 0;
    }
    if (strcmp(pattern, PRETOK_DIGITS_TAIL) == 0) {
        s->kind = STAGE_DIGITS_TAIL;
        return 0;
    }
    int code;
    PCRE2_SIZE at;
    s->kind = STAGE_REGEX;
    s->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
    if (!s->code)
        return err_set(e, ERR_UNSUPPORTED,
                       "pre-tokenizer pattern: PCRE2 error %d at %zu; a PCRE2 with Unicode "
                       "properties is needed",
                       code, (size_t)at);
    s->jit = pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE) == 0;
    return 0;
}

struct pretok *pretok_new(struct str name, bool *known, struct err *e) {
    const struct pretok_name *entry = pretok_names;
    while (entry->name && !str_is(name, entry->name))
        entry++;
    *known = entry->name != NULL;
    const struct pretok_pattern *pattern = entry->name ? entry->pattern : &pretok_default;
    struct pretok *p = calloc(1, sizeof *p);
    if (!p) {
        err_nomem(e, "pre-tokenizer");
        return NULL;
    }
    p->flags = entry->flags;
    for (int i = 0; i < PRETOK_MAX_STAGES && pattern->stage[i]; i++) {
        if (compile(&p->stage[p->n_stage++], pattern->stage[i], e)) {
            pretok_free(p);
            return NULL;
        }
    }
    return p;
}

void pretok_free(struct pretok *p) {
    if (!p) return;
    for (int i = 0; i < p->n_stage; i++)
        pcre2_code_free(p->stage[i].code);
    free(p);
}

unsigned pretok_flags(const struct pretok *p) {
    return p->flags;
}

const char *pretok_name_at(int i) {
    return pretok_names[i].name;
}

struct matcher {
    const struct stage *stage;
    pcre2_match_data *data;
};

/* The leftmost match at or after from, or false.  Empty matches do not occur in our patterns. */
static bool next_match(const struct matcher *m, struct str piece, size_t from, size_t *start,
                       size_t *end) {
    const pcre2_code *code = m->stage->code;
    PCRE2_SPTR subject = (PCRE2_SPTR)piece.p;
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (m->stage->jit) rc = pcre2_jit_match(code, subject, piece.n, from, 0, m->data, NULL);
    if (!m->stage->jit || rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, subject, piece.n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data,
                         NULL);
    if (rc < 0) return false;
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m->data);
    *start = v[0];
    *end = v[1];
    return v[1] > v[0];
}

/* Cut text[lo, hi) into the matches and what lies between them. */
static void split_regex(const struct matcher *m, struct str text, size_t lo, size_t hi,
                        struct cuts *out) {
    const struct str piece = {text.p + lo, hi - lo};
    size_t pos = 0, start, end;
    while (pos < piece.n && next_match(m, piece, pos, &start, &end)) {
        if (start > pos) push_cut(out, lo + start);
        push_cut(out, lo + end);
        pos = end;
    }
    if (pos < piece.n) push_cut(out, hi);
}

/* Groups of three from the right: in a run of k digits a cut falls wherever a multiple of three
 * is left. */
static void split_digits_ascii(struct str text, size_t lo, size_t hi, struct cuts *out) {
    size_t done = lo;
    for (size_t i = lo; i < hi;) {
        size_t end = i;
        while (end < hi && text.p[end] >= '0' && text.p[end] <= '9')
            end++;
        for (size_t cut = i + (end - i) % 3; cut < end; cut += 3) {
            if (cut > done) push_cut(out, cut);
            done = cut;
        }
        i = end > i ? end : i + 1;
    }
    if (done < hi) push_cut(out, hi);
}

/* The same for all numbers, as the reference does it: a cut falls after each group only, so what
 * stands before the first group stays joined with it. */
static void split_digits_tail(struct str text, size_t lo, size_t hi, struct cuts *out) {
    size_t done = lo;
    for (size_t i = lo; i < hi;) {
        uint32_t cp;
        size_t end = i, count = 0;
        while (end < hi) {
            const int len = utf8_decode(text.p + end, hi - end, &cp);
            if (!uclass_is_number(cp)) break;
            end += (size_t)len;
            count++;
        }
        if (count == 0) {
            i += (size_t)utf8_decode(text.p + i, hi - i, &cp);
            continue;
        }
        for (size_t left = count; i < end;) {
            i += (size_t)utf8_decode(text.p + i, end - i, &cp);
            if (--left % 3 == 0) push_cut(out, done = i);
        }
    }
    if (done < hi) push_cut(out, hi);
}

static void run_stage(const struct matcher *m, struct str text, const struct cuts *in,
                      struct cuts *out) {
    size_t lo = 0;
    for (size_t i = 0; i < in->n; i++) {
        const size_t hi = in->end[i];
        switch (m->stage->kind) {
        case STAGE_REGEX: split_regex(m, text, lo, hi, out); break;
        case STAGE_DIGITS_ASCII: split_digits_ascii(text, lo, hi, out); break;
        case STAGE_DIGITS_TAIL: split_digits_tail(text, lo, hi, out); break;
        }
        lo = hi;
    }
}

void pretok_split(const struct pretok *p, struct str text, struct cuts *out, struct cuts *tmp) {
    out->n = 0;
    if (text.n == 0) return;
    push_cut(out, text.n);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data) out->failed = true;
    for (int i = 0; i < p->n_stage && !out->failed; i++) {
        tmp->n = 0;
        const struct matcher m = {&p->stage[i], data};
        run_stage(&m, text, out, tmp);
        const struct cuts swap = *out;
        *out = *tmp;
        *tmp = swap;
    }
    pcre2_match_data_free(data);
}
