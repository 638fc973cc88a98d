/* From ids back to text, whole or as a stream. */
#include "base/utf8.h"
#include "text/bytemap.h"
#include "text/tables.h"

/* "\u2581word" -> " word" */
static void append_unescaped(struct str t, struct buf *out) {
    for (size_t i = 0; i < t.n;) {
        if (t.n - i >= 3 && memcmp(t.p + i, BLANK_MARK, 3) == 0) {
            buf_byte(out, ' ');
            i += 3;
        } else {
            buf_byte(out, t.p[i++]);
        }
    }
}

/* Characters of the byte alphabet as their bytes; others, which only odd files have, as they are.
 */
static void append_bytes(struct str t, struct buf *out) {
    for (size_t i = 0; i < t.n;) {
        uint32_t cp;
        const size_t len = (size_t)utf8_decode(t.p + i, t.n - i, &cp);
        const int byte = bytemap_byte(cp);
        if (byte >= 0)
            buf_byte(out, (char)byte);
        else
            buf_append(out, t.p + i, len);
        i += len;
    }
}

void tok_piece(const struct vocab *v, int32_t id, bool special, struct buf *out) {
    if (id < 0 || id >= v->n) return;
    const struct str t = v->text[id];
    const unsigned a = v->attr[id];
    if (a & ATTR_SPECIAL) {
        if (special) buf_append(out, t.p, t.n);
    } else if (a & ATTR_USER) {
        buf_append(out, t.p, t.n);
    } else if (a & ATTR_BYTE) {
        buf_byte(out, (char)vocab_parse_byte(t));
    } else if (a & ATTR_NORMAL) {
        if (v->kind != VOCAB_BPE || v->escape_blanks)
            append_unescaped(t, out);
        else
            append_bytes(t, out);
    }
}

/* Remove the blank of " ?" " !" " ." " ," in p[0..n); returns the new length. */
static size_t clean_marks(char *p, size_t n) {
    size_t w = n > 0;
    for (size_t i = 1; i < n; i++) {
        const char c = p[i];
        if (p[i - 1] == ' ' && (c == '?' || c == '!' || c == '.' || c == ',')) w--;
        p[w++] = c;
    }
    return w;
}

/* " ' " -> "'" */
static size_t clean_quotes(char *p, size_t n) {
    size_t w = n > 0;
    for (size_t i = 1; i < n; i++) {
        const char c = p[i];
        if (c == '\'' && i + 1 < n && p[i - 1] == ' ' && p[i + 1] == ' ') {
            w--;
            p[++i] = 0; /* the blank behind is gone too, also for what looks back at it */
        }
        p[w++] = c;
    }
    return w;
}

/* " 's" " 'm" " 're" " 've" -> without the blank */
static size_t clean_contractions(char *p, size_t n) {
    size_t w = n > 0;
    for (size_t i = 1; i < n; i++) {
        const char c = p[i];
        if (c == '\'' && p[i - 1] == ' ' && i + 1 < n) {
            const char a = p[i + 1], b = i + 2 < n ? p[i + 2] : 0;
            if (a == 's' || a == 'm' || (b == 'e' && (a == 'r' || a == 'v'))) w--;
        }
        p[w++] = c;
    }
    return w;
}

/* "clean_up_tokenization_spaces", with the reference's reading of which ones. */
static void clean(struct buf *out, size_t from) {
    if (out->failed || out->n == from) return;
    char *p = out->p + from;
    size_t n = clean_marks(p, out->n - from);
    n = clean_quotes(p, n);
    n = clean_contractions(p, n);
    out->n = from + n;
    out->p[out->n] = 0;
}

int tok_decode(const struct vocab *v, const int32_t *id, size_t n, struct detok_opts opts,
               struct buf *out, struct err *e) {
    const struct vocab_special *s = &v->special;
    const size_t from = out->n;
    bool strip = s->add_space_prefix && !opts.keep_all;
    for (size_t i = 0; i < n; i++)
        if (id[i] < 0 || id[i] >= v->n)
            return err_set(e, ERR_FORMAT, "token %d at %zu: the vocabulary has ids 0 to %d", id[i],
                           i, v->n - 1);
    if (!opts.special && !opts.keep_all) {
        /* The blank that encoding put after BOS belongs to the text the reference gives back. */
        if (s->add_bos && n > 0 && id[0] == s->bos) id++, n--, strip = false;
        if (s->add_eos && n > 0 && id[n - 1] == s->eos) n--;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t before = out->n;
        tok_piece(v, id[i], opts.special, out);
        if (strip && i == 0 && out->n > before && out->p[before] == ' ') {
            memmove(out->p + before, out->p + before + 1, out->n - before - 1);
            out->n--;
        }
    }
    if (v->clean_spaces && !opts.keep_all) clean(out, from);
    return out->failed ? err_nomem(e, "detokenizer") : 0;
}

/* Append n bytes with each one that starts no character as U+FFFD. */
static void append_valid(const char *p, size_t n, struct buf *out) {
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const int len = utf8_decode_strict(p + i, n - i, &cp);
        if (len < 0)
            buf_append(out, "\xef\xbf\xbd", 3);
        else
            buf_append(out, p + i, (size_t)len);
        i += len < 0 ? 1 : (size_t)len;
    }
}

void detok_push(struct detok *d, int32_t id, struct buf *out) {
    tok_piece(d->vocab, id, d->special, &d->pending);
    d->started = true;
    const size_t whole = utf8_complete(d->pending.p ? d->pending.p : "", d->pending.n);
    append_valid(d->pending.p, whole, out);
    buf_drop(&d->pending, whole);
}

void detok_finish(struct detok *d, struct buf *out) {
    append_valid(d->pending.p, d->pending.n, out);
    buf_reset(&d->pending);
    d->started = false;
}

void detok_fini(struct detok *d) {
    buf_fini(&d->pending);
}
