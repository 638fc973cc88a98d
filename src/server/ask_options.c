/* See ask_options.h. */
#include "server/ask_options.h"

#include <stdlib.h>
#include <string.h>

#include "engine/run_options.h"

int options_check(const json_t *options, struct load_key *key, struct err *e) {
    const char *name;
    json_t *v;
    *key = (struct load_key){0};
    if (!options || json_is_null(options)) return 0;
    if (!json_is_object(options))
        return err_set(e, ERR_USAGE, "options: found no object; accepted: {\"name\": value, ...}");
    struct run_options *o = calloc(1, sizeof *o); /* some kilobytes: not on a small stack */
    if (!o) return err_nomem(e, "options");
    run_options_init(o);
    int rc = 0;
    json_object_foreach((json_t *)options, name, v) {
        struct err why = {0};
        if (run_options_set_json(o, name, v, &why) == 0 || why.code == ERR_NOT_FOUND) continue;
        rc = err_set(e, why.code, "%s", why.msg);
        err_field(e, "options.%s", name);
        break;
    }
    *key = (struct load_key){o->num_ctx, o->num_batch, o->num_thread};
    run_options_fini(o);
    free(o);
    return rc;
}

/* Two names of one option. */
static const char *twin(const char *name) {
    if (strcmp(name, "num_draft") == 0) return "draft_num_predict";
    if (strcmp(name, "draft_num_predict") == 0) return "num_draft";
    return NULL;
}

json_t *options_merge(const json_t *params, const json_t *options) {
    json_t *all = params ? json_deep_copy(params) : json_object(), *v;
    const char *name;
    int rc = all ? 0 : -1;
    json_object_foreach((json_t *)options, name, v) {
        if (rc != 0 || json_is_null(v)) continue; /* null is as if absent */
        if (twin(name)) json_object_del(all, twin(name));
        rc = json_object_set_new(all, name, json_deep_copy(v));
    }
    if (rc == 0) return all;
    json_decref(all);
    return NULL;
}
