/* What audit.c (queue, tickets) and audit_write.c (the writer's batches) share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "policy/audit.h"
#include "policy/audit_content.h"

struct audit_ticket {
    int n_ref; /* the owner's and the queue's; under audit.lock */
    bool over; /* written, or not: */
    struct err err;
};

enum job_kind {
    JOB_ENTRY,
    JOB_OPEN,  /* nothing but what a log begins with */
    JOB_PRUNE, /* `through` */
};

struct job {
    struct job *next;
    enum job_kind kind;
    struct audit_entry x;
    uint64_t through;
    uint8_t through_hash[SHA256_BYTES];
    struct audit_ticket *ticket; /* counted; NULL: nobody waits */
    bool failed;                 /* this one could not be made a line: it is in no batch */
    size_t n_bytes;              /* that it takes in the queue */
    int64_t since_ns;
};

struct audit {
    char file[AUDIT_PATH], what[24], build[48];
    atomic_bool required;
    uint64_t rotate_bytes;
    struct audit_keys keys;
    struct audit_content *content; /* or NULL */
    uint8_t digest_key[AUDIT_DIGEST_KEY];
    bool has_digest_key;

    /* The writer's. */
    struct audit_store *store; /* NULL: not opened yet */
    uint64_t seq;              /* of the last entry that is on the disk */
    uint8_t hash[SHA256_BYTES];
    struct audit_end end; /* how the log ended when it was opened */
    bool intro, aside;    /* owes "torn" and "start"; the damaged one was set aside */
    bool said;            /* that it cannot be written: in the log */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;  /* for the writer */
    pthread_cond_t told;  /* tickets are over */
    struct job *first, **last;
    size_t n_queued_bytes;
    int n_queued, n_waiting; /* jobs; those with a ticket */
    bool stop, failing;
    uint64_t n_untold; /* lost entries that the chain does not tell of yet */
    struct audit_stats stats;
    pthread_t writer;
    bool has_writer;
};

/* Takes j. */
struct audit_ticket *audit_put_job(struct audit *a, struct job *j, struct err *e);
void audit_job_free(struct job *j);
/* Write these jobs (a list; NULL: none) as one batch, behind what the log owes; `last`: and "stop".
 * The jobs stay the caller's, who tells their tickets. */
int audit_write_batch(struct audit *a, struct job *jobs, bool last, struct err *e);
