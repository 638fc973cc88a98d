/* Fuzz target: what the server makes of a request before a handler sees it.  The first byte
 * chooses: g and z a compressed body, o "ORIGIN\nHOST\nPATTERNS\nNAMES". */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/decode.h"
#include "server/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

/* Within its limits whatever came; the same again. */
static void fuzz_body(enum coding c, struct str in) {
    enum { MAX = 3 << 20 };
    struct buf a = {0}, b = {0};
    struct err e = {0};
    const int rc = decode_body(c, in, MAX, &a, &e);
    require(rc == 0 || e.code != ERR_NONE);
    require(rc != 0 || a.n <= MAX);
    require(a.n <= MAX + (1 << 17));
    require(decode_body(c, in, MAX, &b, &e) == rc && str_eq(buf_view(&a), buf_view(&b)));
    buf_fini(&a);
    buf_fini(&b);
}

static void fuzz_origin(char *text) {
    struct str origin = {0}, host = {0};
    char *line[4] = {"", "", "", ""};
    for (int i = 0; i < 4 && text; i++)
        line[i] = strsep(&text, "\n");
    origin = str_of(line[0]), host = str_of(line[1]);
    const struct origin_rules none = {.hosts = line[3]}, some = {line[2], line[3], false},
                              open = {line[2], line[3], true};
    const bool bare = origin_is_allowed(origin, host, &none);
    const bool listed = origin_is_allowed(origin, host, &some);
    /* More rules never forbid what fewer allow. */
    require(!bare || listed);
    require(!listed || origin_is_allowed(origin, host, &open));
    require(!host_is_local(host, "") || host_is_local(host, line[3]));
    require(!bare || (strcmp(line[0], "null") != 0 && strncasecmp(line[0], "file:", 5) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0) return 0;
    const struct str rest = {(const char *)bytes + 1, n - 1};
    if (*bytes == 'g') fuzz_body(CODING_GZIP, rest);
    if (*bytes == 'z') fuzz_body(CODING_ZSTD, rest);
    if (*bytes == 'o') {
        char *text = malloc(n);
        memcpy(text, bytes + 1, n - 1);
        text[n - 1] = 0;
        fuzz_origin(text);
        free(text);
    }
    return 0;
}
