/* See audit_entry.h. */
#include "policy/audit_entry.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/utf8.h"

enum { NEAR = 320, HASH_HEX = 2 * SHA256_BYTES, SIG_HEX = 2 * AUDIT_SIG_BYTES };

static const char HMAC_KEY[] = ",\"hmac\":\"", SIG_KEY[] = ",\"sig\":\"",
                  HASH_KEY[] = ",\"hash\":\"";

void audit_time(char out[AUDIT_TIME]) {
    struct timespec t;
    struct tm tm;
    char text[24];
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, AUDIT_TIME, "%s.%09ldZ", text, t.tv_nsec);
}

bool audit_is_time(const char *t) {
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    size_t i = 0;
    for (; t[i] && form[i]; i++)
        if (form[i] == 'd' ? !isdigit((unsigned char)t[i]) : t[i] != form[i]) return false;
    if (t[i] == '.') i += 1 + strspn(t + i + 1, "0123456789");
    return i >= 10 && (t[i] == 0 || (t[i] == 'Z' && t[i + 1] == 0));
}

/* Text in the order of time. */
bool audit_is_older(struct str time, const char *than) {
    const size_t n = strcspn(than, "Z"), both = time.n < n ? time.n : n;
    const int order = both ? memcmp(time.p, than, both) : 0;
    return order < 0 || (order == 0 && time.n < n);
}

/* ---- members ---- */

static void key_of(struct buf *b, const char *key) {
    buf_byte(b, ',');
    buf_byte(b, '"');
    buf_str(b, key);
    buf_str(b, "\":");
}

void audit_text_n(struct buf *b, const char *key, struct str text) {
    struct buf clean = {0};
    if (text.n == 0) return;
    if (utf8_valid_prefix(text.p, text.n) < text.n) {
        for (size_t i = 0; i < text.n;) {
            uint32_t cp;
            char out[4];
            i += (size_t)utf8_decode(text.p + i, text.n - i, &cp);
            buf_append(&clean, out, (size_t)utf8_encode(cp, out));
        }
        b->failed |= clean.failed;
        text = buf_view(&clean);
    }
    key_of(b, key);
    json_append_text(b, text);
    buf_fini(&clean);
}

void audit_text(struct buf *b, const char *key, const char *text) {
    if (text) audit_text_n(b, key, str_of(text));
}

void audit_number(struct buf *b, const char *key, int64_t n) {
    key_of(b, key);
    buf_printf(b, "%lld", (long long)n);
}

void audit_count(struct buf *b, const char *key, int64_t n) {
    if (n) audit_number(b, key, n);
}

void audit_flag(struct buf *b, const char *key, bool on) {
    key_of(b, key);
    buf_str(b, on ? "true" : "false");
}

static int append(const char *p, size_t n, void *to) {
    buf_append(to, p, n);
    return 0;
}

/* Not json_append: what is written about a request that was given up is written whole. */
void audit_json(struct buf *b, const char *key, const json_t *j) {
    if (!j) return;
    key_of(b, key);
    if (json_dump_callback(j, append, b, JSON_COMPACT | JSON_ENCODE_ANY) != 0) b->failed = true;
}

static void put_hex(struct buf *b, const uint8_t *bytes, size_t n) {
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        buf_byte(b, digit[bytes[i] >> 4]);
        buf_byte(b, digit[bytes[i] & 15]);
    }
}

void audit_hex(struct buf *b, const char *key, const void *bytes, size_t n) {
    key_of(b, key);
    buf_byte(b, '"');
    put_hex(b, bytes, n);
    buf_byte(b, '"');
}

/* ---- seals ---- */

static int digest(const uint8_t prev[SHA256_BYTES], struct str text, uint8_t out[SHA256_BYTES]) {
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, prev, SHA256_BYTES);
    sha256_add(&s, text.p, text.n);
    return sha256_final(&s, out);
}

int audit_seal(struct buf *line, const struct audit_keys *k, uint8_t hash[SHA256_BYTES],
               struct err *e) {
    uint8_t seal[AUDIT_SIG_BYTES], d[SHA256_BYTES];
    if (k && k->n_hmac) {
        if (digest(hash, buf_view(line), d) != 0 || audit_key_mac(k, d, seal) != 0)
            return err_nomem(e, "audit");
        audit_hex(line, "hmac", seal, SHA256_BYTES);
    }
    if (k && k->sign) {
        if (digest(hash, buf_view(line), d) != 0 || audit_key_sign(k, d, seal) != 0)
            return err_nomem(e, "audit");
        audit_hex(line, "sig", seal, AUDIT_SIG_BYTES);
    }
    if (line->failed || digest(hash, buf_view(line), hash) != 0) return err_nomem(e, "audit");
    audit_hex(line, "hash", hash, SHA256_BYTES);
    buf_byte(line, '}');
    return line->failed ? err_nomem(e, "audit") : 0;
}

static bool is_hex(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f'))) return false;
    return true;
}

/* The digits of the seal `key` at the end of *s, which gets shorter by it; NULL: not there. */
static const char *cut_seal(struct str *s, const char *key, size_t n_hex) {
    const size_t n_key = strlen(key), n = n_key + n_hex + 1;
    if (s->n < n || s->p[s->n - 1] != '"') return NULL;
    const char *at = s->p + s->n - n;
    if (memcmp(at, key, n_key) != 0 || !is_hex(at + n_key, n_hex)) return NULL;
    s->n -= n;
    return at + n_key;
}

static bool read_seq(struct str s, uint64_t *seq) {
    static const char head[] = "{\"seq\":";
    size_t i = sizeof head - 1;
    if (!str_starts(s, STR("{\"seq\":")) || i >= s.n || s.p[i] < '1' || s.p[i] > '9') return false;
    for (*seq = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
        if (*seq > (UINT64_MAX >> 1) / 10 - 1) return false;
        *seq = *seq * 10 + (uint64_t)(s.p[i] - '0');
    }
    return i < s.n && s.p[i] == ',';
}

bool audit_line_parse(struct str line, struct audit_line *out) {
    *out = (struct audit_line){.text = line};
    struct str rest = line;
    if (!read_seq(line, &out->seq) || rest.p[rest.n - 1] != '}') return false;
    rest.n--;
    const char *hash = cut_seal(&rest, HASH_KEY, HASH_HEX);
    if (!hash) return false;
    audit_unhex(hash, out->hash, SHA256_BYTES);
    out->sig = cut_seal(&rest, SIG_KEY, SIG_HEX);
    out->hmac = cut_seal(&rest, HMAC_KEY, HASH_HEX);
    out->body = rest;
    return true;
}

bool audit_line_follows(const struct audit_line *l, const uint8_t prev[SHA256_BYTES]) {
    uint8_t d[SHA256_BYTES];
    const size_t n_tail = sizeof HASH_KEY - 1 + HASH_HEX + 2;
    return digest(prev, (struct str){l->text.p, l->text.n - n_tail}, d) == 0 &&
           memcmp(d, l->hash, sizeof d) == 0;
}

/* The seal's member begins so many bytes before its digits. */
int audit_line_digest(const struct audit_line *l, const uint8_t prev[SHA256_BYTES],
                      const char *before, uint8_t out[SHA256_BYTES]) {
    const size_t n_key = before == l->sig ? sizeof SIG_KEY - 1 : sizeof HMAC_KEY - 1;
    return digest(prev, (struct str){l->text.p, (size_t)(before - l->text.p) - n_key}, out);
}

/* Our own writing: "time" and "type" stand before anything that is from outside, and hold nothing
 * that is escaped. */
struct str audit_line_member(const struct audit_line *l, const char *key) {
    char want[24];
    const int n = snprintf(want, sizeof want, ",\"%s\":\"", key);
    struct str head = {l->body.p, l->body.n < NEAR ? l->body.n : NEAR};
    const char *at = memmem(head.p, head.n, want, (size_t)n);
    if (!at) return STR("");
    at += n;
    const char *end = memchr(at, '"', (size_t)(l->body.p + l->body.n - at));
    return end ? (struct str){at, (size_t)(end - at)} : STR("");
}

bool audit_line_is(const struct audit_line *l, const char *type) {
    return str_is(audit_line_member(l, "type"), type);
}

void audit_checkpoint(struct buf *b, const char *why, uint64_t through,
                      const uint8_t hash[SHA256_BYTES]) {
    audit_text(b, "why", why);
    audit_number(b, "through", (int64_t)through);
    audit_hex(b, "through_hash", hash, SHA256_BYTES);
}

bool audit_line_checkpoint(const struct audit_line *l, struct audit_checkpoint *out) {
    static const char through[] = ",\"through\":";
    if (!audit_line_is(l, "checkpoint")) return false;
    const struct str hash = audit_line_member(l, "through_hash");
    const size_t n = l->body.n < NEAR ? l->body.n : NEAR;
    const char *at = memmem(l->body.p, n, through, sizeof through - 1);
    if (hash.n != HASH_HEX || !is_hex(hash.p, hash.n) || !at) return false;
    out->through = strtoull(at + sizeof through - 1, NULL, 10); /* its end is not the line's */
    out->why = audit_line_member(l, "why");
    audit_unhex(hash.p, out->hash, SHA256_BYTES);
    return true;
}
