/* Streams, and readers that are slower than what is made for them.
 *
 * A chunk goes to the net at once.  When more than 64 KiB wait there it goes to r->pending; the
 * task behind it is paused.  When the net's queue is empty again all of pending is handed on and
 * the task goes on.  What ends with chunks pending is ended by the net thread, once they are out.
 */
#include "base/json.h"
#include "base/os.h"
#include "server/allow.h"
#include "server/front_priv.h"

/* A whole answer in the stream's place; whoever makes the stream is told that nobody reads it. */
static void refuse(struct request *r, const struct err *e) {
    struct buf text = {0}, h = {0};
    audit_refusal(r, e, &text);
    buf_str(&h, "Content-Type: application/json; charset=utf-8\r\n");
    buf_append(&h, r->headers.p, r->headers.n);
    pthread_mutex_lock(&r->lock);
    r->started = true;
    r->status = 503;
    if (net_reply_start(r->net, 503, h.p, (int64_t)text.n, NULL) != 0)
        r->cut = true;
    else
        net_reply_write(r->net, text.p, text.n);
    r->n_sent = (int64_t)text.n;
    request_set_gone(r);
    pthread_mutex_unlock(&r->lock);
    buf_fini(&h), buf_fini(&text);
    stream_tell_gone(r);
}

void stream_start(struct request *r, int status, enum stream_form form) {
    struct buf h = {0};
    struct err e = {0};
    if (!stream_started(r) && !audit_door(r, &e)) {
        refuse(r, &e);
        return;
    }
    buf_printf(&h, "Content-Type: %s\r\n",
               form == STREAM_SSE ? "text/event-stream; charset=utf-8" : "application/x-ndjson");
    /* Proxies hold chunks back to fill their buffers unless they are told not to. */
    buf_str(&h, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    allow_headers(r, &h);
    buf_append(&h, r->headers.p, r->headers.n);
    buf_str(&h, request_cache_header(r));
    pthread_mutex_lock(&r->lock);
    if (!r->started) {
        r->started = true;
        r->status = status;
        r->form = form;
        if (h.failed || net_reply_start(r->net, status, h.p, -1, NULL) != 0) r->cut = true;
    }
    pthread_mutex_unlock(&r->lock);
    buf_fini(&h);
}

bool stream_started(const struct request *r) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&r->lock; /* only looks */
    pthread_mutex_lock(lock);
    const bool started = r->started;
    pthread_mutex_unlock(lock);
    return started;
}

/* Pause the task while much waits.  Under task_lock, so that it cannot meet the net thread's
 * resuming. */
static void pause_task(struct request *r) {
    pthread_mutex_lock(&r->task_lock);
    pthread_mutex_lock(&r->lock);
    const bool slow = r->pending.n > PAUSE_BYTES && !r->gone;
    pthread_mutex_unlock(&r->lock);
    if (slow && r->task && !r->task_paused && !request_is_wanted(r, false)) {
        r->task_paused = true;
        gen_pause(r->task);
    }
    pthread_mutex_unlock(&r->task_lock);
}

void stream_tell_gone(struct request *r) {
    pthread_mutex_lock(&r->task_lock);
    if (!request_is_wanted(r, true)) {
        request_gone_fn *fn = r->gone_fn;
        r->gone_fn = NULL;
        if (r->task) gen_cancel(r->task);
        if (fn) fn(r->gone_ctx);
    }
    pthread_mutex_unlock(&r->task_lock);
}

void stream_text(struct request *r, struct str raw) {
    bool slow = false, cut = false;
    if (raw.n == 0) return;
    pthread_mutex_lock(&r->lock);
    if (r->gone || r->ending || r->cut) {
        pthread_mutex_unlock(&r->lock);
        return;
    }
    if (!r->first_ns) r->first_ns = os_now_ns();
    if (r->pending.n || net_reply_write(r->net, raw.p, raw.n) == NET_FULL) {
        buf_append(&r->pending, raw.p, raw.n);
        slow = r->pending.n > PAUSE_BYTES;
        cut = r->pending.failed || r->pending.n > STREAM_MAX;
        if (cut) {
            buf_fini(&r->pending);
            r->pending = (struct buf){0};
            request_set_gone(r);
            r->cut = true;
        }
    }
    r->n_sent += (int64_t)raw.n;
    pthread_mutex_unlock(&r->lock);
    if (cut)
        stream_tell_gone(r);
    else if (slow)
        pause_task(r);
}

void stream_line(struct request *r, const struct buf *b) {
    if (!b->failed) {
        stream_text(r, buf_view(b));
        return;
    }
    pthread_mutex_lock(&r->lock);
    request_set_gone(r);
    r->cut = true;
    pthread_mutex_unlock(&r->lock);
    stream_tell_gone(r);
}

void stream_event(struct request *r, const char *name, const json_t *j) {
    struct buf b = {0};
    if (name) buf_printf(&b, "event: %s\n", name);
    if (r->form == STREAM_SSE) buf_str(&b, "data: ");
    if (json_append("stream", j, &b, NULL) != 0) b.failed = true;
    buf_str(&b, r->form == STREAM_SSE ? "\n\n" : "\n");
    stream_line(r, &b);
    buf_fini(&b);
}

void stream_json(struct request *r, const json_t *j) {
    stream_event(r, NULL, j);
}

void stream_figures(struct request *r, const json_t *j) {
    struct buf b = {0};
    if (json_append_figures("stream", j, &b, NULL) != 0) b.failed = true;
    buf_byte(&b, '\n');
    stream_line(r, &b);
    buf_fini(&b);
}

void stream_end(struct request *r) {
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    const bool now = r->gone || r->pending.n == 0, whole = r->started && !r->cut;
    r->over = now;
    pthread_mutex_unlock(&r->lock);
    if (now) request_finish(r, whole);
}

void stream_fail(struct request *r, const struct err *e) {
    json_t *j = error_json(r, status_of(e), e);
    pthread_mutex_lock(&r->lock);
    r->failed = true;
    pthread_mutex_unlock(&r->lock);
    if (j) stream_event(r, r->dialect == DIALECT_ANTHROPIC ? "error" : NULL, j);
    json_decref(j);
    stream_end(r);
}

/* ---- net thread ---- */

void stream_room(struct request *r) {
    pthread_mutex_lock(&r->task_lock);
    pthread_mutex_lock(&r->lock);
    if (r->pending.n && net_reply_write(r->net, r->pending.p, r->pending.n) != NET_FULL) {
        buf_fini(&r->pending);
        r->pending = (struct buf){0};
    }
    const bool empty = r->pending.n == 0, end = r->ending && empty && !r->over;
    r->over |= end;
    pthread_mutex_unlock(&r->lock);
    if (empty && r->task_paused) {
        r->task_paused = false;
        if (r->task) gen_resume(r->task);
    }
    pthread_mutex_unlock(&r->task_lock);
    if (end) request_finish(r, true);
}

void stream_gone(struct request *r) {
    pthread_mutex_lock(&r->lock);
    request_set_gone(r);
    buf_fini(&r->pending);
    r->pending = (struct buf){0};
    const bool end = r->ending && !r->over;
    r->over |= end;
    pthread_mutex_unlock(&r->lock);
    if (end)
        request_finish(r, false);
    else
        stream_tell_gone(r);
}
