/* Parts are fetched by threads, each taking the next one that is not whole; this thread hashes what
 * has arrived without a gap, while the rest still comes.  There are two of them at first, and more
 * while that does not fill the line: where two do, many would only keep the gap open.  Every byte
 * of the blob passes through the hash, also those of an earlier try, before the file gets its name.
 *
 * A registry that answers a range with the whole blob is asked by one more thread, when the others
 * have ended, for one stream from the beginning; what is there already is not written again.
 */
#include "store/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sha256.h"
#include "store/parts.h"

enum {
    DEFAULT_STREAMS = 8,
    MAX_STREAMS = 64,
    PIECE_BYTES = 1 << 20,
    SAVE_EVERY_NS = 1000 * 1000 * 1000,
    SAVE_EVERY_BYTES = 8 << 20,
    PROGRESS_BYTES = 1 << 20, /* less is no progress: tries are counted on */
    STREAM_EVERY_NS = 250 * 1000 * 1000,
};

struct download {
    struct registry *r;
    const struct layer *blob;
    struct parts *parts;
    atomic_int next;    /* part */
    atomic_int running; /* threads */
    atomic_bool failed;
    atomic_bool parts_end; /* the threads of parts are to end: failed, or */
    atomic_bool no_ranges; /* the registry has none */
    pthread_mutex_t lock;
    struct err err; /* of the first that failed; under lock */
    pthread_t thread[MAX_STREAMS + 1];
    int n_thread;
    bool streaming;    /* the thread of the one stream was started */
    int64_t looked_ns; /* when the rate was looked at, and what had come by then */
    uint64_t looked_done;
};

static const double FAST_LINE = 300e6; /* bytes/s that two streams bring: more would not help */

static void fail(struct download *d, const struct err *e) {
    pthread_mutex_lock(&d->lock);
    if (!atomic_exchange(&d->failed, true)) d->err = *e;
    pthread_mutex_unlock(&d->lock);
    atomic_store(&d->parts_end, true);
}

/* ---- a part, or all of them as one stream ---- */

struct piece {
    struct download *d;
    bool stream;
    int i; /* part that at is in */
    const struct net_answer *a;
    uint64_t at;      /* of the next byte in the blob */
    uint64_t unsaved; /* bytes since the state was written, and when that was */
    int64_t saved_ns;
    bool checked;    /* the answer's headers were */
    bool disk_fails; /* another try would not mend it */
};

static const struct part *part_of(const struct piece *p) {
    return &p->d->parts->part[p->i];
}

static uint64_t have(const struct piece *p) {
    return p->stream ? parts_done(p->d->parts) : atomic_load(&part_of(p)->done);
}

static bool is_whole(const struct piece *p) {
    return have(p) == (p->stream ? p->d->blob->n_bytes : part_of(p)->n_bytes);
}

static void save(struct piece *p) {
    parts_save(p->d->parts, p->i);
    p->unsaved = 0, p->saved_ns = os_now_ns();
}

static int wrong_range(const struct piece *p, struct err *e) {
    return err_set(
        e, ERR_FORMAT, "sha256:%.12s: asked for bytes from %llu of %llu, was sent others",
        p->d->blob->digest.hex, (unsigned long long)p->at, (unsigned long long)p->d->blob->n_bytes);
}

/* Did the registry send what was asked for?  A whole blob will do for a part that is all of it. */
static int check_range(struct piece *p, struct err *e) {
    const struct net_answer *a = p->a;
    const uint64_t all = p->d->blob->n_bytes;
    p->checked = true;
    if (a->status == 206) {
        const bool right = a->range_all == all && a->range_from == p->at;
        return right && !p->stream ? 0 : wrong_range(p, e);
    }
    if (a->content_length != UINT64_MAX && a->content_length != all) return wrong_range(p, e);
    if (p->stream || (p->at == 0 && part_of(p)->n_bytes == all)) return 0;
    atomic_store(&p->d->no_ranges, true);
    atomic_store(&p->d->parts_end, true);
    return err_set(e, ERR_CANCELLED, "%s: sends no ranges", p->d->r->host.host);
}

/* At most n bytes to where they belong; how many went there. */
static ssize_t put_some(struct piece *p, const char *from, size_t n, struct err *e) {
    struct part *x = &p->d->parts->part[p->i];
    const uint64_t end = x->from + x->n_bytes, there = x->from + atomic_load(&x->done);
    if (n > end - p->at) n = (size_t)(end - p->at);
    if (p->at < there) { /* of a stream: an earlier one brought it */
        if (n > there - p->at) n = (size_t)(there - p->at);
        p->at += n;
        return (ssize_t)n;
    }
    ssize_t k;
    do
        k = pwrite(p->d->parts->fd, from, n, (off_t)p->at);
    while (k < 0 && errno == EINTR);
    if (k <= 0) {
        p->disk_fails = true;
        return err_errno(e, "store");
    }
    p->at += (uint64_t)k, p->unsaved += (uint64_t)k;
    atomic_store(&x->done, p->at - x->from);
    return k;
}

static int on_bytes(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct piece *p = ctx;
    if (!p->checked && check_range(p, e) != 0) return -1;
    for (const char *from = bytes; n > 0;) {
        if (p->at == part_of(p)->from + part_of(p)->n_bytes) {
            if (!p->stream || p->i + 1 == p->d->parts->n)
                return err_set(e, ERR_CANCELLED, "enough"); /* more than was asked for */
            save(p);
            p->i++;
        }
        const ssize_t k = put_some(p, from, n, e);
        if (k < 0) return -1;
        from += k, n -= (size_t)k;
    }
    if (p->unsaved >= SAVE_EVERY_BYTES || os_now_ns() - p->saved_ns > SAVE_EVERY_NS) save(p);
    return 0;
}

static const atomic_bool *end_of(const struct piece *p) {
    return p->stream ? &p->d->failed : &p->d->parts_end;
}

/* Nobody answering is no reason to give up where somebody did a moment ago. */
static bool is_of_network(enum err_code code, int status) {
    return code == ERR_IO || (status == 0 && (code == ERR_NOT_FOUND || code == ERR_UNSUPPORTED));
}

/* What is left of a part, or the stream, once. */
static int fetch_once(struct piece *p, int *retry_after_s, bool *again, struct err *e) {
    struct download *d = p->d;
    struct net_answer a = {0};
    char path[DIGEST_TEXT + 16];
    struct net_request q = {
        .write = on_bytes, .ctx = p, .max_bytes = d->blob->n_bytes + 1, .cancel = end_of(p)};
    p->a = &a, p->checked = false, p->unsaved = 0, p->saved_ns = os_now_ns();
    if (p->stream) {
        p->i = 0, p->at = 0;
    } else {
        p->at = q.range_from = part_of(p)->from + have(p);
        q.range_to = part_of(p)->from + part_of(p)->n_bytes;
    }
    snprintf(path, sizeof path, "/blobs/sha256:%s", d->blob->digest.hex);
    int rc = registry_ask(d->r, path, &q, &a, e);
    const bool whole = is_whole(p);
    *again = rc == 0 ? a.status < 300 || a.status == 429 || a.status >= 500
                     : !p->disk_fails && is_of_network(e->code, a.status);
    if (rc == 0 && !whole)
        rc = a.status >= 300
                 ? registry_refused("blob", &a, e)
                 : err_set(e, ERR_IO, "%s: the connection ended early", d->r->host.host);
    *retry_after_s = a.retry_after_s;
    net_answer_fini(&a);
    save(p);
    return whole ? 0 : rc;
}

/* Tries without progress are counted: a drip of bytes is none. */
static int fetch(struct piece *p, struct err *e) {
    uint64_t before = have(p);
    for (int tries = 1;; tries++) {
        int after_s = 0;
        bool again = false;
        if (is_whole(p) || fetch_once(p, &after_s, &again, e) == 0) return 0;
        if (have(p) - before >= PROGRESS_BYTES) before = have(p), tries = 0;
        if (!again || tries == REGISTRY_TRIES) return -1;
        if (registry_pause(p->d->r, end_of(p), tries, after_s, e) != 0) return -1;
    }
}

static void *fetch_parts(void *arg) {
    struct download *d = arg;
    struct err e = {0};
    for (int i; !atomic_load(&d->parts_end) && (i = atomic_fetch_add(&d->next, 1)) < d->parts->n;) {
        if (fetch(&(struct piece){.d = d, .i = i}, &e) == 0) continue;
        if (!atomic_load(&d->no_ranges) || e.code != ERR_CANCELLED) fail(d, &e);
    }
    atomic_fetch_sub(&d->running, 1);
    return NULL;
}

static void *fetch_stream(void *arg) {
    struct download *d = arg;
    struct err e = {0};
    if (fetch(&(struct piece){.d = d, .stream = true}, &e) != 0) fail(d, &e);
    atomic_fetch_sub(&d->running, 1);
    return NULL;
}

/* ---- all of them ---- */

static int most_threads(const struct download *d) {
    const int n = d->r->o->n_streams ? d->r->o->n_streams : DEFAULT_STREAMS;
    return n < MAX_STREAMS ? n : MAX_STREAMS;
}

static int start_thread(struct download *d, void *(*run)(void *), struct err *e) {
    atomic_fetch_add(&d->running, 1);
    if (pthread_create(&d->thread[d->n_thread], NULL, run, d) == 0) {
        d->n_thread++;
        return 0;
    }
    atomic_fetch_sub(&d->running, 1);
    return err_set(e, ERR_IO, "no thread for a download");
}

/* One more, if there is a part for it. */
static int start_stream(struct download *d, struct err *e) {
    if (d->n_thread >= most_threads(d) || atomic_load(&d->next) >= d->parts->n) return 0;
    if (atomic_load(&d->parts_end)) return 0;
    return start_thread(d, fetch_parts, e) == 0 || d->n_thread ? 0 : -1;
}

/* All threads have ended: false when that was all. */
static bool go_on_as_stream(struct download *d, struct err *e, int *rc) {
    if (!atomic_load(&d->no_ranges) || atomic_load(&d->failed) || d->streaming) return false;
    d->streaming = true;
    *rc = start_thread(d, fetch_stream, e);
    return *rc == 0;
}

/* Called often: a slow line gets another stream from time to time. */
static void add_stream(struct download *d, int64_t now_ns) {
    const uint64_t done = parts_done(d->parts);
    if (now_ns - d->looked_ns < STREAM_EVERY_NS) return;
    const double rate = (double)(done - d->looked_done) * 1e9 / (double)(now_ns - d->looked_ns);
    if (rate < FAST_LINE) (void)start_stream(d, NULL);
    d->looked_ns = now_ns, d->looked_done = done;
}

/* Hash up to `to`, from the page cache; not much at once, since progress is shown in between. */
static int hash_more(struct download *d, struct sha256 *sha, uint64_t *at, uint64_t to, char *piece,
                     struct err *e) {
    const uint64_t from = *at;
    if (to - *at > 32 * PIECE_BYTES) to = *at + 32 * PIECE_BYTES;
    while (*at < to) {
        const uint64_t left = to - *at;
        const ssize_t k =
            pread(d->parts->fd, piece, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, (off_t)*at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0)
            return k < 0 ? err_errno(e, "store")
                         : err_set(e, ERR_IO, "store: a partial file was cut");
        sha256_add(sha, piece, (size_t)k);
        *at += (uint64_t)k;
    }
    /* On its way to the disk now, so that the fsync at the end is short. */
    if (*at > from)
        sync_file_range(d->parts->fd, (off_t)from, (off_t)(*at - from), SYNC_FILE_RANGE_WRITE);
    return 0;
}

static int watch(struct download *d, struct digest *got, download_progress_fn *progress, void *ctx,
                 struct err *e) {
    struct sha256 sha;
    uint8_t hash[SHA256_BYTES];
    uint64_t at = 0;
    int64_t shown_ns = 0;
    char *piece = malloc(PIECE_BYTES);
    int rc = piece ? 0 : err_nomem(e, "download");
    sha256_init(&sha);
    while (rc == 0 && at < d->blob->n_bytes) {
        const bool ended = atomic_load(&d->running) == 0; /* before the frontier is read */
        const uint64_t to = parts_frontier(d->parts);
        if (at == to && ended && !go_on_as_stream(d, e, &rc)) break;
        if (at == to) nanosleep(&(struct timespec){.tv_nsec = 5 * 1000000}, NULL);
        rc = hash_more(d, &sha, &at, to, piece, e);
        const int64_t now_ns = os_now_ns();
        add_stream(d, now_ns);
        if (now_ns - shown_ns < 60 * 1000000) continue;
        shown_ns = now_ns;
        progress(ctx, parts_done(d->parts));
    }
    free(piece);
    if (rc != 0) atomic_store(&d->failed, true), atomic_store(&d->parts_end, true);
    if (sha256_final(&sha, hash) != 0 && rc == 0) rc = err_nomem(e, "download");
    digest_from_hash(hash, got);
    return rc;
}

static int fetch_all(struct download *d, struct digest *got, download_progress_fn *progress,
                     void *ctx, struct err *e) {
    pthread_mutex_init(&d->lock, NULL);
    d->looked_ns = os_now_ns(), d->looked_done = parts_done(d->parts);
    int rc = start_stream(d, e);
    if (rc == 0) rc = start_stream(d, e);
    if (rc == 0) rc = watch(d, got, progress, ctx, e);
    for (int i = 0; i < d->n_thread; i++)
        pthread_join(d->thread[i], NULL);
    pthread_mutex_destroy(&d->lock);
    if (rc == 0 && atomic_load(&d->failed)) {
        if (e) *e = d->err;
        rc = -1;
    }
    return rc;
}

/* Is there room for n more bytes? */
static int check_room(const struct store *s, uint64_t n_bytes, struct err *e) {
    struct statvfs v;
    if (statvfs(store_root(s), &v) != 0) return err_errno(e, store_root(s));
    const uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (n_bytes <= room) return 0;
    return err_set(e, ERR_LIMIT, "%s: needs %llu bytes, %llu are free", store_root(s),
                   (unsigned long long)n_bytes, (unsigned long long)room);
}

/* With the download's lock held. */
static int download(struct registry *r, struct store *s, struct lease *l, const struct layer *blob,
                    download_progress_fn *progress, void *ctx, struct err *e) {
    struct parts *parts = malloc(sizeof *parts);
    struct digest got;
    if (!parts) return err_nomem(e, "download");
    struct download d = {.r = r, .blob = blob, .parts = parts};
    int rc = parts_open(parts, s, &blob->digest, blob->n_bytes, e);
    if (rc == 0) rc = check_room(s, blob->n_bytes - parts_done(parts), e);
    if (rc == 0) rc = fetch_all(&d, &got, progress, ctx, e);
    parts_close(parts);
    free(parts);
    return rc == 0 ? store_finish_partial(l, &blob->digest, &got, e) : rc;
}

static uint64_t add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* What a blob will take more than it does. */
static uint64_t missing(struct store *s, const struct layer *blob) {
    if (store_has_blob(s, &blob->digest, blob->n_bytes)) return 0;
    const uint64_t there = parts_on_disk(s, &blob->digest);
    return there < blob->n_bytes ? blob->n_bytes - there : 0;
}

int download_check_room(struct store *s, const struct manifest *m, struct err *e) {
    uint64_t sum = missing(s, &m->config);
    for (int i = 0; i < m->n_layer; i++)
        sum = add(sum, missing(s, &m->layer[i]));
    return sum ? check_room(s, sum, e) : 0;
}

int download_blob(struct registry *r, struct store *s, struct lease *l, const struct layer *blob,
                  download_progress_fn *progress, void *ctx, struct err *e) {
    int fd;
    if (store_lease_add(l, &blob->digest, e) != 0) return -1;
    if (store_has_blob(s, &blob->digest, blob->n_bytes)) return 0;
    if (store_lock_download(s, &blob->digest, r->o->stop, &fd, e) != 0) return -1;
    const int rc = store_has_blob(s, &blob->digest, blob->n_bytes)
                       ? 0
                       : download(r, s, l, blob, progress, ctx, e);
    store_unlock_download(fd);
    return rc;
}
