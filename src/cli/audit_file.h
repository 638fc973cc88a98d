/* Which audit log a command reads: FILE, else the setting AUDIT_FILE, else ~/.cria/audit.db. */
#pragma once

#include <jansson.h>

#include "policy/audit_entry.h"
#include "policy/audit_read.h"
#include "policy/audit_store.h"

int audit_file_name(const char *named, char out[AUDIT_PATH], struct err *e);
struct audit_reader *audit_file_open(const char *named, struct err *e);

/* Open the log of these settings for one entry; *out NULL: there is to be none.  ERR_BUSY: a server
 * writes it, which could be asked to. */
struct audit;
struct settings;
int audit_file_begin(const struct settings *t, const char *type, struct audit **out, struct err *e);
/* Write {"type": type, key: value}, durably, and close it; `a` NULL: nothing. */
int audit_file_end(struct audit *a, const char *type, const char *key, const json_t *value,
                   struct err *e);

/* Which entries are wanted; NULL: any. */
struct audit_filter {
    const char *since, *until, *model, *key, *type;
};
int audit_filter_check(const struct audit_filter *f, struct err *e);
/* An entry as JSON, when it is wanted: 1, *out is owned.  0: not wanted; -1: no entry. */
int audit_filter_take(const struct audit_filter *f, struct str line, json_t **out, struct err *e);
