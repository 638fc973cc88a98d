/* An entry of the audit log is one line, a JSON object, in either back end:
 *
 *   {"seq":7,"time":"2026-11-27T10:13:09.123456789Z","mono":81234567890,"type":"request",...,
 *    "hmac":"<64 hex>","sig":"<128 hex>","hash":"<64 hex>"}
 *
 * Each seal covers the hash of the entry before (32 bytes; of the first: zeros) and all bytes of
 * the line in front of it:
 *
 *   hash = SHA-256(previous || line up to ,"hash")          always, the last member
 *   sig  = Ed25519(SHA-256(previous || line up to ,"sig"))  with a signing key
 *   hmac = HMAC-SHA-256(key, SHA-256(previous || line up to ,"hmac"))  with a key file
 *
 * The bytes that are stored are the bytes that are hashed: nothing is parsed and written again to
 * verify, and a flip in a seal is found without its key, since the hash covers it. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "policy/audit_key.h"

enum { AUDIT_TIME = 40 };

/* RFC 3339 in UTC with nanoseconds, of now. */
void audit_time(char out[AUDIT_TIME]);

/* "2026-11-27", or more of "2026-11-27T10:13:09.5Z". */
bool audit_is_time(const char *text);
/* Is an entry's time before that? */
bool audit_is_older(struct str time, const char *than);

/* Members are appended to an entry's text as ",\"key\":value"; keys are literals of ours.  What is
 * no UTF-8 in a text becomes U+FFFD.  NULL and "" are left out, and so are zeros by audit_count. */
void audit_text(struct buf *b, const char *key, const char *text);
void audit_text_n(struct buf *b, const char *key, struct str text);
void audit_count(struct buf *b, const char *key, int64_t n);
void audit_number(struct buf *b, const char *key, int64_t n);
void audit_flag(struct buf *b, const char *key, bool on);
void audit_json(struct buf *b, const char *key, const json_t *j); /* NULL: left out */
void audit_hex(struct buf *b, const char *key, const void *bytes, size_t n);

/* Append the seals and the closing brace to a line that has all its other members; `hash` is that
 * of the entry before and becomes this one's.  ERR_NOMEM. */
int audit_seal(struct buf *line, const struct audit_keys *k, uint8_t hash[SHA256_BYTES],
               struct err *e);

/* A line in its parts; they point into it. */
struct audit_line {
    struct str text; /* all of it */
    uint64_t seq;
    struct str body;        /* up to the first seal */
    const char *hmac, *sig; /* 64 and 128 hex digits, or NULL */
    uint8_t hash[SHA256_BYTES];
};

/* False: no whole entry. */
bool audit_line_parse(struct str line, struct audit_line *out);
/* Does it follow the entry with this hash? */
bool audit_line_follows(const struct audit_line *l, const uint8_t prev[SHA256_BYTES]);
/* What the seals `hmac` and `sig` of a line are over; -1: out of memory. */
int audit_line_digest(const struct audit_line *l, const uint8_t prev[SHA256_BYTES],
                      const char *before, uint8_t out[SHA256_BYTES]);
/* Is its type `type`? */
bool audit_line_is(const struct audit_line *l, const char *type);
/* The text of a member near the line's beginning, "time" or "type"; empty: none. */
struct str audit_line_member(const struct audit_line *l, const char *key);

/* {"type":"checkpoint","why":...,"through":seq,"through_hash":hex}: vouches for an entry before it.
 * why: "count" every so many entries; "prune": what is up to `through` was removed on purpose;
 * "rotate": the first of a new file. */
struct audit_checkpoint {
    struct str why;
    uint64_t through;
    uint8_t hash[SHA256_BYTES];
};
/* Append its members to a line's text. */
void audit_checkpoint(struct buf *b, const char *why, uint64_t through,
                      const uint8_t hash[SHA256_BYTES]);
/* False: it is no checkpoint. */
bool audit_line_checkpoint(const struct audit_line *l, struct audit_checkpoint *out);
