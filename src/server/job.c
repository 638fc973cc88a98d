/* See job.h. */
#include "server/job.h"

#include <string.h>

#include "base/os.h"
#include "server/request_priv.h"

enum { LINE_NS = 60 * 1000 * 1000 };

static void on_gone(void *ctx) {
    struct job *j = ctx;
    __atomic_store_n(&j->stop, 1, __ATOMIC_RELAXED); /* polled by the threads of a download */
}

void job_run(struct job *j, job_fn *work, void *ctx) {
    struct err e = {0};
    request_on_gone(j->r, on_gone, j);
    const int rc = work(j, ctx, &e);
    request_on_gone(j->r, NULL, NULL);
    if (rc != 0 && stream_started(j->r))
        stream_fail(j->r, &e);
    else if (rc != 0)
        reply_err(j->r, &e);
    else if (stream_started(j->r))
        stream_end(j->r);
    else
        reply_json(j->r, 200, json_pack("{s:s}", "status", "success"));
}

void job_say(struct job *j, const char *status, const char *digest, uint64_t total,
             uint64_t completed) {
    const int64_t now = os_now_ns();
    if (!j->stream) return;
    for (const char *const *h = j->hide; h && *h; h++)
        if (strcmp(*h, status) == 0) return;
    const bool middle = total > 0 && completed > 0 && completed < total;
    if (middle && now - j->said_ns < LINE_NS) return;
    j->said_ns = now;
    json_t *o = json_pack("{s:s}", "status", status);
    if (digest) json_object_set_new(o, "digest", json_string(digest));
    if (total) json_object_set_new(o, "total", json_integer((json_int_t)total));
    if (completed) json_object_set_new(o, "completed", json_integer((json_int_t)completed));
    if (!stream_started(j->r)) stream_start(j->r, 200, STREAM_NDJSON);
    stream_json(j->r, o);
    json_decref(o);
}
