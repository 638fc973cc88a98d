/* See pii.h. */
#include "server/pii.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/field.h"
#include "server/rules.h"

struct pii_guard {
    pthread_mutex_t lock; /* of what follows */
    struct pii_policy policy;
    struct pii_counts found[PII_N_SIDE];
};

struct pii_guard *pii_guard_new(struct err *e) {
    struct pii_guard *g = calloc(1, sizeof *g);
    if (g)
        pthread_mutex_init(&g->lock, NULL);
    else
        err_nomem(e, "pii");
    return g;
}

void pii_guard_free(struct pii_guard *g) {
    if (!g) return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

int pii_guard_configure(struct pii_guard *g, const struct settings *t, struct err *e) {
    struct pii_policy p;
    if (pii_policy_parse(&p, t->pii, t->pii_entities, e) != 0) return -1;
    pthread_mutex_lock(&g->lock);
    g->policy = p;
    pthread_mutex_unlock(&g->lock);
    return 0;
}

/* ---- the policy of a request ---- */

/* The first word, and the rest. */
int pii_policy_words(struct pii_policy *out, const char *text, struct err *e) {
    char mode[16];
    struct pii_policy p;
    const size_t n = strcspn(text, " ");
    snprintf(mode, sizeof mode, "%.*s", n < sizeof mode ? (int)n : (int)sizeof mode - 1, text);
    if (pii_policy_parse(&p, mode, text + n, e) != 0) return -1;
    pii_policy_join(out, &p);
    return 0;
}

static int join_json(struct pii_policy *out, const json_t *v, struct err *e) {
    const char *key;
    json_t *x;
    struct pii_policy p;
    if (json_is_string(v)) return pii_policy_words(out, json_string_value(v), e);
    json_object_foreach((json_t *)(uintptr_t)v, key, x) {
        const bool known = strcmp(key, "mode") == 0 || strcmp(key, "entities") == 0;
        if (!known || !json_is_string(x))
            return err_set(e, ERR_USAGE,
                           "pii: found \"%.40s\" as %s; \"mode\" and \"entities\" "
                           "as strings are accepted",
                           key, field_kind(x));
    }
    const char *mode = json_string_value(json_object_get(v, "mode"));
    const char *entities = json_string_value(json_object_get(v, "entities"));
    if (pii_policy_parse(&p, mode ? mode : "redact", entities, e) != 0) return -1;
    pii_policy_join(out, &p);
    return 0;
}

int pii_guard_policy(struct pii_guard *g, const char *model, const json_t *theirs,
                     struct pii_policy *out, struct err *e) {
    pthread_mutex_lock(&g->lock);
    *out = g->policy;
    pthread_mutex_unlock(&g->lock);
    if (model && pii_policy_words(out, model, e) != 0) return -1;
    if (!theirs || json_is_null(theirs)) return 0;
    return join_json(out, theirs, e) == 0 ? 0 : err_field(e, "pii");
}

/* ---- figures ---- */

void pii_guard_count(struct pii_guard *g, enum pii_side side, const struct pii_counts *found) {
    pthread_mutex_lock(&g->lock);
    pii_counts_add(&g->found[side], found);
    pthread_mutex_unlock(&g->lock);
}

void pii_guard_metrics(struct pii_guard *g, struct buf *b) {
    static const char *const sides[] = {[PII_ASKED] = "request", [PII_ANSWERED] = "answer"};
    buf_str(b, "# HELP cria_pii_found_total Personal data and secrets that were found.\n"
               "# TYPE cria_pii_found_total counter\n");
    pthread_mutex_lock(&g->lock);
    for (int side = 0; side < PII_N_SIDE; side++)
        for (int k = 0; k < N_PII; k++)
            buf_printf(b, "cria_pii_found_total{side=\"%s\",entity=\"%s\"} %llu\n", sides[side],
                       pii_name((enum pii_kind)k), (unsigned long long)g->found[side].n[k]);
    pthread_mutex_unlock(&g->lock);
}

/* ---- JSON ---- */

static void give_back(const struct pii_vault *v, struct buf *b) {
    struct pii_restore r = {{0}, 0};
    struct buf out = {0};
    pii_restore_feed(&r, v, buf_view(b), &out);
    pii_restore_end(&r, v, &out);
    if (b->failed) out.failed = true;
    buf_fini(b);
    *b = out;
}

static json_t *filter_text(struct pii_json *p, const json_t *v, struct err *e) {
    const struct str text = {json_string_value(v), json_string_length(v)};
    struct pii_hits hits = {0};
    struct buf out = {0};
    json_t *made = NULL;
    int rc = pii_find(text, p->policy, &hits, e);
    for (size_t i = 0; i < hits.n; i++)
        p->found.n[hits.v[i].kind]++;
    if (rc == 0 && hits.n) rc = pii_apply(&out, text, &hits, p->policy, p->vault, e);
    if (rc == 0 && p->restore) {
        if (!hits.n) buf_append(&out, text.p, text.n);
        give_back(p->vault, &out);
    }
    if (rc == 0 && !hits.n && !p->restore)
        made = json_incref(field_share(v));
    else if (rc == 0 && !(made = out.failed ? NULL : json_stringn(buf_view(&out).p, out.n)))
        err_nomem(e, "text");
    buf_fini(&out);
    pii_hits_fini(&hits);
    return made;
}

/* A call's arguments as OpenAI writes them, JSON in a text: as the model gets them. */
static json_t *filter_arguments(struct pii_json *p, const json_t *v, struct err *e) {
    struct err none;
    struct buf out = {0};
    const struct str text = {json_string_value(v), json_string_length(v)};
    json_t *o = json_read_object("arguments", text, 1 << 19, &none), *made, *as_text;
    if (!o) return filter_text(p, v, e);
    made = pii_json(p, o, e);
    if (made == o)
        as_text = json_incref(field_share(v));
    else
        as_text = made && json_append("arguments", made, &out, e) == 0
                      ? json_stringn(buf_view(&out).p, out.n)
                      : NULL;
    json_decref(o);
    json_decref(made);
    buf_fini(&out);
    return as_text;
}

static json_t *filter_value(struct pii_json *p, const char *key, json_t *v, struct err *e) {
    const char *text = strcmp(key, "image_url") == 0 ? json_string_value(v) : NULL;
    if (strcmp(key, "images") == 0 || (text && strncmp(text, "data:", 5) == 0))
        return json_incref(v);
    if (strcmp(key, "arguments") == 0 && json_is_string(v)) return filter_arguments(p, v, e);
    return pii_json(p, v, e);
}

/* A map's keys may be data, too; names of fields, which nearly all are, have none of these marks.
 * Two that become alike stay two. */
static int put_value(struct pii_json *p, json_t *made, const char *key, json_t *take, bool *changed,
                     struct err *e) {
    if (!strpbrk(key, "@:0123456789")) return json_object_set_new(made, key, take);
    json_t *text = json_string(key), *own = text ? filter_text(p, text, e) : NULL;
    struct buf name = {0};
    int rc = own ? 0 : -1;
    const bool other = own && own != text;
    buf_str(&name, other ? json_string_value(own) : key);
    for (int i = 2; rc == 0 && other && json_object_get(made, name.p); i++) {
        buf_reset(&name);
        buf_printf(&name, "%s %d", json_string_value(own), i);
    }
    *changed |= other;
    rc =
        rc == 0 && !name.failed ? json_object_set_new(made, name.p, take) : (json_decref(take), -1);
    buf_fini(&name);
    json_decref(own);
    json_decref(text);
    return rc;
}

/* A list or an object with filtered values; the depth is that of base/json.h at most. */
static json_t *filter_many(struct pii_json *p, const json_t *v, struct err *e) {
    const bool list = json_is_array(v);
    json_t *made = list ? json_array() : json_object(), *x, *one = NULL;
    const char *key;
    bool changed = false;
    size_t i;
    int rc = made ? 0 : err_nomem(e, "text");
    json_array_foreach(v, i, x) {
        if (rc != 0 || !(one = pii_json(p, x, e))) goto fail;
        changed |= one != x;
        if (json_array_append_new(made, one) != 0) goto fail;
    }
    json_object_foreach((json_t *)(uintptr_t)(list ? NULL : v), key, x) {
        if (rc != 0 || !(one = filter_value(p, key, x, e))) goto fail;
        changed |= one != x;
        if (put_value(p, made, key, one, &changed, e) != 0) goto fail;
    }
    if (changed) return made;
    json_decref(made);
    return json_incref(field_share(v));
fail:
    json_decref(made);
    err_nomem(e, "text");
    return NULL;
}

json_t *pii_json(struct pii_json *p, const json_t *v, struct err *e) {
    if (json_is_string(v)) return filter_text(p, v, e);
    if (json_is_array(v) || json_is_object(v)) return filter_many(p, v, e);
    return json_incref(field_share(v));
}

void pii_json_reserve(struct pii_vault *vault, const json_t *v) {
    const char *key;
    json_t *x;
    size_t i;
    if (json_is_string(v))
        pii_vault_reserve(vault, (struct str){json_string_value(v), json_string_length(v)});
    json_array_foreach(v, i, x) pii_json_reserve(vault, x);
    json_object_foreach((json_t *)(uintptr_t)(json_is_object(v) ? v : NULL), key, x) {
        pii_vault_reserve(vault, str_of(key));
        pii_json_reserve(vault, x);
    }
}

/* ---- bodies ---- */

/* What the model that a body names says itself; -1: it cannot be known. */
static int join_model(struct server *s, const json_t *body, struct pii_policy *p, struct err *e) {
    const char *model = json_string_value(json_object_get(body, "model"));
    char words[2 * POLICY_TEXT];
    struct model_policy own;
    struct name n;
    if (!model || name_parse(model, &n, e) != 0) return 0; /* nobody's */
    if (rules_of(s, &n, &own, e) != 0) return -1;
    return model_policy_pii(&own, words) ? pii_policy_words(p, words, e) : 0;
}

/* What is redacted in a body that is kept: what the server looks for, what the model says, and what
 * the body asks for itself; from `least` on.  All, when one of them is not to be read: it is going
 * to be refused. */
static void body_policy(struct server *s, enum pii_action least, const json_t *body,
                        struct pii_policy *p) {
    struct err e;
    if (pii_guard_policy(server_pii(s), NULL, json_object_get(body, "pii"), p, &e) != 0 ||
        join_model(s, body, p, &e) != 0)
        pii_policy_parse(p, "redact", NULL, &e);
    for (int k = 0; k < N_PII; k++)
        p->action[k] = p->action[k] >= least ? PII_REDACT : PII_OFF;
}

/* Text by text first, as models get them, then all as jansson writes it: the names of fields tell
 * what stands behind them. */
static int redact_body(const json_t *body, const struct pii_policy *p, struct buf *out,
                       struct err *e) {
    struct pii_json all = {.policy = p};
    struct pii_hits hits = {0};
    struct buf plain = {0};
    json_t *made = pii_json(&all, body, e);
    int rc = made ? json_append("body", made, &plain, e) : -1;
    if (rc == 0) rc = pii_find(buf_view(&plain), p, &hits, e);
    if (rc == 0) rc = pii_apply(out, buf_view(&plain), &hits, p, NULL, e);
    pii_hits_fini(&hits);
    buf_fini(&plain);
    json_decref(made);
    return rc;
}

void pii_keep_body(struct server *s, enum pii_action least, struct str body, struct buf *out) {
    struct pii_policy p;
    struct err e;
    const size_t before = out->n;
    json_t *j = json_read_object("body", body, 1 << 19, &e);
    body_policy(s, least, j, &p);
    if (!pii_policy_has(&p, PII_REPORT)) {
        buf_append(out, body.p, body.n);
    } else if (!j || redact_body(j, &p, out, &e) != 0) {
        out->n = before;
        buf_str(out, "(left out: it cannot be searched for personal data)");
    }
    json_decref(j);
}
