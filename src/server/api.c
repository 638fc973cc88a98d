/* See api.h. */
#include "server/api.h"

#include <stdio.h>
#include <time.h>

#include "server/allow.h"
#include "server/front_priv.h"

/* The second's text is kept until the next: a token has a time, too. */
static void format_time(time_t s, long ns, char out[API_TIME]) {
    static _Thread_local time_t last;
    static _Thread_local char date[24];
    struct tm tm;
    if (s != last || !*date) {
        gmtime_r(&s, &tm);
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
        last = s;
    }
    snprintf(out, API_TIME, "%s.%09ldZ", date, ns);
}

void api_now(char out[API_TIME]) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    format_time(t.tv_sec, t.tv_nsec, out);
}

void api_time(int64_t unix_s, char out[API_TIME]) {
    format_time((time_t)unix_s, 0, out);
}

void api_tell_ignored(struct request *r, const struct fault *f) {
    char line[FIELD_PATH + 40];
    if (!*f->ignored) return;
    snprintf(line, sizeof line, "X-Cria-Ignored: %s\r\n", f->ignored);
    reply_header(r, line);
    log_line(r->server->log, LOG_DEBUG, "%s: fields that are not known were ignored: %s", r->id,
             f->ignored);
}

json_t *api_body(struct request *r, struct fault *f) {
    struct fault own;
    if (!f) f = &own;
    *f = (struct fault){.dialect = r->dialect};
    json_t *o = request_json(r);
    if (!o) return NULL; /* it has its answer, and may be gone */
    if (field_check(o, "", r->route->fields, f) == 0) {
        api_tell_ignored(r, f);
        return o;
    }
    reply_err(r, &f->err);
    return NULL;
}

/* The name is checked here already: the answer to one that cannot be does not tell what is there
 * (SECURITY.md R9). */
const json_t *api_read(struct request *r, const char **model, struct name *n) {
    const json_t *o = api_body(r, NULL);
    struct name unused;
    struct err e;
    if (!o) return NULL;
    *model = field_text(o, "model");
    if (!**model)
        err_set(&e, ERR_USAGE, "model is required");
    else if (name_parse(*model, n ? n : &unused, NULL) != 0)
        err_set(&e, ERR_USAGE, "invalid model name");
    else if (allow_model(r, n ? n : &unused, &e) == 0) {
        request_set_model(r, *model);
        return o;
    }
    err_field(&e, "model");
    reply_err(r, &e);
    return NULL;
}

void api_set_count(json_t *o, const char *key, int64_t n) {
    if (n) json_object_set_new(o, key, json_integer(n));
}
