/* See keys.h. */
#include "policy/keys.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

enum { FILE_MAX = 1 << 20, KEY_MIN = 16, N_KEY_MAX = 10000, N_WORDS = SHA256_BYTES / 8 };

/* A hash as words: compared without a branch, 32 bytes in some nanoseconds. */
struct hash {
    uint64_t word[N_WORDS];
};

struct keys {
    atomic_int n_ref;
    struct key *key;   /* [n], owned */
    struct hash *hash; /* [n], owned: theirs, side by side */
    int n;
};

const char *const key_class_name[N_KEY_CLASS] = {
    [KEY_NORMAL] = "normal", [KEY_HIGH] = "high", [KEY_LOW] = "low"};

/* ---- rights ---- */

static const struct {
    const char *word;
    unsigned rights;
} words[] = {
    {"inference", RIGHT_READ | RIGHT_USE},
    {"use", RIGHT_READ | RIGHT_USE},
    {"models", RIGHT_READ | RIGHT_MODELS},
    {"train", RIGHT_READ | RIGHT_TRAIN},
    {"read", RIGHT_READ | RIGHT_METRICS},
    {"admin", RIGHT_READ | RIGHT_USE | RIGHT_TRAIN | RIGHT_MODELS | RIGHT_METRICS | RIGHT_ADMIN},
};
enum { N_WORD = sizeof words / sizeof *words };

bool rights_parse(const char *text, unsigned *rights) {
    *rights = 0;
    do {
        const size_t n = strcspn(text, ",|");
        int i = 0;
        while (i < N_WORD && (strlen(words[i].word) != n || memcmp(words[i].word, text, n) != 0))
            i++;
        if (i == N_WORD) return false;
        *rights |= words[i].rights;
        text += n;
    } while (*text++);
    return true;
}

void rights_text(unsigned rights, char out[RIGHTS_TEXT]) {
    size_t n = 0;
    *out = 0;
    for (int i = 0; i < N_WORD; i++) {
        const unsigned one = words[i].rights;
        const bool all = (rights & RIGHT_ADMIN) != 0, admin = (one & RIGHT_ADMIN) != 0;
        if ((rights & one) != one || all != admin || strcmp(words[i].word, "use") == 0) continue;
        n += (size_t)snprintf(out + n, RIGHTS_TEXT - n, "%s%s", n ? "," : "", words[i].word);
    }
}

/* ---- the set ---- */

struct keys *keys_new(struct err *e) {
    struct keys *k = calloc(1, sizeof *k);
    if (k)
        atomic_init(&k->n_ref, 1);
    else
        err_nomem(e, "keys");
    return k;
}

struct keys *keys_ref(struct keys *k) {
    atomic_fetch_add(&k->n_ref, 1);
    return k;
}

void keys_unref(struct keys *k) {
    if (!k || atomic_fetch_sub(&k->n_ref, 1) != 1) return;
    for (int i = 0; i < k->n; i++)
        free(k->key[i].models);
    free(k->key);
    free(k->hash);
    free(k);
}

int keys_put(struct keys *k, const struct key *key, struct err *e) {
    const size_t n = (size_t)k->n + 1;
    struct key *more = k->n < N_KEY_MAX ? realloc(k->key, n * sizeof *more) : NULL;
    if (more) k->key = more;
    struct hash *hashes = more ? realloc(k->hash, n * sizeof *hashes) : NULL;
    if (hashes) {
        k->hash = hashes;
        memcpy(&hashes[k->n], key->hash, sizeof *hashes);
        k->key[k->n++] = *key;
        return 0;
    }
    free(key->models);
    if (k->n < N_KEY_MAX) return err_nomem(e, "keys");
    return err_set(e, ERR_LIMIT, "keys: more than %d; at most so many", N_KEY_MAX);
}

int keys_count(const struct keys *k) {
    return k->n;
}

struct key *keys_at(struct keys *k, int i) {
    return &k->key[i];
}

int keys_hash(struct str text, uint8_t out[SHA256_BYTES]) {
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, text.p, text.n);
    return sha256_final(&s, out);
}

const struct key *keys_find(const struct keys *k, struct str text) {
    uint8_t bytes[SHA256_BYTES];
    struct hash h;
    int found = -1;
    if (text.n == 0 || keys_hash(text, bytes) != 0) return NULL;
    memcpy(&h, bytes, sizeof h);
    for (int i = 0; i < k->n; i++) { /* all, and of each all words */
        uint64_t other = 0;
        for (int w = 0; w < N_WORDS; w++)
            other |= h.word[w] ^ k->hash[i].word[w];
        found = other ? found : i;
    }
    return found < 0 ? NULL : &k->key[found];
}

const char *keys_check_name(const char *name) {
    if (!*name) return "the name is empty";
    if (strlen(name) >= KEY_NAME_MAX) return "the name is too long; 63 bytes are accepted";
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-@", *p))
            return "the name has bytes other than letters, digits and ._-@";
    return NULL;
}

/* ---- the file ---- */

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
    const char *wrong = keys_check_name(word[0]);
    if (wrong) return wrong;
    snprintf(out->name, sizeof out->name, "%s", word[0]);
    if (!word[1]) return "no key; NAME KEY [read|use|admin] is accepted";
    if (strncmp(word[1], "sha256:", 7) == 0) {
        if (!parse_hash(word[1] + 7, out->hash)) return "the hash is not 64 hex digits";
    } else if (strlen(word[1]) < KEY_MIN) {
        return "the key is too short; 16 bytes at least are accepted";
    } else if (keys_hash(str_of(word[1]), out->hash) != 0) {
        return "out of memory";
    }
    if (!rights_parse(word[2] ? word[2] : "use", &out->rights))
        return "the right is none of read, use, admin, inference, models, train";
    return word[2] && word[3] ? "more words than NAME KEY [read|use|admin]" : NULL;
}

static int parse(struct keys *k, const char *path, char *text, struct err *e) {
    const int n_before = k->n;
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
        if (keys_put(k, &key, e) != 0) return err_prefix(e, path);
    }
    return k->n > n_before
               ? 0
               : err_set(e, ERR_USAGE, "%s: no key in it; NAME KEY [read|use|admin] is accepted",
                         path);
}

int keys_read_file(struct keys *k, const char *path, struct err *e) {
    struct buf b = {0};
    int rc = os_read_file(path, FILE_MAX, &b, e);
    if (rc == 0 && memchr(buf_view(&b).p, 0, b.n))
        rc = err_set(e, ERR_USAGE, "%s: found a NUL byte; a text is accepted", path);
    if (rc == 0) rc = parse(k, path, b.n ? b.p : (char[]){""}, e);
    if (b.p) OPENSSL_cleanse(b.p, b.n);
    buf_fini(&b);
    return rc;
}

/* ---- models ---- */

/* The usual walk with one way back: no more than pattern times text.  Both in lower case. */
static bool matches(struct str pattern, const char *text) {
    size_t p = 0;
    const char *t = text, *back = NULL;
    size_t star = 0;
    while (*t) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = ++p;
            back = t;
        } else if (p < pattern.n && tolower((unsigned char)pattern.p[p]) == *t) {
            p++, t++;
        } else if (back && *back != '/') {
            p = star;
            t = ++back;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* A part of the list without the blanks around it. */
static struct str take_pattern(const char **list) {
    const char *p = *list + strspn(*list, ", ");
    struct str one = {p, strcspn(p, ", ")};
    *list = p + one.n;
    return one;
}

static bool is_bare(struct str pattern) {
    for (size_t i = 0; i < pattern.n; i++)
        if (pattern.p[i] == '*') return false;
    for (size_t i = pattern.n; i > 0 && pattern.p[i - 1] != '/'; i--)
        if (pattern.p[i - 1] == ':') return false;
    return true;
}

bool key_allows(const struct key *k, const struct name *n) {
    char name[NAME_TEXT], bare[NAME_TEXT] = "";
    struct str one;
    if (!k->models) return true;
    name_short(n, name);
    for (char *c = name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    const size_t len = strlen(name), tail = sizeof ":latest" - 1;
    if (len > tail && strcmp(name + len - tail, ":latest") == 0)
        snprintf(bare, sizeof bare, "%.*s", (int)(len - tail), name);
    for (const char *list = k->models; (one = take_pattern(&list)).n;) {
        if (str_is(one, "*") || matches(one, name)) return true;
        if (is_bare(one) && matches(one, bare)) return true;
    }
    return false;
}

const char *keys_check_models(const char *models) {
    int n = 0;
    if (strlen(models) >= KEY_MODELS_MAX) return "the list is too long; 2047 bytes are accepted";
    for (struct str one; (one = take_pattern(&models)).n; n++)
        for (size_t i = 0; i < one.n; i++)
            if (!isalnum((unsigned char)one.p[i]) && !strchr("._-:/*", one.p[i]))
                return "a pattern has bytes other than letters, digits and ._-:/*";
    return n ? NULL : "no pattern in it; llama3.2:*,team/* is accepted";
}
