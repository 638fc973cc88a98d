/* /api/train: a fine-tune of a model of the store on examples that were sent as a blob.  Data only:
 * names, digests and settings; no path of a client's is opened (SECURITY.md X2, X5).
 *
 *   body -> the commands of a Modelfile (order.h), the settings of tune.h -> what can be wrong
 *   already is refused here -> a training job (trainings.h) */
#include <string.h>

#include "create/tune.h"
#include "server/allow.h"
#include "server/api.h"
#include "server/front_priv.h"
#include "server/order.h"
#include "server/trainings.h"

static const struct field train_fields[] = {
    API_MODEL,
    {.name = "from", .types = FIELD_TEXT, .required = true},
    {.name = "data", .types = FIELD_TEXT, .required = true},
    {.name = "valid", .types = FIELD_TEXT},
    API_OPTIONS,
    {.name = "merge", .types = FIELD_BOOL | FIELD_TEXT},
    {.name = "restart", .types = FIELD_BOOL},
    {.name = "system", .types = FIELD_TEXT},
    {.name = "template", .types = FIELD_TEXT},
    {.name = "license", .types = FIELD_TEXT | FIELD_ARRAY, .apart = true},
    {.name = "parameters", .types = FIELD_OBJECT},
    {.name = "messages", .types = FIELD_ARRAY},
    {.name = "renderer", .types = FIELD_TEXT},
    {.name = "parser", .types = FIELD_TEXT},
    {.name = "requires", .types = FIELD_TEXT},
    {.name = "fallback", .types = FIELD_TEXT},
    {.name = "cache", .types = FIELD_TEXT},
    {.name = "policy", .types = FIELD_TEXT},
    {.name = "stream", .types = FIELD_BOOL},
    {.refusal = "this field is not known here; settings of training are fields of options"}};

/* ---- settings ---- */

/* As tune_set() takes them. */
static bool option_text(const json_t *v, struct buf *out) {
    const json_t *one;
    size_t i;
    if (json_is_string(v)) buf_str(out, json_string_value(v));
    if (json_is_integer(v)) buf_printf(out, "%lld", (long long)json_integer_value(v));
    if (json_is_real(v)) buf_printf(out, "%.17g", json_real_value(v));
    if (json_is_boolean(v)) buf_str(out, json_is_true(v) ? "true" : "false");
    json_array_foreach(v, i, one) {
        if (!json_is_string(one)) return false;
        buf_printf(out, "%s%s", i ? "," : "", json_string_value(one));
    }
    return !out->failed && !json_is_object(v) && (out->n > 0 || json_is_string(v));
}

static int take_option(const char *name, const json_t *v, struct tune_opts *t, json_t *out,
                       struct err *e) {
    char shown[ERR_FIELD];
    struct buf text = {0};
    int rc = 0;
    snprintf(shown, sizeof shown, "options.%.60s", name);
    if (!option_text(v, &text))
        rc = err_set(e, ERR_USAGE, "%s: found %s; a number, boolean or text is accepted", shown,
                     field_kind(v));
    json_t *kept = rc == 0 ? json_stringn(text.p ? text.p : "", text.n) : NULL;
    if (kept && json_object_set_new(out, name, kept) != 0) rc = err_nomem(e, "training");
    /* From the kept one, to which *t points from then on. */
    if (rc == 0) rc = tune_set(t, name, shown, json_string_value(kept), e);
    buf_fini(&text);
    return rc == 0 ? 0 : err_field(e, "%s", shown);
}

static int take_options(const json_t *body, struct tune_opts *t, json_t *out, struct err *e) {
    json_t *options = field_get(body, "options"), *v;
    const char *name;
    json_object_foreach(options, name, v) {
        if (!json_is_null(v) && take_option(name, v, t, out, e) != 0) return -1;
    }
    return 0;
}

/* ---- models and blobs ---- */

/* It is not pulled: the process that trains has no network. */
static int check_base(struct request *r, const char *from, struct err *e) {
    struct store *s = server_store(request_server(r));
    struct manifest m = {0};
    struct name n;
    struct err why = {0};
    if (name_parse(from, &n, NULL) != 0)
        return err_set(e, ERR_USAGE, "from: invalid model name; paths are not opened here");
    if (allow_model(r, &n, e) != 0) return -1;
    const int rc = store_get(s, &n, NULL, &m, &why);
    manifest_fini(&m);
    return rc == 0 ? 0 : err_set(e, why.code, "%s", why.msg);
}

static int take_blob(struct store *s, const json_t *body, const char *key, struct digest *d,
                     struct err *e) {
    const char *text = field_text(body, key);
    char path[STORE_PATH];
    struct err why = {0};
    *d = (struct digest){.hex = ""};
    if (!text) return 0;
    if (digest_parse(str_of(text), d, NULL) != 0)
        return err_set(
            e, ERR_USAGE,
            "%s: invalid digest format; \"sha256:\" and 64 hex digits are accepted: send the "
            "examples to /api/blobs",
            key);
    if (store_blob(s, d, path, NULL, &why) == 0) return 0;
    if (why.code == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND, "%s: no such blob here; send it to /api/blobs/sha256:%s",
                       key, d->hex);
    return err_set(e, why.code, "%s: this blob cannot be used", key);
}

/* ---- the request ---- */

static const char *merge_of(const json_t *body, struct modelfile *m) {
    const json_t *v = field_get(body, "merge");
    if (json_is_string(v)) return arena_strndup(&m->a, json_string_value(v), json_string_length(v));
    return json_is_true(v) ? "" : NULL;
}

static int check(const struct tune_order *o, const struct tune_opts *t, struct err *e) {
    const struct create_file data = {"data", o->data};
    const struct create_opts c = {.tune = t, .train_file = &data, .merge = o->merge};
    return create_check(&o->m, &c, e);
}

static int take(struct request *r, const json_t *body, struct tune_order *o, struct err *e) {
    struct store *s = server_store(request_server(r));
    struct tune_opts t = {.val = 0};
    struct order texts = {.name = o->name};
    o->options = json_object();
    o->restart = field_bool(body, "restart", false);
    o->store = store_root(s);
    if (!o->options) return err_nomem(e, "training");
    int rc = order_texts(&texts, body, e);
    o->m = texts.m;
    if (rc != 0) return -1;
    o->merge = merge_of(body, &o->m);
    if (o->name.pin.hex[0]) return err_set(e, ERR_USAGE, "model: a name without a digest");
    if (take_options(body, &t, o->options, e) != 0 ||
        check_base(r, field_text(body, "from"), e) != 0 ||
        take_blob(s, body, "data", &o->data, e) != 0 ||
        take_blob(s, body, "valid", &o->valid, e) != 0)
        return -1;
    return check(o, &t, e);
}

static void post(struct request *r) {
    struct tune_order o = {.restart = false};
    struct err e = {0};
    const char *model;
    const json_t *body = api_read(r, &model, &o.name);
    if (!body) return;
    if (take(r, body, &o, &e) == 0) {
        trainings_start(r->server->trainings, r, &o, field_bool(body, "stream", true));
        return;
    }
    tune_order_fini(&o);
    reply_err(r, &e);
}

static void list(struct request *r) {
    trainings_list(r->server->trainings, r);
}

/* "stream=true" or "stream=1", somewhere between '&'. */
static bool wants_stream(const struct request *r) {
    const struct str q = request_head(r)->query;
    for (size_t i = 0; i < q.n;) {
        size_t n = 0;
        while (i + n < q.n && q.p[i + n] != '&')
            n++;
        const struct str one = {q.p + i, n};
        if (str_eq(one, STR("stream=true")) || str_eq(one, STR("stream=1"))) return true;
        i += n + 1;
    }
    return false;
}

static void get(struct request *r) {
    trainings_get(r->server->trainings, r, request_param(r), wants_stream(r));
}

static void delete (struct request *r) {
    trainings_remove(r->server->trainings, r, request_param(r));
}

const struct route routes_train[] = {
    {HTTP_POST, "/api/train", RIGHT_TRAIN, DIALECT_OLLAMA, BODY_MAX, post, NULL, train_fields},
    {HTTP_GET, "/api/train", RIGHT_READ, DIALECT_OLLAMA, 0, list, NULL, NULL},
    {HTTP_GET, "/api/train/:id", RIGHT_READ, DIALECT_OLLAMA, 0, get, NULL, NULL},
    {HTTP_DELETE, "/api/train/:id", RIGHT_TRAIN, DIALECT_OLLAMA, 0, delete, NULL, NULL},
    {.path = NULL},
};
