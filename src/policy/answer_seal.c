/* The bytes around a cached answer, as both stores have them:
 *
 *   struct head   tenant   model   value
 *
 * Numbers are as the processor has them; the mark tells other machines' bytes from ours. */
#include <string.h>

#include "base/hash.h"
#include "policy/answer_store.h"

#define MARK 0x31736e6141697243u /* "CriaAns1" */

struct head {
    uint64_t mark, check; /* of all that follows */
    int64_t created_us, expires_us;
    uint32_t n_tenant, n_model;
    uint64_t n_value;
};

int answer_seal(const struct answer_seal *s, struct str value, struct buf *out, struct err *e) {
    struct head h = {.mark = MARK,
                     .created_us = s->created_us,
                     .expires_us = s->expires_us,
                     .n_tenant = (uint32_t)strlen(s->tenant),
                     .n_model = (uint32_t)strlen(s->model),
                     .n_value = value.n};
    if (h.n_tenant > ANSWER_NAME || h.n_model > ANSWER_NAME)
        return err_set(e, ERR_LIMIT, "answer cache: a name of more than %d bytes", ANSWER_NAME);
    const size_t at = out->n, checked = offsetof(struct head, created_us);
    buf_append(out, &h, sizeof h);
    buf_append(out, s->tenant, h.n_tenant);
    buf_append(out, s->model, h.n_model);
    buf_append(out, value.p, value.n);
    if (out->failed) return err_nomem(e, "answer cache");
    h.check = hash64(out->p + at + checked, out->n - at - checked, 0);
    memcpy(out->p + at, &h, sizeof h);
    return 0;
}

static bool read_head(struct str sealed, struct head *h) {
    if (sealed.n < sizeof *h) return false;
    memcpy(h, sealed.p, sizeof *h);
    return h->mark == MARK && h->n_tenant <= ANSWER_NAME && h->n_model <= ANSWER_NAME;
}

int answer_unseal(struct str sealed, const char *tenant, struct answer_seal *out, struct str *value,
                  struct err *e) {
    const size_t checked = offsetof(struct head, created_us);
    struct head h;
    if (!read_head(sealed, &h) || h.n_value != sealed.n - sizeof h - h.n_tenant - h.n_model ||
        h.check != hash64(sealed.p + checked, sealed.n - checked, 0))
        return err_set(e, ERR_FORMAT, "answer cache: a damaged answer");
    if (!str_is((struct str){sealed.p + sizeof h, h.n_tenant}, tenant))
        return err_set(e, ERR_FORMAT, "answer cache: an answer of another tenant under this key");
    *out = (struct answer_seal){.created_us = h.created_us, .expires_us = h.expires_us};
    *value = (struct str){sealed.p + sealed.n - h.n_value, h.n_value};
    return 0;
}

bool answer_seal_names(struct str sealed, const char *model) {
    struct head h;
    if (!read_head(sealed, &h) || sealed.n < sizeof h + h.n_tenant + h.n_model) return false;
    return str_is((struct str){sealed.p + sizeof h + h.n_tenant, h.n_model}, model);
}
