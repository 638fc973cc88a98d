/* Push: every blob that the registry does not have in an upload of its own, then the manifest
 * (COMPAT.md 4.4; OCI distribution specification, "push"). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/registry_priv.h"

#define CHUNK_BYTES ((uint64_t)100 << 20)

struct push {
    struct registry r;
    struct store *s;
    registry_event_fn *say;
    void *ctx;
    char digest[DIGEST_TEXT], status[32];
    const struct layer *blob; /* on its way */
    int fd;                   /* of its file */
    uint64_t from, at, shown; /* of the chunk, of the next byte, told */
};

static void tell(struct push *p, const char *status) {
    p->say(p->ctx, &(struct registry_event){.status = status});
}

static void tell_bytes(struct push *p, uint64_t done) {
    if (done > p->shown) p->shown = done;
    p->say(p->ctx, &(struct registry_event){p->status, p->digest, p->blob->n_bytes, p->shown});
}

static int64_t on_read(void *ctx, void *bytes, size_t n, struct err *e) {
    struct push *p = ctx;
    const ssize_t k = pread(p->fd, bytes, n, (off_t)p->at);
    if (k < 0) return err_errno(e, p->digest);
    p->at += (uint64_t)k;
    tell_bytes(p, p->at);
    return k;
}

static int on_rewind(void *ctx, struct err *e) {
    struct push *p = ctx;
    (void)e;
    p->at = p->from;
    return 0;
}

/* Where the next request of an upload goes: the answer's, else as before. */
static int move_on(char **to, const struct net_answer *a, struct err *e) {
    const char *next = a->upload_location ? a->upload_location : a->location;
    if (!next) return *to ? 0 : err_set(e, ERR_FORMAT, "upload: the registry said no place for it");
    free(*to);
    *to = strdup(next);
    return *to ? 0 : err_nomem(e, "upload");
}

/* An upload may go on at the registry only: the token goes with it. */
static int check_place(const struct push *p, const char *to, struct err *e) {
    struct net_url u;
    if (net_url_parse(to, &u, e) != 0) return -1;
    if (net_url_same_origin(&u, &p->r.host)) return 0;
    return err_set(e, ERR_LIMIT,
                   "upload: the registry sends us to %.200s; only its own address is accepted", to);
}

static int send_chunk(struct push *p, char **to, uint64_t n, struct err *e) {
    char range[64];
    const char *header[] = {"Content-Type: application/octet-stream", range};
    struct net_answer a;
    struct net_request q = {.method = NET_PATCH,
                            .header = header,
                            .n_header = 2,
                            .read = on_read,
                            .rewind = on_rewind,
                            .body_bytes = n,
                            .ctx = p,
                            .same_host = true};
    snprintf(range, sizeof range, "Content-Range: %llu-%llu", (unsigned long long)p->from,
             (unsigned long long)(p->from + n - 1));
    p->at = p->from;
    int rc = check_place(p, *to, e);
    if (rc != 0) return -1;
    rc = registry_ask(&p->r, *to, &q, &a, e);
    if (rc == 0 && a.status != 202) rc = registry_refused("upload", &a, e);
    if (rc == 0) rc = move_on(to, &a, e);
    net_answer_fini(&a);
    p->from += n;
    return rc;
}

static int finish_upload(struct push *p, const char *to, struct err *e) {
    struct buf url = {0};
    struct net_answer a;
    struct net_request q = {.method = NET_PUT, .same_host = true};
    buf_printf(&url, "%s%sdigest=sha256%%3A%s", to, strchr(to, '?') ? "&" : "?",
               p->blob->digest.hex);
    int rc = url.failed ? err_nomem(e, "upload") : check_place(p, to, e);
    if (rc == 0) {
        rc = registry_ask_often(&p->r, url.p, &q, &a, e);
        if (rc == 0 && a.status != 201 && a.status != 204) rc = registry_refused("upload", &a, e);
        net_answer_fini(&a);
    }
    buf_fini(&url);
    return rc;
}

static int upload(struct push *p, struct err *e) {
    struct net_answer a;
    struct net_request q = {.method = NET_POST, .same_host = true};
    char *to = NULL;
    int rc = registry_ask_often(&p->r, "/blobs/uploads/", &q, &a, e);
    if (rc == 0 && a.status != 202) rc = registry_refused("upload", &a, e);
    if (rc == 0) rc = move_on(&to, &a, e);
    net_answer_fini(&a);
    p->from = 0;
    while (rc == 0 && p->from < p->blob->n_bytes) {
        const uint64_t left = p->blob->n_bytes - p->from;
        rc = send_chunk(p, &to, left < CHUNK_BYTES ? left : CHUNK_BYTES, e);
    }
    if (rc == 0) rc = finish_upload(p, to, e);
    free(to);
    return rc;
}

/* A lost session begins anew: the registry keeps no half blobs that we could rely on. */
static int upload_often(struct push *p, struct err *e) {
    for (int tries = 1;; tries++) {
        if (upload(p, e) == 0) return 0;
        if (e->code != ERR_IO || tries == REGISTRY_TRIES) return -1;
        if (registry_wait(&p->r, tries, 0, e) != 0) return -1;
    }
}

static int push_blob(struct push *p, const struct layer *blob, struct err *e) {
    char path[STORE_PATH];
    struct net_answer a;
    struct net_request q = {.method = NET_HEAD};
    p->blob = blob, p->shown = 0;
    digest_format(&blob->digest, p->digest);
    snprintf(p->status, sizeof p->status, "pushing %.12s", blob->digest.hex);
    if (store_blob(p->s, &blob->digest, path, NULL, e) != 0) return -1;
    tell_bytes(p, 0);
    char at[DIGEST_TEXT + 16];
    snprintf(at, sizeof at, "/blobs/%s", p->digest);
    int rc = registry_ask_often(&p->r, at, &q, &a, e);
    const bool there = rc == 0 && a.status == 200;
    if (rc == 0 && !there && a.status != 404) rc = registry_refused("blob", &a, e);
    net_answer_fini(&a);
    if (rc == 0 && !there) {
        p->fd = open(path, O_RDONLY | O_CLOEXEC);
        rc = p->fd < 0 ? err_errno(e, path) : upload_often(p, e);
        if (p->fd >= 0) close(p->fd);
    }
    if (rc == 0) tell_bytes(p, blob->n_bytes);
    return rc;
}

static int push_manifest(struct push *p, const struct name *n, const struct manifest *m,
                         struct err *e) {
    static const char *const type[] = {"Content-Type: " MEDIA_MANIFEST};
    char path[NAME_PART_MAX + 16];
    struct net_answer a;
    struct net_request q = {
        .method = NET_PUT, .header = type, .n_header = 1, .body = m->bytes, .same_host = true};
    snprintf(path, sizeof path, "/manifests/%s", n->tag);
    int rc = registry_ask_often(&p->r, path, &q, &a, e);
    if (rc == 0 && a.status != 201 && a.status != 200) rc = registry_refused("manifest", &a, e);
    net_answer_fini(&a);
    return rc;
}

static int push(struct push *p, const struct name *n, struct err *e) {
    struct manifest m;
    struct lease *l = NULL;
    tell(p, "retrieving manifest");
    int rc = store_get(p->s, n, NULL, &m, e);
    if (rc == 0) rc = (l = store_lease(p->s, e)) ? 0 : -1;
    for (int i = -1; rc == 0 && i < m.n_layer; i++) {
        const struct layer *blob = i < 0 ? &m.config : &m.layer[i];
        rc = store_lease_add(l, &blob->digest, e);
        if (rc == 0) rc = push_blob(p, blob, e);
    }
    if (rc == 0) tell(p, "pushing manifest");
    if (rc == 0) rc = push_manifest(p, n, &m, e);
    if (rc == 0) tell(p, "success");
    store_lease_end(l);
    manifest_fini(&m);
    return rc;
}

int registry_push(struct store *s, const struct name *n, const struct registry_opts *o,
                  registry_event_fn *say, void *ctx, struct err *e) {
    struct push p = {.s = s, .say = say, .ctx = ctx};
    int rc = registry_open(&p.r, n, o, e);
    if (rc == 0) rc = push(&p, n, e);
    registry_close(&p.r);
    return rc;
}
