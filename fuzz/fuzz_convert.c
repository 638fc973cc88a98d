/* Fuzz target: files of models from hubs.  The first byte chooses: s a safetensors file, p a
 * tokenizer.model of SentencePiece.  Both readers take paths: the bytes are put into a file in
 * memory. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "create/convert_priv.h"
#include "text/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

/* Every byte of every tensor can be read, and every value of floats. */
static void fuzz_safetensors(const char *path) {
    struct err e = {0};
    struct safetensors *s = safetensors_open(path, &e);
    require(s || (e.code != ERR_NONE && e.msg[0]));
    unsigned sum = 0;
    for (int i = 0; s && i < safetensors_n(s); i++) {
        const struct st_tensor *t = safetensors_at(s, i);
        require(safetensors_find(s, t->name) == t);
        for (size_t k = 0; k < t->n_bytes; k++)
            sum += t->data[k];
        float v;
        const size_t count = t->n_bytes / st_type_bytes(t->type);
        if (st_is_float(t->type) && count) safetensors_floats(t, count - 1, 1, &v);
    }
    require(sum + 1 != 0 || sum == UINT32_MAX);
    safetensors_close(s);
}

static void fuzz_spm(const char *path) {
    enum { N = 64 };
    struct arena a = {0};
    struct tokens t;
    struct err e = {0};
    require(tokens_init(&t, N, &a, &e) == 0);
    if (spm_read(path, &t, &e) == 0) {
        for (int i = 0; i < N; i++)
            require(t.type[i] >= 0 && t.type[i] <= TOKEN_BYTE && (t.type[i] == 0 || t.text[i].p));
    } else {
        require(e.code != ERR_NONE && e.msg[0]);
    }
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[64];
    if (n < 2) return 0;
    const int fd = memfd_create("input", MFD_CLOEXEC);
    require(fd >= 0 && write(fd, bytes + 1, n - 1) == (ssize_t)(n - 1));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (bytes[0] == 's') fuzz_safetensors(path);
    if (bytes[0] == 'p') fuzz_spm(path);
    close(fd);
    return 0;
}
