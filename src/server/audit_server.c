/* The audit log of a server as a whole: opened by the settings, told of changes of them and of
 * every connection that goes out, counted for /metrics. */
#include <stdio.h>
#include <string.h>

#include "net/client.h"
#include "server/audit.h"
#include "server/metrics.h"
#include "server/settings.h"

enum { WAIT_MS = 10000 };

/* ---- what goes out ---- */

/* Required: what cannot be written down does not go out. */
static int on_connect(void *ctx, const struct net_connect *c, struct err *e) {
    struct audit *a = ctx;
    struct audit_entry x;
    audit_entry_begin(&x, "connect");
    audit_text(&x.text, "purpose", c->purpose);
    audit_text(&x.text, "host", c->host);
    audit_text(&x.text, "address", c->address);
    audit_number(&x.text, "port", c->port);
    audit_text(&x.text, "proxy_for", c->behind);
    if (!audit_is_required(a)) {
        audit_put(a, &x);
        return 0;
    }
    struct audit_ticket *t = audit_put_ticket(a, &x, e);
    const int rc = t ? audit_wait(a, t, WAIT_MS, e) : -1;
    audit_ticket_free(a, t);
    return rc;
}

/* ---- settings ---- */

static void text_of(const struct setting *t, const struct settings *s, char out[SETTING_TEXT]) {
    const void *at = (const char *)s + t->offset;
    switch (t->kind) {
    case SETTING_IS_TEXT:
    case SETTING_IS_HOST:
        snprintf(out, SETTING_TEXT, "%s", (const char *)at);
        settings_hide_user(out);
        return;
    case SETTING_IS_BOOL: snprintf(out, SETTING_TEXT, "%d", *(const bool *)at); return;
    case SETTING_IS_TIME:
        snprintf(out, SETTING_TEXT, "%gs", (double)*(const int64_t *)at / 1e9);
        return;
    default: snprintf(out, SETTING_TEXT, "%lld", *(const long long *)at); return;
    }
}

void audit_settings(struct audit *a, const struct settings *old, const struct settings *now) {
    struct audit_entry x;
    json_t *all = json_object();
    for (const struct setting *t = settings_table; t->name; t++) {
        char was[SETTING_TEXT] = "", is[SETTING_TEXT];
        if (old) text_of(t, old, was);
        text_of(t, now, is);
        if (!old || strcmp(was, is) != 0) json_object_set_new(all, t->name, json_string(is));
    }
    audit_entry_begin(&x, "settings");
    audit_flag(&x.text, "changed", old != NULL);
    audit_json(&x.text, "settings", all);
    json_decref(all);
    audit_put(a, &x);
}

/* ---- beginning and end ---- */

int audit_server_open(const struct settings *t, struct audit **out, struct err *e) {
    enum audit_mode mode;
    *out = NULL;
    if (!audit_mode_of(t->audit, &mode))
        return err_set(e, ERR_USAGE,
                       "setting CRIA_AUDIT: found \"%s\"; off, on or required is accepted",
                       t->audit);
    if (mode == AUDIT_OFF) return 0;
    if (t->audit_content && !*t->audit_public_key)
        return err_set(e, ERR_USAGE,
                       "setting CRIA_AUDIT_CONTENT: on needs CRIA_AUDIT_PUBLIC_KEY, the key that "
                       "prompts and answers are encrypted to");
    const struct audit_opts o = {.file = t->audit_file,
                                 .key_file = t->audit_key_file,
                                 .sign_key = t->audit_sign_key,
                                 .public_key = t->audit_content ? t->audit_public_key : NULL,
                                 .what = "serve",
                                 .rotate_bytes = t->audit_rotate_bytes,
                                 .required = mode == AUDIT_REQUIRED};
    *out = audit_open(&o, e);
    if (!*out) return -1;
    audit_settings(*out, NULL, t);
    net_on_connect(on_connect, *out);
    return 0;
}

void audit_server_close(struct audit *a) {
    if (!a) return;
    net_on_connect(NULL, NULL);
    audit_close(a);
}

/* ---- metrics ---- */

void audit_metrics(struct audit *a, struct buf *b) {
    if (!a) return;
    const struct audit_stats s = audit_stats(a);
    metrics_number(b, "audit_entries_total", "counter", "Entries of the audit log.", s.n_entries);
    metrics_number(b, "audit_bytes_total", "counter", "Their bytes.", s.n_bytes);
    metrics_number(b, "audit_batches_total", "counter", "Writes of them, each with a sync.",
                   s.n_batches);
    metrics_number(b, "audit_errors_total", "counter", "Writes that failed.", s.n_errors);
    metrics_number(b, "audit_lost_total", "counter", "Entries that could not be kept.", s.n_lost);
    metrics_number(b, "audit_seq", "gauge", "Number of the last entry.", s.seq);
    metrics_number(b, "audit_waiting", "gauge", "Entries that wait to be written.",
                   (uint64_t)s.n_waiting);
    metrics_number(b, "audit_failing", "gauge", "1: the last write failed.", s.failing);
    metrics_seconds(b, "audit_lag_seconds", "gauge", "Since when the oldest of them waits.",
                    (double)s.lag_ns / 1e9);
    metrics_seconds(b, "audit_write_seconds_total", "counter", "Time of all writes.",
                    (double)s.sync_ns / 1e9);
}
