/* What a model's own Modelfile lines, or a section [model NAME] of cria.conf, say of how it is
 * served; what neither says is the server's setting.
 *
 *   FALLBACK llama3.2:1b qwen2.5:0.5b     who answers instead, in this order
 *   CACHE off|on|always|1h|always 1h      whether answers are kept, and how long
 *   POLICY pii=redact audit=required      words NAME=VALUE:
 *     pii          off, report, mask, redact, replace, block
 *     pii_entities a list, as email,phone,card=block
 *     audit        off, on, required
 *     first_token  a time: after it the fallback is asked
 */
#pragma once

#include "store/store.h"

enum { POLICY_MAX_FALLBACK = 7, POLICY_TEXT = 256 };

enum policy_cache { POLICY_CACHE_UNSET, POLICY_CACHE_OFF, POLICY_CACHE_ON, POLICY_CACHE_ALWAYS };
enum policy_audit { POLICY_AUDIT_UNSET, POLICY_AUDIT_OFF, POLICY_AUDIT_ON, POLICY_AUDIT_REQUIRED };

/* All zero: nothing is said. */
struct model_policy {
    struct name fallback[POLICY_MAX_FALLBACK]; /* [n_fallback] */
    int n_fallback;
    enum policy_cache cache;
    int64_t cache_ttl_ns;                             /* 0: not said */
    char pii[POLICY_TEXT], pii_entities[POLICY_TEXT]; /* empty: not said */
    enum policy_audit audit;
    int64_t first_token_ns; /* 0: not said */
};

/* One line, of the names in modelfile_extensions, letter case aside; it replaces what an earlier
 * line of that name said.  ERR_USAGE "FALLBACK: found ...; ... is accepted". */
int model_policy_line(struct model_policy *p, const char *name, struct str value, struct err *e);

/* The lines that a stored model brings; a line that does not parse is ERR_FORMAT naming the model.
 */
int model_policy_read(struct store *s, const struct manifest *m, struct model_policy *p,
                      struct err *e);

/* "MODE ENTITIES" of its pii and pii_entities, in out; NULL: it says nothing. */
const char *model_policy_pii(const struct model_policy *p, char out[2 * POLICY_TEXT]);
