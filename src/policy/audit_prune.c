/* Pruning the audit log: what is older is looked for here, on the thread that asks, and removed by
 * the writer, behind an entry that says so. */
#include <stdlib.h>
#include <string.h>

#include "policy/audit_priv.h"
#include "policy/audit_read.h"

enum { WAIT_MS = 600000 };

/* The last entry of those at the beginning that are older.  *through 0: none is. */
static int find_older(const char *file, const char *before, struct job *j, uint64_t *n,
                      struct err *e) {
    struct audit_item i;
    struct audit_line l;
    int rc;
    struct audit_reader *r = audit_reader_open(file, e);
    if (!r) return -1;
    *n = 0;
    while ((rc = audit_reader_next(r, &i, e)) == 1) {
        if (!audit_line_parse(i.line, &l)) continue;
        if (!audit_is_older(audit_line_member(&l, "time"), before)) break;
        j->through = l.seq;
        memcpy(j->through_hash, l.hash, SHA256_BYTES);
        ++*n;
    }
    audit_reader_close(r);
    return rc < 0 ? -1 : 0;
}

int audit_prune(struct audit *a, const char *before, uint64_t *n, struct err *e) {
    if (!audit_is_time(before))
        return err_set(e, ERR_USAGE,
                       "before: found \"%.60s\"; a date like 2026-11-27, or a time like "
                       "2026-11-27T10:13:09Z, is accepted",
                       before);
    struct job *j = calloc(1, sizeof *j);
    if (!j) return err_nomem(e, "audit");
    j->kind = JOB_PRUNE;
    if (find_older(a->file, before, j, n, e) != 0 || *n == 0) {
        const int rc = *n == 0 && (!e || e->code == ERR_NONE) ? 0 : -1;
        audit_job_free(j);
        return rc;
    }
    struct audit_ticket *t = audit_put_job(a, j, e);
    const int rc = t ? audit_wait(a, t, WAIT_MS, e) : -1;
    audit_ticket_free(a, t);
    return rc;
}
