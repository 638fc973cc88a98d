/* The audit log's queue, its tickets, its life: audit.h.  The writer's own half is audit_write.c.
 */
#include "policy/audit.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/os.h"
#include "base/version.h"
#include "policy/audit_priv.h"

enum {
    BATCH_MAX = 1024, /* entries */
    BATCH_BYTES = 8 << 20,
    QUEUE_BYTES = 64 << 20,
    LINGER_MS = 20, /* nobody waits: more of them share a sync */
    RETRY_MS = 1000,
    OPEN_MS = 30000,
};

bool audit_mode_of(const char *text, enum audit_mode *out) {
    static const char *const name[] = {"off", "on", "required"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, name[i]) == 0) {
            *out = (enum audit_mode)i;
            return true;
        }
    return false;
}

/* ---- entries ---- */

void audit_entry_begin(struct audit_entry *x, const char *type) {
    char now[AUDIT_TIME];
    *x = (struct audit_entry){0};
    audit_time(now);
    audit_text(&x->text, "time", now);
    audit_number(&x->text, "mono", os_now_ns());
    audit_text(&x->text, "type", type);
}

static void entry_fini(struct audit_entry *x) {
    buf_fini(&x->text);
    buf_fini(&x->prompt);
    buf_fini(&x->answer);
}

void audit_job_free(struct job *j) {
    entry_fini(&j->x);
    free(j);
}

/* With the lock. */
static void unref(struct audit_ticket *t) {
    if (t && --t->n_ref == 0) free(t);
}

/* Takes x.  -1: the queue is full. */
static int enqueue(struct audit *a, struct job *j) {
    j->n_bytes = sizeof *j + j->x.text.n + j->x.prompt.n + j->x.answer.n;
    j->since_ns = os_now_ns();
    pthread_mutex_lock(&a->lock);
    const bool full = a->n_queued_bytes + j->n_bytes > QUEUE_BYTES;
    if (full) {
        if (!j->ticket) a->stats.n_lost++, a->n_untold++;
    } else {
        *a->last = j;
        a->last = &j->next;
        a->n_queued_bytes += j->n_bytes;
        a->n_queued++;
        a->n_waiting += j->ticket != NULL;
        pthread_cond_signal(&a->more);
    }
    pthread_mutex_unlock(&a->lock);
    return full ? -1 : 0;
}

void audit_put(struct audit *a, struct audit_entry *x) {
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        entry_fini(x);
        pthread_mutex_lock(&a->lock);
        a->stats.n_lost++, a->n_untold++;
        pthread_mutex_unlock(&a->lock);
        return;
    }
    j->x = *x;
    if (enqueue(a, j) != 0) audit_job_free(j);
}

struct audit_ticket *audit_put_job(struct audit *a, struct job *j, struct err *e) {
    struct audit_ticket *t = calloc(1, sizeof *t);
    if (!t) {
        audit_job_free(j);
        err_nomem(e, "audit");
        return NULL;
    }
    t->n_ref = 2;
    j->ticket = t;
    if (enqueue(a, j) == 0) return t;
    audit_job_free(j);
    free(t);
    err_set(e, ERR_BUSY, "the audit log is behind: %d MiB wait to be written", QUEUE_BYTES >> 20);
    return NULL;
}

struct audit_ticket *audit_put_ticket(struct audit *a, struct audit_entry *x, struct err *e) {
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        entry_fini(x);
        err_nomem(e, "audit");
        return NULL;
    }
    j->x = *x;
    return audit_put_job(a, j, e);
}

static struct timespec in_ms(int ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

int audit_wait(struct audit *a, struct audit_ticket *t, int timeout_ms, struct err *e) {
    const struct timespec until = in_ms(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&a->lock);
    while (!t->over && rc == 0)
        rc = pthread_cond_timedwait(&a->told, &a->lock, &until);
    const struct err err = t->err;
    const bool over = t->over;
    pthread_mutex_unlock(&a->lock);
    if (!over) return err_set(e, ERR_TIMEOUT, "the audit log takes more than %d ms", timeout_ms);
    if (err.code == ERR_NONE) return 0;
    return err_set(e, ERR_BUSY, "the audit log cannot be written: %s", err.msg);
}

void audit_ticket_free(struct audit *a, struct audit_ticket *t) {
    if (!t) return;
    pthread_mutex_lock(&a->lock);
    unref(t);
    pthread_mutex_unlock(&a->lock);
}

bool audit_failing(struct audit *a) {
    pthread_mutex_lock(&a->lock);
    const bool failing = a->failing;
    pthread_mutex_unlock(&a->lock);
    return failing;
}

int audit_digest_of(const struct audit *a, struct str text, uint8_t out[SHA256_BYTES]) {
    return a->has_digest_key ? audit_digest(a->digest_key, text, out) : -1;
}

bool audit_is_required(struct audit *a) {
    return atomic_load(&a->required);
}

void audit_set_required(struct audit *a, bool required) {
    atomic_store(&a->required, required);
}

bool audit_wants_text(const struct audit *a) {
    return a->content != NULL;
}

const char *audit_file(const struct audit *a) {
    return a->file;
}

struct audit_stats audit_stats(struct audit *a) {
    pthread_mutex_lock(&a->lock);
    struct audit_stats s = a->stats;
    s.n_waiting = a->n_queued;
    s.lag_ns = a->first ? os_now_ns() - a->first->since_ns : 0;
    s.failing = a->failing;
    pthread_mutex_unlock(&a->lock);
    return s;
}

/* ---- the writer ---- */

/* With the lock: the next jobs, cut off the queue; a prune alone. */
static struct job *take(struct audit *a) {
    struct job *first = a->first, **end = &a->first;
    size_t bytes = 0;
    for (int n = 0; *end && n < BATCH_MAX && bytes < BATCH_BYTES; n++) {
        if ((*end)->kind == JOB_PRUNE && n) break;
        const bool alone = (*end)->kind == JOB_PRUNE;
        bytes += (*end)->n_bytes;
        end = &(*end)->next;
        if (alone) break;
    }
    a->first = *end;
    if (!a->first) a->last = &a->first;
    *end = NULL;
    return first;
}

/* With the lock: wait for something to do.  After a failure a second at least passes between tries,
 * unless somebody waits. */
static void await(struct audit *a) {
    while (!a->first && !a->stop)
        pthread_cond_wait(&a->more, &a->lock);
    const struct timespec until = in_ms(a->failing ? RETRY_MS : LINGER_MS);
    int rc = 0;
    while (rc == 0 && !a->stop && a->n_waiting == 0 && (a->failing || a->n_queued < BATCH_MAX))
        rc = pthread_cond_timedwait(&a->more, &a->lock, &until);
}

/* With the lock: a batch is over.  Entries that nobody waits for are kept when it failed. */
static void settle(struct audit *a, struct job *jobs, int rc, const struct err *e) {
    struct job *kept = NULL, **end = &kept;
    a->failing = rc != 0;
    a->stats.n_errors += rc != 0;
    for (struct job *next; jobs; jobs = next) {
        next = jobs->next;
        if (rc != 0 && !jobs->ticket && !jobs->failed) {
            *end = jobs;
            end = &jobs->next;
            continue;
        }
        if (jobs->ticket) {
            jobs->ticket->over = true;
            if (rc != 0) jobs->ticket->err = *e;
            if (jobs->failed) err_nomem(&jobs->ticket->err, "audit");
            unref(jobs->ticket);
            a->n_waiting--;
        } else if (jobs->failed) {
            a->stats.n_lost++, a->n_untold++;
        }
        a->n_queued_bytes -= jobs->n_bytes;
        a->n_queued--;
        audit_job_free(jobs);
    }
    *end = a->first;
    if (kept) a->first = kept;
    if (end != &kept && !*end) a->last = end;
    pthread_cond_broadcast(&a->told);
}

/* The end waits for a try of its own: one that began before it may have failed for what is over. */
static void *write_all(void *arg) {
    struct audit *a = arg;
    bool over = false;
    pthread_mutex_lock(&a->lock);
    while (!over) {
        struct err e = {0};
        await(a);
        struct job *jobs = take(a);
        const bool stopping = a->stop, last = stopping && !a->first;
        pthread_mutex_unlock(&a->lock);
        const int rc = audit_write_batch(a, jobs, last, &e);
        pthread_mutex_lock(&a->lock);
        settle(a, jobs, rc, &e);
        over = last || (stopping && rc != 0);
    }
    if (a->n_queued)
        log_msg(LOG_ERROR, "audit: %d entries could not be written and are lost", a->n_queued);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- beginning and end ---- */

static void name_build(struct audit *a) {
    uint8_t id[20];
    const size_t n = os_build_id(id, sizeof id);
    int at = snprintf(a->build, sizeof a->build, "%s", CRIA_VERSION);
    for (size_t i = 0; i < n && i < 8; i++)
        at += snprintf(a->build + at, sizeof a->build - (size_t)at, i ? "%02x" : "+%02x", id[i]);
}

static int read_keys(struct audit *a, const struct audit_opts *o, struct err *e) {
    char name[AUDIT_PATH + 8];
    struct err why = {0};
    if (o->key_file && *o->key_file && audit_keys_add_hmac(&a->keys, o->key_file, e) != 0)
        return -1;
    if (o->sign_key && *o->sign_key && audit_keys_set_sign(&a->keys, o->sign_key, e) != 0)
        return -1;
    if (o->public_key && *o->public_key && !(a->content = audit_content_public(o->public_key, e)))
        return -1;
    snprintf(name, sizeof name, "%s.key", a->file);
    a->has_digest_key = audit_digest_key(name, true, a->digest_key, &why) == 0;
    if (a->has_digest_key) return 0;
    if (o->required) {
        if (e) *e = why;
        return -1;
    }
    log_msg(LOG_WARN, "audit: %s; there will be no digests of prompts and answers", why.msg);
    return 0;
}

/* Wait for the first batch. */
static int first_batch(struct audit *a, struct err *e) {
    struct job *j = calloc(1, sizeof *j);
    if (!j) return err_nomem(e, "audit");
    j->kind = JOB_OPEN;
    struct audit_ticket *t = audit_put_job(a, j, e);
    const int rc = t ? audit_wait(a, t, OPEN_MS, e) : -1;
    if (rc != 0 && t && t->over && e) *e = t->err;
    audit_ticket_free(a, t);
    return rc;
}

struct audit *audit_open(const struct audit_opts *o, struct err *e) {
    struct err why = {0};
    struct audit *a = calloc(1, sizeof *a);
    if (!a) {
        err_nomem(e, "audit");
        return NULL;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->more, &monotonic);
    pthread_cond_init(&a->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
    a->last = &a->first;
    a->said = true; /* the first failure is told by whoever opens */
    atomic_init(&a->required, o->required);
    a->rotate_bytes = o->rotate_bytes;
    snprintf(a->what, sizeof a->what, "%s", o->what ? o->what : "cria");
    name_build(a);
    if (audit_path(o->file, a->file, e) != 0 || read_keys(a, o, e) != 0) goto fail;
    a->has_writer = pthread_create(&a->writer, NULL, write_all, a) == 0;
    if (!a->has_writer) {
        err_nomem(e, "audit");
        goto fail;
    }
    if (first_batch(a, &why) == 0) return a;
    if (!o->required && why.code != ERR_BUSY && why.code != ERR_USAGE) {
        log_msg(LOG_ERROR, "audit: %s; it is tried again", why.msg);
        return a;
    }
    if (e) *e = why;
fail:
    audit_close(a);
    return NULL;
}

void audit_close(struct audit *a) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
    if (a->has_writer) pthread_join(a->writer, NULL);
    for (struct job *j = a->first, *next; j; j = next) {
        next = j->next;
        if (j->ticket) unref(j->ticket);
        audit_job_free(j);
    }
    audit_store_close(a->store);
    audit_keys_fini(&a->keys);
    audit_content_free(a->content);
    pthread_cond_destroy(&a->more);
    pthread_cond_destroy(&a->told);
    pthread_mutex_destroy(&a->lock);
    OPENSSL_cleanse(a->digest_key, sizeof a->digest_key);
    free(a);
}
