/* A request's body on its way to the handler.
 *
 *   gathered:  net thread appends -> (all of it) -> worker: handler
 *   to a sink: net thread appends -> (a piece) -> worker: sink.write ... -> worker: handler
 *
 * Net thread and worker pass the bytes through r->body under r->lock.  No byte is looked at on the
 * net thread. */
#include "base/os.h"
#include "base/work.h"
#include "server/front_priv.h"

enum {
    PIECE = 256 << 10,      /* what a sink's write is worth calling for */
    AHEAD_MAX = 1 << 20,    /* waiting for a slow sink: the sender waits, too */
    GATHERED_MAX = 1 << 30, /* of all requests together */
};

static void submit(struct request *r, work_fn *fn) {
    const bool slow = r->route->sink || (r->route->right & RIGHTS_CHANGE);
    r->work = (struct work){.fn = fn, .arg = r};
    const bool large = r->body.n > BODY_SMALL || r->coding != CODING_NONE;
    workers_submit(r->server->workers,
                   slow    ? WORK_SLOW
                   : large ? WORK_LARGE
                           : WORK_QUICK,
                   &r->work);
}

/* With the lock held: from now on the request is the handler's, or that of one error's reply. */
static void show(struct request *r) {
    r->stage = STAGE_SHOWN;
    r->body_ns = os_now_ns();
}

/* Decompress what was gathered.  False: answered. */
static bool decode(struct request *r) {
    struct buf plain = {0};
    struct err e;
    const int rc =
        decode_body(r->coding, buf_view(&r->body), (size_t)r->route->max_body, &plain, &e);
    atomic_fetch_add(&r->server->n_gathered, (long long)plain.n - (long long)r->body.n);
    buf_fini(&r->body);
    r->body = plain;
    if (rc == 0) return true;
    reply_error(r, e.code == ERR_LIMIT ? 413 : status_of(&e), "%s", e.msg);
    return false;
}

static void log_body(struct request *r) {
    struct buf b = {0};
    if (request_body(r).n) pii_keep_body(r->server, PII_REPORT, request_body(r), &b);
    log_put_body(r->server->log, r->id, buf_view(&b));
    buf_fini(&b);
}

/* What stands before the handler.  False: answered. */
static bool may_handle(struct request *r) {
    struct err e;
    if (work_stopped()) {
        work_given_up(&e);
        reply_err(r, &e);
        return false;
    }
    if (r->coding != CODING_NONE && r->body.n && !decode(r)) return false;
    return audit_gate(r) == 0;
}

static void handle_body(struct request *r) {
    if (!may_handle(r)) {
        if (r->sink_open) r->route->sink->abort(r->sink); /* the handler's to finish, else ours */
        return;
    }
    if (r->server->log_bodies) log_body(r);
    r->route->handler(r);
}

/* Reading is given up when the client leaves.  What changes the store is not. */
static void handle(void *arg) {
    struct request *r = arg;
    request_ref(r);
    if (r->route->right & RIGHT_USE) work_watch(&r->gone, NULL);
    handle_body(r);
    work_watch(NULL, NULL);
    request_unref(r);
}

/* ---- sinks, on a worker ---- */

/* Its sink would not have it, or the client has left. */
static void fail_sink(struct request *r, const struct err *e) {
    if (r->sink_open) r->route->sink->abort(r->sink);
    r->sink = NULL;
    pthread_mutex_lock(&r->lock);
    show(r);
    r->refused = true;
    const bool gone = r->gone, resume = r->body_paused;
    r->body_paused = false;
    r->over |= gone;
    pthread_mutex_unlock(&r->lock);
    if (resume) net_req_resume(r->net);
    if (gone)
        request_finish(r, false);
    else
        reply_err(r, e);
}

enum next { NEXT_PIECE, NEXT_LATER, NEXT_HANDLER, NEXT_GONE };

/* What to do now; the piece for NEXT_PIECE.  After NEXT_LATER the net thread has the request. */
static enum next next_piece(struct request *r, struct buf *piece) {
    bool resume = false;
    enum next what;
    pthread_mutex_lock(&r->lock);
    if (r->gone) {
        what = NEXT_GONE;
    } else if (r->body.n >= PIECE || (r->body.n && r->body_last)) {
        what = NEXT_PIECE;
        *piece = r->body;
        r->body = (struct buf){0};
        resume = r->body_paused;
        r->body_paused = false;
    } else if (r->body_last) {
        what = NEXT_HANDLER;
        show(r);
    } else {
        what = NEXT_LATER;
        r->stage = STAGE_BODY;
    }
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_sub(&r->server->n_gathered, (long long)piece->n);
    if (resume) net_req_resume(r->net);
    return what;
}

static void feed(void *arg) {
    struct request *r = arg;
    const struct body_sink *sink = r->route->sink;
    struct err e = {0};
    enum next what;
    if (!r->sink_open && !request_gone(r)) {
        if (sink->open(r, &r->sink, &e) != 0) {
            fail_sink(r, &e);
            return;
        }
        r->sink_open = true;
    }
    do {
        struct buf piece = {0};
        what = next_piece(r, &piece);
        const bool bad = what == NEXT_PIECE && sink->write(r->sink, buf_view(&piece), &e) != 0;
        buf_fini(&piece);
        if (bad) what = NEXT_GONE;
    } while (what == NEXT_PIECE);
    if (what == NEXT_HANDLER)
        handle(r);
    else if (what == NEXT_GONE)
        fail_sink(r, &e);
}

/* ---- net thread ---- */

void body_refuse(struct request *r, int status, const char *why) {
    pthread_mutex_lock(&r->lock);
    show(r);
    r->refused = true;
    pthread_mutex_unlock(&r->lock);
    if (status < 300)
        reply_status(r, status);
    else
        reply_error(r, status, "%s", why);
}

/* Room for n more bytes of this body?  If not, it is answered. */
static bool has_room(struct request *r, size_t n) {
    if (r->route->sink) return true; /* never more than AHEAD_MAX; the net knows the limit */
    if (r->n_body > r->route->max_body)
        body_refuse(r, 413, "the request body is larger than this route takes");
    /* Small ones have room always: few large ones must not shut all others out. */
    else if (r->n_body > BODY_SMALL &&
             atomic_load(&r->server->n_gathered) + (long long)n > GATHERED_MAX)
        body_refuse(r, 503, "too many requests with large bodies at once");
    else
        return true;
    return false;
}

void body_take(struct request *r, const char *p, size_t n, bool last) {
    work_fn *next = NULL;
    pthread_mutex_lock(&r->lock);
    const bool refused = r->refused;
    pthread_mutex_unlock(&r->lock);
    if (refused) return;
    if (r->deny_status) {
        if (last) body_refuse(r, r->deny_status, r->deny_why);
        return;
    }
    r->n_body += (int64_t)n;
    if (!has_room(r, n)) return;
    pthread_mutex_lock(&r->lock);
    buf_append(&r->body, p, n);
    const bool failed = r->body.failed && !r->route->sink;
    r->body_last = last;
    if (failed) {
        ;
    } else if (!r->route->sink && last) {
        show(r);
        next = handle;
    } else if (r->route->sink && r->stage == STAGE_BODY && (last || r->body.n >= PIECE)) {
        r->stage = STAGE_WORK;
        next = feed;
    } else if (r->route->sink && r->body.n > AHEAD_MAX) {
        r->body_paused = true;
        net_req_pause(r->net);
    }
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add(&r->server->n_gathered, (long long)n);
    if (failed)
        body_refuse(r, 503, "out of memory");
    else if (next)
        submit(r, next);
}

void body_gone(struct request *r) {
    pthread_mutex_lock(&r->lock);
    const enum stage stage = r->stage;
    const bool feeding = r->sink_open && stage == STAGE_BODY;
    if (stage != STAGE_SHOWN) request_set_gone(r);
    if (feeding)
        r->stage = STAGE_WORK;
    else if (stage == STAGE_BODY)
        r->over = true;
    pthread_mutex_unlock(&r->lock);
    if (feeding)
        submit(r, feed); /* which sees it, and aborts */
    else if (stage == STAGE_BODY)
        request_finish(r, false);
    else if (stage == STAGE_SHOWN)
        stream_gone(r);
}
