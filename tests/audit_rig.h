/* What the tests of the audit log share: logs with entries, changed from outside as somebody would
 * who has the file, and what verify says then. */
#pragma once

#include "policy/audit.h"
#include "policy/audit_verify.h"
#include "support.h"

/* A log in a folder of its own, and settings beside it, as a server is told of them. */
struct audit_place {
    char *dir;
    char file[700], set[720];   /* set: "CRIA_AUDIT_FILE=FILE" */
    char config[700], use[720]; /* use: "CRIA_CONFIG=CONFIG", which audit_place_config makes */
};
void audit_place_open(struct audit_place *p, const char *name);
void audit_place_config(const struct audit_place *p, const char *text);
void audit_place_close(struct audit_place *p);
/* A file with this text. */
void audit_text_file(const char *path, const char *text);

/* A log of FILE with n entries between its "start" and its "stop"; options may be NULL. */
void audit_make(const char *file, int n, const struct audit_opts *o);
/* Put one entry, "request", whose number is i; waits for it. */
void audit_add(struct audit *a, int i);
/* Must be readable. */
struct audit_verdict audit_check(const char *file, const struct audit_keys *k);
void audit_is_whole(const char *file, uint64_t first, uint64_t last);
void audit_is_bad(const char *file, uint64_t seq, const char *what);

/* The lines of a log, free with audit_lines_free; written back as they are by audit_write. */
struct audit_text {
    struct buf *line; /* [n] */
    int n;
};
void audit_load(const char *file, struct audit_text *t);
/* In the place of all entries that FILE has; its head stays. */
void audit_store_text(const char *file, const struct audit_text *t);
void audit_text_free(struct audit_text *t);

/* A key as PEM files DIR/NAME.pem and DIR/NAME.pub.pem. */
void audit_make_key(const char *dir, const char *name, const char *algorithm);
/* "DIR/NAME" in a ring of 8. */
const char *audit_at(const char *dir, const char *name);
