/* The audit log: what was asked of this server, by whom, and what became of it, as a chain of
 * entries that shows when it was altered (audit_entry.h; audit_verify.h).
 *
 *   any thread: audit_put -> queue -> writer: seq, digests, seals, one durable batch -> tickets
 *
 * A batch is what waits when the last one is on the disk, so that many requests share one sync.  A
 * disk that is full or broken: what nobody waits for stays in the queue (64 MiB at most) and is
 * tried again; what had to go is counted, and told in the chain when it can be written again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "policy/audit_entry.h"
#include "policy/audit_store.h"

enum audit_mode { AUDIT_OFF, AUDIT_ON, AUDIT_REQUIRED };

/* "off", "on", "required"; false: none of them. */
bool audit_mode_of(const char *text, enum audit_mode *out);

struct audit_opts {
    const char *file;       /* NULL or "": ~/.cria/audit.db */
    const char *key_file;   /* HMAC; NULL or "": none */
    const char *sign_key;   /* ed25519; the same */
    const char *public_key; /* prompts and answers, encrypted to it; the same */
    const char *what;       /* who writes: "serve", "forget" */
    uint64_t rotate_bytes;  /* lines: a new file from this size on; 0: never */
    bool required; /* a log that cannot be opened or written is an error of audit_open.  Else
                    * one that cannot be written waits until it can, and a damaged one is set
                    * aside; both are said in the log */
};

struct audit; /* any thread */

/* Writes its first entry, "start".  ERR_BUSY: another process writes this log.  ERR_USAGE: its
 * entries are sealed, and there is no key. */
struct audit *audit_open(const struct audit_opts *o, struct err *e);
/* Writes what waits, and "stop".  Accepts NULL. */
void audit_close(struct audit *a);
bool audit_is_required(struct audit *a);
void audit_set_required(struct audit *a, bool required);
bool audit_wants_text(
    const struct audit *a); /* there is a public key: prompts are kept, encrypted */
const char *audit_file(const struct audit *a);

/* ---- entries ---- */

/* All is owned; audit_entry_begin makes it, audit_put takes it. */
struct audit_entry {
    struct buf text; /* members from "time" on, without braces */
    char id[40];     /* what encrypted text is bound to, in the entry as "id" */
    /* Of these only keyed digests get into the log, "prompt_hmac" and "answer_hmac"; with a public
     * key the texts, too, encrypted. */
    struct buf prompt, answer;
    bool has_prompt, has_answer;
    bool has_prompt_digest, has_answer_digest; /* instead of that of the text itself */
    uint8_t prompt_digest[SHA256_BYTES], answer_digest[SHA256_BYTES];
};

/* With the time of now and its type, a literal; more members by audit_text... into x->text. */
void audit_entry_begin(struct audit_entry *x, const char *type);
/* Never blocks.  No ticket: what cannot be written is counted. */
void audit_put(struct audit *a, struct audit_entry *x);

struct audit_ticket;
/* The same for one whose writing is waited for; NULL: out of memory, or the queue is full. */
struct audit_ticket *audit_put_ticket(struct audit *a, struct audit_entry *x, struct err *e);
/* Wait until it is on the disk: 0; ERR_BUSY: it could not be written; ERR_TIMEOUT: it may be yet.
 */
int audit_wait(struct audit *a, struct audit_ticket *t, int timeout_ms, struct err *e);
void audit_ticket_free(struct audit *a, struct audit_ticket *t); /* accepts NULL */

/* Could the last batch not be written? */
bool audit_failing(struct audit *a);

/* HMAC-SHA-256 of a text by the key of this installation. */
int audit_digest_of(const struct audit *a, struct str text, uint8_t out[SHA256_BYTES]);

/* Remove the oldest entries: all before the first that is not older than `before` ("2026-11-27" or
 * a longer beginning of a time, compared as text), and say so in the chain.  *n: how many. */
int audit_prune(struct audit *a, const char *before, uint64_t *n, struct err *e);

struct audit_stats {
    uint64_t n_entries, n_bytes; /* written by this process */
    uint64_t n_errors;           /* batches that could not be written */
    uint64_t n_lost;             /* entries that had to go */
    uint64_t n_batches;
    int64_t sync_ns, sync_max_ns; /* of all batches; the longest */
    int64_t lag_ns;               /* since when the oldest waits; 0: nothing waits */
    int n_waiting;
    uint64_t seq; /* of the last entry */
    bool failing;
};
struct audit_stats audit_stats(struct audit *a);
