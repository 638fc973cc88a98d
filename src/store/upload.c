/* An upload session: POST (or mounted, then all is done), PATCH by PATCH, PUT with the digest.
 *
 * A registry may answer a PATCH with 307 and the address of a storage that takes the chunk by PUT:
 * the chunk goes there, by the rules for redirects and without the token; the session stays at the
 * registry.  After a broken chunk the session is asked how far it is.  docker-registry 2.8 gives a
 * session up when a chunk breaks inside of it (a proxy that buffers bodies keeps that from it). */
#include "store/upload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

/* Bodies that are too large for a proxy are halved down to the least (nginx takes 1 MB, unless it
 * is told otherwise). */
#define CHUNK_BYTES ((uint64_t)100 << 20)
#define LEAST_CHUNK_BYTES ((uint64_t)512 << 10)

struct session {
    const struct upload *u;
    int fd;
    char *to;                 /* where it goes on; NULL: mounted, there is no session */
    uint64_t from, at, chunk; /* next byte to send; next of the body; most bytes of a PATCH */
    bool has_broken;          /* the registry's word was taken for how far it is */
    EVP_MD_CTX *md5, *sums;   /* of a chunk for a storage; of those */
    int n_stored, n_sent;     /* chunks that a storage took; all */
};

/* What became of a step: -1 is the end, with the error set as for these two. */
enum { DONE = 0, BROKEN = 1 /* ask how far it is */, LOST = 2 /* begin anew */ };

static int64_t on_read(void *ctx, void *bytes, size_t n, struct err *e) {
    struct session *s = ctx;
    const ssize_t k = pread(s->fd, bytes, n, (off_t)s->at);
    if (k < 0) return err_errno(e, s->u->path);
    if (s->md5) EVP_DigestUpdate(s->md5, bytes, (size_t)k);
    s->at += (uint64_t)k;
    s->u->progress(s->u->ctx, s->at);
    return k;
}

static int on_rewind(void *ctx, struct err *e) {
    struct session *s = ctx;
    (void)e;
    s->at = s->from;
    if (s->md5) EVP_DigestInit_ex(s->md5, EVP_md5(), NULL);
    return 0;
}

/* Where the next request of an upload goes: the answer's, else as before. */
static int move_on(struct session *s, const char *next, struct err *e) {
    struct net_url u;
    if (!next)
        return s->to ? 0 : err_set(e, ERR_FORMAT, "upload: the registry said no place for it");
    /* At the registry only: the token goes with it. */
    if (net_url_parse(next, &u, e) != 0) return -1;
    if (!net_url_same_origin(&u, &s->u->r->host))
        return err_set(e, ERR_LIMIT,
                       "upload: the registry sends us to %.200s; only its own address is accepted",
                       next);
    char *to = strdup(next);
    if (!to) return err_nomem(e, "upload");
    free(s->to);
    s->to = to;
    return 0;
}

static const char *next_place(const struct net_answer *a) {
    return a->upload_location ? a->upload_location : a->location;
}

static bool passes(int status) { /* with time */
    return status == 408 || status == 429 || status >= 500;
}

/* Without an answer.  That nobody is there passes, too: somebody was. */
static int may_pass(const struct err *e) {
    return e->code == ERR_IO || e->code == ERR_NOT_FOUND ? BROKEN : -1;
}

/* ---- the beginning ---- */

static int begin(struct session *s, struct err *e) {
    char path[sizeof s->u->mount + DIGEST_TEXT + 64] = "/blobs/uploads/";
    struct net_answer a;
    struct net_request q = {.method = NET_POST, .same_host = true};
    if (s->u->mount[0])
        snprintf(path, sizeof path, "/blobs/uploads/?mount=sha256%%3A%s&from=%s",
                 s->u->blob->digest.hex, s->u->mount);
    int rc = registry_ask_often(s->u->r, path, &q, &a, e);
    if (s->u->mount[0] && (rc != 0 || (a.status != 201 && a.status != 202))) {
        /* No such repository, or none that we may read: as if it had not been asked for. */
        net_answer_fini(&a);
        rc = registry_ask_often(s->u->r, "/blobs/uploads/", &q, &a, e);
    }
    const bool mounted = rc == 0 && a.status == 201 && s->u->mount[0];
    if (rc == 0 && !mounted && a.status != 202) rc = registry_refused("upload", &a, e);
    if (rc == 0 && !mounted) rc = move_on(s, next_place(&a), e);
    net_answer_fini(&a);
    return rc;
}

/* ---- a chunk ---- */

static uint64_t chunk_of(const struct session *s) {
    const uint64_t left = s->u->blob->n_bytes - s->from;
    return left < s->chunk ? left : s->chunk;
}

static void start_sum(struct session *s) {
    s->md5 = EVP_MD_CTX_new();
    if (s->n_stored == 0) s->sums = EVP_MD_CTX_new();
    if (s->n_stored == 0 && s->sums) EVP_DigestInit_ex(s->sums, EVP_md5(), NULL);
}

static void end_sum(struct session *s, bool stored) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (stored && s->md5 && s->sums && EVP_DigestFinal_ex(s->md5, sum, &n) == 1) {
        EVP_DigestUpdate(s->sums, sum, n);
        s->n_stored++;
    }
    EVP_MD_CTX_free(s->md5);
    s->md5 = NULL;
}

/* To the storage that the answer to a PATCH names. */
static int put_chunk(struct session *s, const struct net_answer *by, struct err *e) {
    const uint64_t n = chunk_of(s);
    int rc = BROKEN;
    start_sum(s);
    for (int tries = 1; rc == BROKEN && tries <= REGISTRY_TRIES; tries++) {
        struct net_answer a = {0};
        struct net_request q = {.method = NET_PUT,
                                .read = on_read,
                                .rewind = on_rewind,
                                .body_bytes = n,
                                .ctx = s,
                                .redirected_by = by};
        if (tries > 1 && registry_wait(s->u->r, tries - 1, 0, e) != 0) break;
        on_rewind(s, e);
        rc = registry_ask(s->u->r, by->location, &q, &a, e);
        if (rc != 0) rc = may_pass(e);
        if (rc == 0 && (a.status < 200 || a.status > 204)) {
            registry_refused("upload to a storage", &a, e);
            rc = passes(a.status) ? BROKEN : -1;
        }
        net_answer_fini(&a);
    }
    end_sum(s, rc == 0);
    return rc == BROKEN ? -1 : rc;
}

/* An answer to a PATCH other than 202. */
static int chunk_refused(struct session *s, const struct net_answer *a, struct err *e) {
    if (a->status == 413 && s->chunk / 2 >= LEAST_CHUNK_BYTES) {
        s->chunk /= 2;
        return DONE; /* so far nothing was sent */
    }
    if (a->status == 413)
        return err_set(
            e, ERR_LIMIT,
            "upload: HTTP 413, a request of %llu KB is too large for a server before the "
            "registry; %llu KB must be accepted (nginx: client_max_body_size)",
            (unsigned long long)chunk_of(s) >> 10, (unsigned long long)LEAST_CHUNK_BYTES >> 10);
    registry_refused("upload", a, e);
    if (a->status == 404) return LOST;
    return passes(a->status) || a->status == 416 ? BROKEN : -1;
}

static int send_chunk(struct session *s, struct err *e) {
    char range[64];
    const char *header[] = {"Content-Type: application/octet-stream", "X-Redirect-Uploads: 1",
                            range};
    struct net_answer a;
    const uint64_t n = chunk_of(s);
    struct net_request q = {.method = NET_PATCH,
                            .header = header,
                            .n_header = sizeof header / sizeof *header,
                            .read = on_read,
                            .rewind = on_rewind,
                            .body_bytes = n,
                            .ctx = s,
                            .keep_redirect = true};
    snprintf(range, sizeof range, "Content-Range: %llu-%llu", (unsigned long long)s->from,
             (unsigned long long)(s->from + n - 1));
    on_rewind(s, e);
    int rc = registry_ask(s->u->r, s->to, &q, &a, e);
    if (rc != 0) rc = may_pass(e);
    if (rc == 0 && a.status == 307 && a.location) {
        rc = put_chunk(s, &a, e);
        if (rc == 0) rc = move_on(s, a.upload_location, e);
        if (rc == 0) s->from += n, s->n_sent++;
    } else if (rc == 0 && a.status == 202) {
        rc = move_on(s, next_place(&a), e);
        if (rc == 0) s->from += n, s->n_sent++;
    } else if (rc == 0) {
        rc = chunk_refused(s, &a, e);
    }
    net_answer_fini(&a);
    return rc;
}

/* How far the registry is; LOST when it does not know the session any more.  e says how it broke.
 */
static int ask_how_far(struct session *s, struct err *e) {
    struct err why;
    struct net_answer a;
    struct net_request q = {.same_host = true};
    int rc = registry_ask(s->u->r, s->to, &q, &a, &why);
    if (rc != 0) {
        rc = may_pass(&why);
        if (rc < 0) *e = why;
    } else if ((a.status == 204 || a.status == 200) && a.received <= s->u->blob->n_bytes) {
        rc = move_on(s, next_place(&a), e);
        s->from = a.received, s->has_broken = true;
    } else {
        rc = passes(a.status) ? BROKEN : LOST;
    }
    net_answer_fini(&a);
    return rc;
}

static int send_chunks(struct session *s, struct err *e) {
    int tries = 0;
    while (s->from < s->u->blob->n_bytes) {
        int rc = send_chunk(s, e);
        if (rc == DONE) tries = 0;
        while (rc == BROKEN) {
            if (++tries == REGISTRY_TRIES) return -1;
            rc = registry_wait(s->u->r, tries, 0, e);
            if (rc == 0) rc = ask_how_far(s, e);
        }
        if (rc != DONE) return rc;
    }
    return 0;
}

/* ---- the end ---- */

/* "MD5 of the chunks' MD5s"-N, as a storage names an object of N parts. */
static void add_etag(struct session *s, struct buf *url) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (s->n_stored == 0 || s->n_stored != s->n_sent || s->has_broken ||
        EVP_DigestFinal_ex(s->sums, sum, &n) != 1)
        return;
    buf_str(url, "&etag=%22");
    for (unsigned i = 0; i < n; i++)
        buf_printf(url, "%02x", sum[i]);
    buf_printf(url, "-%d%%22", s->n_stored);
}

static int finish(struct session *s, struct err *e) {
    struct buf url = {0};
    struct net_answer a = {0};
    struct net_request q = {.method = NET_PUT, .same_host = true};
    buf_printf(&url, "%s%sdigest=sha256%%3A%s", s->to, strchr(s->to, '?') ? "&" : "?",
               s->u->blob->digest.hex);
    add_etag(s, &url);
    int rc = url.failed ? err_nomem(e, "upload") : registry_ask_often(s->u->r, url.p, &q, &a, e);
    if (rc == 0 && a.status != 201 && a.status != 204) {
        registry_refused("upload", &a, e);
        /* 404: perhaps done by a request whose answer was lost.  400: what it had was not what it
         * said. */
        rc = a.status == 404 || (a.status == 400 && s->has_broken) ? LOST : -1;
    }
    net_answer_fini(&a);
    buf_fini(&url);
    return rc;
}

static int run_session(const struct upload *u, int fd, struct err *e) {
    struct session s = {.u = u, .fd = fd, .chunk = CHUNK_BYTES};
    int rc = begin(&s, e);
    if (rc == 0 && s.to) rc = send_chunks(&s, e);
    if (rc == 0 && s.to) rc = finish(&s, e);
    EVP_MD_CTX_free(s.sums);
    free(s.to);
    return rc;
}

/* ---- the whole ---- */

static int is_there(const struct upload *u, bool *there, struct err *e) {
    char at[DIGEST_TEXT + 16];
    struct net_answer a;
    struct net_request q = {.method = NET_HEAD};
    snprintf(at, sizeof at, "/blobs/sha256:%s", u->blob->digest.hex);
    int rc = registry_ask_often(u->r, at, &q, &a, e);
    *there = rc == 0 && a.status == 200;
    if (rc == 0 && !*there && a.status != 404) rc = registry_refused("blob", &a, e);
    net_answer_fini(&a);
    return rc;
}

int upload_blob(const struct upload *u, struct err *e) {
    for (int tries = 1;; tries++) {
        bool there;
        if (is_there(u, &there, e) != 0) return -1;
        if (there) return 0;
        const int fd = open(u->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return err_errno(e, u->path);
        const int rc = run_session(u, fd, e);
        close(fd);
        if (rc == 0) return 0;
        if (rc != LOST || tries == REGISTRY_TRIES) return -1;
        if (registry_wait(u->r, tries, 0, e) != 0) return -1;
    }
}
