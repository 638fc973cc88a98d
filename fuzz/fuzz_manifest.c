/* Fuzz target: what becomes a path in the store, or decides which files are read.  The first byte
 * chooses: m a manifest, c a config, n a name, d a digest.  What was parsed is written and parsed
 * again: the same. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/config.h"
#include "store/manifest.h"
#include "store/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static void check_digest(const struct digest *d) {
    require(strlen(d->hex) == DIGEST_HEX);
    require(strspn(d->hex, "0123456789abcdef") == DIGEST_HEX);
}

static void fuzz_digest(struct str s) {
    struct digest d, again;
    char text[DIGEST_TEXT];
    if (digest_parse(s, &d, NULL) != 0) return;
    check_digest(&d);
    digest_format(&d, text);
    require(digest_parse(str_of(text), &again, NULL) == 0 && digest_eq(&d, &again));
}

static void check_part(const char *p) {
    require(*p && *p != '.' && *p != '-' && !strpbrk(p, "/\\\n\r\t ~%"));
}

static void fuzz_name(struct str s) {
    struct name n, again;
    char text[NAME_TEXT], *z = malloc(s.n + 1);
    require(z != NULL);
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    if (name_parse(z, &n, NULL) == 0) {
        check_part(n.host), check_part(n.space), check_part(n.model), check_part(n.tag);
        name_full(&n, text);
        require(name_parse(text, &again, NULL) == 0 && name_eq(&n, &again));
        name_short(&n, text);
        require(name_parse(text, &again, NULL) == 0 && name_eq(&n, &again));
        if (n.pin.hex[0]) check_digest(&n.pin);
    }
    free(z);
}

static void fuzz_manifest(struct str s) {
    struct manifest m, again;
    struct buf b = {0};
    struct err e = {0};
    if (manifest_parse("m", s.p, s.n, &m, &e) == 0) {
        require(str_eq(m.bytes, s) && m.n_layer <= MANIFEST_MAX_LAYERS);
        check_digest(&m.config.digest);
        for (int i = 0; i < m.n_layer; i++) {
            check_digest(&m.layer[i].digest);
            require(m.layer[i].n_bytes <= LAYER_MAX_BYTES);
        }
        require(manifest_build(&m.config, m.layer, m.n_layer, &b, &e) == 0);
        require(manifest_parse("m", b.p, b.n, &again, &e) == 0);
        require(again.n_layer == m.n_layer);
        require(manifest_total_bytes(&again) == manifest_total_bytes(&m));
        manifest_fini(&again);
    } else {
        require(e.code != ERR_NONE && e.msg[0]);
    }
    manifest_fini(&m);
    buf_fini(&b);
}

static void fuzz_config(struct str s) {
    struct model_config c, again;
    struct buf b = {0};
    if (model_config_parse("c", s, &c, NULL) == 0) {
        require(model_config_build(&c, NULL, 0, &b, NULL) == 0);
        require(model_config_parse("c", buf_view(&b), &again, NULL) == 0);
        require(again.n_family == c.n_family && again.n_capability == c.n_capability);
        require(again.context_length == c.context_length);
        model_config_fini(&again);
    }
    model_config_fini(&c);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0) return 0;
    const struct str s = {(const char *)bytes + 1, n - 1};
    switch (bytes[0]) {
    case 'm': fuzz_manifest(s); break;
    case 'c': fuzz_config(s); break;
    case 'n': fuzz_name(s); break;
    case 'd': fuzz_digest(s); break;
    }
    return 0;
}
