/* See digest.h. */
#include "store/digest.h"

#include <stdio.h>

#include "base/sha256.h"

/* The value of a hex digit, or -1. */
static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

int digest_parse(struct str text, struct digest *out, struct err *e) {
    static const char digit[] = "0123456789abcdef";
    struct digest d;
    bool good = text.n == 7 + DIGEST_HEX &&
                (str_starts(text, STR("sha256:")) || str_starts(text, STR("sha256-")));
    for (size_t i = 0; good && i < DIGEST_HEX; i++) {
        const int v = hex_value(text.p[7 + i]);
        good = v >= 0;
        d.hex[i] = digit[good ? v : 0];
    }
    if (!good) {
        *out = (struct digest){0};
        return err_set(
            e, ERR_FORMAT,
            "digest: found \"%.*s\" of %zu bytes; sha256: and 64 hex digits are accepted",
            (int)(text.n < 80 ? text.n : 80), text.n ? text.p : "", text.n);
    }
    d.hex[DIGEST_HEX] = 0;
    *out = d;
    return 0;
}

int digest_of(const void *bytes, size_t n, struct digest *out, struct err *e) {
    uint8_t hash[SHA256_BYTES];
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, bytes, n);
    if (sha256_final(&s, hash) != 0) return err_nomem(e, "digest");
    digest_from_hash(hash, out);
    return 0;
}

void digest_from_hash(const uint8_t hash[32], struct digest *out) {
    for (size_t i = 0; i < SHA256_BYTES; i++)
        snprintf(out->hex + 2 * i, 3, "%02x", hash[i]);
}

static uint8_t nibble(char c) {
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void digest_to_hash(const struct digest *d, uint8_t hash[32]) {
    for (size_t i = 0; i < SHA256_BYTES; i++)
        hash[i] = (uint8_t)(nibble(d->hex[2 * i]) << 4 | nibble(d->hex[2 * i + 1]));
}

void digest_format(const struct digest *d, char out[DIGEST_TEXT]) {
    snprintf(out, DIGEST_TEXT, "sha256:%s", d->hex);
}
