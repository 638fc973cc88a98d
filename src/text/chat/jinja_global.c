/* Functions that templates find: range, dict, namespace, raise_exception, strftime_now... */
#include <stdlib.h>
#include <string.h>

#include "text/chat/jinja_priv.h"

enum { MAX_RANGE = 100000 }; /* Jinja's sandbox has the same */

static struct jv g_range(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)self;
    if (a->n < 1 || a->n > 3) return jr_fail(r, ERR_FORMAT, "range needs one to three ints");
    const jint first = ja_int(r, a, 0, NULL, 0), second = ja_int(r, a, 1, NULL, 0),
               step = ja_int(r, a, 2, NULL, 1);
    const jint lo = a->n == 1 ? 0 : first, hi = a->n == 1 ? first : second;
    if (r->failed) return self;
    if (step == 0) return jr_fail(r, ERR_FORMAT, "range with a step of 0");
    struct jv l = jv_list(r, 0);
    for (jint i = lo, n = 0; !r->failed && (step > 0 ? i < hi : i > hi); n++) {
        if (n >= MAX_RANGE)
            return jr_fail(r, ERR_LIMIT, "range of more than the %d numbers that are accepted",
                           MAX_RANGE);
        jv_push(r, l, jv_int(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return l;
}

static struct jv g_dict(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)self;
    struct jv d = jv_dict(r);
    if (!r->failed && a->n && a->v[0].kind == J_DICT)
        for (size_t i = 0; i < a->v[0].d->n && !r->failed; i++)
            jv_set(r, d.d, a->v[0].d->k[i], a->v[0].d->v[i]);
    for (int i = 0; i < a->n_kw && !r->failed; i++) {
        const struct jv k = jv_text(r, a->kw[i].p, a->kw[i].n, false);
        if (!r->failed) jv_set(r, d.d, k, a->v[a->n + i]);
    }
    return d;
}

static struct jv g_namespace(struct jrun *r, struct jv self, const struct jargs *a) {
    struct jv d = g_dict(r, self, a);
    if (d.kind == J_DICT) d.kind = J_SPACE;
    return d;
}

static struct jv g_raise(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)self;
    const struct jv m = a->n ? jv_to_str(r, a->v[0]) : jv_z(r, "the template raised an exception");
    if (r->failed) return m;
    return jr_fail(r, ERR_UNSUPPORTED, "%.*s", (int)(m.s->n > 400 ? 400 : m.s->n), m.s->p);
}

static struct jv g_strftime(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)self;
    char out[256], fmt[128];
    struct tm tm;
    if (a->n != 1 || a->v[0].kind != J_STR || a->v[0].s->n >= sizeof fmt)
        return jr_fail(r, ERR_FORMAT, "strftime_now needs a format of less than %zu bytes",
                       sizeof fmt);
    memcpy(fmt, a->v[0].s->p, a->v[0].s->n);
    fmt[a->v[0].s->n] = 0;
    time_t t = (time_t)r->o.now_s;
    if (t)
        gmtime_r(&t, &tm);
    else
        localtime_r((t = time(NULL), &t), &tm);
    const size_t n = strftime(out, sizeof out, fmt, &tm);
    char *p = jr_alloc(r, n + 1, 1);
    if (p) memcpy(p, out, n);
    return jv_text(r, p, n, false);
}

static struct jv cycler_next(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    const struct jv *l = jv_get(r, self.d, STR("items")), *pos = jv_get(r, self.d, STR("pos"));
    if (!l || !pos || l->l->n == 0) return jr_fail(r, ERR_FORMAT, "a cycler without values");
    const struct jv v = l->l->v[pos->i];
    const jint next = (pos->i + 1) % (jint)l->l->n;
    jv_set(r, self.d, jv_z(r, "pos"), jv_int(next));
    if (!r->failed) jv_set(r, self.d, jv_z(r, "current"), l->l->v[next]);
    return v;
}

static struct jv cycler_reset(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    const struct jv *l = jv_get(r, self.d, STR("items"));
    jv_set(r, self.d, jv_z(r, "pos"), jv_int(0));
    if (l && l->l->n && !r->failed) jv_set(r, self.d, jv_z(r, "current"), l->l->v[0]);
    return jv_none();
}

static struct jv g_cycler(struct jrun *r, struct jv self, const struct jargs *a) {
    struct jv l = jv_list(r, (size_t)a->n), d = jv_dict(r);
    for (int i = 0; i < a->n; i++)
        jv_push(r, l, a->v[i]);
    if (r->failed) return self;
    d.kind = J_SPACE;
    jv_set(r, d.d, jv_z(r, "items"), l);
    jv_set(r, d.d, jv_z(r, "next"), jv_func(r, "next", cycler_next, d));
    jv_set(r, d.d, jv_z(r, "reset"), jv_func(r, "reset", cycler_reset, d));
    if (!r->failed) cycler_reset(r, d, a);
    return d;
}

static struct jv joiner_call(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    const struct jv *used = jv_get(r, self.d, STR("used")), *sep = jv_get(r, self.d, STR("sep"));
    const struct jv v = used && sep ? *sep : jv_z(r, "");
    if (!r->failed) jv_set(r, self.d, jv_z(r, "used"), jv_bool(true));
    return v;
}

static struct jv g_joiner(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)self;
    struct jv d = jv_dict(r);
    if (r->failed) return d;
    jv_set(r, d.d, jv_z(r, "sep"), a->n ? a->v[0] : jv_z(r, ", "));
    return jv_func(r, "joiner", joiner_call, d);
}

const struct jentry jinja_globals[] = {
    {"range", g_range},           {"dict", g_dict},
    {"namespace", g_namespace},   {"raise_exception", g_raise},
    {"strftime_now", g_strftime}, {"cycler", g_cycler},
    {"joiner", g_joiner},         {0},
};
