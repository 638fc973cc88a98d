/* See api.h. */
#include "server/api.h"

#include <stdio.h>
#include <time.h>

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

/* The name is checked here already: the answer to one that cannot be does not tell what is there
 * (SECURITY.md R9). */
const json_t *api_read(struct request *r, const struct field *table, const char **model,
                       struct name *n) {
    const json_t *o = request_json(r);
    struct err e = {0};
    struct name unused;
    if (!o) return NULL;
    if (field_check(o, table, &e) != 0) return reply_err(r, &e), NULL;
    *model = field_text(o, "model");
    if (!*model || !**model) *model = field_text(o, "name");
    if (!*model || !**model) return reply_error(r, 400, "model is required"), NULL;
    if (name_parse(*model, n ? n : &unused, NULL) != 0)
        return reply_error(r, 400, "invalid model name"), NULL;
    request_set_model(r, *model);
    return o;
}

void api_set_count(json_t *o, const char *key, int64_t n) {
    if (n) json_object_set_new(o, key, json_integer(n));
}
