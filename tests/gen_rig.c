/* See gen_rig.h.  Nothing is asserted on the gen's thread: cmocka's asserts jump. */
#include "support.h"

#include "gen_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/os.h"

static void take_vector(struct talk *t, const struct gen_event *ev) {
    if (ev->choice >= TALK_CHOICES) return;
    free(t->vector[ev->choice]);
    t->vector[ev->choice] = malloc((size_t)ev->n_vector * sizeof(float));
    memcpy(t->vector[ev->choice], ev->vector, (size_t)ev->n_vector * sizeof(float));
    t->n_vector = ev->n_vector;
    t->choice[ev->choice] = ev->stats;
}

static void take_text(struct talk *t, const struct gen_event *ev, struct buf *to) {
    const int c = ev->choice;
    if (!t->first_ns) t->first_ns = os_now_ns();
    buf_append(&to[c], ev->text.p, ev->text.n);
    for (int i = 0; i < ev->n_token && t->n_id[c] < TALK_EVENTS; i++)
        t->id[c][t->n_id[c]++] = ev->token[i];
    size_t i;
    json_t *v;
    json_array_foreach(ev->data, i, v) {
        json_t *copy = json_deep_copy(v); /* not shared between threads */
        json_array_append_new(t->logprobs, copy);
    }
}

static void hear(void *ctx, const struct gen_event *ev) {
    struct talk *t = ctx;
    pthread_mutex_lock(&t->lock);
    if (t->n_event < TALK_EVENTS) t->kind[t->n_event++] = ev->kind;
    const int c = ev->choice;
    switch (ev->kind) {
    case GEN_PROMPT: t->prompt = ev->stats; break;
    case GEN_THINKING: take_text(t, ev, t->thinking); break;
    case GEN_TEXT: take_text(t, ev, t->text); break;
    case GEN_CALL: json_array_append_new(t->calls, json_deep_copy(ev->data)); break;
    case GEN_FINISH:
        t->n_finish++;
        t->why[c] = ev->why;
        t->choice[c] = ev->stats;
        buf_append(&t->stop[c], ev->stop.p, ev->stop.n);
        break;
    case GEN_VECTOR: take_vector(t, ev); break;
    case GEN_RESULT: t->result = json_deep_copy(ev->data); break;
    case GEN_END:
        t->err = ev->err;
        t->all = ev->stats;
        t->end_ns = os_now_ns();
        t->ended = true;
        t->task = NULL;
        break;
    }
    /* Never after GEN_END: the task is there. */
    if (t->cancel_after && ev->kind == GEN_TEXT && --t->cancel_after == 0) gen_cancel(t->task);
    pthread_cond_broadcast(&t->change);
    pthread_mutex_unlock(&t->lock);
}

void talk_start_json(struct talk *t, struct gen *g, json_t *request) {
    struct err e = {0};
    struct gen_task *task = NULL;
    *t = (struct talk){.gen = g, .cancel_after = t->cancel_after};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->change, NULL);
    t->logprobs = json_array();
    t->calls = json_array();
    /* Events wait for the lock, so that t->task is set when the first is taken. */
    pthread_mutex_lock(&t->lock);
    const int rc = gen_start(g, request, hear, t, &task, &e);
    t->task = task;
    pthread_mutex_unlock(&t->lock);
    json_decref(request);
    if (rc != 0) fail_msg("gen_start: %s", e.msg);
}

static json_t *request_of(const char *format, va_list ap) {
    char *text = NULL;
    json_error_t je;
    assert_true(vasprintf(&text, format, ap) >= 0);
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *j = json_loads(text, 0, &je);
    if (!j) fail_msg("%s: %s", text, je.text);
    free(text);
    return j;
}

void talk_start(struct talk *t, struct gen *g, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    json_t *j = request_of(format, ap);
    va_end(ap);
    talk_start_json(t, g, j);
}

void talk_wait_events(struct talk *t, int n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    while (!t->ended && t->n_event < n && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&t->change, &t->lock, &until);
    pthread_mutex_unlock(&t->lock);
    if (rc == ETIMEDOUT) fail_msg("%d events after 60 s; %d expected, or the end", t->n_event, n);
}

void talk_wait(struct talk *t) {
    talk_wait_events(t, TALK_EVENTS + 1);
}

int talk_n_events(struct talk *t) {
    pthread_mutex_lock(&t->lock);
    const int n = t->n_event;
    pthread_mutex_unlock(&t->lock);
    return n;
}

void talk(struct talk *t, struct gen *g, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    json_t *j = request_of(format, ap);
    va_end(ap);
    talk_start_json(t, g, j);
    talk_wait(t);
    if (t->err.code) fail_msg("%s: %s", format, t->err.msg);
}

void talk_fini(struct talk *t) {
    for (int i = 0; i < TALK_CHOICES; i++) {
        buf_fini(&t->text[i]);
        buf_fini(&t->thinking[i]);
        buf_fini(&t->stop[i]);
        free(t->vector[i]);
    }
    json_decref(t->calls);
    json_decref(t->result);
    json_decref(t->logprobs);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->change);
    *t = (struct talk){0};
}
