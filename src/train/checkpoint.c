/* See checkpoint.h: the file.  Read with pread, not mapped: a file that somebody cuts meanwhile
 * would end the program with SIGBUS. */
#include "train/checkpoint.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/checked.h"
#include "base/os.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are copied as they are");

enum section { S_ID, S_CONFIG, S_STATE, S_TENSORS, S_W, S_M, S_V, S_BEST, N_SECTION };
enum { VERSION = 2, CHUNK = 64 * 1024 };

struct head {
    char magic[8];
    uint32_t version, n_section;
    uint64_t n_bytes[N_SECTION];
};
_Static_assert(sizeof(struct head) == 80, "the layout in checkpoint.h: no padding");

/* ---- state, field by field, both ways ---- */

/* Bytes go from the fields into at, or from there into the fields. */
struct fields {
    uint8_t *at;
    size_t n;
    bool reading;
};

static void field(struct fields *f, void *p, size_t n) {
    if (f->at && f->reading) memcpy(p, f->at + f->n, n);
    if (f->at && !f->reading) memcpy(f->at + f->n, p, n);
    f->n += n;
}

/* Returns the number of bytes; at NULL: that only. */
static size_t state_fields(struct train_state *s, uint8_t *at, bool reading) {
    struct fields f = {at, 0, reading};
    int64_t *const i64[] = {&s->step, &s->n_tok, &s->best_step};
    int32_t *const i32[] = {&s->n_worse, &s->n_skipped, &s->guard.n, &s->guard.at};
    for (size_t i = 0; i < sizeof i64 / sizeof *i64; i++)
        field(&f, i64[i], sizeof *i64[i]);
    for (size_t i = 0; i < sizeof i32 / sizeof *i32; i++)
        field(&f, i32[i], sizeof *i32[i]);
    field(&f, &s->best_loss, sizeof s->best_loss);
    field(&f, s->own, sizeof s->own);
    field(&f, s->rng.s, sizeof s->rng.s);
    field(&f, s->guard.seen, sizeof s->guard.seen);
    return f.n;
}

enum { STATE_BYTES = 3 * 8 + 4 * 4 + 8 + 16 * 8 + 32 + 8 * SPIKE_WINDOW };

static bool all_zero(const struct rng *r) {
    return (r->s[0] | r->s[1] | r->s[2] | r->s[3]) == 0;
}

/* What the code that uses it relies on: counts that are none, a window that ends, a generator that
 * does not stand still. */
static bool state_is_sane(const struct train_state *s) {
    const struct spike_guard *g = &s->guard;
    if (s->step < 0 || s->n_tok < 0 || s->best_step < -1 || s->best_step > s->step) return false;
    if (s->n_worse < 0 || s->n_skipped < 0 || s->n_skipped > s->step) return false;
    if (g->n < 0 || g->n > SPIKE_WINDOW || g->at < 0 || g->at >= SPIKE_WINDOW) return false;
    if (g->n < SPIKE_WINDOW && g->at != g->n) return false;
    for (int i = 0; i < SPIKE_WINDOW; i++)
        if (!isfinite(g->seen[i])) return false;
    return !all_zero(&s->rng);
}

/* ---- what a file of these would have ---- */

static size_t append_tensor(struct buf *out, const struct param *t) {
    const uint32_t n_name = (uint32_t)strlen(t->name), n_dim = (uint32_t)t->n_dim;
    const size_t was = out->n;
    buf_append(out, &n_name, sizeof n_name);
    buf_append(out, t->name, n_name);
    buf_append(out, &n_dim, sizeof n_dim);
    buf_append(out, t->ne, sizeof t->ne);
    return out->n - was;
}

static int tensor_table(const struct params *p, struct buf *out, const char *where, struct err *e) {
    for (int i = 0; i < p->n_param; i++)
        append_tensor(out, &p->p[i]);
    return out->failed ? err_nomem(e, where) : 0;
}

static struct head head_of(const struct checkpoint *c, size_t n_table) {
    const uint64_t plane = params_count(c->p) * sizeof(float);
    struct head h = {.magic = "CRIACKPT", .version = VERSION, .n_section = N_SECTION};
    h.n_bytes[S_ID] = sizeof c->id->base + sizeof c->id->data;
    h.n_bytes[S_CONFIG] = c->id->config.n;
    h.n_bytes[S_STATE] = STATE_BYTES;
    h.n_bytes[S_TENSORS] = n_table;
    h.n_bytes[S_W] = h.n_bytes[S_M] = h.n_bytes[S_V] = plane;
    if (c->state->best_step >= 0) h.n_bytes[S_BEST] = plane;
    return h;
}

/* Where section s begins; N_SECTION: where the digest does.  False: nowhere. */
static bool section_at(const struct head *h, int s, uint64_t *at) {
    *at = sizeof *h;
    for (int i = 0; i < s; i++)
        if (!checked_add(*at, h->n_bytes[i], at)) return false;
    return *at <= INT64_MAX - SHA256_BYTES;
}

/* ---- writing ---- */

struct sink {
    int fd;
    uint64_t at; /* of the file: where the next bytes go */
    struct sha256 sha;
    int why; /* errno of what failed first, or 0 */
};

static void put_raw(struct sink *s, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    while (n && !s->why) {
        const ssize_t k = pwrite(s->fd, p, n, (off_t)s->at);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) s->why = errno;
        if (k < 0) return;
        p += k, n -= (size_t)k, s->at += (uint64_t)k;
    }
}

static void put(struct sink *s, const void *bytes, size_t n) {
    sha256_add(&s->sha, bytes, n);
    put_raw(s, bytes, n);
}

static void put_plane(struct sink *s, const struct params *p, const float *plane) {
    for (int i = 0; i < p->n_param; i++)
        put(s, plane + p->p[i].at, p->p[i].n * sizeof *plane);
}

static void put_sections(struct sink *s, const struct checkpoint *c, const struct head *h,
                         const struct buf *table) {
    const struct params *p = c->p;
    uint8_t state[STATE_BYTES];
    state_fields(c->state, state, false);
    put(s, h, sizeof *h);
    put(s, c->id->base, sizeof c->id->base);
    put(s, c->id->data, sizeof c->id->data);
    put(s, c->id->config.p, c->id->config.n);
    put(s, state, sizeof state);
    put(s, table->p, table->n);
    put_plane(s, p, p->w);
    put_plane(s, p, p->m);
    put_plane(s, p, p->v);
    if (h->n_bytes[S_BEST]) put_plane(s, p, c->best);
}

int checkpoint_write_fd(int fd, const char *where, const struct checkpoint *c, struct err *e) {
    assert(state_fields(c->state, NULL, false) == STATE_BYTES && state_is_sane(c->state));
    assert(c->id->config.n <= CHECKPOINT_MAX_CONFIG && (c->best || c->state->best_step < 0));
    struct buf table = {0};
    struct sink s = {.fd = fd};
    uint8_t digest[SHA256_BYTES];
    int rc = tensor_table(c->p, &table, where, e);
    if (rc != 0) goto done;
    const struct head h = head_of(c, table.n);
    sha256_init(&s.sha);
    put_sections(&s, c, &h, &table);
    if (sha256_final(&s.sha, digest) != 0) {
        rc = err_nomem(e, where);
        goto done;
    }
    put_raw(&s, digest, sizeof digest);
    errno = s.why;
    if (s.why) rc = err_errno(e, where);
done:
    buf_fini(&table);
    return rc;
}

/* The temporary file is new every time: one that a killed process left may be linked elsewhere. */
int checkpoint_write(const char *path, const struct checkpoint *c, struct err *e) {
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return err_set(e, ERR_USAGE, "%s: the path is too long", path);
    unlink(tmp);
    const int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_errno(e, tmp);
    int rc = checkpoint_write_fd(fd, path, c, e);
    if (rc == 0 && fsync(fd) != 0) rc = err_errno(e, path);
    if (close(fd) != 0 && rc == 0) rc = err_errno(e, path);
    if (rc == 0 && rename(tmp, path) != 0) rc = err_errno(e, path);
    if (rc == 0 && os_sync_folder(path) != 0) return err_errno(e, path);
    if (rc != 0) unlink(tmp);
    return rc;
}

/* ---- reading ---- */

struct source {
    int fd;
    const char *where;
    struct head h;
    uint64_t n_file;
};

static int read_at(const struct source *s, uint64_t at, void *to, size_t n, struct err *e) {
    const ssize_t k = os_read_at(s->fd, to, n, at);
    if (k < 0) return err_errno(e, s->where);
    if ((size_t)k == n) return 0;
    return err_set(e, ERR_FORMAT, "%s: cut to %llu bytes while it was read", s->where,
                   (unsigned long long)at + (unsigned long long)k);
}

static int read_section(const struct source *s, int which, void *to, size_t n, struct err *e) {
    uint64_t at;
    assert(s->h.n_bytes[which] >= n);
    return section_at(&s->h, which, &at) ? read_at(s, at, to, n, e)
                                         : -1; /* checked by check_head */
}

static int check_head(struct source *s, struct err *e) {
    struct stat st;
    uint64_t end;
    if (fstat(s->fd, &st) != 0) return err_errno(e, s->where);
    s->n_file = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    if (s->n_file < sizeof s->h)
        return err_set(e, ERR_FORMAT, "%s: truncated or no checkpoint: %llu bytes", s->where,
                       (unsigned long long)s->n_file);
    if (read_at(s, 0, &s->h, sizeof s->h, e) != 0) return -1;
    if (memcmp(s->h.magic, "CRIACKPT", sizeof s->h.magic) != 0)
        return err_set(e, ERR_FORMAT, "%s: no checkpoint: it does not begin with CRIACKPT",
                       s->where);
    if (s->h.version != VERSION)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: checkpoint version %u, of another build; this build reads %d (a run "
                       "goes on with the build that began it, or begins anew)",
                       s->where, s->h.version, VERSION);
    if (s->h.n_section != N_SECTION || !section_at(&s->h, N_SECTION, &end))
        return err_set(e, ERR_FORMAT, "%s: damaged: sections of impossible sizes", s->where);
    end += SHA256_BYTES;
    if (s->n_file == end) return 0;
    return err_set(e, ERR_FORMAT, "%s: %s: %llu bytes of %llu", s->where,
                   s->n_file < end ? "truncated" : "damaged", (unsigned long long)s->n_file,
                   (unsigned long long)end);
}

static int check_digest(const struct source *s, struct err *e) {
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES], *chunk = malloc(CHUNK);
    const uint64_t end = s->n_file - SHA256_BYTES;
    struct sha256 sha;
    int rc = chunk ? 0 : err_nomem(e, s->where);
    sha256_init(&sha);
    for (uint64_t at = 0; at < end && rc == 0;) {
        const size_t n = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
        rc = read_at(s, at, chunk, n, e);
        if (rc == 0) sha256_add(&sha, chunk, n);
        at += n;
    }
    free(chunk);
    if (sha256_final(&sha, got) != 0) return err_nomem(e, s->where);
    if (rc == 0) rc = read_at(s, end, want, sizeof want, e);
    if (rc == 0 && memcmp(got, want, sizeof want) != 0)
        return err_set(e, ERR_FORMAT, "%s: damaged: its bytes do not have the SHA-256 at its end",
                       s->where);
    return rc;
}

static int open_source(struct source *s, struct err *e) {
    return check_head(s, e) != 0 || check_digest(s, e) != 0 ? -1 : 0;
}

/* ---- of this run? ---- */

static int other_digest(const char *where, const char *what, const uint8_t *was, const uint8_t *is,
                        struct err *e) {
    char hex[2][2 * 8 + 1];
    for (int i = 0; i < 8; i++) {
        snprintf(hex[0] + 2 * i, 3, "%02x", was[i]);
        snprintf(hex[1] + 2 * i, 3, "%02x", is[i]);
    }
    return err_set(e, ERR_USAGE, "%s: made with another %s: SHA-256 %s..., this one has %s...",
                   where, what, hex[0], hex[1]);
}

static int check_id(const struct source *s, const struct checkpoint_id *id, struct err *e) {
    uint8_t was[2 * SHA256_BYTES];
    if (s->h.n_bytes[S_ID] != sizeof was)
        return err_set(e, ERR_FORMAT, "%s: damaged: %llu bytes of digests; %zu are right", s->where,
                       (unsigned long long)s->h.n_bytes[S_ID], sizeof was);
    if (read_section(s, S_ID, was, sizeof was, e) != 0) return -1;
    if (memcmp(was, id->base, SHA256_BYTES) != 0)
        return other_digest(s->where, "base model", was, id->base, e);
    if (memcmp(was + SHA256_BYTES, id->data, SHA256_BYTES) != 0)
        return other_digest(s->where, "data", was + SHA256_BYTES, id->data, e);
    return 0;
}

/* Cut the first line off *text, into key and value. */
static bool next_setting(struct str *text, struct str *key, struct str *value) {
    if (text->n == 0) return false;
    const char *nl = memchr(text->p, '\n', text->n);
    const size_t n = nl ? (size_t)(nl - text->p) : text->n;
    const char *eq = memchr(text->p, '=', n);
    const size_t k = eq ? (size_t)(eq - text->p) : n;
    *key = (struct str){text->p, k};
    *value = eq ? (struct str){eq + 1, n - k - 1} : (struct str){text->p + n, 0};
    const size_t used = nl ? n + 1 : n;
    *text = (struct str){text->p + used, text->n - used};
    return true;
}

static bool find_setting(struct str text, struct str key, struct str *value) {
    struct str k;
    while (next_setting(&text, &k, value))
        if (str_eq(k, key)) return true;
    return false;
}

/* Settings of `a` that b has otherwise or not at all; `swapped`: a is this run's. */
static int compare_settings(const char *where, struct str a, struct str b, bool swapped,
                            struct err *e) {
    struct str key, va, vb;
    while (next_setting(&a, &key, &va)) {
        const bool has = find_setting(b, key, &vb);
        if (has && str_eq(va, vb)) continue;
        if (!has) vb = STR("nothing");
        const struct str was = swapped ? vb : va, is = swapped ? va : vb;
        return err_set(e, ERR_USAGE,
                       "%s: another run: it was made with %.*s = %.*s, this one has %.*s", where,
                       (int)(key.n < 60 ? key.n : 60), key.p, (int)(was.n < 80 ? was.n : 80), was.p,
                       (int)(is.n < 80 ? is.n : 80), is.p);
    }
    return 0;
}

static int check_config(const struct source *s, const struct checkpoint_id *id, struct err *e) {
    const uint64_t n = s->h.n_bytes[S_CONFIG];
    if (n > CHECKPOINT_MAX_CONFIG)
        return err_set(e, ERR_FORMAT, "%s: damaged: settings of %llu bytes; at most %d", s->where,
                       (unsigned long long)n, CHECKPOINT_MAX_CONFIG);
    char *text = malloc((size_t)n + 1);
    if (!text) return err_nomem(e, s->where);
    int rc = read_section(s, S_CONFIG, text, (size_t)n, e);
    const struct str was = {text, (size_t)n}, is = id->config;
    if (rc == 0) rc = compare_settings(s->where, was, is, false, e);
    if (rc == 0) rc = compare_settings(s->where, is, was, true, e);
    if (rc == 0 && !str_eq(was, is))
        rc = err_set(e, ERR_USAGE, "%s: another run: its settings come in another order", s->where);
    free(text);
    return rc;
}

static int other_tensor(const char *where, const struct param *t, struct err *e) {
    return err_set(e, ERR_USAGE,
                   "%s: another run: it does not have %s of [%lld, %lld, %lld, %lld] in that place",
                   where, t->name, (long long)t->ne[0], (long long)t->ne[1], (long long)t->ne[2],
                   (long long)t->ne[3]);
}

/* The table must be, byte by byte, what this run would write: there is nothing to parse. */
static int check_tensors(const struct source *s, const struct params *p, struct err *e) {
    struct buf want = {0}, got = {0};
    const uint64_t has = s->h.n_bytes[S_TENSORS];
    int rc = tensor_table(p, &want, s->where, e);
    if (rc != 0) goto done;
    const size_t n = has < want.n ? (size_t)has : want.n;
    if (!buf_room(&got, n + 1)) {
        rc = err_nomem(e, s->where);
        goto done;
    }
    rc = read_section(s, S_TENSORS, got.p, n, e);
    want.n = 0;
    for (int i = 0; i < p->n_param && rc == 0; i++) {
        const size_t at = want.n, k = append_tensor(&want, &p->p[i]);
        if (at + k > n || memcmp(want.p + at, got.p + at, k) != 0)
            rc = other_tensor(s->where, &p->p[i], e);
    }
    if (rc == 0 && has != want.n)
        rc = err_set(e, ERR_USAGE, "%s: another run: it has more than the %d tensors of this one",
                     s->where, p->n_param);
done:
    buf_fini(&want);
    buf_fini(&got);
    return rc;
}

/* ---- taking it over ---- */

static int read_state(const struct source *s, struct train_state *out, struct err *e) {
    uint8_t bytes[STATE_BYTES];
    if (s->h.n_bytes[S_STATE] != sizeof bytes) goto bad;
    if (read_section(s, S_STATE, bytes, sizeof bytes, e) != 0) return -1;
    state_fields(out, bytes, true);
    if (state_is_sane(out)) return 0;
bad:
    return err_set(e, ERR_FORMAT, "%s: damaged: a state that no run can be in", s->where);
}

/* The planes have the sizes that tensors and state ask for? */
static int check_planes(const struct source *s, const struct checkpoint *c,
                        const struct train_state *state, struct err *e) {
    const uint64_t plane = params_count(c->p) * sizeof(float), *n = s->h.n_bytes;
    const bool best = state->best_step >= 0 && c->best;
    if (n[S_W] == plane && n[S_M] == plane && n[S_V] == plane && n[S_BEST] == (best ? plane : 0) &&
        best == (state->best_step >= 0))
        return 0;
    return err_set(e, ERR_FORMAT, "%s: damaged: planes of other sizes than its %d tensors",
                   s->where, c->p->n_param);
}

static int read_plane(const struct source *s, int which, const struct params *p, float *plane,
                      struct err *e) {
    uint64_t at;
    if (!section_at(&s->h, which, &at)) return -1; /* check_head has seen to that */
    for (int i = 0; i < p->n_param; i++) {
        const size_t n = p->p[i].n * sizeof *plane;
        if (read_at(s, at, plane + p->p[i].at, n, e) != 0) return -1;
        at += n; /* within the section: check_planes */
    }
    return 0;
}

static int read_planes(const struct source *s, const struct checkpoint *c, struct err *e) {
    struct params *p = c->p;
    if (read_plane(s, S_W, p, p->w, e) != 0 || read_plane(s, S_M, p, p->m, e) != 0 ||
        read_plane(s, S_V, p, p->v, e) != 0)
        return -1;
    if (p->n_plane) memset(p->grad, 0, p->n_plane * sizeof *p->grad);
    return s->h.n_bytes[S_BEST] ? read_plane(s, S_BEST, p, c->best, e) : 0;
}

int checkpoint_read_fd(int fd, const char *where, const struct checkpoint *c, struct err *e) {
    struct source s = {.fd = fd, .where = where};
    struct train_state state;
    if (open_source(&s, e) != 0) return -1;
    if (check_id(&s, c->id, e) != 0 || check_config(&s, c->id, e) != 0) return -1;
    if (check_tensors(&s, c->p, e) != 0 || read_state(&s, &state, e) != 0) return -1;
    if (check_planes(&s, c, &state, e) != 0) return -1;
    if (read_planes(&s, c, e) != 0) return -1;
    *c->state = state;
    return 0;
}

int checkpoint_read(const char *path, const struct checkpoint *c, struct err *e) {
    const int fd = os_open_regular(path, e);
    if (fd < 0) return -1;
    const int rc = checkpoint_read_fd(fd, path, c, e);
    close(fd);
    return rc;
}
