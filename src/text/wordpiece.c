/* WordPiece (BERT; Devlin et al., arXiv:1810.04805): normalize, split into words and single marks,
 * then take the longest token from the left; a word that cannot be covered is one [UNK].
 *
 * The tables mark word starts with U+2581 instead of marking continuations with "##".  Accents
 * fall off: of a decomposed character only the base is kept, and marks on their own are left out.
 */
#include "base/utf8.h"
#include "base/work.h"
#include "text/tables.h"
#include "text/uclass.h"

/* Longest tokens that cover word, or [UNK]. */
static void encode_word(const struct vocab *v, struct buf *word, struct ids *out) {
    if (word->n <= 3) return; /* only the mark of its start */
    const size_t before = out->n;
    for (size_t i = 0; i < word->n;) {
        size_t len = 0;
        const int32_t id = trie_longest(&v->words, word->p + i, word->n - i, &len);
        if (id < 0) {
            out->n = before;
            if (v->special.unk >= 0) ids_push(out, v->special.unk);
            break;
        }
        ids_push(out, id);
        i += len;
    }
    word->n = 3;
}

static void append_char(struct buf *word, uint32_t cp) {
    char c[4];
    buf_append(word, c, (size_t)utf8_encode(cp, c));
}

static bool stands_alone(uint32_t cp) {
    return uclass_is_punct(cp) || (cp < 0x7f && uclass_is_symbol(cp)) || uclass_is_cjk(cp);
}

int wordpiece_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e) {
    struct buf word = {0};
    buf_append(&word, BLANK_MARK, 3);
    for (size_t i = 0; i < text.n && !word.failed && !work_stopped();) {
        uint32_t cp;
        i += (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        if (v->strip_accents) cp = uclass_base(cp);
        if (uclass_is_blank(cp)) {
            encode_word(v, &word, out);
        } else if (cp == 0 || cp == UTF8_BAD || uclass_is_control(cp) ||
                   (v->strip_accents && uclass_is_mark(cp))) {
            continue;
        } else if (stands_alone(cp)) {
            encode_word(v, &word, out);
            append_char(&word, v->lowercase ? uclass_lower(cp) : cp);
            encode_word(v, &word, out);
        } else {
            append_char(&word, v->lowercase ? uclass_lower(cp) : cp);
        }
    }
    if (!word.failed) encode_word(v, &word, out);
    const bool failed = word.failed || out->failed;
    buf_fini(&word);
    return failed ? err_nomem(e, "tokenizer") : 0;
}
