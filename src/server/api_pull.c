/* /api/pull and /api/push: models from and to registries, with their progress as a stream. */
#include "policy/leave.h"
#include "server/job.h"
#include "server/store_routes.h"
#include "store/registry.h"

const struct field store_transfer_fields[] = {
    API_MODEL,
    {.name = "insecure", .types = FIELD_BOOL},
    {.name = "stream", .types = FIELD_BOOL},
    {.name = "username", .types = FIELD_ANY}, /* of old clients: mean nothing any more */
    {.name = "password", .types = FIELD_ANY},
    {0}};

struct transfer {
    struct name name;
    bool push, insecure;
};

static void say(void *ctx, const struct registry_event *ev) {
    job_say(ctx, ev->status, ev->digest, ev->total, ev->completed);
}

static int work(struct job *j, void *ctx, struct err *e) {
    const struct transfer *t = ctx;
    struct store *s = server_store(request_server(j->r));
    const struct registry_opts o = {.insecure = t->insecure, .stop = &j->stop};
    return t->push ? registry_push(s, &t->name, &o, say, j, e)
                   : registry_pull(s, &t->name, &o, NULL, say, j, e);
}

/* What is not here cannot be pushed: said before the stream begins.  False: answered. */
static bool check_there(struct request *r, const struct name *n, const char *model) {
    struct manifest m = {0};
    struct err e = {0};
    const int rc = store_get(server_store(request_server(r)), n, NULL, &m, &e);
    manifest_fini(&m);
    if (rc == 0) return true;
    if (e.code == ERR_NOT_FOUND)
        reply_error(r, 404, "model '%s' not found", model);
    else
        reply_err(r, &e);
    return false;
}

static void begin(struct request *r, bool push) {
    const char *model;
    struct name n;
    struct err e = {0};
    const json_t *body = api_read(r, &model, &n);
    if (!body) return;
    if (push && !check_there(r, &n, model)) return;
    if (policy_check_leaving(push ? "push" : "pull", &e) != 0) {
        reply_err(r, &e);
        return;
    }
    struct transfer t = {n, push, field_bool(body, "insecure", false)};
    struct job j = {.r = r, .stream = field_bool(body, "stream", true)};
    job_run(&j, work, &t);
}

void store_pull(struct request *r) {
    begin(r, false);
}

void store_push(struct request *r) {
    begin(r, true);
}
