/* Fuzz target: archives from outside.  The first byte chooses: t a tar archive, T one whose headers
 * get right checksums first (a fuzzer does not find those), i an index.json.  Members are read
 * twice, in pieces of different sizes: the same names and bytes, all of them from the input. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/archive_index.h"
#include "store/manifest.h"
#include "store/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { BLOCK = 512, SUM = 148, MAGIC = 257 };

static void require(bool holds) {
    if (!holds) abort();
}

/* ---- tar ---- */

static void mend_checksums(uint8_t *p, size_t n) {
    for (; n >= BLOCK; p += BLOCK, n -= BLOCK) {
        unsigned sum = 8 * ' ';
        if (memcmp(p + MAGIC, "ustar", 5) != 0) continue;
        for (int i = 0; i < BLOCK; i++)
            if (i < SUM || i >= SUM + 8) sum += p[i];
        snprintf((char *)p + SUM, 8, "%06o", sum);
    }
}

static void check_name(const char *name) {
    require(strlen(name) < TAR_NAME && name[0] != '/');
    for (const char *p = name; *p; p += strcspn(p, "/"), p += *p == '/')
        require(strncmp(p, "..", 2) != 0 || (p[2] != '/' && p[2] != 0));
}

struct told {
    uint64_t n_bytes, sum; /* of names and members */
    int n_members, rc;
};

static void add(struct told *t, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        t->sum = (t->sum ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
}

static void read_member(struct tar_reader *r, const struct tar_member *m, size_t piece,
                        struct told *t) {
    char bytes[4096];
    uint64_t got = 0;
    struct err e = {0};
    int64_t k;
    while ((k = tar_read(r, bytes, piece, &e)) > 0) {
        require((size_t)k <= piece);
        add(t, bytes, (size_t)k);
        got += (uint64_t)k;
    }
    t->n_bytes += got;
    require(k < 0 ? e.code != ERR_NONE : got == m->n_bytes);
}

static struct told read_all(int fd, size_t piece) {
    struct told t = {0};
    struct tar_reader r = {.fd = fd, .path = "a"};
    struct tar_member m;
    struct err e = {0};
    require(lseek(fd, 0, SEEK_SET) == 0);
    while ((t.rc = tar_next(&r, &m, &e)) > 0) {
        t.n_members++;
        check_name(m.name);
        add(&t, m.name, strlen(m.name) + 1);
        if (t.n_members % 3 > 0) read_member(&r, &m, piece, &t); /* the others are passed over */
    }
    require(t.rc == 0 || e.code == ERR_FORMAT || e.code == ERR_LIMIT);
    return t;
}

static void fuzz_tar(const uint8_t *bytes, size_t n, bool mend) {
    const int fd = memfd_create("tar", MFD_CLOEXEC);
    uint8_t *copy = malloc(n + 1);
    require(fd >= 0 && copy);
    memcpy(copy, bytes, n);
    if (mend) mend_checksums(copy, n);
    require(write(fd, copy, n) == (ssize_t)n);
    const struct told a = read_all(fd, 4096), b = read_all(fd, 7);
    require(a.rc == b.rc && a.n_members == b.n_members);
    require(a.rc != 0 || (a.sum == b.sum && a.n_bytes == b.n_bytes));
    require(a.n_bytes <= n && a.n_members <= TAR_MAX_MEMBERS);
    free(copy);
    close(fd);
}

/* ---- index.json ---- */

static void fuzz_index(struct str text) {
    struct index_entry *list;
    struct name as, again;
    char full[NAME_TEXT];
    struct err e = {0};
    int n;
    if (index_parse("i", text, NULL, &list, &n, &e) == 0) {
        require(n >= 1 && n <= INDEX_MAX_MODELS);
        for (int i = 0; i < n; i++) {
            require(strspn(list[i].id.hex, "0123456789abcdef") == DIGEST_HEX);
            require(list[i].n_bytes >= 1 && list[i].n_bytes <= MANIFEST_MAX_BYTES);
            name_full(&list[i].name, full);
            require(name_parse(full, &again, NULL) == 0 && name_eq(&list[i].name, &again));
        }
    } else {
        require(e.code != ERR_NONE && e.msg[0]);
    }
    free(list);
    /* A name of the user's stands for the only one. */
    require(name_parse("x/y:z", &as, NULL) == 0);
    if (index_parse("i", text, &as, &list, &n, &e) == 0)
        require(n == 1 && name_eq(&list[0].name, &as));
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0) return 0;
    switch (bytes[0]) {
    case 't':
    case 'T': fuzz_tar(bytes + 1, n - 1, bytes[0] == 'T'); break;
    case 'i': fuzz_index((struct str){(const char *)bytes + 1, n - 1}); break;
    }
    return 0;
}
