/* See pull.h. */
#include "cli/pull.h"

#include <stdio.h>
#include <string.h>

static void say_json(const struct registry_event *ev) {
    json_t *o = json_pack("{s:s}", "status", ev->status);
    if (ev->digest) {
        json_object_set_new(o, "digest", json_string(ev->digest));
        json_object_set_new(o, "total", json_integer((json_int_t)ev->total));
        if (ev->completed)
            json_object_set_new(o, "completed", json_integer((json_int_t)ev->completed));
    }
    cli_print_json(o);
    fflush(stdout);
}

void pull_progress_end(struct pull_progress *p) {
    progress_end(&p->bar);
}

void pull_progress_say(void *ctx, const struct registry_event *ev) {
    struct pull_progress *p = ctx;
    if (p->json) {
        say_json(ev);
        return;
    }
    if (strcmp(p->status, ev->status) != 0) {
        progress_end(&p->bar);
        snprintf(p->status, sizeof p->status, "%s", ev->status);
        fprintf(stderr, "%s\n", p->status);
        if (ev->digest) progress_start(&p->bar, p->status, (double)ev->total, "B");
    }
    if (ev->digest) progress_update(&p->bar, (double)ev->completed);
}

int cli_check_one_host(const char *command, const struct name *names, int n, struct err *e) {
    struct buf hosts = {0};
    int n_hosts = 0;
    for (int i = 0; i < n; i++) {
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = strcmp(names[j].host, names[i].host) == 0;
        if (!seen) buf_printf(&hosts, "%s%s", n_hosts++ ? ", " : "", names[i].host);
    }
    int rc = hosts.failed ? err_nomem(e, command) : 0;
    if (rc == 0 && n_hosts > 1)
        rc = err_set(e, ERR_USAGE,
                     "%s: --insecure with models of %s; one host at a time is accepted", command,
                     hosts.p);
    buf_fini(&hosts);
    return rc;
}

int cli_pull(struct store *s, const struct name *n, bool insecure, bool json, struct err *e) {
    const struct registry_opts o = {.insecure = insecure, .stop = &cli_interrupted};
    struct pull_progress p = {.json = json};
    struct name took = *n;
    char wanted[NAME_TEXT], found[NAME_TEXT];
    const int rc = registry_pull(s, n, &o, &took, pull_progress_say, &p, e);
    pull_progress_end(&p);
    name_short(n, wanted), name_short(&took, found);
    if (rc == 0 && !name_eq(n, &took)) fprintf(stderr, "%s: took %s\n", wanted, found);
    return rc == 0 ? 0 : err_prefix(e, wanted);
}
