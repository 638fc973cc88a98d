/* Blobs of clients that are about to create a model: to disk as they come, hashed on the way, in
 * place only when they are what their name says. */
#include <stdlib.h>
#include <string.h>

#include "server/store_routes.h"
#include "store/store.h"

/* False: the request was answered. */
static bool take_digest(struct request *r, struct digest *d) {
    if (digest_parse(str_of(request_param(r)), d, NULL) == 0) return true;
    reply_error(r, 400, "invalid digest format; \"sha256:\" and 64 hex digits are accepted");
    return false;
}

void store_head_blob(struct request *r) {
    char path[STORE_PATH];
    struct digest d;
    if (!take_digest(r, &d)) return;
    reply_status(r, store_blob(server_store(request_server(r)), &d, path, NULL, NULL) == 0 ? 200
                                                                                           : 404);
}

/* An upload under way. */
struct upload {
    struct digest digest;
    struct lease *lease;
    struct blob_writer *writer; /* NULL: the blob is there already, what comes is dropped */
};

static void upload_free(struct upload *u) {
    if (!u) return;
    blob_writer_abort(u->writer);
    store_lease_end(u->lease);
    free(u);
}

static int open_upload(struct request *r, void **sink, struct err *e) {
    struct store *s = server_store(request_server(r));
    const int64_t n = request_head(r)->n_body_bytes;
    char path[STORE_PATH];
    struct digest d;
    if (digest_parse(str_of(request_param(r)), &d, NULL) != 0)
        return err_set(e, ERR_FORMAT,
                       "invalid digest format; \"sha256:\" and 64 hex digits are accepted");
    struct upload *u = calloc(1, sizeof *u);
    if (!u) return err_nomem(e, "blob");
    u->digest = d;
    if (store_blob(s, &d, path, NULL, NULL) != 0) {
        u->lease = store_lease(s, e);
        if (u->lease) u->writer = blob_writer_new(u->lease, &d, n > 0 ? (uint64_t)n : 0, e);
        if (!u->writer) {
            upload_free(u);
            return -1;
        }
    }
    *sink = u;
    return 0;
}

static int write_upload(void *sink, struct str piece, struct err *e) {
    struct upload *u = sink;
    return u->writer ? blob_writer_add(u->writer, piece.p, piece.n, e) : 0;
}

static void abort_upload(void *sink) {
    upload_free(sink);
}

const struct body_sink store_blob_sink = {open_upload, write_upload, abort_upload};

void store_post_blob(struct request *r) {
    struct upload *u = request_sink(r);
    struct err e = {0};
    const bool fresh = u->writer != NULL;
    struct digest got;
    int rc = 0;
    if (fresh) rc = blob_writer_finish(u->writer, &got, &e);
    u->writer = NULL;
    upload_free(u);
    if (rc == 0)
        reply_status(r, fresh ? 201 : 200);
    else
        reply_err(r, &e);
}
