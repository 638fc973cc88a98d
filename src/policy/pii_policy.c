/* Which entities are looked for, and what is done with each. */
#include "policy/pii.h"

#include <string.h>

/* clang-format off */
static const char *const names[N_PII] = {
    [PII_EMAIL] = "email", [PII_PHONE] = "phone", [PII_CARD] = "card", [PII_IBAN] = "iban",
    [PII_US_SSN] = "us_ssn", [PII_DE_TAX_ID] = "de_tax_id", [PII_ES_DNI] = "es_dni",
    [PII_IT_CODICE_FISCALE] = "it_codice_fiscale", [PII_FR_NIR] = "fr_nir", [PII_NL_BSN] = "nl_bsn",
    [PII_PL_PESEL] = "pl_pesel", [PII_BR_CPF] = "br_cpf", [PII_UK_NHS] = "uk_nhs",
    [PII_UK_NINO] = "uk_nino", [PII_IN_AADHAAR] = "in_aadhaar", [PII_IP] = "ip", [PII_MAC] = "mac",
    [PII_URL_CREDENTIALS] = "url_credentials", [PII_BIRTH_DATE] = "birth_date",
    [PII_PRIVATE_KEY] = "private_key", [PII_SECRET] = "secret", [PII_NAME] = "name",
    [PII_ADDRESS] = "address",
};
static const char *const actions[N_PII_ACTION] = {
    [PII_OFF] = "off", [PII_REPORT] = "report", [PII_REPLACE] = "replace", [PII_MASK] = "mask",
    [PII_REDACT] = "redact", [PII_BLOCK] = "block",
};
/* clang-format on */

const char *pii_name(enum pii_kind k) {
    return names[k];
}

const char *pii_action_name(enum pii_action a) {
    return actions[a];
}

bool pii_by_model(enum pii_kind k) {
    return k == PII_NAME || k == PII_ADDRESS;
}

/* The index of the word in the list, or -1. */
static int find(const char *const *list, int n, struct str word) {
    for (int i = 0; i < n; i++)
        if (str_is(word, list[i])) return i;
    return -1;
}

static void list_words(struct buf *b, const char *const *list, int n) {
    for (int i = 0; i < n; i++)
        buf_printf(b, "%s%s", i ? ", " : "", list[i]);
}

static int reject(const char *what, struct str word, const char *const *list, int n,
                  const char *also, struct err *e) {
    struct buf b = {0};
    buf_str(&b, also);
    list_words(&b, list, n);
    const int rc = b.failed ? err_nomem(e, what)
                            : err_set(e, ERR_USAGE, "%s: found \"%.*s\"; %s are accepted", what,
                                      word.n < 40 ? (int)word.n : 40, word.p, buf_view(&b).p);
    buf_fini(&b);
    return rc;
}

/* One word of the list: "email", "email=mask", "all". */
static int apply_word(struct pii_policy *p, struct str word, enum pii_action usual, struct err *e) {
    const char *equals = memchr(word.p, '=', word.n);
    struct str name = word;
    int action = usual;
    if (equals) {
        name.n = (size_t)(equals - word.p);
        const struct str value = {equals + 1, word.n - name.n - 1};
        action = find(actions, N_PII_ACTION, value);
        if (action < 0) return reject("action of an entity", value, actions, N_PII_ACTION, "", e);
    }
    const int k = find(names, N_PII, name);
    if (k < 0 && !str_is(name, "all")) return reject("entity", name, names, N_PII, "all, ", e);
    for (int i = 0; i < N_PII; i++)
        if (i == k || (k < 0 && !pii_by_model((enum pii_kind)i)))
            p->action[i] = (unsigned char)action;
    return 0;
}

int pii_policy_parse(struct pii_policy *p, const char *mode, const char *entities, struct err *e) {
    static const char between[] = ", \t\n";
    const int action = find(actions, N_PII_ACTION, str_of(mode));
    *p = (struct pii_policy){{0}};
    if (action < 0) return reject("mode", str_of(mode), actions, N_PII_ACTION, "", e);
    const char *at = entities ? entities + strspn(entities, between) : "";
    if (!*at) at = "all";
    while (*at) {
        const size_t n = strcspn(at, between);
        if (apply_word(p, (struct str){at, n}, (enum pii_action)action, e) != 0) return -1;
        at += n + strspn(at + n, between);
    }
    if (action == PII_OFF) *p = (struct pii_policy){{0}};
    return 0;
}

void pii_policy_join(struct pii_policy *p, const struct pii_policy *other) {
    for (int i = 0; i < N_PII; i++)
        if (other->action[i] > p->action[i]) p->action[i] = other->action[i];
}

bool pii_policy_has(const struct pii_policy *p, enum pii_action least) {
    for (int i = 0; i < N_PII; i++)
        if (p->action[i] >= least) return true;
    return false;
}
