/* What the server knows of personal data: the policy of the settings, JSON values filtered by one,
 * and what was found.  Any thread. */
#pragma once

#include <jansson.h>

#include "policy/pii.h"
#include "policy/pii_vault.h"
#include "server/settings.h"

struct pii_guard;
struct server;

struct pii_guard *pii_guard_new(struct err *e);
void pii_guard_free(struct pii_guard *g); /* accepts NULL */
/* The settings PII and PII_ENTITIES, which settings_read has checked. */
int pii_guard_configure(struct pii_guard *g, const struct settings *t, struct err *e);

/* What holds for a request: the settings', what the model says ("MODE [ENTITIES]", NULL: nothing)
 * and what the request says (its "pii": a mode, or {"mode", "entities"}; NULL: nothing), of each
 * entity the strictest.  So a request can only add to what the server does.  ERR_USAGE with the
 * field "pii". */
int pii_guard_policy(struct pii_guard *g, const char *model, const json_t *theirs,
                     struct pii_policy *out, struct err *e);

/* The same of "MODE [ENTITIES]" alone, joined into out. */
int pii_policy_words(struct pii_policy *out, const char *words, struct err *e);

enum pii_side { PII_ASKED, PII_ANSWERED, PII_N_SIDE };
void pii_guard_count(struct pii_guard *g, enum pii_side side, const struct pii_counts *found);
void pii_guard_metrics(struct pii_guard *g, struct buf *b); /* Prometheus's text */

/* JSON with its texts filtered; where nothing changes the value itself is shared. */
struct pii_json {
    const struct pii_policy *policy;
    struct pii_vault *vault; /* of PII_REPLACE, or NULL */
    bool restore;            /* placeholders of the vault are given back, too */
    struct pii_counts found;
};
/* A new reference; NULL with ERR_NOMEM.  Images stay as they are. */
json_t *pii_json(struct pii_json *p, const json_t *v, struct err *e);
/* Placeholders that the texts have of themselves: pii_vault_reserve. */
void pii_json_reserve(struct pii_vault *vault, const json_t *v);

/* A body as it may be kept, appended to out: redacted is every entity whose action is `least` or
 * stricter by the settings, by the policy of the model that the body names, or by its own "pii". */
void pii_keep_body(struct server *s, enum pii_action least, struct str body, struct buf *out);
