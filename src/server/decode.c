/* See decode.h. */
#include "server/decode.h"

#include <zlib.h>
#include <zstd.h>

#include "net/http_head.h"

enum { STEP = 64 << 10 };

enum coding decode_coding(struct str v) {
    if (http_is(v, "identity") || v.n == 0) return CODING_NONE;
    if (http_is(v, "gzip") || http_is(v, "x-gzip")) return CODING_GZIP;
    return http_is(v, "zstd") ? CODING_ZSTD : CODING_UNKNOWN;
}

static int broken(struct err *e, const char *what) {
    return err_set(e, ERR_FORMAT, "request body: broken %s data", what);
}

/* Room for a step more, or ERR_LIMIT. */
static char *room(struct buf *out, size_t n_in, size_t max, struct err *e) {
    const size_t by_ratio = n_in > max / DECODE_RATIO ? max : n_in * DECODE_RATIO;
    const size_t most = by_ratio < DECODE_FREE ? DECODE_FREE : by_ratio;
    if (out->n > max || out->n > most) {
        err_set(e, ERR_LIMIT,
                "request body: decompressed it is larger than the %zu bytes that are accepted",
                max < most ? max : most);
        return NULL;
    }
    char *p = buf_room(out, STEP);
    if (!p) err_nomem(e, "request body");
    return p;
}

static int inflate_all(struct str in, size_t max, struct buf *out, struct err *e) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n};
    int rc, done = -1;
    if (in.n > UINT32_MAX / 2) return err_set(e, ERR_LIMIT, "request body: too large");
    if (inflateInit2(&z, 15 + 16) != Z_OK) return err_nomem(e, "request body"); /* gzip only */
    for (;;) {
        char *p = room(out, in.n, max, e);
        if (!p) break;
        z.next_out = (Bytef *)p;
        z.avail_out = STEP;
        rc = inflate(&z, Z_NO_FLUSH);
        out->n += STEP - z.avail_out;
        if (rc == Z_STREAM_END) {
            done = z.avail_in == 0 ? 0 : broken(e, "gzip"); /* one member, nothing behind it */
            break;
        }
        if (rc != Z_OK || (z.avail_in == 0 && z.avail_out)) {
            broken(e, "gzip");
            break;
        }
    }
    inflateEnd(&z);
    return done;
}

static int unzstd_all(struct str in, size_t max, struct buf *out, struct err *e) {
    ZSTD_DCtx *d = ZSTD_createDCtx();
    ZSTD_inBuffer src = {in.p, in.n, 0};
    int done = -1;
    if (!d) return err_nomem(e, "request body");
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, DECODE_WINDOW_LOG);
    for (;;) {
        char *p = room(out, in.n, max, e);
        if (!p) break;
        ZSTD_outBuffer dst = {p, STEP, 0};
        const size_t rc = ZSTD_decompressStream(d, &dst, &src);
        out->n += dst.pos;
        if (rc == 0) {
            done = src.pos == src.size ? 0 : broken(e, "zstd");
            break;
        }
        if (ZSTD_isError(rc) || (src.pos == src.size && dst.pos < STEP)) {
            broken(e, "zstd");
            break;
        }
    }
    ZSTD_freeDCtx(d);
    return done;
}

int decode_body(enum coding c, struct str in, size_t max, struct buf *out, struct err *e) {
    const int rc = c == CODING_GZIP ? inflate_all(in, max, out, e) : unzstd_all(in, max, out, e);
    if (rc != 0 || out->n <= max) return rc;
    return err_set(e, ERR_LIMIT,
                   "request body: decompressed it is larger than the %zu bytes that are accepted",
                   max);
}
