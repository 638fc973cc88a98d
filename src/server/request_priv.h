/* A request as those see it that work for it on other threads than its handler's: ask_model.c. */
#pragma once

#include "engine/gen.h"
#include "server/request.h"

enum {
    PAUSE_BYTES = 64 << 10, /* waiting for a slow reader: no more tokens are made */
    STREAM_MAX = 8 << 20,   /* the stream is cut: somebody makes text that cannot be paused */
};

/* From now on this task makes r's chunks: gen_pause() when the reader is slow, gen_resume() when it
 * has caught up, gen_cancel() when it has left (at once if it has left already).  NULL, before the
 * task's GEN_END is handed on: afterwards no thread uses the task any more.
 *
 * gen_pause may be called from within stream_*() on the thread that delivers the task's events, so
 * that thread must hold no lock then that gen_pause takes. */
void request_attach(struct request *r, struct gen_task *task);

/* fn(ctx) once, on the net thread or, when the client has left already, before this returns.  It
 * must not block, nor call request_on_gone or request_attach.  NULL takes it back: after that it
 * neither runs nor will. */
typedef void request_gone_fn(void *ctx);
void request_on_gone(struct request *r, request_gone_fn *fn, void *ctx);

/* Others want what r's task makes, too: fn(ctx) says whether they do.  As long as it does neither
 * the client's leaving (leaving: that is what it is asked for) nor its slowness stops the task.
 * Called with a lock of r held; NULL: no longer, and it is not being called. */
typedef bool request_wanted_fn(void *ctx, bool leaving);
void request_share(struct request *r, request_wanted_fn *fn, void *ctx);
/* One of them has left: if r's client has, too, and nobody else is there, the task is stopped. */
void request_unwanted(struct request *r);
/* One has come: a task that was paused goes on. */
void request_hurry(struct request *r);

/* Not 0 once the client has left, for work_watch; as long as r. */
const volatile int *request_left(const struct request *r);

/* Counted references to the memory of r, for whoever may come late; the end is still owed by one
 * only, and after it nothing but request_gone, request_on_gone(NULL), request_attach(NULL) and
 * request_unref may be called. */
void request_ref(struct request *r);
void request_unref(struct request *r);

/* What a model did for r: for the log line, the metrics and the key; before the end. */
void request_note_work(struct request *r, const struct gen_stats *s, int64_t load_ns);
/* What is noted from now on is done beside what was noted before, not instead of it. */
void request_next_work(struct request *r);
/* All of it; with the lock held. */
struct gen_stats request_work(const struct request *r);
/* Now the first text of an answer goes out. */
void request_note_first(struct request *r);
