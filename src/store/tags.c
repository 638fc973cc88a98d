/* Which tags a registry has for a model (OCI distribution specification, "content discovery"). */
#include "base/json.h"
#include "store/registry_priv.h"

#include <stdio.h>

/* What a registry calls a tag may be anything: only what is one is handed on. */
static bool is_tag(const char *tag) {
    char text[NAME_PART_MAX + 8];
    struct name n;
    const int len = snprintf(text, sizeof text, "x:%s", tag);
    return len > 0 && len < (int)sizeof text && name_parse(text, &n, NULL) == 0 && n.has_tag &&
           strcmp(n.tag, tag) == 0;
}

/* Asked once: whoever searches wants an answer now. */
int registry_tags(const struct name *n, const struct registry_opts *o,
                  void (*fn)(void *ctx, const char *tag), void *ctx, struct err *e) {
    enum { MAX_LIST_BYTES = 4 << 20, MAX_VALUES = 100000 };
    struct registry r;
    struct net_answer a = {0};
    struct net_request q = {.max_bytes = MAX_LIST_BYTES, .same_host = true};
    json_t *root = NULL;
    int rc = registry_open(&r, n, o, e);
    if (rc == 0) rc = registry_ask(&r, "/tags/list", &q, &a, e);
    if (rc == 0 && a.status != 200) rc = registry_refused("tags", &a, e);
    if (rc == 0) root = json_read_object("tags", buf_view(&a.body), MAX_VALUES, e);
    if (rc == 0 && !root) rc = -1;
    const json_t *tags = json_object_get(root, "tags");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        if (tag && is_tag(tag)) fn(ctx, tag);
    }
    json_decref(root);
    net_answer_fini(&a);
    registry_close(&r);
    return rc;
}
