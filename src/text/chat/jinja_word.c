/* What kind of characters a str has, as Python's str.isX() and str.swapcase() ask; words. */
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/chat/jinja_priv.h"

enum kind {
    K_UPPER = 1,
    K_LOWER = 2,
    K_TITLE = 4,
    K_LETTER = 8,
    K_DECIMAL = 16,
    K_NUMBER = 32,
    K_MARK = 64
};

static int kind_of(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: return K_LETTER | K_UPPER;
    case UTF8PROC_CATEGORY_LL: return K_LETTER | K_LOWER;
    case UTF8PROC_CATEGORY_LT: return K_LETTER | K_TITLE;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return K_LETTER;
    case UTF8PROC_CATEGORY_ND: return K_DECIMAL | K_NUMBER;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return K_NUMBER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_PC: return K_MARK;
    default: return 0;
    }
}

/* The number of bytes of the white space at s[at], 0 for none: Python's str.isspace. */
size_t jv_blank(const struct jstr *s, size_t at) {
    uint32_t cp;
    const size_t n = (size_t)utf8_decode(s->p + at, s->n - at, &cp);
    const bool blank = cp == ' ' || (cp >= '\t' && cp <= '\r') || (cp >= 0x1c && cp <= 0x1f) ||
                       cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
                       cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
    return blank ? n : 0;
}

/* All characters are of one of the kinds, and there is one. */
static struct jv all(struct jrun *r, struct jv self, int kinds) {
    uint32_t cp;
    for (size_t i = 0; i < self.s->n && jr_step(r, 0);) {
        i += (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        if (!(kind_of(cp) & kinds)) return jv_bool(false);
    }
    return jv_bool(self.s->n > 0);
}

#define ALL(name, kinds)                                                                           \
    struct jv name(struct jrun *r, struct jv self, const struct jargs *a) {                        \
        (void)a;                                                                                   \
        return all(r, self, kinds);                                                                \
    }
ALL(jm_isdigit, K_DECIMAL)
ALL(jm_isnumeric, K_NUMBER)
ALL(jm_isalpha, K_LETTER)
ALL(jm_isalnum, K_LETTER | K_NUMBER)

struct jv jm_isspace(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    for (size_t i = 0, n; i < self.s->n && jr_step(r, 0); i += n)
        if ((n = jv_blank(self.s, i)) == 0) return jv_bool(false);
    return jv_bool(self.s->n > 0);
}

struct jv jm_isascii(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    for (size_t i = 0; i < self.s->n && jr_step(r, 0); i++)
        if (self.s->p[i] & 0x80) return jv_bool(false);
    return jv_bool(true);
}

/* One letter of the case, and none of another. */
static struct jv one_case(struct jrun *r, struct jv self, int want) {
    bool any = false;
    uint32_t cp;
    for (size_t i = 0; i < self.s->n && jr_step(r, 0);) {
        i += (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        const int k = kind_of(cp) & (K_UPPER | K_LOWER | K_TITLE);
        if (k && k != want) return jv_bool(false);
        any = any || k == want;
    }
    return jv_bool(any);
}

struct jv jm_isupper(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    return one_case(r, self, K_UPPER);
}

struct jv jm_islower(struct jrun *r, struct jv self, const struct jargs *a) {
    (void)a;
    return one_case(r, self, K_LOWER);
}

struct jv jm_istitle(struct jrun *r, struct jv self, const struct jargs *a) {
    bool any = false, inside = false;
    uint32_t cp;
    (void)a;
    for (size_t i = 0; i < self.s->n && jr_step(r, 0);) {
        i += (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        const int k = kind_of(cp) & (K_UPPER | K_LOWER | K_TITLE);
        if (k && inside != (k == K_LOWER)) return jv_bool(false);
        inside = k != 0;
        any = any || k;
    }
    return jv_bool(any);
}

struct jv jm_isidentifier(struct jrun *r, struct jv self, const struct jargs *a) {
    uint32_t cp;
    (void)a;
    for (size_t i = 0, n; i < self.s->n && jr_step(r, 0); i += n) {
        n = (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        const int k = cp == '_' ? K_LETTER : kind_of(cp);
        if (!(k & (i ? K_LETTER | K_DECIMAL | K_MARK : K_LETTER))) return jv_bool(false);
    }
    return jv_bool(self.s->n > 0);
}

struct jv jm_swapcase(struct jrun *r, struct jv self, const struct jargs *a) {
    struct jbuild b = {0};
    uint32_t cp;
    for (size_t i = 0, n; i < self.s->n && !r->failed; i += n) {
        n = (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        const struct jv c = jv_sub(r, self.s, i, n);
        if (!r->failed)
            jb_str(r, &b, kind_of(cp) & K_UPPER ? jm_lower(r, c, a) : jm_upper(r, c, a));
    }
    return jb_take(r, &b);
}

struct jv jm_expandtabs(struct jrun *r, struct jv self, const struct jargs *a) {
    const jint size = ja_int(r, a, 0, "tabsize", 8);
    const struct jstr *s = self.s;
    struct jbuild b = {0};
    jint column = 0;
    if (size > 1000) return jr_fail(r, ERR_FORMAT, "tabs of more than 1000");
    for (size_t i = 0, n; i < s->n && !r->failed; i += n) {
        uint32_t cp;
        n = (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        if (cp != '\t') {
            jb_sub(r, &b, s, i, n);
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
            continue;
        }
        for (jint k = size > 0 ? size - column % size : 0; k > 0; k--, column++)
            jb_z(r, &b, " ");
    }
    return jb_take(r, &b);
}

/* Runs of letters, digits and underscores. */
struct jv jf_wordcount(struct jrun *r, struct jv v, const struct jargs *a) {
    jint n = 0;
    bool in = false;
    uint32_t cp;
    (void)a;
    v = jv_to_str(r, v);
    for (size_t i = 0; !r->failed && i < v.s->n && jr_step(r, 0);) {
        i += (size_t)utf8_decode(v.s->p + i, v.s->n - i, &cp);
        const bool word = cp == '_' || (kind_of(cp) & (K_LETTER | K_NUMBER));
        n += word && !in;
        in = word;
    }
    return jv_int(n);
}
