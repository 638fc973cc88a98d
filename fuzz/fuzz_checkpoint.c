/* Fuzz target: a checkpoint of a run with two small tensors.  The bytes are tried as they are and
 * with the digest that fits them, against a run's own identity and against the one that the file
 * claims.  What is accepted is what writing it again gives; what is not leaves the run alone. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "train/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { HEAD = 80, N_ID = 2 * SHA256_BYTES };

static void require(bool holds) {
    if (!holds) abort();
}

static int file_of(int *fd, const uint8_t *bytes, size_t n) {
    if (*fd < 0) *fd = memfd_create("fuzz", MFD_CLOEXEC);
    require(*fd >= 0 && ftruncate(*fd, 0) == 0);
    require(n == 0 || pwrite(*fd, bytes, n, 0) == (ssize_t)n);
    return *fd;
}

static uint64_t section_bytes(const uint8_t *bytes, int s) {
    uint64_t x;
    memcpy(&x, bytes + 16 + 8 * s, sizeof x);
    return x;
}

/* The file that this run would write now. */
static void expect_same(const struct checkpoint *c, const uint8_t *bytes, size_t n) {
    static int fd = -1;
    uint8_t *again = malloc(n + 1);
    require(again && checkpoint_write_fd(file_of(&fd, NULL, 0), "again", c, NULL) == 0);
    require(pread(fd, again, n + 1, 0) == (ssize_t)n && memcmp(again, bytes, n) == 0);
    free(again);
}

static void fill(const struct params *p, float *best) {
    for (size_t i = 0; i < p->n_plane; i++)
        p->w[i] = p->m[i] = p->v[i] = p->grad[i] = best[i] = 1;
}

static bool is_filled(const struct params *p, const float *best) {
    for (size_t i = 0; i < p->n_plane; i++)
        if (p->w[i] != 1 || p->m[i] != 1 || p->v[i] != 1 || p->grad[i] != 1 || best[i] != 1)
            return false;
    return true;
}

static void try_read(const uint8_t *bytes, size_t n, const struct checkpoint_id *id) {
    static int fd = -1;
    static struct params p;
    static float best[64];
    struct train_state state = {.step = 77};
    struct checkpoint c = {id, &state, &p, best};
    struct err e = {0};
    if (!p.w) {
        require(params_add(&p, "a", 2, (const int64_t[]){3, 2}, NULL) == 0);
        require(params_add(&p, "bias", 1, (const int64_t[]){5}, NULL) == 0);
        require(params_alloc(&p, NULL) == 0 && p.n_plane <= 64);
    }
    fill(&p, best);
    if (checkpoint_read_fd(file_of(&fd, bytes, n), "fuzz", &c, &e) == 0) {
        expect_same(&c, bytes, n);
    } else {
        require(e.code != ERR_NONE && strncmp(e.msg, "fuzz: ", 6) == 0);
        require(state.step == 77 && is_filled(&p, best));
    }
}

static void try_both_ids(const uint8_t *bytes, size_t n) {
    struct checkpoint_id id = {.config = STR("lr=0.1\nrank=2\n")};
    try_read(bytes, n, &id);
    if (n < HEAD + N_ID) return;
    const uint64_t n_config = section_bytes(bytes, 1);
    memcpy(id.base, bytes + HEAD, sizeof id.base);
    memcpy(id.data, bytes + HEAD + sizeof id.base, sizeof id.data);
    try_read(bytes, n, &id);
    if (n_config > n - HEAD - N_ID || n_config > CHECKPOINT_MAX_CONFIG) return;
    id.config = (struct str){(const char *)bytes + HEAD + N_ID, (size_t)n_config};
    try_read(bytes, n, &id);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n > 1 << 16) return 0;
    try_both_ids(bytes, n);
    if (n < SHA256_BYTES) return 0;
    uint8_t *with = malloc(n);
    struct sha256 s;
    require(with != NULL);
    memcpy(with, bytes, n);
    sha256_init(&s);
    sha256_add(&s, with, n - SHA256_BYTES);
    require(sha256_final(&s, with + n - SHA256_BYTES) == 0);
    try_both_ids(with, n);
    free(with);
    return 0;
}
