/* Fuzz target: a file of the prefix cache, read back as a page and as a note.  What is accepted
 * must be what writing the same page or note gives; reads beyond the data show under ASan. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/prefix_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* The bytes as a file that its user alone may write. */
static int file_of(const uint8_t *bytes, size_t n) {
    static int fd = -1;
    if (fd < 0) fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0600) != 0 || ftruncate(fd, 0) != 0) abort();
    if (n && pwrite(fd, bytes, n, 0) != (ssize_t)n) abort();
    return fd;
}

static void read_page(int fd, const struct prefix_key *k, const uint8_t *bytes, size_t n) {
    struct err e = {0};
    uint8_t head[PREFIX_HEAD_BYTES], *data = malloc(k->n_bytes + 1); /* ends where the page ends */
    if (!data) abort();
    if (prefix_page_read(fd, k, data + 1, &e) == 0) {
        prefix_page_head(k, data + 1, head);
        if (n != k->n_bytes + sizeof head || memcmp(head, bytes, sizeof head) != 0) abort();
        if (k->n_bytes && memcmp(data + 1, bytes + sizeof head, k->n_bytes) != 0) abort();
    } else if (e.code == ERR_NONE || strncmp(e.msg, "prefix cache: ", 14) != 0) {
        abort();
    }
    free(data);
}

/* As the page that the file says it is, and as one that it is not. */
static void try_page(int fd, const uint8_t *bytes, size_t n) {
    int32_t tok[KV_PAGE];
    struct prefix_key k = {.tok = tok};
    if (n < PREFIX_HEAD_BYTES) memset(tok, 0, sizeof tok);
    if (n >= PREFIX_HEAD_BYTES) {
        memcpy(&k.index, bytes + 12, 4);
        memcpy(k.space, bytes + 32, sizeof k.space);
        memcpy(k.chain, bytes + 64, sizeof k.chain);
        memcpy(tok, bytes + 96, sizeof tok);
        k.n_bytes = n - PREFIX_HEAD_BYTES;
    }
    read_page(fd, &k, bytes, n);
    k.n_bytes++;
    read_page(fd, &k, bytes, n);
    k.n_bytes--;
    tok[KV_PAGE - 1] ^= 1;
    read_page(fd, &k, bytes, n);
}

static void try_note(int fd, const uint8_t *bytes, size_t n) {
    uint8_t key[SHA256_BYTES] = {0}, digest[SHA256_BYTES], note[PREFIX_NOTE_BYTES];
    struct err e;
    if (n >= 8 + sizeof key) memcpy(key, bytes + 8, sizeof key);
    if (prefix_note_read(fd, key, digest, &e) != 0) return;
    prefix_note_make(key, digest, note);
    if (n != sizeof note || memcmp(note, bytes, sizeof note) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n > 1 << 16) return 0;
    const int fd = file_of(bytes, n);
    try_page(fd, bytes, n);
    try_note(fd, bytes, n);
    return 0;
}
