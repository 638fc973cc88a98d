/* See keys.h. */
#include "server/keys.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "base/sha256.h"

enum { FILE_MAX = 1 << 20, KEY_MIN = 16, N_KEY_MAX = 10000 };

struct key {
    char name[KEY_NAME_MAX];
    uint8_t hash[SHA256_BYTES];
    enum right right;
};

struct keys {
    struct key *key; /* [n], owned */
    int n;
};

void keys_free(struct keys *k) {
    if (!k) return;
    free(k->key);
    free(k);
}

static int hash_of(struct str key, uint8_t out[SHA256_BYTES]) {
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, key.p, key.n);
    return sha256_final(&s, out);
}

static bool parse_hash(const char *hex, uint8_t out[SHA256_BYTES]) {
    if (strlen(hex) != 2 * SHA256_BYTES || strspn(hex, "0123456789abcdefABCDEF") != strlen(hex))
        return false;
    for (int i = 0; i < SHA256_BYTES; i++) {
        const char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return true;
}

/* One line, cut at blanks; word 0 is not empty.  NULL, or what is wrong with it. */
static const char *parse_line(char *const word[4], struct key *out) {
    static const char *const rights[] = {
        [RIGHT_READ] = "read", [RIGHT_USE] = "use", [RIGHT_ADMIN] = "admin"};
    if (strlen(word[0]) >= KEY_NAME_MAX) return "the name is too long; 63 bytes are accepted";
    for (const char *p = word[0]; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-@", *p))
            return "the name has bytes other than letters, digits and ._-@";
    snprintf(out->name, sizeof out->name, "%s", word[0]);
    if (!word[1]) return "no key; NAME KEY [read|use|admin] is accepted";
    if (strncmp(word[1], "sha256:", 7) == 0) {
        if (!parse_hash(word[1] + 7, out->hash)) return "the hash is not 64 hex digits";
    } else if (strlen(word[1]) < KEY_MIN) {
        return "the key is too short; 16 bytes at least are accepted";
    } else if (hash_of(str_of(word[1]), out->hash) != 0) {
        return "out of memory";
    }
    out->right = RIGHT_USE;
    if (!word[2]) return NULL;
    for (int i = RIGHT_READ; i <= RIGHT_ADMIN; i++)
        if (strcmp(word[2], rights[i]) == 0) {
            out->right = (enum right)i;
            return word[3] ? "more words than NAME KEY [read|use|admin]" : NULL;
        }
    return "the right is none of read, use, admin";
}

static int parse(struct keys *k, const char *path, char *text, struct err *e) {
    int line = 0;
    for (char *rest = text, *l; (l = strsep(&rest, "\n"));) {
        char *word[4] = {0}, *save = NULL;
        struct key key = {0};
        line++;
        /* A comment is what begins with "#" after a blank: keys may hold one. */
        for (int i = 0; i < 4; i++) {
            word[i] = strtok_r(i ? NULL : l, " \t\r", &save);
            if (word[i] && *word[i] == '#') word[i] = NULL;
            if (!word[i]) break;
        }
        if (!word[0]) continue;
        const char *wrong = k->n == N_KEY_MAX ? "too many keys" : parse_line(word, &key);
        for (int i = 0; i < k->n && !wrong; i++)
            if (memcmp(k->key[i].hash, key.hash, SHA256_BYTES) == 0)
                wrong = "the key is there twice";
        if (wrong) return err_set(e, ERR_USAGE, "%s, line %d: %s", path, line, wrong);
        struct key *more = realloc(k->key, (size_t)(k->n + 1) * sizeof *more);
        if (!more) return err_nomem(e, path);
        k->key = more;
        k->key[k->n++] = key;
    }
    return k->n ? 0
                : err_set(e, ERR_USAGE, "%s: no key in it; NAME KEY [read|use|admin] is accepted",
                          path);
}

struct keys *keys_read(const char *path, struct err *e) {
    struct buf b = {0};
    struct keys *k = calloc(1, sizeof *k);
    int rc = k ? os_read_file(path, FILE_MAX, &b, e) : err_nomem(e, path);
    if (rc == 0 && memchr(buf_view(&b).p, 0, b.n))
        rc = err_set(e, ERR_USAGE, "%s: found a NUL byte; a text is accepted", path);
    if (rc == 0) rc = parse(k, path, b.n ? b.p : (char[]){""}, e);
    if (b.p) OPENSSL_cleanse(b.p, b.n);
    buf_fini(&b);
    if (rc == 0) return k;
    keys_free(k);
    return NULL;
}

bool keys_find(const struct keys *k, struct str key, char name[KEY_NAME_MAX], enum right *right) {
    uint8_t hash[SHA256_BYTES];
    int found = -1;
    if (key.n == 0 || hash_of(key, hash) != 0) return false;
    for (int i = 0; i < k->n; i++)
        if (CRYPTO_memcmp(hash, k->key[i].hash, SHA256_BYTES) == 0) found = i;
    if (found < 0) return false;
    snprintf(name, KEY_NAME_MAX, "%s", k->key[found].name);
    *right = k->key[found].right;
    return true;
}

struct str keys_of(const struct http_head *h) {
    const struct str *a = http_head_get(h, "Authorization"), *x = http_head_get(h, "X-API-Key");
    if (a && a->n > 7 && strncasecmp(a->p, "Bearer ", 7) == 0) {
        struct str key = {a->p + 7, a->n - 7};
        while (key.n && *key.p == ' ')
            key.p++, key.n--;
        return key;
    }
    return x ? *x : STR("");
}
