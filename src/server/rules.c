/* See rules.h. */
#include "server/rules.h"

#include "server/front_priv.h"
#include "store/store.h"

int rules_of(struct server *s, const struct name *n, struct model_policy *p, struct err *e) {
    struct manifest m;
    struct name found;
    struct err absent;
    int rc = 0;
    *p = (struct model_policy){0};
    if (store_get(s->store, n, &found, &m, &absent) == 0)
        rc = model_policy_read(s->store, &m, p, e);
    manifest_fini(&m);
    pthread_mutex_lock(&s->lock);
    if (rc == 0) conf_model_policy(&s->conf, n, p);
    pthread_mutex_unlock(&s->lock);
    return rc;
}
