/* Pull: the manifest, the blobs that are missing, then the manifest under its name. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "store/download.h"

enum { UNUSED_GRACE_S = 3600 }; /* as Ollama: a younger blob may belong to a model in the making */

struct pull {
    struct registry r;
    struct store *s;
    registry_event_fn *say;
    void *ctx;
    char digest[DIGEST_TEXT], status[32]; /* of the blob on its way */
    uint64_t total, shown;
};

static void tell(struct pull *p, const char *status) {
    p->say(p->ctx, &(struct registry_event){.status = status});
}

static void tell_bytes(void *ctx, uint64_t done) {
    struct pull *p = ctx;
    if (done > p->shown) p->shown = done;
    p->say(p->ctx, &(struct registry_event){p->status, p->digest, p->total, p->shown});
}

/* ---- the manifest ---- */

static int ask_manifest(struct pull *p, const struct name *n, struct net_answer *a, struct err *e) {
    static const char *const accept[] = {"Accept: " MEDIA_MANIFEST};
    char path[DIGEST_TEXT + NAME_PART_MAX + 16];
    struct net_request q = {
        .header = accept, .n_header = 1, .max_bytes = MANIFEST_MAX_BYTES, .same_host = true};
    if (n->pin.hex[0])
        snprintf(path, sizeof path, "/manifests/sha256:%s", n->pin.hex);
    else
        snprintf(path, sizeof path, "/manifests/%s", n->tag);
    return registry_ask_often(&p->r, path, &q, a, e);
}

/* "3b-q8_0" -> "3b-instruct-q8_0": how registries mostly write it. */
static bool longer_tag(struct name *n) {
    char longer[NAME_PART_MAX + 1];
    const size_t size = strspn(n->tag, "0123456789.");
    if (size == 0 || (n->tag[size] != 'b' && n->tag[size] != 'm') || n->tag[size + 1] != '-')
        return false;
    const int head = (int)size + 1;
    if (strstr(n->tag, "instruct") || snprintf(longer, sizeof longer, "%.*s-instruct%s", head,
                                               n->tag, n->tag + head) >= (int)sizeof longer)
        return false;
    memcpy(n->tag, longer, sizeof longer);
    return true;
}

static int fetch_manifest(struct pull *p, const struct name *n, struct name *took,
                          struct manifest *m, struct err *e) {
    struct net_answer a;
    *took = *n;
    *m = (struct manifest){0};
    int rc = ask_manifest(p, took, &a, e);
    if (rc == 0 && a.status == 404 && n->has_tag && longer_tag(took)) {
        net_answer_fini(&a);
        rc = ask_manifest(p, took, &a, e);
    }
    if (rc != 0 && e->code == ERR_NOT_FOUND)
        e->code = ERR_IO; /* nobody said that it is not there */
    if (rc == 0 && a.status == 404)
        rc = err_set(e, ERR_NOT_FOUND, "pull model manifest: file does not exist");
    else if (rc == 0 && a.status != 200)
        rc = registry_refused("pull model manifest", &a, e);
    if (rc == 0) rc = manifest_parse("manifest", a.body.p ? a.body.p : "", a.body.n, m, e);
    if (rc == 0 && n->pin.hex[0] && !digest_eq(&n->pin, &m->id))
        rc = err_set(e, ERR_FORMAT, "manifest: want sha256:%s, got sha256:%s", n->pin.hex,
                     m->id.hex);
    if (rc == 0 && m->n_layer == 0) rc = err_set(e, ERR_FORMAT, "manifest: it has no layers");
    net_answer_fini(&a);
    return rc;
}

/* ---- the blobs ---- */

static int fetch_blob(struct pull *p, struct lease *l, const struct layer *blob, struct err *e) {
    digest_format(&blob->digest, p->digest);
    snprintf(p->status, sizeof p->status, "pulling %.12s", blob->digest.hex);
    p->total = blob->n_bytes, p->shown = 0;
    tell_bytes(p, 0);
    if (download_blob(&p->r, p->s, l, blob, tell_bytes, p, e) != 0) return -1;
    tell_bytes(p, blob->n_bytes);
    return 0;
}

static int fetch_blobs(struct pull *p, struct lease *l, const struct manifest *m, struct err *e) {
    for (int i = 0; i < m->n_layer; i++)
        if (fetch_blob(p, l, &m->layer[i], e) != 0) return -1;
    return fetch_blob(p, l, &m->config, e);
}

static int pull(struct pull *p, const struct name *n, struct name *took, struct err *e) {
    struct manifest m;
    struct store_gc removed;
    struct lease *l = NULL;
    tell(p, "pulling manifest");
    int rc = fetch_manifest(p, n, took, &m, e);
    if (rc == 0) rc = (l = store_lease(p->s, e)) ? 0 : -1;
    if (rc == 0) rc = download_check_room(p->s, &m, e);
    if (rc == 0) rc = fetch_blobs(p, l, &m, e);
    if (rc == 0) {
        tell(p, "verifying sha256 digest"); /* they were, each before it got its name */
        tell(p, "writing manifest");
        rc = store_put(p->s, n, m.bytes, e);
    }
    store_lease_end(l);
    manifest_fini(&m);
    if (rc != 0) return -1;
    tell(p, "removing unused layers");
    (void)store_collect(p->s, UNUSED_GRACE_S, false, &removed,
                        NULL); /* the model is there anyway */
    tell(p, "success");
    return 0;
}

int registry_pull(struct store *s, const struct name *n, const struct registry_opts *o,
                  struct name *took, registry_event_fn *say, void *ctx, struct err *e) {
    struct pull p = {.s = s, .say = say, .ctx = ctx};
    struct name unused;
    int rc = registry_open(&p.r, n, o, e);
    if (rc == 0) rc = pull(&p, n, took ? took : &unused, e);
    registry_close(&p.r);
    return rc;
}
