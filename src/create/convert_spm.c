/* tokenizer.model: SentencePiece's ModelProto (sentencepiece_model.proto), of which the pieces, and
 * whether a blank is put before the text, are read.  Protocol buffers' wire format: a varint
 * (field << 3 | kind), then a varint, 8 or 4 bytes, or a length and that many bytes. */
#include <math.h>
#include <string.h>

#include "base/os.h"
#include "create/convert_priv.h"
#include "text/vocab.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
    uint64_t id;
    unsigned kind;
    uint64_t value;   /* of a varint */
    struct str bytes; /* of the others */
};

static bool take_varint(struct str *s, uint64_t *out) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && s->n; shift += 7) {
        const uint8_t b = (uint8_t)*s->p;
        s->p++, s->n--;
        v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* The next field of a message; false when it is no field. */
static bool take_field(struct str *s, struct field *f) {
    uint64_t tag, n = 0;
    if (!take_varint(s, &tag)) return false;
    *f = (struct field){.id = tag >> 3, .kind = tag & 7};
    switch (f->kind) {
    case WIRE_VARINT: return take_varint(s, &f->value);
    case WIRE_64: n = 8; break;
    case WIRE_32: n = 4; break;
    case WIRE_BYTES:
        if (!take_varint(s, &n)) return false;
        break;
    default: return false;
    }
    if (n > s->n) return false;
    f->bytes = (struct str){s->p, (size_t)n};
    s->p += n, s->n -= (size_t)n;
    return true;
}

/* SentencePiece {1: piece, 2: score (float), 3: type}.  Its types are GGUF's. */
static int read_piece(struct str s, int id, struct tokens *t, struct err *e) {
    struct str piece = STR("");
    float score = 0;
    uint64_t type = TOKEN_NORMAL;
    struct field f;
    while (s.n) {
        if (!take_field(&s, &f))
            return err_set(e, ERR_FORMAT, "%s: piece %d is broken", t->where, id);
        if (f.id == 1 && f.kind == WIRE_BYTES) piece = f.bytes;
        if (f.id == 2 && f.kind == WIRE_32) memcpy(&score, f.bytes.p, 4);
        if (f.id == 3 && f.kind == WIRE_VARINT) type = f.value;
    }
    if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
        return err_set(e, ERR_FORMAT, "%s: piece %d has type %llu; 1 to 6 are accepted", t->where,
                       id, (unsigned long long)type);
    if (!isfinite(score))
        return err_set(e, ERR_FORMAT, "%s: piece %d has a score that is no number", t->where, id);
    return tokens_set(t, id, piece, score, (int32_t)type, e);
}

/* ModelProto {1: pieces, 2: TrainerSpec {3: model_type}, 3: NormalizerSpec {3: add_dummy_prefix}}
 */
static int read_model(struct str s, struct tokens *t, struct err *e) {
    int n = 0;
    uint64_t type = 1; /* the format's default, also of a file whose end is missing */
    struct field f, inner;
    t->add_prefix = 1;
    while (s.n) {
        if (!take_field(&s, &f))
            return err_set(e, ERR_FORMAT, "%s: no SentencePiece model: broken behind piece %d",
                           t->where, n);
        if (f.id == 1 && f.kind == WIRE_BYTES && read_piece(f.bytes, n++, t, e) != 0) return -1;
        while ((f.id == 2 || f.id == 3) && f.kind == WIRE_BYTES && f.bytes.n) {
            if (!take_field(&f.bytes, &inner))
                return err_set(e, ERR_FORMAT, "%s: its settings are broken", t->where);
            if (f.id == 3 && inner.id == 3) t->add_prefix = inner.value != 0;
            if (f.id == 2 && inner.id == 3) type = inner.value;
        }
    }
    if (!n) return err_set(e, ERR_FORMAT, "%s: no SentencePiece model: no pieces", t->where);
    if (type == 2) return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: a SentencePiece model of type %llu (1: Unigram); 2 (BPE) is converted",
                   t->where, (unsigned long long)type);
}

int spm_read(const char *path, struct tokens *t, struct err *e) {
    struct os_map m;
    if (os_map_open(&m, path, e) != 0) return -1;
    t->where = path;
    t->has_score = true;
    const int rc = read_model((struct str){(const char *)m.data, m.size}, t, e);
    os_map_close(&m);
    return rc;
}
