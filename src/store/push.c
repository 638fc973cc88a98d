/* Push: every blob that the registry does not have, then the manifest (COMPAT.md 4.4). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/upload.h"

struct push {
    struct registry r;
    struct store *s;
    const struct name *name;
    registry_event_fn *say;
    void *ctx;
    struct store_entry *models; /* newest first; owned */
    int n_models;
    char digest[DIGEST_TEXT], status[32]; /* of the blob on its way */
    uint64_t n_bytes, shown;              /* of it, and told */
};

static void tell(struct push *p, const char *status) {
    p->say(p->ctx, &(struct registry_event){.status = status});
}

static void tell_bytes(void *ctx, uint64_t done) {
    struct push *p = ctx;
    if (done > p->shown) p->shown = done;
    p->say(p->ctx, &(struct registry_event){p->status, p->digest, p->n_bytes, p->shown});
}

/* ---- where a blob may be mounted from ---- */

static bool is_elsewhere(const struct push *p, const struct name *n) {
    return strcmp(n->host, p->name->host) == 0 &&
           (strcasecmp(n->space, p->name->space) != 0 || strcasecmp(n->model, p->name->model) != 0);
}

static bool has_blob(struct store *s, const struct name *n, const struct digest *d) {
    struct manifest m;
    bool has = store_get(s, n, NULL, &m, NULL) == 0;
    bool named = has && digest_eq(&m.config.digest, d);
    for (int i = 0; has && i < m.n_layer; i++)
        named = named || digest_eq(&m.layer[i].digest, d);
    manifest_fini(&m);
    return named;
}

/* The repository that the manifest says, else the oldest model here of the same registry that has
 * the blob: what others were made from.  No name goes to a registry that is not its own. */
static void find_mount(struct push *p, const struct layer *blob, char *out, size_t n) {
    struct name from;
    const struct name *found = NULL;
    if (blob->from && name_parse(blob->from, &from, NULL) == 0 && is_elsewhere(p, &from))
        found = &from;
    for (int i = p->n_models - 1; i >= 0 && !found; i--)
        if (is_elsewhere(p, &p->models[i].name) &&
            has_blob(p->s, &p->models[i].name, &blob->digest))
            found = &p->models[i].name;
    if (found) snprintf(out, n, "%s/%s", found->space, found->model);
}

/* ---- the parts ---- */

static int push_blob(struct push *p, const struct layer *blob, struct err *e) {
    char path[STORE_PATH];
    struct upload u = {.r = &p->r, .blob = blob, .path = path, .progress = tell_bytes, .ctx = p};
    p->n_bytes = blob->n_bytes, p->shown = 0;
    digest_format(&blob->digest, p->digest);
    snprintf(p->status, sizeof p->status, "pushing %.12s", blob->digest.hex);
    if (store_blob(p->s, &blob->digest, path, NULL, e) != 0) return -1;
    tell_bytes(p, 0);
    find_mount(p, blob, u.mount, sizeof u.mount);
    if (upload_blob(&u, e) != 0) return -1;
    tell_bytes(p, blob->n_bytes);
    return 0;
}

static int push_manifest(struct push *p, const struct manifest *m, struct err *e) {
    static const char *const type[] = {"Content-Type: " MEDIA_MANIFEST};
    char path[NAME_PART_MAX + 16];
    struct net_answer a;
    struct net_request q = {
        .method = NET_PUT, .header = type, .n_header = 1, .body = m->bytes, .same_host = true};
    snprintf(path, sizeof path, "/manifests/%s", p->name->tag);
    int rc = registry_ask_often(&p->r, path, &q, &a, e);
    if (rc == 0 && a.status != 201 && a.status != 200) rc = registry_refused("manifest", &a, e);
    net_answer_fini(&a);
    return rc;
}

static int push(struct push *p, struct err *e) {
    struct manifest m;
    struct lease *l = NULL;
    tell(p, "retrieving manifest");
    int rc = store_get(p->s, p->name, NULL, &m, e);
    if (rc == 0) rc = store_list(p->s, NULL, &p->models, &p->n_models, e);
    if (rc == 0) rc = (l = store_lease(p->s, e)) ? 0 : -1;
    for (int i = -1; rc == 0 && i < m.n_layer; i++) {
        const struct layer *blob = i < 0 ? &m.config : &m.layer[i];
        rc = store_lease_add(l, &blob->digest, e);
        if (rc == 0) rc = push_blob(p, blob, e);
    }
    if (rc == 0) tell(p, "pushing manifest");
    if (rc == 0) rc = push_manifest(p, &m, e);
    if (rc == 0) tell(p, "success");
    store_lease_end(l);
    manifest_fini(&m);
    return rc;
}

int registry_push(struct store *s, const struct name *n, const struct registry_opts *o,
                  registry_event_fn *say, void *ctx, struct err *e) {
    struct push p = {.s = s, .name = n, .say = say, .ctx = ctx};
    int rc = registry_open(&p.r, n, o, e);
    if (rc == 0) rc = push(&p, e);
    registry_close(&p.r);
    free(p.models);
    return rc;
}
