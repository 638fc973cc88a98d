/* See probe.h. */
#include "cli/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void probe_say(int fd, json_t *j) {
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text) return;
    const size_t n = strlen(text);
    text[n] = '\n'; /* in the place of its end */
    for (size_t at = 0; at < n + 1;) {
        const ssize_t k = write(fd, text + at, n + 1 - at);
        if (k <= 0) break;
        at += (size_t)k;
    }
    free(text);
}

void probe_say_error(int fd, const struct err *e) {
    probe_say(fd, json_pack("{s:s, s:i}", "error", e->msg, "code", (int)e->code));
}

void probe_all(int fd, const char *process, const char *walls, const struct isolation_targets *t) {
    probe_say(fd, json_pack("{s:s, s:s}", "process", process, "walls", walls));
    for (const struct isolation_try *a = isolation_tries; a->name; a++) {
        char answer[16];
        const int error = a->fn(t);
        probe_say(fd, json_pack("{s:s, s:s, s:s, s:b}", "process", process, "try", a->name,
                                "answer", isolation_answer(error, answer), "refused",
                                (int)isolation_refused(error)));
    }
    probe_say(fd, json_pack("{s:s, s:b}", "process", process, "end", 1));
}

json_t *probe_order(const char *role, const char *store, const char *cache,
                    const struct isolation_targets *t) {
    return json_pack("{s:s, s:s, s:s?, s:i, s:i, s:s, s:s, s:s, s:i, s:I}", "role", role, "store",
                     store, "cache", cache, "tcp", t->tcp_port, "udp", t->udp_port, "unix",
                     t->unix_name, "file", t->file, "write_file", t->write_file, "victim",
                     (int)t->victim, "address", (json_int_t)t->victim_address);
}

static void get_text(const json_t *o, const char *name, char *out, size_t n_out) {
    const char *s = json_string_value(json_object_get(o, name));
    snprintf(out, n_out, "%s", s ? s : "");
}

void probe_targets(const json_t *order, struct isolation_targets *t) {
    *t = (struct isolation_targets){.listener = -1};
    t->tcp_port = (int)json_integer_value(json_object_get(order, "tcp"));
    t->udp_port = (int)json_integer_value(json_object_get(order, "udp"));
    t->victim = (pid_t)json_integer_value(json_object_get(order, "victim"));
    t->victim_address = (uint64_t)json_integer_value(json_object_get(order, "address"));
    get_text(order, "unix", t->unix_name, sizeof t->unix_name);
    get_text(order, "file", t->file, sizeof t->file);
    get_text(order, "write_file", t->write_file, sizeof t->write_file);
}
