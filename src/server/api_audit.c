/* The audit log over HTTP, for commands that find it open in this server: POST /api/audit/prune
 * cuts its oldest entries off, POST /api/audit/isolation puts the report of `cria verify isolation`
 * into it.  What a client says of itself is written with the client's name. */
#include "server/api.h"
#include "server/front_priv.h"

enum { WAIT_MS = 10000, REPORT_MAX = 64 << 10 /* one has 5 KiB */ };

static const struct field prune_fields[] = {
    {.name = "before", .types = FIELD_TEXT, .required = true}, {0}};
static const struct field isolation_fields[] = {
    {.name = "walls", .types = FIELD_OBJECT, .required = true},
    {.name = "tries", .types = FIELD_ARRAY, .required = true},
    {.name = "succeeded", .types = FIELD_INT}, /* is counted here */
    {0}};
static const struct field try_fields[] = {
    {.name = "process", .types = FIELD_TEXT, .required = true},
    {.name = "try", .types = FIELD_TEXT, .required = true},
    {.name = "answer", .types = FIELD_TEXT, .required = true},
    {.name = "refused", .types = FIELD_BOOL, .required = true},
    {0}};

/* False: answered. */
static bool has_log(struct request *r) {
    if (r->server->audit) return true;
    reply_error(r, 404, "there is no audit log; CRIA_AUDIT is off");
    return false;
}

static void post_prune(struct request *r) {
    const json_t *body = api_body(r, NULL);
    struct err e = {0};
    uint64_t n = 0;
    if (!body || !has_log(r)) return;
    if (audit_prune(r->server->audit, field_text(body, "before"), &n, &e) != 0)
        reply_err(r, &e);
    else
        reply_json(r, 200, json_pack("{s:I}", "pruned", (json_int_t)n));
}

/* ---- isolation ---- */

/* What is known of one attempt, appended to `list`. */
static int take_try(json_t *one, size_t i, json_t *list, int *n_through, struct fault *f) {
    char where[FIELD_PATH];
    field_path(where, "tries[%zu].", i);
    if (!json_is_object(one))
        return fault_set(f, ERR_USAGE, "tries", "found %s; objects are accepted", field_kind(one));
    if (field_check(one, where, try_fields, f) != 0) return -1;
    json_t *out = json_object();
    for (const struct field *t = try_fields; out && t->name; t++)
        field_copy(out, one, t->name);
    *n_through += !field_true(one, "refused");
    return json_array_append_new(list, out) == 0 ? 0 : fault_nomem(f);
}

/* The report as it is written, new. */
static json_t *take_report(const json_t *body, struct fault *f) {
    const json_t *tries = field_get(body, "tries");
    json_t *list = json_array(), *one;
    int n_through = 0, rc = list ? 0 : fault_nomem(f);
    size_t i;
    json_array_foreach(tries, i, one) {
        if (rc == 0) rc = take_try(one, i, list, &n_through, f);
    }
    if (rc == 0)
        return json_pack("{s:O, s:o, s:i}", "walls", field_get(body, "walls"), "tries", list,
                         "succeeded", n_through);
    json_decref(list);
    return NULL;
}

/* Answered when it is on the disk: who asks next finds it there. */
static int tell_isolation(struct request *r, const json_t *report, struct err *e) {
    struct audit *a = r->server->audit;
    struct audit_entry x;
    audit_entry_begin(&x, "isolation");
    audit_text(&x.text, "id", r->id);
    audit_text(&x.text, "key", r->user);
    audit_json(&x.text, "report", report);
    struct audit_ticket *t = audit_put_ticket(a, &x, e);
    const int rc = t ? audit_wait(a, t, WAIT_MS, e) : -1;
    audit_ticket_free(a, t);
    return rc;
}

static void post_isolation(struct request *r) {
    struct fault f;
    const json_t *body = api_body(r, &f);
    if (!body || !has_log(r)) return;
    if (r->n_json > REPORT_MAX) {
        reply_error(r, 413, "found a report of %zu bytes; up to %d are accepted", r->n_json,
                    REPORT_MAX);
        return;
    }
    json_t *report = take_report(body, &f);
    if (!report && !f.err.code) fault_nomem(&f);
    if (report && tell_isolation(r, report, &f.err) == 0)
        reply_status(r, 200);
    else
        reply_err(r, &f.err);
    json_decref(report);
}

const struct route routes_audit[] = {
    {HTTP_POST, "/api/audit/prune", RIGHT_ADMIN, DIALECT_OLLAMA, BODY_MAX, post_prune, NULL,
     prune_fields},
    {HTTP_POST, "/api/audit/isolation", RIGHT_ADMIN, DIALECT_OLLAMA, BODY_MAX, post_isolation, NULL,
     isolation_fields},
    {.path = NULL},
};
