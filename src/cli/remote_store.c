/* See remote_store.h. */
#include "cli/remote_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cli/pull.h"
#include "cli/text.h"

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int say(void *ctx, const json_t *line, struct err *e) {
    const char *digest = json_string_value(json_object_get(line, "digest"));
    struct buf status = {0};
    text_escape(&status, str_of(text_of(line, "status")), false);
    const struct registry_event ev = {
        .status = buf_view(&status).p,
        .digest = digest,
        .total = (uint64_t)json_integer_value(json_object_get(line, "total")),
        .completed = (uint64_t)json_integer_value(json_object_get(line, "completed"))};
    (void)e;
    pull_progress_say(ctx, &ev);
    buf_fini(&status);
    return 0;
}

int remote_transfer(struct remote *r, const char *what, const char *name, bool insecure, bool json,
                    struct err *e) {
    struct pull_progress p = {.json = json};
    char path[32];
    json_t *body = json_pack("{s:s, s:b}", "model", name, "insecure", insecure);
    if (!body) return err_set(e, ERR_USAGE, "%s: a name that is no UTF-8 text", what);
    snprintf(path, sizeof path, "/api/%s", what);
    const int rc = remote_stream(r, path, body, say, &p, e);
    pull_progress_end(&p);
    json_decref(body);
    return rc;
}

/* RFC 3339 to Unix time. */
static int64_t when_of(const char *text) {
    struct tm tm = {0};
    int hours = 0, minutes = 0;
    char sign = '+';
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest) return 0;
    rest += strspn(rest, ".0123456789");
    if (sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) < 1 || sign == 'Z') hours = minutes = 0;
    const int64_t shift = (int64_t)hours * 3600 + minutes * 60;
    return timegm(&tm) - (sign == '-' ? -shift : shift);
}

static bool take_entry(const json_t *m, const char *prefix, struct store_entry *out) {
    const char *name = text_of(m, "name");
    *out = (struct store_entry){0};
    if (name_parse(name, &out->name, NULL) != 0) return false;
    if (prefix && strncasecmp(name, prefix, strlen(prefix)) != 0) return false;
    out->damaged = strlen(text_of(m, "digest")) >= sizeof out->id.hex;
    if (!out->damaged) strcpy(out->id.hex, text_of(m, "digest"));
    out->n_bytes = (uint64_t)json_integer_value(json_object_get(m, "size"));
    out->modified_s = when_of(text_of(m, "modified_at"));
    return true;
}

int remote_list(struct remote *r, const char *prefix, struct store_entry **list, int *n,
                struct err *e) {
    json_t *answer = NULL;
    const json_t *m;
    size_t i;
    if (remote_ask(r, NET_GET, "/api/tags", NULL, &answer, e) != 0) return -1;
    const json_t *models = json_object_get(answer, "models");
    *n = 0, *list = NULL;
    if (!json_is_array(models)) {
        json_decref(answer);
        return err_set(e, ERR_FORMAT, "%.200s: an answer without \"models\"", remote_url(r));
    }
    *list = calloc(json_array_size(models) + 1, sizeof **list);
    if (!*list) err_nomem(e, "list");
    for (i = 0; *list && i < json_array_size(models); i++) {
        m = json_array_get(models, i);
        *n += take_entry(m, prefix, &(*list)[*n]);
    }
    json_decref(answer);
    return *list ? 0 : -1;
}

static int ask(struct remote *r, enum net_method method, const char *path, json_t *body,
               struct err *e) {
    if (!body) return err_set(e, ERR_USAGE, "%s: a name that is no UTF-8 text", path);
    const int rc = remote_ask(r, method, path, body, NULL, e);
    json_decref(body);
    return rc;
}

int remote_copy(struct remote *r, const char *from, const char *to, struct err *e) {
    return ask(r, NET_POST, "/api/copy", json_pack("{s:s, s:s}", "source", from, "destination", to),
               e);
}

int remote_remove(struct remote *r, const char *name, struct err *e) {
    return ask(r, NET_DELETE, "/api/delete", json_pack("{s:s}", "model", name), e);
}
