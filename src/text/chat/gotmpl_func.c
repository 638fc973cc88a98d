/* The functions that templates call: Go's builtins (text/template/funcs.go) and Ollama's. */
#include <stdlib.h>
#include <time.h>

#include "base/utf8.h"
#include "text/chat/gotmpl_priv.h"

/* ---- Comparison --------------------------------------------------------------------------------
 */

static bool basic(const struct gt_val *v) {
    return v->kind >= GV_BOOL && v->kind <= GV_STR;
}

/* a <=> b of one basic kind. */
static int order(const struct gt_val *a, const struct gt_val *b) {
    if (a->kind == GV_INT) return (a->i > b->i) - (a->i < b->i);
    if (a->kind == GV_FLOAT) return (a->f > b->f) - (a->f < b->f);
    if (a->kind == GV_BOOL) return a->b - b->b;
    const size_t n = a->s.n < b->s.n ? a->s.n : b->s.n;
    const int c = n ? memcmp(a->s.p, b->s.p, n) : 0;
    return c ? c : (a->s.n > b->s.n) - (a->s.n < b->s.n);
}

static int equal(struct gt_run *r, const struct gt_val *a, const struct gt_val *b, bool *same) {
    *same = a->kind == GV_NIL && b->kind == GV_NIL;
    if (a->kind == GV_NIL || b->kind == GV_NIL) return 0;
    if (!basic(a) || !basic(b))
        return gt_refuse(r, "type %s cannot be compared", gt_type_name(basic(a) ? b : a));
    if (a->kind != b->kind)
        return gt_refuse(r, "%s and %s: incompatible types for comparison", gt_type_name(a),
                         gt_type_name(b));
    *same = order(a, b) == 0 && !(a->kind == GV_FLOAT && a->f != b->f);
    return 0;
}

static int fn_eq(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    bool same = false;
    if (n == 1) return gt_refuse(r, "eq: missing argument for comparison");
    for (int i = 1; i < n && !same; i++)
        if (equal(r, &arg[0], &arg[i], &same) != 0) return -1;
    *out = gt_bool(same);
    return 0;
}

static int fn_ne(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)n;
    bool same;
    if (equal(r, &arg[0], &arg[1], &same) != 0) return -1;
    *out = gt_bool(!same);
    return 0;
}

static int compare(struct gt_run *r, const struct gt_val *arg, int *c) {
    for (int i = 0; i < 2; i++)
        if (!basic(&arg[i]) || arg[i].kind == GV_BOOL)
            return gt_refuse(r, "%s: invalid type for comparison", gt_type_name(&arg[i]));
    if (arg[0].kind != arg[1].kind)
        return gt_refuse(r, "%s and %s: incompatible types for comparison", gt_type_name(&arg[0]),
                         gt_type_name(&arg[1]));
    *c = order(&arg[0], &arg[1]);
    return 0;
}

#define COMPARE(name, op)                                                                          \
    static int name(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {       \
        int c = 0;                                                                                 \
        (void)n;                                                                                   \
        if (compare(r, arg, &c) != 0) return -1;                                                   \
        *out = gt_bool(c op 0);                                                                    \
        return 0;                                                                                  \
    }
COMPARE(fn_lt, <)
COMPARE(fn_le, <=)
COMPARE(fn_gt, >)
COMPARE(fn_ge, >=)

static int fn_not(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)r, (void)n;
    *out = gt_bool(!gt_truth(arg));
    return 0;
}

/* ---- Parts -------------------------------------------------------------------------------------
 */

static int fn_len(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)n;
    if (arg->kind != GV_STR && arg->kind != GV_LIST && arg->kind != GV_MAP)
        return gt_refuse(r, "len of type %s", gt_type_name(arg));
    *out = gt_int((int64_t)gt_len(arg));
    return 0;
}

/* An index of something with `size` places. */
static int place(struct gt_run *r, const struct gt_val *i, size_t size, size_t *out) {
    if (i->kind != GV_INT)
        return gt_refuse(r, "cannot index with type %s; an int is needed", gt_type_name(i));
    if (i->i < 0 || (uint64_t)i->i > size)
        return gt_refuse(r, "index out of range: %lld", (long long)i->i);
    *out = (size_t)i->i;
    return 0;
}

static int index_one(struct gt_run *r, const struct gt_val *v, const struct gt_val *i,
                     struct gt_val *out) {
    size_t at;
    if (v->kind == GV_MAP) {
        if (i->kind != GV_STR)
            return gt_refuse(r, "cannot index a map with type %s", gt_type_name(i));
        *out = gt_map_get(v, i->s);
        return 0;
    }
    if (v->kind != GV_LIST && v->kind != GV_STR)
        return gt_refuse(r, "cannot index type %s", gt_type_name(v));
    if (place(r, i, gt_len(v), &at) != 0) return -1;
    if (at == gt_len(v)) return gt_refuse(r, "index out of range: %zu", at);
    *out = v->kind == GV_LIST ? gt_item(v, at) : gt_int((unsigned char)v->s.p[at]);
    return 0;
}

static int fn_index(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    if (arg->kind == GV_NIL) return gt_refuse(r, "index of untyped nil");
    *out = *arg;
    for (int i = 1; i < n; i++) {
        const struct gt_val from = *out;
        if (index_one(r, &from, &arg[i], out) != 0) return -1;
    }
    return 0;
}

static int fn_slice(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    if (arg->kind != GV_LIST && arg->kind != GV_STR)
        return gt_refuse(r, "cannot slice type %s", gt_type_name(arg));
    if (n == 4 && arg->kind == GV_STR) return gt_refuse(r, "cannot 3-index slice a string");
    size_t at[3] = {0, gt_len(arg), gt_len(arg)};
    for (int i = 1; i < n; i++)
        if (place(r, &arg[i], gt_len(arg), &at[i - 1]) != 0) return -1;
    if (at[0] > at[1] || at[1] > at[2])
        return gt_refuse(r, "invalid slice index: %zu > %zu", at[0] > at[1] ? at[0] : at[1],
                         at[0] > at[1] ? at[1] : at[2]);
    *out = *arg;
    if (arg->kind == GV_STR)
        out->s = (struct str){arg->s.p + at[0], at[1] - at[0]};
    else {
        out->hi = arg->lo + at[1];
        out->lo = arg->lo + at[0];
    }
    return 0;
}

/* ---- Texts -------------------------------------------------------------------------------------
 */

static bool all_trusted(const struct gt_val *arg, int n) {
    for (int i = 0; i < n; i++)
        if (arg[i].kind >= GV_STR && !arg[i].trusted) return false;
    return true;
}

static int done(struct gt_run *r, int rc, struct buf *b, bool trusted, struct gt_val *out) {
    if (rc == 0) return gt_take(r, b, trusted, out);
    buf_fini(b);
    return -1;
}

static int fn_print(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    struct buf b = {0};
    const int rc = gt_sprint(r, arg, n, false, &b);
    return done(r, rc, &b, all_trusted(arg, n), out);
}

static int fn_println(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    struct buf b = {0};
    const int rc = gt_sprint(r, arg, n, true, &b);
    return done(r, rc, &b, all_trusted(arg, n), out);
}

static int fn_printf(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    struct buf b = {0};
    if (arg->kind != GV_STR)
        return gt_refuse(r, "printf: the format is of type %s; a string is needed",
                         gt_type_name(arg));
    const int rc = gt_sprintf(r, arg, n, &b);
    return done(r, rc, &b, all_trusted(arg, n), out);
}

static int fn_json(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    struct buf b = {0};
    const int rc = gt_json(r, arg, &b);
    return done(r, rc, &b, all_trusted(arg, n), out);
}

typedef void escape_fn(const char *p, int n, uint32_t cp, struct buf *b);

static void escape_html(const char *p, int n, uint32_t cp, struct buf *b) {
    switch (cp) {
    case 0: buf_str(b, "\xef\xbf\xbd"); break;
    case '"': buf_str(b, "&#34;"); break;
    case '\'': buf_str(b, "&#39;"); break;
    case '&': buf_str(b, "&amp;"); break;
    case '<': buf_str(b, "&lt;"); break;
    case '>': buf_str(b, "&gt;"); break;
    default: buf_append(b, p, (size_t)n);
    }
}

static void escape_js(const char *p, int n, uint32_t cp, struct buf *b) {
    if (cp == '\\' || cp == '\'' || cp == '"')
        buf_printf(b, "\\%c", (char)cp);
    else if (cp < 32 || cp == '<' || cp == '>' || cp == '&' || cp == '=')
        buf_printf(b, "\\u%04X", cp);
    else if (cp < 128 || utf8_printable(p, (size_t)n) > 0)
        buf_append(b, p, (size_t)n);
    else
        buf_printf(b, "\\u%04X", cp);
}

static void escape_url(const char *p, int n, uint32_t cp, struct buf *b) {
    const bool plain = (cp >= '0' && cp <= '9') || (cp >= 'A' && cp <= 'Z') ||
                       (cp >= 'a' && cp <= 'z') || (cp && cp < 128 && strchr("-_.~", (int)cp));
    for (int i = 0; i < n; i++) {
        if (plain)
            buf_byte(b, p[i]);
        else if (cp == ' ')
            buf_byte(b, '+');
        else
            buf_printf(b, "%%%02X", (unsigned char)p[i]);
    }
}

static int escape(struct gt_run *r, const struct gt_val *arg, int n, escape_fn *fn,
                  struct gt_val *out) {
    struct buf plain = {0}, b = {0};
    struct gt_val *shown = arena_alloc(&r->arena, (size_t)(n + 1) * sizeof *shown);
    for (int i = 0; shown && i < n; i++) /* what is not there has a text of its own */
        shown[i] = arg[i].kind == GV_NIL ? gt_text(STR("<no value>"), true) : arg[i];
    const int rc = shown ? gt_sprint(r, shown, n, false, &plain)
                         : gt_refuse_limit(r, "it takes more than", GT_MAX_TEMP, "bytes");
    for (size_t i = 0; rc == 0 && i < plain.n;) {
        uint32_t cp;
        const int len = utf8_decode(plain.p + i, plain.n - i, &cp);
        fn(plain.p + i, len, cp, &b);
        i += (size_t)len;
    }
    buf_fini(&plain);
    return done(r, rc, &b, all_trusted(arg, n), out);
}

static int fn_html(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    return escape(r, arg, n, escape_html, out);
}

static int fn_js(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    return escape(r, arg, n, escape_js, out);
}

static int fn_urlquery(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    return escape(r, arg, n, escape_url, out);
}

/* ---- The rest ----------------------------------------------------------------------------------
 */

static int fn_call(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)n, (void)out;
    return gt_refuse(r, "call of type %s; the data has no functions", gt_type_name(arg));
}

static int date(struct gt_run *r, int64_t day, struct gt_val *out) {
    const time_t t = (time_t)(r->now_s + day * 86400);
    struct tm tm = {0};
    struct buf b = {0};
    gmtime_r(&t, &tm);
    buf_printf(&b, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    return gt_take(r, &b, true, out);
}

static int fn_today(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)arg, (void)n;
    return date(r, 0, out);
}

static int fn_yesterday(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)arg, (void)n;
    return date(r, -1, out);
}

static int fn_typescript(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out) {
    (void)n;
    return gt_typescript(r, arg, out);
}

const struct gt_func *gt_func_find(struct str name) {
    enum { ANY = GT_MAX_ARGS + 1 };
    static const struct gt_func table[] = {
        {"and", 1, ANY, NULL},
        {"or", 1, ANY, NULL},
        {"not", 1, 1, fn_not},
        {"eq", 1, ANY, fn_eq},
        {"ne", 2, 2, fn_ne},
        {"lt", 2, 2, fn_lt},
        {"le", 2, 2, fn_le},
        {"gt", 2, 2, fn_gt},
        {"ge", 2, 2, fn_ge},
        {"len", 1, 1, fn_len},
        {"index", 1, ANY, fn_index},
        {"slice", 1, 4, fn_slice},
        {"print", 0, ANY, fn_print},
        {"println", 0, ANY, fn_println},
        {"printf", 1, ANY, fn_printf},
        {"html", 0, ANY, fn_html},
        {"js", 0, ANY, fn_js},
        {"urlquery", 0, ANY, fn_urlquery},
        {"call", 1, ANY, fn_call},
        {"json", 1, 1, fn_json},
        {"currentDate", 0, ANY, fn_today},
        {"yesterdayDate", 0, ANY, fn_yesterday},
        {"toTypeScriptType", 1, 1, fn_typescript},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (str_is(name, table[i].name)) return &table[i];
    return NULL;
}
