/* Keys with limits, in one SQLite file that `cria keys` changes and a server reads: ~/.cria/keys.db
 * or CRIA_KEYS=FILE, readable by its owner only.  It also holds what keys have used (key_usage.h).
 *
 * Of a key only its SHA-256 is there (keys.h says why that suffices); the key itself is told once,
 * when it is made: "cria_" and 64 hex digits of 256 bits that getrandom() gave.
 *
 * A server sees a change without being told: keys_db_changed() costs a stat() and a read of shared
 * memory, so it is asked twice a second. */
#pragma once

#include "policy/keys.h"

struct keys_db; /* one thread at a time */

enum { KEY_TEXT = 5 + 2 * SHA256_BYTES + 1, KEYS_DB_PATH = 4096 };

/* Where it is: `setting` (CRIA_KEYS), else ~/.cria/keys.db.  ERR_USAGE: no HOME. */
int keys_db_path(const char *setting, char out[KEYS_DB_PATH], struct err *e);

/* create: the folder (0700) and the file (0600) are made where they are missing, else
 * ERR_NOT_FOUND. A file that only may be read is opened so.  ERR_FORMAT: it is damaged, or
 * something else: it is left as it is, and nobody gets in by it. */
struct keys_db *keys_db_open(const char *path, bool create, struct err *e);
void keys_db_close(struct keys_db *d); /* accepts NULL */
bool keys_db_read_only(const struct keys_db *d);

/* All keys, behind those that are in the set. */
int keys_db_load(struct keys_db *d, struct keys *out, struct err *e);
/* Has another process written to it since this was asked last? */
bool keys_db_changed(struct keys_db *d);
/* What it has written could not be read: the next keys_db_changed says so again. */
void keys_db_unread(struct keys_db *d);
/* Is there another file under its name now, or none? */
bool keys_db_replaced(const struct keys_db *d);

/* A new key with these rights and limits; its text in `text`, once and never again; k->hash and
 * created_s are set.  ERR_USAGE: the name is taken. */
int keys_db_add(struct keys_db *d, struct key *k, char text[KEY_TEXT], struct err *e);
/* Change the key of that name: fn gets it as it is now (models: malloc'd, may be freed and set).
 * text: as of keys_db_add when not NULL, the old one is worth nothing then.  ERR_NOT_FOUND. */
typedef int keys_db_change_fn(void *ctx, struct key *k, struct err *e);
int keys_db_set(struct keys_db *d, const char *name, keys_db_change_fn *fn, void *ctx,
                char text[KEY_TEXT], struct err *e);
/* What it has used stays, for the books.  ERR_NOT_FOUND. */
int keys_db_remove(struct keys_db *d, const char *name, struct err *e);
