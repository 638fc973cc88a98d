/* See identity.h. */
#include "engine/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/log.h"
#include "base/os.h"
#include "base/version.h"
#include "cpu/cpu.h"
#include "engine/prefix_file.h"
#include "model/hparams.h"

enum {
    N_SAMPLE = 16,
    SAMPLE_BYTES = 4096,
    SETTLED_S = 2, /* file systems' clocks tick every 10 ms; some whole seconds */
};

/* A file and what is known of it. */
struct known_file {
    struct gguf_bytes bytes;
    uint8_t key[SHA256_BYTES], digest[SHA256_BYTES];
    bool has_digest, no_note;
};

struct identity {
    uint8_t setup[SHA256_BYTES]; /* of all but the files */
    struct known_file *file;     /* [n_file], owned: the model's, then the adapter's */
    int n_file;
};

/* ---- setup ---- */

static void add_layout(struct sha256 *s, const struct identity_opts *o) {
    const int n_layer = model_n_layer(o->weights);
    const uint64_t page[] = {KV_PAGE, (uint64_t)n_layer, kv_page_bytes(o->pool)};
    sha256_add(s, page, sizeof page);
    for (int il = 0; il < n_layer; il++) {
        struct attn_job j = {0};
        kv_pool_layer(o->pool, il, &j);
        const uint64_t layer[] = {(uint64_t)j.k_type, (uint64_t)j.v_type, j.k_at, j.v_at,
                                  j.k_row_bytes,      j.v_row_bytes};
        sha256_add(s, layer, sizeof layer);
    }
    for (int set = 0; set < ROPE_SETS; set++) {
        int n;
        const double *freq = forward_rope(o->forward, set, &n);
        sha256_add(s, &n, sizeof n);
        if (n) sha256_add(s, freq, (size_t)n * sizeof *freq);
    }
}

static void add_text(struct sha256 *s, const char *text) {
    sha256_add(s, text, strlen(text) + 1);
}

/* -1: this program has no build id. */
static int add_program(struct sha256 *s) {
    uint8_t id[64];
    const size_t n = os_build_id(id, sizeof id);
    char libc[64] = "";
    if (n == 0) return -1;
#ifdef _CS_GNU_LIBC_VERSION
    confstr(_CS_GNU_LIBC_VERSION, libc, sizeof libc);
#endif
    sha256_add(s, id, n);
    add_text(s, CRIA_VERSION), add_text(s, libc); /* its sin, cos and exp choose by processor */
    add_text(s, cpu_info()->name), add_text(s, cpu_isa());
    for (int i = 0; i < cpu_n_kernel(); i++)
        add_text(s, cpu_kernel_line(i));
    return 0;
}

static void add_files(struct identity *d, const struct gguf *g) {
    for (int i = 0; i < gguf_n_split(g); i++)
        d->file[d->n_file++].bytes = gguf_file_at(g, i);
}

struct identity *identity_new(const struct identity_opts *o, struct err *e) {
    struct identity *d = calloc(1, sizeof *d);
    const int n = gguf_n_split(o->model) + (o->adapter ? gguf_n_split(o->adapter) : 0);
    if (d) d->file = calloc((size_t)n, sizeof *d->file);
    if (!d || !d->file) {
        err_nomem(e, "prefix cache");
        goto fail;
    }
    add_files(d, o->model);
    if (o->adapter) add_files(d, o->adapter);
    struct sha256 s;
    sha256_init(&s);
    add_text(&s, "cria prefix cache 1");
    add_layout(&s, o);
    const float scale = o->adapter ? o->adapter_scale : 0;
    sha256_add(&s, &n, sizeof n), sha256_add(&s, &scale, sizeof scale);
    const int has_id = add_program(&s);
    if (sha256_final(&s, d->setup) != 0) {
        err_nomem(e, "prefix cache");
        goto fail;
    }
    if (has_id == 0) return d;
    err_set(e, ERR_UNSUPPORTED,
            "prefix cache: this program was linked without a build id; --build-id gives one");
fail:
    identity_free(d);
    return NULL;
}

void identity_free(struct identity *d) {
    if (!d) return;
    free(d->file);
    free(d);
}

/* ---- files ---- */

/* What changes with a file's content.  -1: there is no such file (a model in memory). */
static int state_of(const struct known_file *f, struct stat *st, uint8_t key[SHA256_BYTES]) {
    if (f->bytes.fd < 0 || fstat(f->bytes.fd, st) != 0) return -1;
    const int64_t state[] = {(int64_t)st->st_dev,  (int64_t)st->st_ino,
                             (int64_t)st->st_size, (int64_t)st->st_mtim.tv_sec,
                             st->st_mtim.tv_nsec,  (int64_t)st->st_ctim.tv_sec,
                             st->st_ctim.tv_nsec};
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, state, sizeof state);
    for (size_t i = 0; i < N_SAMPLE; i++) {
        const size_t n = f->bytes.n < SAMPLE_BYTES ? f->bytes.n : SAMPLE_BYTES;
        sha256_add(&s, f->bytes.p + (f->bytes.n - n) / (N_SAMPLE - 1) * i, n);
    }
    return sha256_final(&s, key);
}

static void note_name(const struct known_file *f, char out[40]) {
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", f->key[i]);
    memcpy(out + 32, ".id", 4);
}

static void read_note(struct known_file *f, int dir) {
    char name[40];
    note_name(f, name);
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    struct err e;
    f->has_digest = prefix_note_read(fd, f->key, f->digest, &e) == 0;
    if (f->has_digest)
        futimens(fd, NULL); /* it is in use: the folder's oldest files go first */
    else if (e.code == ERR_FORMAT)
        unlinkat(dir, name, 0);
    close(fd);
}

/* -1 when it cannot be kept: the digest is computed again next time. */
static int write_note(const struct known_file *f, const struct stat *st, int dir) {
    struct timespec now;
    uint8_t note[PREFIX_NOTE_BYTES];
    char name[40];
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec - st->st_ctim.tv_sec < SETTLED_S) return -1;
    prefix_note_make(f->key, f->digest, note);
    note_name(f, name);
    return prefix_file_write(dir, name,
                             &(struct prefix_parts){.head = note, .n_head = sizeof note});
}

static int compute(struct known_file *f, int dir) {
    struct stat before, after;
    uint8_t key[SHA256_BYTES];
    struct sha256 s;
    const int64_t t0 = os_now_ns();
    if (state_of(f, &before, key) != 0 || (uint64_t)before.st_size != f->bytes.n) return -1;
    sha256_init(&s);
    sha256_add(&s, f->bytes.p, f->bytes.n);
    if (sha256_final(&s, f->digest) != 0) return -1;
    if (state_of(f, &after, f->key) != 0 || memcmp(key, f->key, sizeof key) != 0) return -1;
    f->has_digest = true;
    const bool kept = write_note(f, &after, dir) == 0;
    log_msg(LOG_INFO, "prefix cache: digest of %zu bytes in %.0f ms, %skept", f->bytes.n,
            (double)(os_now_ns() - t0) * 1e-6, kept ? "" : "not ");
    return 0;
}

int identity_get(struct identity *d, int dir, bool may_compute, uint8_t out[SHA256_BYTES]) {
    struct sha256 s;
    struct stat st;
    for (int i = 0; i < d->n_file; i++) {
        struct known_file *f = &d->file[i];
        if (!f->has_digest && !f->no_note) {
            if (state_of(f, &st, f->key) != 0) return -1;
            read_note(f, dir);
            f->no_note = !f->has_digest;
        }
        if (f->has_digest) continue;
        if (!may_compute) return 1;
        if (compute(f, dir) != 0) return -1;
    }
    sha256_init(&s);
    sha256_add(&s, d->setup, sizeof d->setup);
    for (int i = 0; i < d->n_file; i++)
        sha256_add(&s, d->file[i].digest, SHA256_BYTES);
    return sha256_final(&s, out);
}
