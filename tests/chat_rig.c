/* See chat_rig.h. */
#include "chat_rig.h"

#include <stdlib.h>

#include "support.h"

struct chat_template *template_of(const char *file) {
    char rel[300];
    size_t n;
    struct err e = {0};
    snprintf(rel, sizeof rel, "chat/templates/%s", file);
    char *source = (char *)slurp(golden(rel), &n);
    struct chat_template *t = chat_template_new((struct str){source, n}, &e);
    if (!t) assert_int_equal(e.code, ERR_UNSUPPORTED);
    free(source);
    return t;
}

struct chat_template *source_template(const char *source) {
    struct err e = {0};
    struct chat_template *t = chat_template_new(str_of(source), &e);
    if (!t) fail_msg("%s", e.msg);
    return t;
}

json_t *json_of(const char *text) {
    json_error_t je;
    char *z = strdup(text);
    for (char *p = z; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *j = json_loads(z, 0, &je);
    if (!j) fail_msg("%s: %s", je.text, z);
    free(z);
    return j;
}

int count_of(const struct buf *text, const char *z) {
    int n = 0;
    for (const char *at = text->p; (at = strstr(at, z)); at++)
        n++;
    return n;
}

int count_control(const struct vocab *v, const struct ids *ids) {
    int n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += vocab_attr(v, ids->v[i]) == TOKEN_CONTROL;
    return n;
}
