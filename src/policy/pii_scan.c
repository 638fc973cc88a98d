/* One pass over the text: at each place where an entity may begin, the scanners that may find one
 * there, most certain first.  Words are looked up on the way, for what they say of numbers near
 * them. */
#include "policy/pii_priv.h"

enum class { OTHER, DIGIT, WORD, WIDE, PLUS, PAREN, COLON, DASH };

static const unsigned char class_of[256] = {
    ['0' ... '9'] = DIGIT,  ['A' ... 'Z'] = WORD,   ['a' ... 'z'] = WORD, ['_'] = WORD,
    [0xc3 ... 0xdf] = WORD, [0xe0 ... 0xf4] = WIDE, ['+'] = PLUS,         ['('] = PAREN,
    [':'] = COLON,          ['-'] = DASH,
};

/* ---- what the scanners share ---- */

bool pii_starts_word(const struct pii_scan *s, size_t i) {
    const int c = pii_behind(s, i, 1), b = pii_behind(s, i, 2);
    if (b == '\\' && (c == 'n' || c == 'r' || c == 't')) return true;
    if (c >= 0x80) return !(c < 0xc0 && b >= 0xc3 && b <= 0xdf);
    return !pii_is_alnum(c) && c != '_';
}

bool pii_number_goes_on(struct pii_scan *s, size_t i) {
    const int c = pii_look(s, i);
    if (c == '-' || c == '.' || c == '/') return pii_is_digit(pii_look(s, i + 1));
    return pii_goes_on(s, i);
}

static uint64_t place(const struct pii_scan *s, size_t i) {
    return s->base + i;
}

bool pii_near(const struct pii_scan *s, enum topic t, size_t i, size_t window) {
    const uint64_t seen = s->seen[t];
    return seen && place(s, i) - seen <= window && seen > s->seen[TOPIC_OTHER];
}

bool pii_other_number(const struct pii_scan *s, size_t i) {
    const uint64_t seen = s->seen[TOPIC_OTHER];
    return pii_behind(s, i, 1) == '#' || (seen && place(s, i) - seen <= 24);
}

size_t pii_space(struct pii_scan *s, size_t i) {
    const int c = pii_look(s, i);
    if (c == ' ') return 1;
    if (c == 0xc2) return pii_look(s, i + 1) == 0xa0 ? 2 : 0; /* no-break */
    if (c != 0xe2 || pii_look(s, i + 1) != 0x80) return 0;
    return pii_look(s, i + 2) == 0xaf || pii_look(s, i + 2) == 0x89 ? 3 : 0; /* narrow, thin */
}

size_t pii_separator(struct pii_scan *s, size_t i, int *c) {
    *c = pii_look(s, i);
    if (*c == '-') return 1;
    if (*c == 0xe2 && pii_look(s, i + 1) == 0x80) {
        const int k = pii_look(s, i + 2);
        *c = '-';
        if (k >= 0x90 && k <= 0x93) return 3; /* hyphens, dashes */
    }
    *c = ' ';
    return pii_space(s, i);
}

/* ---- words ---- */

struct word {
    size_t end;
    uint32_t topics; /* of its parts */
    bool ascii;
};

static void note(struct pii_scan *s, struct word *w, size_t from, size_t to, uint32_t hash) {
    if (to - from > 64 || (to - from == 1 && s->p[from] != 'v')) return;
    const struct topic_word *t = topic_find((struct str){s->p + from, to - from}, hash);
    if (!t) return;
    w->topics |= 1u << t->topic;
    /* A word that the end of what is there may have cut says nothing yet. */
    if (s->final || !s->short_look) s->seen[t->topic] = place(s, to);
}

/* The run of letters, digits and "_" at i, its parts looked up: "apiKey", "API_KEY", and the whole
 * of what stands between two "_". */
static struct word read_word(struct pii_scan *s, size_t i) {
    struct word w = {.end = i, .ascii = true};
    uint32_t part = TOPIC_SEED, whole = TOPIC_SEED;
    size_t part_at = i, whole_at = i;
    int last = 0;
    for (;;) {
        const size_t k = w.end;
        const int c = pii_look(s, k);
        const size_t two = c >= 0x80 ? pii_letter2(s, k) : 0;
        const bool letter = pii_is_alpha(c) || two, end = !letter || k - i >= PII_WORD_MAX;
        const bool hump = letter && !two && pii_is_upper(c) && last >= 'a' && last <= 'z';
        if ((end || hump) && k > part_at) note(s, &w, part_at, k, part);
        if (end && whole_at != part_at && k > whole_at) note(s, &w, whole_at, k, whole);
        if (end && !(k - i < PII_WORD_MAX && (pii_is_digit(c) || c == '_'))) return w;
        last = c;
        if (end || hump) part = TOPIC_SEED, part_at = end ? k + 1 : k;
        if (end) whole = TOPIC_SEED, whole_at = k + 1;
        if (two) {
            unsigned char a = (unsigned char)c, b = (unsigned char)s->p[k + 1];
            topic_fold2(&a, &b);
            part = topic_hash(topic_hash(part, a), b);
            whole = topic_hash(topic_hash(whole, a), b);
            w.ascii = false;
        } else if (letter) {
            part = topic_hash(part, topic_fold((unsigned char)c));
            whole = topic_hash(whole, topic_fold((unsigned char)c));
        }
        w.end += two ? 2 : 1;
    }
}

bool pii_near_after(struct pii_scan *s, enum topic t, size_t i) {
    const size_t stop = i + 32;
    struct pii_scan ahead = *s; /* what it sees is not yet behind us */
    for (int c; i < stop && (c = pii_look(&ahead, i)) != '\n' && c >= 0;) {
        if (class_of[c] != WORD && c != ' ' && c != '(') break; /* another clause */
        if (class_of[c] != WORD) {
            i++;
            continue;
        }
        const struct word w = read_word(&ahead, i);
        s->short_look |= ahead.short_look;
        if (w.topics >> t & 1) return true;
        i = w.end > i ? w.end : i + 1;
    }
    s->short_look |= ahead.short_look;
    return false;
}

/* ---- places ---- */

static bool at_word(struct pii_scan *s, size_t i, const struct word *w, struct pii_hit *hit) {
    return (w->ascii &&
            (pii_url(s, i, w->end, hit) || pii_iban(s, i, hit) || pii_hex_address(s, i, hit) ||
             pii_lettered(s, i, hit) || pii_token(s, i, hit))) ||
           pii_email(s, i, hit) || (w->topics >> TOPIC_MONTH & 1 && pii_birth(s, i, hit)) ||
           (w->topics && pii_value(s, i, w->end, w->topics, hit));
}

static bool at_digit(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    return pii_hex_address(s, i, hit) || pii_birth(s, i, hit) || pii_number(s, i, hit) ||
           pii_token(s, i, hit) || pii_email(s, i, hit);
}

/* Behind the digits, letters and "_" at i. */
static size_t skip_word(struct pii_scan *s, size_t i) {
    const size_t stop = i + PII_WORD_MAX;
    for (size_t k; i < stop; i += k) {
        const int c = pii_look(s, i);
        k = pii_is_alnum(c) || c == '_' ? 1 : c >= 0x80 ? pii_letter2(s, i) : 0;
        if (!k) break;
    }
    return i;
}

static size_t skip_digits(struct pii_scan *s, size_t i) {
    const size_t stop = i + PII_WORD_MAX;
    while (i < stop && pii_is_digit(pii_look(s, i)))
        i++;
    return i;
}

/* A character of three or four bytes. */
static size_t at_wide(struct pii_scan *s, size_t i) {
    bool more;
    const struct topic_word *t = topic_find3((struct str){s->p + i, s->n - i}, &more);
    if (t) {
        const size_t end = i + strlen(t->text);
        s->seen[t->topic] = place(s, end);
    } else if (more) {
        s->short_look = true;
    }
    size_t k = 1;
    while (k < 4 && (pii_look(s, i + k) & 0xc0) == 0x80)
        k++;
    return i + k;
}

/* The same for a word of wide letters that a value may follow: "密码：" */
static bool wide_value(struct pii_scan *s, size_t i, struct pii_hit *hit) {
    bool more;
    const struct topic_word *t = topic_find3((struct str){s->p + i, s->n - i}, &more);
    return t && t->topic == TOPIC_PASSWORD &&
           pii_value(s, i, i + strlen(t->text), 1u << t->topic, hit);
}

/* Is there an entity at i?  If not, *next is where the next may begin. */
static bool look_at(struct pii_scan *s, size_t i, struct pii_hit *hit, size_t *next) {
    const int c = (unsigned char)s->p[i];
    struct word w;
    *next = i + 1;
    switch ((enum class)class_of[c]) {
    case OTHER: return false;
    case WIDE: *next = at_wide(s, i); return wide_value(s, i, hit);
    case PLUS:
    case PAREN: return pii_phone(s, i, hit);
    case COLON: return pii_hex_address(s, i, hit);
    case DASH: return pii_key_block(s, i, hit);
    case DIGIT:
        if (!pii_starts_word(s, i)) {
            *next = skip_word(s, i);
            return false;
        }
        *next = skip_digits(s, i);
        return at_digit(s, i, hit);
    case WORD:
        if (!pii_starts_word(s, i)) {
            *next = skip_word(s, i);
            if (*next == i) *next = i + 1;
            return false;
        }
        /* A line feed as programs write it: the word begins behind it. */
        if (pii_behind(s, i, 1) == '\\' && (c == 'n' || c == 'r' || c == 't')) return false;
        w = read_word(s, i);
        if (w.end > i) *next = w.end;
        return w.end > i && at_word(s, i, &w, hit);
    }
    return false;
}

/* A token that was cut at its limit goes on here. */
static bool rest_of_tail(struct pii_scan *s, struct pii_hit *hit) {
    size_t i = s->at;
    while (i < s->at + PII_TOKEN_MAX && s->tail(pii_look(s, i)))
        i++;
    *hit = (struct pii_hit){s->tail_kind, s->at, i};
    return i > s->at;
}

enum pii_step pii_next(struct pii_scan *s, struct pii_hit *hit) {
    while (s->at < s->n) {
        size_t next = s->at;
        bool found;
        bool (*const tail)(int c) = s->tail;
        const uint64_t quiet = s->quiet;
        s->short_look = false;
        found = s->tail ? rest_of_tail(s, hit) : look_at(s, s->at, hit, &next);
        if (s->short_look && !s->final) {
            s->tail = tail; /* nothing was decided */
            s->quiet = quiet;
            return PII_MORE;
        }
        if (s->tail && !(found && hit->end - hit->start == PII_TOKEN_MAX)) s->tail = NULL;
        s->at = found ? hit->end : next;
        if (!found) continue;
        s->found = s->base + hit->end;
        /* "born 1.2.1970, in Bonn since 3.4.2005": the first date only. */
        if (hit->kind == PII_BIRTH_DATE) s->seen[TOPIC_BIRTH] = 0;
        return PII_HIT;
    }
    return PII_DONE;
}
