/* What keys have used, by day (UTC) and model, in the database of the keys: for those who ask who
 * did what (`cria keys usage`), and so that a restart forgets nothing of a day's quota.
 *
 * Requests add to memory; a thread of the server's writes what has gathered, in one transaction,
 * twice a second: a process that is killed loses at most that.  A write that fails is tried again
 * with what has come meanwhile. */
#pragma once

#include "policy/key_limits.h"
#include "policy/keys_db.h"

struct key_usage; /* what is not written yet; any thread */

struct key_use {
    const char *key, *model; /* model "": none worked for it */
    int64_t n_request, n_refused, n_error, n_prompt, n_eval;
};

struct key_usage *key_usage_new(struct err *e);
void key_usage_free(struct key_usage *u); /* writes nothing; accepts NULL */
void key_usage_add(struct key_usage *u, int64_t day, const struct key_use *use);

/* Write it, and the day's counts of l.  One thread at a time. */
int key_usage_write(struct key_usage *u, struct key_limits *l, struct keys_db *d, struct err *e);
/* The day's counts of all keys back into l, as the database has them. */
int key_usage_restore(struct key_limits *l, struct keys_db *d, struct err *e);

/* A row of a report.  Texts are borrowed for the call. */
typedef int key_usage_fn(void *ctx, int64_t day, const struct key_use *use);
/* Of one key, or all (NULL), since a day, the newest first.  fn not 0: enough. */
int key_usage_read(struct keys_db *d, const char *key, int64_t since_day, key_usage_fn *fn,
                   void *ctx, struct err *e);
