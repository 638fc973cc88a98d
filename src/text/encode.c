/* tok_encode: special tokens first, then each stretch of text by the model's own tokenizer, then
 * what the model wants around a sequence. */
#include "text/tables.h"
#include "base/work.h"

static int encode_fragment(const struct vocab *v, struct str text, bool after_special,
                           struct ids *out, struct err *e) {
    switch (v->kind) {
    case VOCAB_BPE: return bpe_encode(v, text, out, e);
    case VOCAB_SPM:
        return spm_encode(v, text, v->special.add_space_prefix && after_special, out, e);
    case VOCAB_WORDPIECE: return wordpiece_encode(v, text, out, e);
    case VOCAB_UNIGRAM: return unigram_encode(v, text, out, e);
    }
    return 0;
}

static void push_if(struct ids *out, bool want, int32_t id) {
    if (want && id >= 0) ids_push(out, id);
}

static int encode_parts(const struct vocab *v, struct str text, const struct reading *how,
                        struct ids *out, struct err *e) {
    struct fragments parts = {0};
    bool after_special = true;
    int rc = 0;
    partition(v, text, how, &parts);
    if (work_stopped()) rc = work_given_up(e); /* before a stretch of megabytes */
    for (size_t i = 0; i < parts.n && rc == 0; i++) {
        const struct fragment *f = &parts.v[i];
        if (f->id >= 0) {
            ids_push(out, f->id);
        } else {
            const struct str stretch = {text.p + f->lo, f->hi - f->lo};
            rc = encode_fragment(v, stretch, after_special, out, e);
        }
        after_special = f->id >= 0;
        if (rc == 0 && work_stopped()) rc = work_given_up(e);
    }
    if (rc == 0 && (parts.failed || out->failed)) rc = err_nomem(e, "tokenizer");
    fragments_fini(&parts);
    return rc;
}

int tok_encode(const struct vocab *v, struct str text, struct tok_opts opts, struct ids *out,
               struct err *e) {
    const struct vocab_special *s = &v->special;
    const bool bert = v->kind == VOCAB_WORDPIECE; /* [CLS] text [SEP], always */
    const struct reading how = {.parse_special = opts.parse_special};
    push_if(out, opts.add_special && (bert || s->add_bos), s->bos);
    if (encode_parts(v, text, &how, out, e) != 0) return -1;
    push_if(out, opts.add_special && (bert || s->add_eos), bert ? s->sep : s->eos);
    return out->failed ? err_nomem(e, "tokenizer") : 0;
}

int tok_encode_trusted(const struct vocab *v, struct str text, const struct tok_span *trusted,
                       size_t n, struct ids *out, struct err *e) {
    const struct reading how = {.mixed = true, .trust = trusted, .n_trust = n};
    return encode_parts(v, text, &how, out, e);
}
