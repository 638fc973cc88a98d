/* Personal data and secrets in text: what there is, where it stands, what is done with it.
 *
 *   text -> pii_scan.c (one pass; a scanner for each family: pii_number, pii_word...) -> hits
 *        -> pii_apply.c (mask, redact, replace) -> text
 *
 * The scanners are hand-written and look ahead a bounded number of bytes, so the time is linear
 * whatever the text is; bytes that are not UTF-8 are passed over.  Names and addresses have no
 * pattern: a model finds them (pii_model.h), and they join the hits here.
 *
 * Bare digits are told from other numbers by check digits, by their usual grouping, and by words
 * nearby in a dozen languages (pii_topic_data.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum pii_kind {
    PII_EMAIL,
    PII_PHONE,
    PII_CARD,
    PII_IBAN,
    PII_US_SSN,
    PII_DE_TAX_ID,
    PII_ES_DNI,
    PII_IT_CODICE_FISCALE,
    PII_FR_NIR,
    PII_NL_BSN,
    PII_PL_PESEL,
    PII_BR_CPF,
    PII_UK_NHS,
    PII_UK_NINO,
    PII_IN_AADHAAR,
    PII_IP,
    PII_MAC,
    PII_URL_CREDENTIALS, /* "user:password" of a URL */
    PII_BIRTH_DATE,
    PII_PRIVATE_KEY,
    PII_SECRET,  /* tokens, keys, passwords */
    PII_NAME,    /* by a model only, like PII_ADDRESS */
    PII_ADDRESS, /* of a house */
    N_PII
};

/* What is done with an entity; the later, the stricter. */
enum pii_action {
    PII_OFF,
    PII_REPORT,  /* counted and told, the text stays */
    PII_REPLACE, /* "<EMAIL_1>", put back in the answer: pii_vault.h */
    PII_MASK,    /* "j***@e***.com" */
    PII_REDACT,  /* "[EMAIL]" */
    PII_BLOCK,   /* a request is refused; elsewhere as PII_REDACT */
    N_PII_ACTION
};

const char *pii_name(enum pii_kind k);          /* "email" */
const char *pii_action_name(enum pii_action a); /* "mask" */
bool pii_by_model(enum pii_kind k);

/* ---- policy ---- */

struct pii_policy {
    unsigned char action[N_PII]; /* enum pii_action */
};

/* mode: "off", "report", "replace", "mask", "redact", "block".  entities: names with commas or
 * blanks between them; NULL or empty: all pattern classes, which the word "all" stands for.  A name
 * may carry an action of its own: "all,email=mask,card=block"; the later word wins.  Mode "off"
 * turns all off.  ERR_USAGE names the word and what is accepted. */
int pii_policy_parse(struct pii_policy *p, const char *mode, const char *entities, struct err *e);
/* For each entity the stricter action of both, into p. */
void pii_policy_join(struct pii_policy *p, const struct pii_policy *other);
/* Is there an entity whose action is at least this? */
bool pii_policy_has(const struct pii_policy *p, enum pii_action least);

/* ---- whole texts ---- */

struct pii_hit {
    enum pii_kind kind;
    size_t start, end; /* bytes; never empty, in order, apart from each other */
};

struct pii_hits {      /* all-zero is empty */
    struct pii_hit *v; /* owned */
    size_t n, cap;
};

/* Append what the text holds to out, entities whose action is PII_OFF left out.  ERR_NOMEM. */
int pii_find(struct str text, const struct pii_policy *p, struct pii_hits *out, struct err *e);
/* Into order; of those that overlap the one that begins first stays. */
void pii_hits_sort(struct pii_hits *h);
int pii_hits_add(struct pii_hits *h, struct pii_hit hit, struct err *e);
void pii_hits_fini(struct pii_hits *h);

/* Characters in text[0..n), a byte that is no UTF-8 counting as one. */
size_t pii_count_chars(const char *p, size_t n);

struct pii_vault;

/* Append what stands for the hit: its mask, its label, its placeholder (vault may be NULL,
 * or have none left: as PII_REDACT), or the value itself for PII_REPORT.  ERR_NOMEM. */
int pii_write(struct buf *out, enum pii_kind k, struct str value, enum pii_action a,
              struct pii_vault *vault, struct err *e);

/* The text with every hit written so. */
int pii_apply(struct buf *out, struct str text, const struct pii_hits *hits,
              const struct pii_policy *p, struct pii_vault *vault, struct err *e);

/* How often each was found; for /metrics. */
struct pii_counts {
    uint64_t n[N_PII];
};
void pii_counts_add(struct pii_counts *to, const struct pii_counts *more);
