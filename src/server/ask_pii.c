/* The step that keeps personal data from models: the request's texts filtered, and what is going to
 * be kept of it, or it is refused.  What becomes of the answer: ask_pii_answer.c. */
#include "server/ask_pii.h"

#include <stdio.h>
#include <string.h>

#include "server/field.h"
#include "server/pii.h"
#include "server/request_priv.h"
#include "server/rules.h"
#include "server/server.h"

/* ---- the request ---- */

/* What of a request is a client's text. */
static const char *const texts[] = {"messages", "prompt",    "suffix", "system", "template",
                                    "tools",    "documents", "input",  "query",  "template_vars"};
enum { N_TEXT = sizeof texts / sizeof *texts };

static int refuse_kinds(const struct pii_policy *p, const struct pii_counts *found,
                        const char *field, struct err *e) {
    struct buf b = {0};
    for (int k = 0; k < N_PII; k++)
        if (found->n[k] && p->action[k] == PII_BLOCK)
            buf_printf(&b, "%s%s", b.n ? ", " : "", pii_name((enum pii_kind)k));
    if (b.n == 0) return 0;
    err_set(e, ERR_LIMIT, "%s: found %s, which this server does not let pass", field, b.p);
    err_field(e, "%s", field);
    buf_fini(&b);
    return -1;
}

/* Each text of gen filtered; found: what was in all of them. */
static int filter_request(json_t *gen, const struct pii_policy *policy, struct pii_vault *vault,
                          struct pii_counts *found, struct err *e) {
    for (int i = 0; i < N_TEXT && vault; i++)
        pii_json_reserve(vault, json_object_get(gen, texts[i]));
    for (int i = 0; i < N_TEXT; i++) {
        const json_t *v = json_object_get(gen, texts[i]);
        struct pii_json p = {.policy = policy, .vault = vault};
        if (!v) continue;
        json_t *made = pii_json(&p, v, e);
        if (!made) return -1;
        pii_counts_add(found, &p.found);
        if (json_object_set_new(gen, texts[i], made) != 0) return err_nomem(e, "request");
        if (refuse_kinds(policy, &p.found, texts[i], e) != 0) return -1;
    }
    return 0;
}

/* The same for what the handler keeps: a value has the placeholder there that it has in gen. */
static int filter_kept(json_t *keeps, const struct pii_policy *policy, struct pii_vault *vault,
                       struct err *e) {
    struct pii_json p = {.policy = policy, .vault = vault};
    json_t *made = keeps ? pii_json(&p, keeps, e) : NULL;
    int rc = keeps && !made ? -1 : 0;
    if (made && made != keeps) rc = json_object_update(keeps, made);
    json_decref(made);
    return rc == 0 ? 0 : err_nomem(e, "request");
}

static bool has_ids(const json_t *input) {
    for (size_t i = 0; i < json_array_size(input); i++)
        if (json_is_array(json_array_get(input, i))) return true;
    return false;
}

/* What would carry text past the filter. */
static int refuse_bypass(const json_t *gen, const struct pii_policy *p, struct err *e) {
    static const char *const keys[][2] = {
        {"logprobs", "logprobs"}, {"tokens", "context"}, {"input", "input"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(gen, keys[i][0]);
        if (!v || json_is_false(v) || !pii_policy_has(p, PII_REPLACE)) continue;
        if (strcmp(keys[i][0], "input") == 0 && !has_ids(v)) continue;
        err_set(e, ERR_UNSUPPORTED,
                "%s: found together with pii \"%s\"; tokens would carry past it what it takes out",
                keys[i][1], pii_policy_has(p, PII_MASK) ? "mask, redact or block" : "replace");
        return err_field(e, "%s", keys[i][1]);
    }
    return 0;
}

/* "X-PII-Found: card=1, email=2" */
static void tell_found(struct request *r, const struct pii_counts *found) {
    struct buf b = {0};
    for (int k = 0; k < N_PII; k++)
        if (found->n[k])
            buf_printf(&b, "%s%s=%llu", b.n ? ", " : "X-PII-Found: ", pii_name((enum pii_kind)k),
                       (unsigned long long)found->n[k]);
    if (b.n) buf_str(&b, "\r\n");
    if (b.n && !b.failed) reply_header(r, b.p);
    buf_fini(&b);
}

/* An answer cannot be refused when it has begun: what blocks a request is redacted in it.  What was
 * replaced comes back, and what is new in it stays. */
static struct pii_policy answer_policy(const struct pii_policy *p) {
    struct pii_policy out = *p;
    for (int k = 0; k < N_PII; k++) {
        if (p->action[k] == PII_BLOCK) out.action[k] = PII_REDACT;
        if (p->action[k] == PII_REPLACE) out.action[k] = PII_REPORT;
    }
    return out;
}

static bool has_replace(const struct pii_policy *p) {
    for (int k = 0; k < N_PII; k++)
        if (p->action[k] == PII_REPLACE) return true;
    return false;
}

/* The request filtered, and counted. */
static int guard(struct request *r, const struct ask *a, const struct pii_policy *p,
                 struct pii_vault *vault, struct err *e) {
    struct pii_counts found = {{0}};
    if (refuse_bypass(a->gen, p, e) != 0) return -1;
    int rc = filter_request(a->gen, p, vault, &found, e);
    pii_guard_count(server_pii(request_server(r)), PII_ASKED, &found);
    request_audit_pii(r, PII_ASKED, &found);
    if (rc == 0) rc = filter_kept(a->keeps, p, vault, e);
    if (rc == 0) tell_found(r, &found);
    return rc;
}

/* Tokens of a text, and back, are no more than the client has already. */
static bool has_texts(const struct ask *a) {
    static const char *const ops[] = {"chat", "text", "render", "embed", "rerank"};
    const char *op = json_string_value(json_object_get(a->gen, "op"));
    for (size_t i = 0; op && !a->load_only && i < sizeof ops / sizeof *ops; i++)
        if (strcmp(op, ops[i]) == 0) return true;
    return false;
}

/* What holds for this request, the model's own words among it. */
static int policy_of(struct request *r, const struct ask *a, struct pii_policy *p, struct err *e) {
    struct model_policy own = {.pii = ""};
    struct name n;
    char words[2 * POLICY_TEXT];
    struct err no_name; /* the model's step says so */
    if (name_parse(a->model, &n, &no_name) == 0 && rules_of(request_server(r), &n, &own, e) != 0)
        return -1;
    return pii_guard_policy(server_pii(request_server(r)), model_policy_pii(&own, words),
                            json_object_get(request_object(r), "pii"), p, e);
}

int ask_pii_substitute(struct request *r, const struct ask *a, const struct model_policy *own,
                       ask_step_fn *next, struct err *e) {
    char words[2 * POLICY_TEXT];
    struct pii_policy p = {{0}};
    struct pii_counts unused = {{0}};
    const char *said = model_policy_pii(own, words);
    int rc = said ? pii_policy_words(&p, said, e) : 0;
    for (int k = 0; k < N_PII; k++) {
        if (p.action[k] == PII_REPLACE) p.action[k] = PII_REDACT;
        if (p.action[k] == PII_REPORT) p.action[k] = PII_OFF; /* nobody's concern a second time */
    }
    if (rc == 0 && !pii_policy_has(&p, PII_REPORT)) return next(r, a, e);
    if (rc == 0) rc = refuse_bypass(a->gen, &p, e);
    if (rc == 0) rc = filter_request(a->gen, &p, NULL, &unused, e);
    if (rc != 0) {
        json_decref(a->gen);
        return -1;
    }
    p = answer_policy(&p);
    return ask_pii_watch(r, a, &p, NULL, next, e);
}

int ask_pii(struct request *r, const struct ask *a, struct err *e) {
    struct pii_policy p;
    struct pii_vault *vault = NULL;
    struct ask mine = *a;
    if (!has_texts(a)) return ask_cache(r, a, e);
    int rc = policy_of(r, a, &p, e);
    if (rc == 0 && !pii_policy_has(&p, PII_REPORT)) return ask_cache(r, a, e);
    if (rc == 0 && has_replace(&p) && !(vault = pii_vault_new(e))) rc = -1;
    if (rc == 0) rc = guard(r, a, &p, vault, e);
    if (rc != 0) {
        pii_vault_free(vault);
        json_decref(a->gen);
        return -1;
    }
    mine.pii = answer_policy(&p);
    return vault ? ask_pii_watch(r, &mine, NULL, vault, ask_cache, e) : ask_cache(r, &mine, e);
}
