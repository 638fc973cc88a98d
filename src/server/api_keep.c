/* What the server keeps: GET /api/data lists it, POST /api/forget wipes it (not the audit log,
 * which is told). */
#include "server/api.h"
#include "server/front_priv.h"
#include "server/keep.h"

static const struct field forget_fields[] = {{.name = "responses", .types = FIELD_BOOL},
                                             {.name = "cache", .types = FIELD_BOOL},
                                             {.name = "prefix_cache", .types = FIELD_BOOL},
                                             {.name = "history", .types = FIELD_BOOL},
                                             {0}};

/* As they are now. */
static struct settings settings_of(struct server *s) {
    pthread_mutex_lock(&s->lock);
    const struct settings t = s->settings;
    pthread_mutex_unlock(&s->lock);
    return t;
}

static void get_data(struct request *r) {
    struct err e = {0};
    const struct settings t = settings_of(r->server);
    json_t *list = keep_list(&t, &e);
    if (list)
        reply_json(r, 200, json_pack("{s:o}", "data", list));
    else
        reply_err(r, &e);
}

static void tell(struct request *r, const json_t *done, int rc) {
    struct audit_entry x;
    if (!r->server->audit) return;
    audit_entry_begin(&x, "forget");
    audit_text(&x.text, "id", r->id);
    audit_text(&x.text, "key", r->user);
    audit_text(&x.text, "outcome", rc == 0 ? "done" : "failed");
    audit_json(&x.text, "wiped", done);
    audit_put(r->server->audit, &x);
}

static void post_forget(struct request *r) {
    const json_t *body = api_body(r, NULL);
    struct err e = {0};
    json_t *done = NULL;
    if (!body) return;
    const struct settings t = settings_of(r->server);
    const unsigned what = (field_true(body, "responses") ? (unsigned)KEEP_RESPONSES : 0) |
                          (field_true(body, "cache") ? (unsigned)KEEP_CACHE : 0) |
                          (field_true(body, "prefix_cache") ? (unsigned)KEEP_PREFIX : 0);
    const bool history = field_true(body, "history"); /* the client's: it has wiped it */
    if (!what && !history) {
        reply_error(r, 400, "one of responses, cache, prefix_cache, history must be true");
        return;
    }
    const int rc = keep_forget(&t, what, &done, &e);
    if (rc == 0 && history) json_object_set_new(done, "history", json_integer(1));
    tell(r, done, rc);
    if (rc == 0) {
        reply_json(r, 200, done);
        return;
    }
    json_decref(done);
    reply_err(r, &e);
}

const struct route routes_keep[] = {
    {HTTP_GET, "/api/data", RIGHT_ADMIN, DIALECT_OLLAMA, 0, get_data, NULL, NULL},
    {HTTP_POST, "/api/forget", RIGHT_ADMIN, DIALECT_OLLAMA, BODY_MAX, post_forget, NULL,
     forget_fields},
    {.path = NULL},
};
