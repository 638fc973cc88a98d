/* See answer_cache.h.
 *
 *   put -> queue -> writer: a batch of them at once -> store
 *   get -> the keys that were used go with the next batch, before it: who is found often costs no
 *          write, and has left for nobody when room is made */
#include "policy/answer_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/os.h"

enum {
    QUEUE_BYTES = 64 << 20, /* of answers that wait to be written */
    QUEUE_JOBS = 8192,
    BATCH_JOBS = 64,
    USED_KEYS = 512,        /* that wait for a batch; so many are one */
    SKEW_US = 60 * 1000000, /* clocks of machines that share a store */
};

static const int64_t say_ns = 60 * 1000000000LL;

typedef uint8_t key_bytes[ANSWER_KEY_BYTES];

/* An answer to write. */
struct job {
    struct job *next;
    uint8_t key[ANSWER_KEY_BYTES];
    struct answer_record record;
    int64_t ttl_s;
    char tenant[ANSWER_NAME + 1], model[ANSWER_NAME + 1];
};

struct answer_cache {
    struct answer_store *store;
    int64_t (*wall_us)(void);
    pthread_mutex_t clock_lock; /* of the next two */
    int64_t last_us, last_ns;
    atomic_llong n_put, n_gone, n_error, n_dropped, said_ns;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more, done;
    struct job *first, **last, *busy; /* busy: they are being written */
    int n_job;
    size_t n_bytes;
    key_bytes used[USED_KEYS];
    int n_used;
    uint64_t n_in, n_taken, n_done; /* answers and keys: came, are being written, are written */
    bool stop, hurry;               /* hurry: also when there are only used keys */
    pthread_t writer;
    key_bytes used_now[USED_KEYS]; /* the writer's */
};

/* ---- time ---- */

static int64_t system_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The wall clock, or where that was set back the time that has passed since it was right. */
static int64_t now_us(struct answer_cache *c) {
    pthread_mutex_lock(&c->clock_lock);
    const int64_t ns = os_now_ns(), wall = c->wall_us();
    const int64_t least = c->last_us + (ns - c->last_ns) / 1000;
    c->last_us = wall > least ? wall : least;
    c->last_ns = ns;
    const int64_t us = c->last_us;
    pthread_mutex_unlock(&c->clock_lock);
    return us;
}

/* ---- what goes wrong ---- */

static void note(struct answer_cache *c, const struct err *e) {
    const int64_t now = os_now_ns();
    long long before = atomic_load(&c->said_ns);
    atomic_fetch_add(&c->n_error, 1);
    if (e->code == ERR_LIMIT || e->code == ERR_BUSY || (before && now - before < say_ns)) return;
    if (atomic_compare_exchange_strong(&c->said_ns, &before, now)) log_msg(LOG_WARN, "%s", e->msg);
}

/* ---- the queue ---- */

/* Takes j over. */
static void enqueue(struct answer_cache *c, struct job *j) {
    pthread_mutex_lock(&c->lock);
    const bool full = c->n_job >= QUEUE_JOBS || c->n_bytes + j->record.bytes.n > QUEUE_BYTES;
    if (!full) {
        *c->last = j;
        c->last = &j->next;
        c->n_job++;
        c->n_in++;
        c->n_bytes += j->record.bytes.n;
        pthread_cond_signal(&c->more);
    }
    pthread_mutex_unlock(&c->lock);
    if (!full) return;
    atomic_fetch_add(&c->n_dropped, 1);
    answer_record_fini(&j->record);
    free(j);
}

static void free_jobs(struct job *list) {
    for (struct job *j = list, *next; j; j = next) {
        next = j->next;
        answer_record_fini(&j->record);
        free(j);
    }
}

static bool has_work(const struct answer_cache *c) {
    return c->first || c->n_used == USED_KEYS || (c->n_used && (c->hurry || c->stop));
}

/* Some of what waits: answers in *list, *n_used keys in used_now.  Until the next call the answers
 * can still be found.  False: it is over. */
static bool take(struct answer_cache *c, struct job **list, int *n_used) {
    pthread_mutex_lock(&c->lock);
    struct job *written = c->busy;
    c->busy = NULL;
    c->n_done = c->n_taken;
    pthread_cond_broadcast(&c->done);
    while (!has_work(c) && !c->stop)
        pthread_cond_wait(&c->more, &c->lock);
    struct job **end = list;
    *list = c->first;
    for (int n = 0; *end && n < BATCH_JOBS; n++) {
        c->n_job--;
        c->n_taken++;
        c->n_bytes -= (*end)->record.bytes.n;
        end = &(*end)->next;
    }
    c->first = *end;
    *end = NULL;
    if (!c->first) c->last = &c->first;
    c->busy = *list;
    *n_used = c->n_used;
    memcpy(c->used_now, c->used, (size_t)c->n_used * sizeof *c->used);
    c->n_taken += (uint64_t)c->n_used;
    c->n_used = 0;
    c->hurry = false;
    pthread_mutex_unlock(&c->lock);
    free_jobs(written);
    return *list || *n_used;
}

static const struct job *find_job(const struct job *list, const uint8_t *key, const char *tenant) {
    const struct job *found = NULL;
    for (const struct job *j = list; j; j = j->next)
        if (memcmp(j->key, key, sizeof j->key) == 0 && strcmp(j->tenant, tenant) == 0) found = j;
    return found;
}

/* The answer is on its way to the store: a copy. */
static bool get_waiting(struct answer_cache *c, const uint8_t *key, const char *tenant,
                        struct answer_record *out) {
    pthread_mutex_lock(&c->lock);
    const struct job *j = find_job(c->first, key, tenant);
    if (!j) j = find_job(c->busy, key, tenant);
    if (j) buf_append(&out->bytes, j->record.bytes.p, j->record.bytes.n);
    pthread_mutex_unlock(&c->lock);
    out->whole = j && !out->bytes.failed;
    if (j && !out->whole) answer_record_fini(out);
    return out->whole;
}

static int write_answer(struct answer_cache *c, const struct job *j, struct err *e) {
    struct buf packed = {0}, sealed = {0};
    int64_t n_gone = 0;
    const int64_t now = now_us(c);
    const struct answer_seal seal = {j->tenant, j->model, now, now + j->ttl_s * 1000000};
    int rc = answer_pack(&j->record, &packed, e);
    if (rc == 0) rc = answer_seal(&seal, buf_view(&packed), &sealed, e);
    const struct answer_row row = {j->key, j->model, now, seal.expires_us, buf_view(&sealed)};
    if (rc == 0) rc = c->store->ops->put(c->store, &row, &n_gone, e);
    if (rc == 0) {
        atomic_fetch_add(&c->n_put, 1);
        atomic_fetch_add(&c->n_gone, n_gone);
    }
    buf_fini(&packed);
    buf_fini(&sealed);
    return rc;
}

static void *write_all(void *arg) {
    struct answer_cache *c = arg;
    const struct answer_store_ops *ops = c->store->ops;
    struct job *list;
    int n_used;
    while (take(c, &list, &n_used)) {
        struct err e = {0};
        if (ops->batch && ops->batch(c->store, true, &e) != 0) note(c, &e);
        for (int i = 0; i < n_used; i++)
            if (ops->touch(c->store, c->used_now[i], now_us(c), &e) != 0) note(c, &e);
        for (const struct job *j = list; j; j = j->next)
            if (write_answer(c, j, &e) != 0) note(c, &e);
        if (ops->batch && ops->batch(c->store, false, &e) != 0) note(c, &e);
    }
    return NULL;
}

void answer_cache_flush(struct answer_cache *c) {
    pthread_mutex_lock(&c->lock);
    const uint64_t all = c->n_in;
    while (c->n_done < all) {
        c->hurry = true;
        pthread_cond_signal(&c->more);
        pthread_cond_wait(&c->done, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- one answer ---- */

/* One that is asked for all the time stands there once. */
static void touch(struct answer_cache *c, const uint8_t *key) {
    int i = 0;
    if (!c->store->ops->touch) return;
    pthread_mutex_lock(&c->lock);
    while (i < c->n_used && memcmp(c->used[i], key, sizeof *c->used) != 0)
        i++;
    if (i == c->n_used && i < USED_KEYS) {
        memcpy(c->used[c->n_used++], key, sizeof *c->used);
        c->n_in++;
    }
    if (c->n_used == USED_KEYS) pthread_cond_signal(&c->more);
    pthread_mutex_unlock(&c->lock);
}

/* It holds now; not, when it is from a time that has not come yet. */
static bool is_alive(struct answer_cache *c, const struct answer_seal *s) {
    const int64_t now = now_us(c);
    return now < s->expires_us && s->created_us <= now + SKEW_US;
}

bool answer_cache_get(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES],
                      const char *tenant, const json_t *gen, struct answer_record *out,
                      int64_t *age_s) {
    struct buf sealed = {0};
    struct answer_seal seal;
    struct str value;
    struct err e = {0};
    bool found = false;
    *age_s = 0;
    if (get_waiting(c, key, tenant, out)) return true;
    const int rc = c->store->ops->get(c->store, key, &sealed, &e);
    if (rc == 1 && answer_unseal(buf_view(&sealed), tenant, &seal, &value, &e) == 0) {
        if (!is_alive(c, &seal))
            c->store->ops->remove(c->store, key, &e);
        else
            found = answer_unpack(value, gen, out, &e) == 0;
    }
    buf_fini(&sealed);
    if (found) {
        const int64_t age = (now_us(c) - seal.created_us) / 1000000;
        *age_s = age > 0 ? age : 0;
        touch(c, key);
        return true;
    }
    if (e.code == ERR_NONE) return false;
    note(c, &e);
    if (rc == 1) c->store->ops->remove(c->store, key, NULL);
    answer_record_fini(out);
    return false;
}

void answer_cache_put(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES],
                      const struct answer_label *label, int64_t ttl_s, struct answer_record *r) {
    struct job *j = ttl_s > 0 && r->whole ? calloc(1, sizeof *j) : NULL;
    const int64_t most = INT64_MAX / 4 / 1000000;
    if (!j || strlen(label->tenant) > ANSWER_NAME || strlen(label->model) > ANSWER_NAME) {
        answer_record_fini(r);
        free(j);
        return;
    }
    memcpy(j->key, key, sizeof j->key);
    strcpy(j->tenant, label->tenant);
    strcpy(j->model, label->model);
    j->ttl_s = ttl_s < most ? ttl_s : most;
    j->record = *r;
    *r = (struct answer_record){0};
    enqueue(c, j);
}

/* ---- all of them ---- */

int answer_cache_drop(struct answer_cache *c, const struct answer_filter *f, int64_t *n,
                      struct err *e) {
    *n = 0;
    answer_cache_flush(c);
    return c->store->ops->drop(c->store, f, n, e);
}

void answer_cache_stats(struct answer_cache *c, bool all, struct answer_cache_stats *out) {
    struct answer_count have = {-1, -1};
    struct err e = {0};
    if ((all || !c->store->ops->counts_all) && c->store->ops->count(c->store, &have, &e) != 0) {
        note(c, &e);
        have = (struct answer_count){-1, -1};
    }
    *out = (struct answer_cache_stats){.store = c->store->ops->name,
                                       .n = have.n,
                                       .n_bytes = have.n_bytes,
                                       .n_put = atomic_load(&c->n_put),
                                       .n_gone = atomic_load(&c->n_gone),
                                       .n_error = atomic_load(&c->n_error),
                                       .n_dropped = atomic_load(&c->n_dropped)};
}

/* ---- beginning and end ---- */

struct answer_cache *answer_cache_open(const struct answer_cache_opts *o, struct err *e) {
    struct answer_cache *c = calloc(1, sizeof *c);
    if (!c) {
        err_nomem(e, "answer cache");
        return NULL;
    }
    c->wall_us = o->wall_us ? o->wall_us : system_us;
    c->last = &c->first;
    c->last_ns = os_now_ns();
    c->last_us = c->wall_us();
    c->store = o->url && *o->url ? answer_store_redis(o->url, e)
                                 : answer_store_sqlite(o->folder, o->max_bytes, e);
    pthread_mutex_init(&c->clock_lock, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->more, NULL);
    pthread_cond_init(&c->done, NULL);
    if (c->store && pthread_create(&c->writer, NULL, write_all, c) == 0) return c;
    if (c->store) {
        err_set(e, ERR_NOMEM, "answer cache: no thread");
        c->store->ops->close(c->store);
    }
    free(c);
    return NULL;
}

void answer_cache_close(struct answer_cache *c) {
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->more);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->writer, NULL);
    c->store->ops->close(c->store);
    pthread_cond_destroy(&c->more);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->clock_lock);
    free(c);
}
