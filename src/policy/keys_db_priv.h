/* What keys_db.c and key_usage.c share: the open database. */
#pragma once

#include <sqlite3.h>
#include <sys/types.h>

#include "policy/keys_db.h"

struct keys_db {
    sqlite3 *db;
    char path[KEYS_DB_PATH];
    bool read_only;
    int version; /* PRAGMA data_version when last asked */
    dev_t dev;   /* of the file that is open */
    ino_t ino;
};

/* "keys: WHAT: why", -1. */
int keys_db_error(struct keys_db *d, const char *what, struct err *e);
/* NULL: error. */
sqlite3_stmt *keys_db_prepare(struct keys_db *d, const char *sql);
/* One statement to its end; st (may be NULL) is finalized. */
int keys_db_run(struct keys_db *d, sqlite3_stmt *st, const char *what, struct err *e);
int keys_db_exec(struct keys_db *d, const char *sql, const char *what, struct err *e);
