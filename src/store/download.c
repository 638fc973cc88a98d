/* Parts are fetched by threads, each taking the next one that is not whole; this thread hashes what
 * has arrived without a gap, while the rest still comes.  There are two of them at first, and more
 * while that does not fill the line: where two do, many would only keep the gap open.  Every byte
 * of the blob passes through the hash, also those of an earlier try, before the file gets its name.
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
    STREAM_EVERY_NS = 250 * 1000 * 1000,
};

struct download {
    struct registry *r;
    const struct layer *blob;
    struct parts *parts;
    atomic_int next;    /* part */
    atomic_int running; /* threads */
    atomic_bool failed;
    pthread_mutex_t lock;
    struct err err; /* of the first that failed; under lock */
    pthread_t thread[MAX_STREAMS];
    int n_thread;
    int64_t looked_ns; /* when the rate was looked at, and what had come by then */
    uint64_t looked_done;
};

static const double FAST_LINE = 300e6; /* bytes/s that two streams bring: more would not help */

/* ---- a part ---- */

struct piece {
    struct download *d;
    struct part *part;
    int i;
    const struct net_answer *a;
    uint64_t at; /* of the next byte in the blob */
    int64_t saved_ns;
    bool checked;
};

/* Did the registry send the range that was asked for?  A whole blob will do for a part at its
 * beginning. */
static int check_range(struct piece *p, struct err *e) {
    const struct net_answer *a = p->a;
    const bool whole = a->range_all == 0;
    p->checked = true;
    if (whole && p->at == 0 &&
        (a->content_length == UINT64_MAX || a->content_length == p->d->blob->n_bytes))
        return 0;
    if (!whole && a->range_from == p->at && a->range_all == p->d->blob->n_bytes) return 0;
    return err_set(
        e, ERR_FORMAT, "sha256:%.12s: asked for bytes from %llu of %llu, was sent others",
        p->d->blob->digest.hex, (unsigned long long)p->at, (unsigned long long)p->d->blob->n_bytes);
}

static int on_bytes(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct piece *p = ctx;
    const uint64_t end = p->part->from + p->part->n_bytes;
    if (!p->checked && check_range(p, e) != 0) return -1;
    if (atomic_load(&p->d->failed)) return err_set(e, ERR_CANCELLED, "another part failed");
    if (n > end - p->at) n = (size_t)(end - p->at); /* the whole blob was sent */
    for (const char *from = bytes; n > 0;) {
        const ssize_t k = pwrite(p->d->parts->fd, from, n, (off_t)p->at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return err_errno(e, "store");
        from += k, n -= (size_t)k, p->at += (uint64_t)k;
    }
    atomic_store(&p->part->done, p->at - p->part->from);
    const int64_t now = os_now_ns();
    if (now - p->saved_ns > SAVE_EVERY_NS) {
        parts_save(p->d->parts, p->i);
        p->saved_ns = now;
    }
    return p->at == end && p->a->range_all == 0 && end < p->d->blob->n_bytes
               ? err_set(e, ERR_CANCELLED, "enough") /* of a whole blob */
               : 0;
}

/* What is left of a part, once. */
static int fetch_once(struct download *d, int i, int *retry_after_s, bool *again, struct err *e) {
    struct part *part = &d->parts->part[i];
    struct net_answer a = {0};
    struct piece p = {d, part, i, &a, part->from + atomic_load(&part->done), os_now_ns(), false};
    char path[DIGEST_TEXT + 16];
    struct net_request q = {.range_from = p.at,
                            .range_to = part->from + part->n_bytes,
                            .write = on_bytes,
                            .ctx = &p,
                            .max_bytes = d->blob->n_bytes + 1};
    snprintf(path, sizeof path, "/blobs/sha256:%s", d->blob->digest.hex);
    int rc = registry_ask(d->r, path, &q, &a, e);
    const bool whole = atomic_load(&part->done) == part->n_bytes;
    *again = !whole &&
             (rc != 0 ? e->code == ERR_IO : a.status < 300 || a.status == 429 || a.status >= 500);
    *retry_after_s = a.retry_after_s;
    if (rc == 0 && !whole)
        rc = a.status >= 300
                 ? registry_refused("blob", &a, e)
                 : err_set(e, ERR_IO, "%s: the connection ended early", d->r->host.host);
    net_answer_fini(&a);
    parts_save(d->parts, i);
    return whole ? 0 : rc;
}

/* Tries without progress are counted. */
static int fetch_part(struct download *d, int i, struct err *e) {
    struct part *part = &d->parts->part[i];
    for (int tries = 1;; tries++) {
        const uint64_t before = atomic_load(&part->done);
        int after_s = 0;
        bool again = false;
        if (before == part->n_bytes || fetch_once(d, i, &after_s, &again, e) == 0) return 0;
        if (atomic_load(&part->done) > before) tries = 1;
        if (!again || tries == REGISTRY_TRIES || atomic_load(&d->failed)) return -1;
        if (registry_wait(d->r, tries, after_s, e) != 0) return -1;
    }
}

static void *fetch_parts(void *arg) {
    struct download *d = arg;
    struct err e = {0};
    for (int i; !atomic_load(&d->failed) && (i = atomic_fetch_add(&d->next, 1)) < d->parts->n;) {
        if (fetch_part(d, i, &e) == 0) continue;
        pthread_mutex_lock(&d->lock);
        if (!atomic_exchange(&d->failed, true)) d->err = e;
        pthread_mutex_unlock(&d->lock);
    }
    atomic_fetch_sub(&d->running, 1);
    return NULL;
}

/* ---- all of them ---- */

static int most_threads(const struct download *d) {
    const int n = d->r->o->n_streams ? d->r->o->n_streams : DEFAULT_STREAMS;
    return n < MAX_STREAMS ? n : MAX_STREAMS;
}

/* One more, if there is a part for it. */
static int start_thread(struct download *d, struct err *e) {
    if (d->n_thread >= most_threads(d) || atomic_load(&d->next) >= d->parts->n) return 0;
    atomic_fetch_add(&d->running, 1);
    if (pthread_create(&d->thread[d->n_thread], NULL, fetch_parts, d) == 0) {
        d->n_thread++;
        return 0;
    }
    atomic_fetch_sub(&d->running, 1);
    return d->n_thread ? 0 : err_set(e, ERR_IO, "no thread for a download");
}

/* Called often: a slow line gets another stream from time to time. */
static void add_stream(struct download *d, int64_t now_ns) {
    const uint64_t done = parts_done(d->parts);
    if (now_ns - d->looked_ns < STREAM_EVERY_NS) return;
    const double rate = (double)(done - d->looked_done) * 1e9 / (double)(now_ns - d->looked_ns);
    if (rate < FAST_LINE) (void)start_thread(d, NULL);
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
        if (at == to && ended) break;
        if (at == to) nanosleep(&(struct timespec){.tv_nsec = 5 * 1000000}, NULL);
        rc = hash_more(d, &sha, &at, to, piece, e);
        const int64_t now_ns = os_now_ns();
        add_stream(d, now_ns);
        if (now_ns - shown_ns < 60 * 1000000) continue;
        shown_ns = now_ns;
        progress(ctx, parts_done(d->parts));
    }
    free(piece);
    if (rc != 0) atomic_store(&d->failed, true);
    if (sha256_final(&sha, hash) != 0 && rc == 0) rc = err_nomem(e, "download");
    digest_from_hash(hash, got);
    return rc;
}

static int fetch_all(struct download *d, struct digest *got, download_progress_fn *progress,
                     void *ctx, struct err *e) {
    pthread_mutex_init(&d->lock, NULL);
    d->looked_ns = os_now_ns(), d->looked_done = parts_done(d->parts);
    int rc = start_thread(d, e);
    if (rc == 0) rc = start_thread(d, e);
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
