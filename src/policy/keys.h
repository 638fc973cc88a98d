/* API keys: who may do what, with which models, and how much of it.
 *
 * They come from a file of lines, from a database that `cria keys` keeps (keys_db.h), or from both:
 *
 *   NAME KEY [read|use|admin]      # a line; also lists of the words of rights_parse()
 *
 * KEY is the key itself, at least 16 bytes, or "sha256:" and the 64 digits of its hash.  Only
 * hashes are kept.  Who asks is found in a time that does not depend on how much of a key is right:
 * all hashes are compared, each in constant time.
 *
 * Why SHA-256 and neither a slow hash nor a salt: those make guessing dear where people choose the
 * secret.  A key that `cria keys` makes has 256 random bits; nobody guesses it, however fast, no
 * table holds it, and no two are alike.  A slow hash would be paid by every request instead. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"
#include "store/name.h"

/* Bits.  A route names those of which one is needed (route.h). */
enum right {
    RIGHT_NONE = 0,     /* no key: health, "/" */
    RIGHT_READ = 1,     /* lists and shows */
    RIGHT_USE = 2,      /* generate, embed */
    RIGHT_TRAIN = 4,    /* training jobs, and the blobs they need */
    RIGHT_MODELS = 8,   /* change the store: pull, push, create, copy, delete, blobs */
    RIGHT_METRICS = 16, /* what other keys use, in /metrics */
    RIGHT_ADMIN = 32,   /* what no other role may */
};

/* Those that change what is here. */
enum { RIGHTS_CHANGE = RIGHT_TRAIN | RIGHT_MODELS | RIGHT_ADMIN };

/* One or more words between commas or "|": inference (or use), models, train, read, admin.  Each
 * may read lists, too.  False: one of them is none. */
bool rights_parse(const char *text, unsigned *rights);
/* The words of it: "inference,models"; "read" for lists only, "admin" for all. */
enum { RIGHTS_TEXT = 48 };
void rights_text(unsigned rights, char out[RIGHTS_TEXT]);

enum key_class { KEY_NORMAL, KEY_HIGH, KEY_LOW, N_KEY_CLASS };
extern const char *const key_class_name[N_KEY_CLASS]; /* "normal", ... */

/* 0: no limit. */
struct key_quota {
    int64_t rpm, tpm; /* requests and tokens in a minute; a minute's worth may come at once */
    int64_t concurrent;
    int64_t daily_requests, daily_tokens; /* from midnight to midnight, UTC */
};
enum { KEY_RPM_MAX = 1000000, KEY_TPM_MAX = 10000000 };
#define KEY_DAILY_MAX INT64_C(1000000000000)

enum { KEY_NAME_MAX = 64, KEY_MODELS_MAX = 2048 };

struct key_meter; /* key_limits.h */

struct key {
    char name[KEY_NAME_MAX]; /* letters, digits, "._-@" */
    uint8_t hash[SHA256_BYTES];
    unsigned rights;
    char *models; /* patterns between commas, key_allows(); NULL: all; owned by the set */
    struct key_quota quota;
    enum key_class class;
    int64_t created_s, expires_s; /* Unix time; 0: not known, never */
    bool disabled;
    struct key_meter *meter; /* borrowed; NULL: nothing is counted */
};

struct keys; /* a set; counted, immutable once it is shared */

struct keys *keys_new(struct err *e);
/* The lines of a file behind what is there.  ERR_USAGE: "FILE, line N: ...", never with the key in
 * it.  An empty file is one, too: it would shut everybody out. */
int keys_read_file(struct keys *k, const char *path, struct err *e);
/* One more, copied; key.models is taken over, also on error. */
int keys_put(struct keys *k, const struct key *key, struct err *e);
int keys_count(const struct keys *k);
struct key *keys_at(struct keys *k, int i);

struct keys *keys_ref(struct keys *k); /* any thread */
void keys_unref(struct keys *k);       /* any thread; accepts NULL */

/* The key of this text; NULL: unknown.  Whether it is disabled or too old is the caller's to look
 * at. */
const struct key *keys_find(const struct keys *k, struct str text);
int keys_hash(struct str text, uint8_t out[SHA256_BYTES]); /* -1: out of memory */

/* NULL, or what is wrong with the name of a key. */
const char *keys_check_name(const char *name);
/* NULL, or what is wrong with a list of patterns. */
const char *keys_check_models(const char *models);

/* May the key use the model of that name?  A pattern is compared, letter case aside, with the name
 * as users see it (name_short: "llama3.2:1b", "team/x:latest"); "*" stands for any letters but
 * "/", and alone for all models; one without tag and "*" means the tag "latest". */
bool key_allows(const struct key *k, const struct name *n);
