/* Methods of str, dict and list.  The sandbox is immutable: what changes a value (append, pop,
 * update...) is not there. */
#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/chat/jinja_priv.h"

/* Does the set (NULL: white space) hold the character at p[0..n)? */
static bool in_set(const struct jstr *set, const char *p, size_t n) {
    if (!set) return jv_blank(&(struct jstr){.p = p, .n = n}, 0) > 0;
    return set->n >= n && memmem(set->p, set->n, p, n);
}

static struct jv trimmed(struct jrun *r, struct jv self, const struct jargs *a, bool left,
                         bool right) {
    const struct jv *chars = ja_get(a, 0, "chars");
    const struct jstr *set = chars && chars->kind == J_STR ? chars->s : NULL, *s = self.s;
    size_t lo = 0, hi = s->n;
    uint32_t cp;
    if (chars && chars->kind != J_STR && chars->kind != J_NONE)
        return jr_fail(r, ERR_FORMAT, "strip: found a %s; a str is needed", jv_kind(*chars));
    if (!jr_step(r, s->n)) return self;
    while (left && lo < hi) {
        const size_t n = (size_t)utf8_decode(s->p + lo, hi - lo, &cp);
        if (!in_set(set, s->p + lo, n)) break;
        lo += n;
        jr_step(r, set ? set->n : 0);
    }
    while (right && hi > lo) {
        size_t n = 1;
        while (n < 4 && n < hi - lo && ((unsigned char)s->p[hi - n] & 0xc0) == 0x80)
            n++;
        if (!in_set(set, s->p + hi - n, n)) break;
        hi -= n;
        jr_step(r, set ? set->n : 0);
    }
    return jv_sub(r, s, lo, hi - lo);
}

struct jv jm_trim(struct jrun *r, struct jv self, const struct jargs *a) {
    return trimmed(r, self, a, true, true);
}

static struct jv m_lstrip(struct jrun *r, struct jv self, const struct jargs *a) {
    return trimmed(r, self, a, true, false);
}

static struct jv m_rstrip(struct jrun *r, struct jv self, const struct jargs *a) {
    return trimmed(r, self, a, false, true);
}

enum letters { UPPER, LOWER, TITLE, CAPITALIZE, WORDS };

static struct jv cased(struct jrun *r, struct jv self, enum letters how) {
    const struct jstr *s = self.s;
    struct jbuild b = {0};
    bool inside = false;
    size_t n, from = 0; /* from: what is the same and not yet appended */
    for (size_t i = 0; i < s->n && !r->failed; i += n) {
        uint32_t cp;
        char c[4];
        n = (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        const utf8proc_category_t cat = utf8proc_category((utf8proc_int32_t)cp);
        const bool letter = cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LT;
        const bool up = how == UPPER || (how != LOWER && !inside);
        const utf8proc_int32_t to =
            up ? (how == UPPER ? utf8proc_toupper : utf8proc_totitle)((utf8proc_int32_t)cp)
               : utf8proc_tolower((utf8proc_int32_t)cp);
        inside = how == CAPITALIZE ||
                 (how == WORDS ? cp > 127 || !cp || !strchr(" -\t\n\r\f\v({[<", (int)cp) : letter);
        if (to == (utf8proc_int32_t)cp && !(cp == 0xdf && up)) continue;
        jb_sub(r, &b, s, from, i - from);
        from = i + n;
        if (cp == 0xdf && up) /* sharp s has no capital in Python */
            jb_put(r, &b, how == UPPER ? "SS" : "Ss", 2, s->mark ? s->mark[i] : s->quoted);
        else
            jb_put(r, &b, c, (size_t)utf8_encode((uint32_t)to, c),
                   s->mark ? s->mark[i] : s->quoted);
    }
    jb_sub(r, &b, s, from, s->n - from);
    return jb_take(r, &b);
}

#define CASED(name, how)                                                                           \
    struct jv name(struct jrun *r, struct jv self, const struct jargs *a) {                        \
        (void)a;                                                                                   \
        return cased(r, self, how);                                                                \
    }
CASED(jm_upper, UPPER)
CASED(jm_lower, LOWER)
CASED(jm_title, TITLE)
CASED(jm_capitalize, CAPITALIZE)
CASED(jm_words, WORDS)

static const struct jstr *text_arg(struct jrun *r, const struct jargs *a, int i, const char *name) {
    const struct jv *v = ja_get(a, i, name);
    if (v && v->kind == J_STR) return v->s;
    jr_fail(r, ERR_FORMAT, "argument %s: found a %s; a str is needed", name,
            v ? jv_kind(*v) : "nothing");
    return NULL;
}

static size_t find(struct jrun *r, const struct jstr *s, size_t from, const struct jstr *what) {
    if (!jr_step(r, (s->n - from) / 16) || what->n > s->n - from) return SIZE_MAX;
    if (what->n == 0) return from;
    const char *p = memmem(s->p + from, s->n - from, what->p, what->n);
    return p ? (size_t)(p - s->p) : SIZE_MAX;
}

struct jv jm_replace(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jstr *s = self.s, *old = text_arg(r, a, 0, "old"), *new = text_arg(r, a, 1, "new");
    jint max = ja_int(r, a, 2, "count", -1);
    struct jbuild b = {0};
    size_t i = 0;
    if (r->failed) return self;
    for (size_t k; max != 0 && !r->failed && (k = find(r, s, i, old)) != SIZE_MAX; max--) {
        jb_sub(r, &b, s, i, k - i);
        jb_sub(r, &b, new, 0, new->n);
        i = k + old->n;
        if (old->n > 0) continue;
        if (i == s->n) break; /* between all characters */
        const struct jstr rest = {.p = s->p + i, .n = s->n - i};
        const size_t n = jv_char_at(&rest, 1);
        jb_sub(r, &b, s, i, n);
        i += n;
    }
    jb_sub(r, &b, s, i, s->n - i);
    return jb_take(r, &b);
}

/* At white space. */
static struct jv split_blank(struct jrun *r, const struct jstr *s, jint max) {
    struct jv l = jv_list(r, 0);
    uint32_t cp;
    size_t i = 0, n;
    for (; !r->failed; max--) {
        while (i < s->n && (n = jv_blank(s, i)) > 0)
            i += n;
        if (i == s->n) break;
        size_t j = max == 0 ? s->n : i;
        while (j < s->n && !jv_blank(s, j))
            j += (size_t)utf8_decode(s->p + j, s->n - j, &cp);
        jv_push(r, l, jv_sub(r, s, i, j - i));
        i = j;
    }
    return l;
}

static struct jv m_split(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jv *sep = ja_get(a, 0, "sep");
    jint max = ja_int(r, a, 1, "maxsplit", -1);
    if (!sep || sep->kind == J_NONE) return split_blank(r, self.s, max);
    const struct jstr *at = text_arg(r, a, 0, "sep");
    if (at && at->n == 0) jr_fail(r, ERR_FORMAT, "split at nothing");
    struct jv l = jv_list(r, 0);
    size_t i = 0;
    for (size_t k; max != 0 && !r->failed && (k = find(r, self.s, i, at)) != SIZE_MAX; max--) {
        jv_push(r, l, jv_sub(r, self.s, i, k - i));
        i = k + at->n;
    }
    if (!r->failed) jv_push(r, l, jv_sub(r, self.s, i, self.s->n - i));
    return l;
}

static size_t rfind(struct jrun *r, const struct jstr *s, size_t end, const struct jstr *what) {
    for (size_t k = end; k-- > 0 && jr_step(r, 0);)
        if (what->n <= end - k && memcmp(s->p + k, what->p, what->n) == 0) return k;
    return SIZE_MAX;
}

/* The start of the character that ends at `end`. */
static size_t before(const struct jstr *s, size_t end) {
    size_t n = 1;
    while (n < 4 && n < end && ((unsigned char)s->p[end - n] & 0xc0) == 0x80)
        n++;
    return end - n;
}

/* At white space, from the end; max >= 0. */
static struct jv rsplit_blank(struct jrun *r, const struct jstr *s, jint max) {
    struct jv back = jv_list(r, 0), l = jv_list(r, 0);
    for (size_t end = s->n, from; !r->failed; end = from, max--) {
        while (end > 0 && jv_blank(s, before(s, end)))
            end = before(s, end);
        if (end == 0) break;
        from = max == 0 ? 0 : end;
        while (from > 0 && !jv_blank(s, before(s, from)))
            from = before(s, from);
        jv_push(r, back, jv_sub(r, s, from, end - from));
    }
    for (size_t i = r->failed ? 0 : back.l->n; i-- > 0;)
        jv_push(r, l, back.l->v[i]);
    return l;
}

static struct jv m_rsplit(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jv *sep = ja_get(a, 0, "sep");
    jint max = ja_int(r, a, 1, "maxsplit", -1);
    if (max < 0) return m_split(r, self, a);
    if (!sep || sep->kind == J_NONE) return rsplit_blank(r, self.s, max);
    const struct jstr *at = text_arg(r, a, 0, "sep");
    if (at && at->n == 0) jr_fail(r, ERR_FORMAT, "rsplit at nothing");
    struct jv back = jv_list(r, 0), l = jv_list(r, 0);
    size_t end = self.s->n;
    for (size_t k; max > 0 && !r->failed && (k = rfind(r, self.s, end, at)) != SIZE_MAX; max--) {
        jv_push(r, back, jv_sub(r, self.s, k + at->n, end - k - at->n));
        end = k;
    }
    if (r->failed) return self;
    jv_push(r, back, jv_sub(r, self.s, 0, end));
    for (size_t i = r->failed ? 0 : back.l->n; i-- > 0;)
        jv_push(r, l, back.l->v[i]);
    return l;
}

static struct jv m_splitlines(struct jrun *r, struct jv self, const struct jargs *a) {
    const bool keep = ja_flag(a, 0, "keepends", false);
    const struct jstr *s = self.s;
    struct jv l = jv_list(r, 0);
    for (size_t i = 0, j; i < s->n && !r->failed; i = j) {
        for (j = i; j < s->n && s->p[j] != '\n' && s->p[j] != '\r';)
            j++;
        const size_t end = j;
        if (j < s->n) j += 1 + (s->p[j] == '\r' && j + 1 < s->n && s->p[j + 1] == '\n');
        jv_push(r, l, jv_sub(r, s, i, (keep ? j : end) - i));
    }
    return l;
}

/* The part between the arguments 1 and 2, bounds as of a slice; false: it begins behind its end. */
static bool window(struct jrun *r, const struct jstr *s, const struct jargs *a, struct jstr *part,
                   jint *start) {
    *part = *s;
    *start = 0;
    if (a->n < 2 || !jr_step(r, s->n)) return true;
    const jint n = (jint)jv_chars(s);
    jint lo = ja_int(r, a, 1, "start", 0), hi = ja_int(r, a, 2, "end", n);
    if (lo < 0) lo = lo + n < 0 ? 0 : lo + n;
    if (hi < 0) hi = hi + n < 0 ? 0 : hi + n;
    if (hi > n) hi = n;
    if (r->failed || lo > hi) return false;
    const size_t from = jv_char_at(s, (size_t)lo);
    *part = (struct jstr){.p = s->p + from, .n = jv_char_at(s, (size_t)hi) - from};
    *start = lo;
    return true;
}

static bool has_end(const struct jstr *s, struct jv x, bool tail) {
    if (x.kind != J_STR || x.s->n > s->n) return false;
    return x.s->n == 0 || memcmp(s->p + (tail ? s->n - x.s->n : 0), x.s->p, x.s->n) == 0;
}

static struct jv ends(struct jrun *r, struct jv self, const struct jargs *a, bool tail) {
    struct jstr part;
    jint start;
    if (a->n < 1) return jr_fail(r, ERR_FORMAT, "startswith and endswith need a str");
    const bool inside = window(r, self.s, a, &part, &start);
    if (inside && a->v[0].kind == J_STR) return jv_bool(has_end(&part, a->v[0], tail));
    if (!inside && a->v[0].kind == J_STR) return jv_bool(false);
    if (a->v[0].kind != J_TUPLE)
        return jr_fail(r, ERR_FORMAT, "startswith and endswith need a str, not a %s",
                       jv_kind(a->v[0]));
    for (size_t i = 0; i < a->v[0].l->n; i++)
        if (inside && has_end(&part, a->v[0].l->v[i], tail)) return jv_bool(true);
    return jv_bool(false);
}

static struct jv m_startswith(struct jrun *r, struct jv self, const struct jargs *a) {
    return ends(r, self, a, false);
}

static struct jv m_endswith(struct jrun *r, struct jv self, const struct jargs *a) {
    return ends(r, self, a, true);
}

static struct jv m_removeprefix(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jstr *x = text_arg(r, a, 0, "prefix");
    return x && has_end(self.s, a->v[0], false) ? jv_sub(r, self.s, x->n, self.s->n - x->n) : self;
}

static struct jv m_removesuffix(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jstr *x = text_arg(r, a, 0, "suffix");
    return x && has_end(self.s, a->v[0], true) ? jv_sub(r, self.s, 0, self.s->n - x->n) : self;
}

static struct jv m_join(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jlist *l = a->n ? jv_items(r, a->v[0]) : NULL;
    struct jbuild b = {0};
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        if (l->v[i].kind != J_STR)
            jr_fail(r, ERR_FORMAT, "join: a %s among the strs", jv_kind(l->v[i]));
        if (i) jb_str(r, &b, self);
        jb_str(r, &b, l->v[i]);
    }
    return jb_take(r, &b);
}

static jint chars_before(const struct jstr *s, size_t k) {
    const struct jstr head = {.p = s->p, .n = k};
    return k == SIZE_MAX ? -1 : (jint)jv_chars(&head);
}

static struct jv found(struct jrun *r, struct jv self, const struct jargs *a, bool last) {
    const struct jstr *x = text_arg(r, a, 0, "sub");
    struct jstr part;
    jint start;
    if (!x) return self;
    if (!window(r, self.s, a, &part, &start)) return jv_int(-1);
    if (last && x->n == 0) return jv_int(start + (jint)jv_chars(&part));
    const jint at = chars_before(&part, last ? rfind(r, &part, part.n, x) : find(r, &part, 0, x));
    return jv_int(at < 0 ? -1 : start + at);
}

static struct jv m_find(struct jrun *r, struct jv self, const struct jargs *a) {
    return found(r, self, a, false);
}

static struct jv m_index(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jv v = m_find(r, self, a);
    return v.kind == J_INT && v.i < 0 ? jr_fail(r, ERR_FORMAT, "index: the text is not in it") : v;
}

static struct jv m_rfind(struct jrun *r, struct jv self, const struct jargs *a) {
    return found(r, self, a, true);
}

static struct jv m_count(struct jrun *r, struct jv self, const struct jargs *a) {
    const struct jstr *x = text_arg(r, a, 0, "sub");
    struct jstr part;
    jint n = 0, start;
    if (!x) return self;
    if (!window(r, self.s, a, &part, &start)) return jv_int(0);
    if (x->n == 0) return jv_int((jint)jv_chars(&part) + 1);
    for (size_t i = 0, k; !r->failed && (k = find(r, &part, i, x)) != SIZE_MAX; i = k + x->n)
        n++;
    return jv_int(n);
}

/* To width: `left` fills of the gap stand before the text; Python's center leans as this does. */
static struct jv padded(struct jrun *r, struct jv self, const struct jargs *a, char how) {
    const jint width = ja_int(r, a, 0, "width", 0), n = (jint)jv_chars(self.s);
    const struct jv *fill = ja_get(a, 1, "fillchar");
    if (r->failed || width > 10000) return jr_fail(r, ERR_FORMAT, "a width of more than 10000");
    if (fill && how != 'z' && (fill->kind != J_STR || jv_chars(fill->s) != 1))
        return jr_fail(r, ERR_FORMAT, "a fill that is not one character");
    const struct jv f = fill && fill->kind == J_STR ? *fill : jv_z(r, how == 'z' ? "0" : " ");
    const jint gap = width > n ? width - n : 0;
    const jint left = how == 'l' ? 0 : how == 'c' ? gap / 2 + (gap & width & 1) : gap;
    const size_t sign = how == 'z' && self.s->n && strchr("+-", self.s->p[0]) ? 1 : 0;
    struct jbuild b = {0};
    jb_sub(r, &b, self.s, 0, sign);
    for (jint i = 0; i < left && !r->failed; i++)
        jb_str(r, &b, f);
    jb_sub(r, &b, self.s, sign, self.s->n - sign);
    for (jint i = left; i < gap && !r->failed; i++)
        jb_str(r, &b, f);
    return jb_take(r, &b);
}

static struct jv m_ljust(struct jrun *r, struct jv self, const struct jargs *a) {
    return padded(r, self, a, 'l');
}

static struct jv m_rjust(struct jrun *r, struct jv self, const struct jargs *a) {
    return padded(r, self, a, 'r');
}

static struct jv m_center(struct jrun *r, struct jv self, const struct jargs *a) {
    return padded(r, self, a, 'c');
}

static struct jv m_zfill(struct jrun *r, struct jv self, const struct jargs *a) {
    return padded(r, self, a, 'z');
}

static struct jv parted(struct jrun *r, struct jv self, const struct jargs *a, bool last) {
    const struct jstr *x = text_arg(r, a, 0, "sep");
    if (x && x->n == 0) return jr_fail(r, ERR_FORMAT, "partition at nothing");
    const size_t k = !x ? SIZE_MAX : last ? rfind(r, self.s, self.s->n, x) : find(r, self.s, 0, x);
    const size_t at = k != SIZE_MAX ? k : last ? 0 : self.s->n;
    const size_t n = x && k != SIZE_MAX ? x->n : 0;
    struct jv l = jv_list(r, 3);
    if (r->failed) return l;
    jv_push(r, l, jv_sub(r, self.s, 0, at));
    jv_push(r, l, jv_sub(r, self.s, at, n));
    jv_push(r, l, jv_sub(r, self.s, at + n, self.s->n - at - n));
    l.kind = r->failed ? J_UNDEF : J_TUPLE;
    return l;
}

static struct jv m_partition(struct jrun *r, struct jv self, const struct jargs *a) {
    return parted(r, self, a, false);
}

static struct jv m_rpartition(struct jrun *r, struct jv self, const struct jargs *a) {
    return parted(r, self, a, true);
}

const struct jentry jinja_str_methods[] = {
    {"strip", jm_trim},
    {"lstrip", m_lstrip},
    {"rstrip", m_rstrip},
    {"upper", jm_upper},
    {"lower", jm_lower},
    {"title", jm_title},
    {"capitalize", jm_capitalize},
    {"replace", jm_replace},
    {"split", m_split},
    {"rsplit", m_rsplit},
    {"splitlines", m_splitlines},
    {"startswith", m_startswith},
    {"endswith", m_endswith},
    {"removeprefix", m_removeprefix},
    {"removesuffix", m_removesuffix},
    {"join", m_join},
    {"find", m_find},
    {"ljust", m_ljust},
    {"rjust", m_rjust},
    {"center", m_center},
    {"zfill", m_zfill},
    {"partition", m_partition},
    {"casefold", jm_lower},
    {"rfind", m_rfind},
    {"index", m_index},
    {"count", m_count},
    {"format", jm_format},
    {"rpartition", m_rpartition},
    {"swapcase", jm_swapcase},
    {"expandtabs", jm_expandtabs},
    {"isdigit", jm_isdigit},
    {"isdecimal", jm_isdigit},
    {"isnumeric", jm_isnumeric},
    {"isalpha", jm_isalpha},
    {"isalnum", jm_isalnum},
    {"isspace", jm_isspace},
    {"isupper", jm_isupper},
    {"islower", jm_islower},
    {"istitle", jm_istitle},
    {"isascii", jm_isascii},
    {"isidentifier", jm_isidentifier},
    {0},
};

static struct jv m_get(struct jrun *r, struct jv self, const struct jargs *a) {
    if (a->n < 1) return jr_fail(r, ERR_FORMAT, "get needs a key");
    const struct jv *v = jv_find(r, self.d, a->v[0]), *other = ja_get(a, 1, "default");
    return v ? *v : other ? *other : jv_none();
}

struct jv jm_items(struct jrun *r, struct jv self, const struct jargs *a) {
    struct jv l = jv_list(r, self.d->n);
    (void)a;
    for (size_t i = 0; i < self.d->n && !r->failed; i++) {
        struct jv pair = jv_list(r, 2);
        if (r->failed) break;
        jv_push(r, pair, self.d->k[i]);
        jv_push(r, pair, self.d->v[i]);
        pair.kind = J_TUPLE;
        jv_push(r, l, pair);
    }
    return l;
}

static struct jv m_keys(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    struct jlist *l = jv_items(r, self);
    return l ? (struct jv){.kind = J_LIST, .l = l} : self;
}

static struct jv m_values(struct jrun *r, struct jv self, const struct jargs *a) {
    struct jv l = jv_list(r, self.d->n);
    (void)a;
    for (size_t i = 0; i < self.d->n && !r->failed; i++)
        jv_push(r, l, self.d->v[i]);
    return l;
}

static struct jv m_same(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)r, (void)a;
    return self;
}

static struct jv unsafe(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    return jr_fail(r, ERR_FORMAT, "a method that changes a %s; templates may not", jv_kind(self));
}

const struct jentry jinja_dict_methods[] = {
    {"get", m_get},
    {"items", jm_items},
    {"keys", m_keys},
    {"values", m_values},
    {"copy", m_same},
    {"update", unsafe},
    {"pop", unsafe},
    {"popitem", unsafe},
    {"setdefault", unsafe},
    {"clear", unsafe},
    {0},
};

static struct jv m_list_index(struct jrun *r, struct jv self, const struct jargs *a) {
    for (size_t i = 0; a->n && i < self.l->n && !r->failed; i++)
        if (jv_equal(r, self.l->v[i], a->v[0])) return jv_int((jint)i);
    return jr_fail(r, ERR_FORMAT, "index: the value is not in the list");
}

static struct jv m_is_integer(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    if (self.kind != J_FLOAT) return jr_fail(r, ERR_FORMAT, "is_integer of a %s", jv_kind(self));
    return jv_bool(self.f == floor(self.f) && !isinf(self.f));
}

static struct jv m_bit_length(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    if (self.kind == J_FLOAT) return jr_fail(r, ERR_FORMAT, "bit_length of a float");
    jint i = jv_whole(self), n = 0;
    for (; i; i /= 2)
        n++;
    return jv_int(n);
}

const struct jentry jinja_number_methods[] = {
    {"is_integer", m_is_integer}, {"bit_length", m_bit_length}, {0}};

static struct jv m_list_count(struct jrun *r, struct jv self, const struct jargs *a) {
    jint n = 0;
    for (size_t i = 0; a->n && i < self.l->n && !r->failed; i++)
        n += jv_equal(r, self.l->v[i], a->v[0]);
    return jv_int(n);
}

const struct jentry jinja_tuple_methods[] = {{"index", m_list_index}, {"count", m_list_count}, {0}};

const struct jentry jinja_list_methods[] = {
    {"index", m_list_index}, {"count", m_list_count}, {"copy", m_same},   {"append", unsafe},
    {"pop", unsafe},         {"extend", unsafe},      {"insert", unsafe}, {"remove", unsafe},
    {"reverse", unsafe},     {"sort", unsafe},        {"clear", unsafe},  {0},
};
