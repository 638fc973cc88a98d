/* Frames: heads, padding, lengths; and the small ones.  See wire.h. */
#include "engine/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { ALIGN = 8, ROOM = 4096, KEEP_BYTES = 1 << 20 };

struct wire_error {
    uint32_t code, n_msg;
};

struct wire_load {
    int32_t n_running, n_waiting;
    uint64_t kv_bytes, rss_bytes;
};

static size_t padded(size_t n) {
    return (n + ALIGN - 1) / ALIGN * ALIGN; /* n <= WIRE_MAX_REQUEST */
}

static size_t max_bytes(uint32_t kind) {
    return kind < WIRE_FROM_CHILD ? WIRE_MAX_REQUEST : WIRE_MAX_EVENT;
}

/* ---- reading ---- */

/* Bytes of the frame at p[0..n), head included; 0: not known yet, or wrong. */
static size_t frame_bytes(const char *p, size_t n) {
    struct wire_head h;
    if (n < sizeof h) return 0;
    memcpy(&h, p, sizeof h);
    return h.n_bytes <= max_bytes(h.kind) ? sizeof h + padded(h.n_bytes) : 0;
}

/* A length alone takes no memory: what is there is at most doubled. */
static size_t useful_bytes(const struct wire_in *in) {
    const size_t whole = frame_bytes(in->p, in->n);
    if (whole < in->n + ROOM) return in->n + ROOM;
    return whole < 2 * in->n + ROOM ? whole : 2 * in->n + ROOM;
}

char *wire_room(struct wire_in *in, size_t *n_room) {
    const size_t left = in->n - in->at;
    if (in->at) memmove(in->p, in->p + in->at, left);
    in->at = 0;
    in->n = left;
    const size_t want = useful_bytes(in);
    /* What a large frame needed is given back behind it. */
    const bool shrink = in->cap > KEEP_BYTES && want < KEEP_BYTES / 2;
    if (want > in->cap || shrink) {
        const size_t cap = want < 16 * ROOM ? 16 * ROOM : want;
        char *p = realloc(in->p, cap);
        if (!p) return NULL;
        in->p = p;
        in->cap = cap;
    }
    *n_room = in->cap - in->n;
    return in->p + in->n;
}

static int check_head(const struct wire_in *in, const struct wire_head *h, struct err *e) {
    const bool ours = in->from_child ? h->kind >= WIRE_FROM_CHILD && h->kind < WIRE_END_KINDS
                                     : h->kind >= WIRE_FILE && h->kind <= WIRE_CLOSE;
    if (!ours) return err_set(e, ERR_FORMAT, "engine process: a frame of kind %u", h->kind);
    if (h->n_bytes > max_bytes(h->kind))
        return err_set(e, ERR_FORMAT, "engine process: a frame of %u bytes; at most %zu",
                       h->n_bytes, max_bytes(h->kind));
    const bool of_task = h->kind == WIRE_EVENT || (h->kind >= WIRE_START && h->kind <= WIRE_RESUME);
    if (of_task != (h->id != 0))
        return err_set(e, ERR_FORMAT, "engine process: a frame of kind %u for task %llu", h->kind,
                       (unsigned long long)h->id);
    return 0;
}

int wire_take(struct wire_in *in, struct wire_frame *f, struct err *e) {
    const size_t left = in->n - in->at;
    if (left < sizeof f->head) return 0;
    memcpy(&f->head, in->p + in->at, sizeof f->head);
    if (check_head(in, &f->head, e) != 0) return -1;
    const size_t n = f->head.n_bytes, whole = sizeof f->head + padded(n);
    if (left < whole) return 0;
    f->body = (struct str){in->p + in->at + sizeof f->head, n};
    for (size_t i = n; i < padded(n); i++)
        if (f->body.p[i]) return err_set(e, ERR_FORMAT, "engine process: padding that is not zero");
    in->at += whole;
    return 1;
}

void wire_in_fini(struct wire_in *in) {
    free(in->p);
    *in = (struct wire_in){0};
}

/* ---- writing ---- */

int wire_put_frame(struct buf *out, enum wire_kind kind, uint64_t id, struct str body,
                   struct err *e) {
    static const char zero[ALIGN];
    if (body.n > max_bytes(kind))
        return err_set(e, ERR_LIMIT, "engine process: %zu bytes at once; at most %zu", body.n,
                       max_bytes(kind));
    const struct wire_head h = {(uint32_t)body.n, kind, id};
    char *at = buf_room(out, sizeof h + padded(body.n));
    if (!at) return err_nomem(e, "engine process");
    memcpy(at, &h, sizeof h);
    if (body.n) memcpy(at + sizeof h, body.p, body.n);
    memcpy(at + sizeof h + body.n, zero, padded(body.n) - body.n);
    out->n += sizeof h + padded(body.n);
    return 0;
}

int wire_put_json(struct buf *out, enum wire_kind kind, uint64_t id, const json_t *body,
                  struct err *e) {
    char *text = json_dumps(body, JSON_COMPACT);
    if (!text) return err_nomem(e, "engine process");
    const int rc = wire_put_frame(out, kind, id, str_of(text), e);
    free(text);
    return rc;
}

static int put_error(struct buf *out, enum wire_kind kind, const struct err *why, struct err *e) {
    char body[sizeof(struct wire_error) + sizeof why->msg];
    const struct wire_error w = {why->code, (uint32_t)strlen(why->msg)};
    memcpy(body, &w, sizeof w);
    memcpy(body + sizeof w, why->msg, w.n_msg);
    return wire_put_frame(out, kind, 0, (struct str){body, sizeof w + w.n_msg}, e);
}

static int get_error(const struct wire_frame *f, struct err *why, struct err *e) {
    struct wire_error w;
    if (f->body.n < sizeof w) goto broken;
    memcpy(&w, f->body.p, sizeof w);
    if (w.n_msg != f->body.n - sizeof w || w.n_msg >= sizeof why->msg) goto broken;
    if (w.code > WIRE_LAST_ERROR) goto broken;
    err_set(why, (enum err_code)w.code, "%.*s", (int)w.n_msg, f->body.p + sizeof w);
    return 0;
broken:
    return err_set(e, ERR_FORMAT, "engine process: an error that is none");
}

int wire_put_failed(struct buf *out, const struct err *why, struct err *e) {
    return put_error(out, WIRE_FAILED, why, e);
}

int wire_get_failed(const struct wire_frame *f, struct err *why, struct err *e) {
    if (get_error(f, why, e) != 0) return -1;
    return why->code ? 0 : err_set(e, ERR_FORMAT, "engine process: an error that is none");
}

int wire_put_added(struct buf *out, const struct err *why, struct err *e) {
    return put_error(out, WIRE_ADDED, why, e);
}

int wire_get_added(const struct wire_frame *f, struct err *why, struct err *e) {
    return get_error(f, why, e);
}

int wire_put_load(struct buf *out, const struct gen_load *l, struct err *e) {
    const struct wire_load w = {l->n_running, l->n_waiting, l->kv_bytes, l->rss_bytes};
    return wire_put_frame(out, WIRE_LOAD, 0, (struct str){(const char *)&w, sizeof w}, e);
}

int wire_get_load(const struct wire_frame *f, struct gen_load *l, struct err *e) {
    struct wire_load w;
    const uint64_t most = (uint64_t)1 << 50; /* sums of a few of them do not overflow */
    if (f->body.n != sizeof w)
        return err_set(e, ERR_FORMAT, "engine process: a load of %zu bytes", f->body.n);
    memcpy(&w, f->body.p, sizeof w);
    if (w.n_running < 0 || w.n_waiting < 0 || w.kv_bytes > most || w.rss_bytes > most)
        return err_set(e, ERR_FORMAT, "engine process: a load out of range");
    *l = (struct gen_load){w.n_running, w.n_waiting, w.kv_bytes, w.rss_bytes};
    return 0;
}
