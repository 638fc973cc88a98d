/* POST /api/pii: what a text holds, and the text with it masked, redacted or replaced. */
#include <stdlib.h>

#include "server/api.h"
#include "server/field.h"
#include "server/pii.h"
#include "server/route.h"
#include "server/server.h"

static const struct field pii_fields[] = {
    {.name = "text", .types = FIELD_TEXT, .required = true},
    {.name = "mode", .types = FIELD_TEXT, .one_of = "report mask redact replace block"},
    {.name = "entities", .types = FIELD_TEXT | FIELD_ARRAY},
    {0}};

/* The list as one text with commas, new; NULL with e. */
static char *list_of(const json_t *entities, struct err *e) {
    struct buf b = {0};
    json_t *x;
    size_t i;
    buf_str(&b, json_is_string(entities) ? json_string_value(entities) : "");
    json_array_foreach(entities, i, x) {
        if (!json_is_string(x)) {
            err_set(e, ERR_USAGE, "entities[%zu]: found %s; a name is accepted", i, field_kind(x));
            err_field(e, "entities");
            buf_fini(&b);
            return NULL;
        }
        buf_printf(&b, "%s%s", b.n ? "," : "", json_string_value(x));
    }
    if (!b.failed) return b.p;
    err_nomem(e, "entities");
    buf_fini(&b);
    return NULL;
}

struct task {
    struct str text;
    struct pii_policy policy;
    struct pii_hits hits;
    struct pii_vault *vault;
};

/* start, end: characters of the text; their bytes beside them. */
static json_t *hit_json(const struct task *t, const struct pii_hit *h, size_t *at, size_t *n_char,
                        struct err *e) {
    struct buf out = {0};
    const struct str value = {t->text.p + h->start, h->end - h->start};
    const enum pii_action a = (enum pii_action)t->policy.action[h->kind];
    const size_t start = *n_char + pii_count_chars(t->text.p + *at, h->start - *at);
    const size_t end = start + pii_count_chars(value.p, value.n);
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "entity", pii_name(h->kind), "start",
                  (json_int_t)start, "end", (json_int_t)end, "start_byte", (json_int_t)h->start,
                  "end_byte", (json_int_t)h->end, "action", pii_action_name(a));
    *at = h->end;
    *n_char = end;
    if (j && a > PII_REPORT && pii_write(&out, h->kind, value, a, t->vault, e) == 0)
        json_object_set_new(j, "replacement", json_stringn(buf_view(&out).p, out.n));
    buf_fini(&out);
    return j;
}

static json_t *found_json(const struct task *t, struct err *e) {
    json_t *list = json_array();
    size_t at = 0, n_char = 0;
    for (size_t i = 0; i < t->hits.n; i++)
        json_array_append_new(list, hit_json(t, &t->hits.v[i], &at, &n_char, e));
    return list;
}

/* {"<EMAIL_1>": value}, or NULL without a vault. */
static json_t *placeholders(const struct pii_vault *v) {
    json_t *o = v ? json_object() : NULL;
    struct str value;
    char name[40];
    for (size_t i = 0; pii_vault_at(v, i, name, &value); i++)
        json_object_set_new(o, name, json_stringn(value.p, value.n));
    return o;
}

static int work(struct task *t, const json_t *body, json_t **out, struct err *e) {
    const char *mode = field_text(body, "mode");
    const json_t *text = field_get(body, "text");
    struct buf b = {0};
    char *entities = list_of(field_get(body, "entities"), e);
    t->text = (struct str){json_string_value(text), json_string_length(text)};
    int rc = entities ? pii_policy_parse(&t->policy, mode ? mode : "report", entities, e) : -1;
    free(entities);
    if (rc != 0) return rc;
    if (mode && strcmp(mode, "replace") == 0 && !(t->vault = pii_vault_new(e))) return -1;
    if (t->vault) pii_vault_reserve(t->vault, t->text);
    rc = pii_find(t->text, &t->policy, &t->hits, e);
    if (rc == 0) rc = pii_apply(&b, t->text, &t->hits, &t->policy, t->vault, e);
    if (rc == 0) {
        *out = json_pack("{s:o, s:o, s:o*}", "text", json_stringn(buf_view(&b).p, b.n), "found",
                         found_json(t, e), "placeholders", placeholders(t->vault));
        if (!*out) rc = err_nomem(e, "answer");
    }
    buf_fini(&b);
    return rc;
}

static void post_pii(struct request *r) {
    struct task t = {0};
    struct err e = {0};
    struct fault f;
    json_t *out = NULL;
    const json_t *body = api_body(r, &f);
    if (!body) return;
    const int rc = work(&t, body, &out, &e);
    pii_hits_fini(&t.hits);
    pii_vault_free(t.vault);
    if (rc == 0)
        reply_json(r, 200, out);
    else
        reply_err(r, &e);
}

const struct route routes_pii[] = {
    {HTTP_POST, "/api/pii", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_pii, NULL, pii_fields},
    {.path = NULL},
};
