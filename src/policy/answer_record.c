/* See answer_record.h. */
#include "policy/answer_record.h"

#include <limits.h>
#include <zstd.h>

#include "engine/wire.h"

enum { TASK = 1, LEVEL = 1 }; /* any id but 0; level 1 packs 64 KB in 0.1 ms */

void answer_record_add(struct answer_record *r, const struct gen_event *ev) {
    if (r->failed) return;
    if (ev->kind == GEN_FINISH && ev->why == GEN_CANCELLED) r->failed = true;
    if (ev->kind == GEN_END) r->whole = ev->err.code == ERR_NONE && !r->failed;
    if (wire_put_event(&r->bytes, TASK, ev, NULL) != 0 || r->bytes.n > ANSWER_MAX_BYTES)
        r->failed = true;
    if (r->failed) r->whole = false;
}

void answer_record_fini(struct answer_record *r) {
    buf_fini(&r->bytes);
    *r = (struct answer_record){0};
}

/* ---- reading ---- */

/* Each event of `bytes` to fn, which may be NULL.  *ended: the last was a GEN_END that is no error.
 */
static int read_all(struct str bytes, const json_t *gen, gen_event_fn *fn, void *ctx, bool *ended,
                    struct err *e) {
    const struct gen_info any = {.n_vocab = INT_MAX, .n_embd = INT_MAX};
    struct wire_in in = {.p = (char *)bytes.p, .n = bytes.n, .from_child = true}; /* only read */
    struct wire_task task;
    struct wire_frame f;
    int rc;
    *ended = false;
    wire_task_init(&task, gen, &any);
    while ((rc = wire_take(&in, &f, e)) == 1) {
        struct gen_event ev;
        json_t *data;
        if (*ended || f.head.kind != WIRE_EVENT)
            return err_set(e, ERR_FORMAT, "answer: a frame out of place");
        if (wire_get_event(&f, &task, &ev, &data, e) != 0) return -1;
        *ended = ev.kind == GEN_END && ev.err.code == ERR_NONE;
        if (fn) fn(ctx, &ev);
        json_decref(data);
    }
    if (rc == 0 && in.at != in.n) return err_set(e, ERR_FORMAT, "answer: it is cut");
    return rc;
}

void answer_record_play(const struct answer_record *r, const json_t *gen, gen_event_fn *fn,
                        void *ctx) {
    bool unused;
    read_all(buf_view(&r->bytes), gen, fn, ctx, &unused, NULL);
}

/* ---- packing ---- */

int answer_pack(const struct answer_record *r, struct buf *out, struct err *e) {
    const size_t room = ZSTD_compressBound(r->bytes.n);
    char *to = buf_room(out, room);
    if (!to) return err_nomem(e, "answer");
    const size_t n = ZSTD_compress(to, room, r->bytes.p, r->bytes.n, LEVEL);
    if (ZSTD_isError(n)) return err_nomem(e, "answer");
    out->n += n;
    return 0;
}

int answer_unpack(struct str packed, const json_t *gen, struct answer_record *r, struct err *e) {
    const unsigned long long n = ZSTD_getFrameContentSize(packed.p, packed.n);
    if (n == 0 || n > ANSWER_MAX_BYTES) /* the codes of what is not known are larger */
        return err_set(e, ERR_FORMAT, "answer: it says no size that one may have");
    char *to = buf_room(&r->bytes, (size_t)n);
    if (!to) return err_nomem(e, "answer");
    if (ZSTD_decompress(to, (size_t)n, packed.p, packed.n) != n)
        return err_set(e, ERR_FORMAT, "answer: its bytes do not unpack");
    bool ended;
    r->bytes.n = (size_t)n;
    if (read_all(buf_view(&r->bytes), gen, NULL, NULL, &ended, e) != 0) return -1;
    r->whole = ended;
    return ended ? 0 : err_set(e, ERR_FORMAT, "answer: it has no end");
}
