/* The audit log of a server: what of a request gets into it, and when an answer waits for it.
 *
 *   body is here   audit_gate   digest of the prompt; required: the entry "begin", put
 *   first byte     audit_door   required: "begin" is on the disk, or 503
 *   the end        audit_end    the entry "request" or "denied"; nobody waits for it
 *
 * `required` fails closed: no byte of an answer leaves before the disk has it that the request was
 * there.  The sync runs while the model reads the prompt, so that it mostly costs nothing; the end
 * is not waited for, since what became of a request can only be told afterwards, and a "begin"
 * without a "request" says that the server was killed meanwhile.  While the log cannot be written,
 * and before what changes the store, the wait comes first: nothing is done for a request that is
 * refused. */
#pragma once

#include "policy/audit.h"
#include "policy/keys.h"
#include "server/pii.h"
#include "server/request.h"

struct gen_event;
struct log_request;
struct settings;

/* Of one request; under its lock, but for what says otherwise.  Filled by request_audit_*()
 * (request.h). */
struct audit_facts {
    bool on;                    /* it gets an entry; constant from audit_gate on */
    bool hushed;                /* the door has answered in the handler's place */
    bool began;                 /* it has an entry "begin" */
    bool unwritten;             /* which could not be written */
    struct audit_ticket *begun; /* owned; of that, until the door has seen it */
    bool has_prompt;
    uint8_t prompt_hmac[SHA256_BYTES];
    struct buf prompt; /* itself, when it is kept encrypted; without what the policy takes out */
    struct buf answer; /* as the client got it, one choice and kind behind the other */
    struct buf kept;   /* is_apart: as it may be kept (ask.h) */
    bool is_apart;
    bool has_answer;
    int answer_kind, answer_choice; /* of its last piece */
    char digest[72];                /* of the model's manifest: 64 hex digits; "": none */
    json_t *options;                /* owned; effective ones */
    char asked[160];                /* the model as the client wrote it */
    struct pii_counts found[PII_N_SIDE];
    bool searched;        /* for personal data */
    enum err_code failed; /* of an answer that had begun */
};

/* ---- the server ---- */

/* By its settings, with the entries that a start has; *out NULL when it is off. */
int audit_server_open(const struct settings *t, struct audit **out, struct err *e);
void audit_server_close(struct audit *a); /* accepts NULL */
/* The settings that differ, `old` NULL: all. */
void audit_settings(struct audit *a, const struct settings *old, const struct settings *now);
/* The keys that differ, by name; either may be NULL: none. */
void audit_key_changes(struct audit *a, struct keys *was, struct keys *now);
/* Lines for /metrics; a NULL: none. */
void audit_metrics(struct audit *a, struct buf *out);

/* ---- a request ---- */

/* On its worker, before the handler.  -1: refused and ended. */
int audit_gate(struct request *r);
/* Before the first byte of its answer, without its lock.  False: the answer is 503 with *e. */
bool audit_door(struct request *r, struct err *e);
/* That answer in the request's dialect, and its header. */
void audit_refusal(struct request *r, const struct err *e, struct buf *out);
/* With its lock, at its end. */
void audit_end(struct request *r, const struct log_request *l);
/* Those that were only counted in this second; when no request comes any more. */
void audit_denied_rest(struct server *s);
/* What the client is told by a model. */
void audit_answer(struct request *r, const struct gen_event *ev);
void audit_facts_fini(struct audit *a, struct audit_facts *f);
