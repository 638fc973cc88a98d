/* The writer's half of the audit log: entries become sealed lines, a batch of them goes to the
 * store. One thread. */
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/os.h"
#include "policy/audit_priv.h"

enum { CHECKPOINT_EVERY = 1000 };

/* Lines on their way, and what the chain will be behind them. */
struct batch {
    struct buf *line; /* [n], owned */
    int n, cap;
    size_t n_bytes;
    uint64_t seq;
    uint8_t hash[SHA256_BYTES];
    uint64_t n_told; /* lost entries that it tells of */
};

static void batch_fini(struct batch *b) {
    for (int i = 0; i < b->n; i++)
        buf_fini(&b->line[i]);
    free(b->line);
}

/* text: its members from "time" on.  Takes nothing. */
static int add_line(const struct audit *a, struct batch *b, struct str text, struct err *e) {
    uint8_t hash[SHA256_BYTES];
    struct buf line = {0};
    if (b->n == b->cap) {
        const int cap = b->cap ? 2 * b->cap : 64;
        struct buf *more = realloc(b->line, (size_t)cap * sizeof *more);
        if (!more) return err_nomem(e, "audit");
        b->line = more, b->cap = cap;
    }
    memcpy(hash, b->hash, sizeof hash);
    buf_printf(&line, "{\"seq\":%" PRIu64, b->seq + 1);
    buf_append(&line, text.p, text.n);
    if (audit_seal(&line, &a->keys, hash, e) != 0) {
        buf_fini(&line);
        return -1;
    }
    memcpy(b->hash, hash, sizeof hash);
    b->seq++;
    b->n_bytes += line.n + 1;
    b->line[b->n++] = line;
    return 0;
}

static int add_entry(const struct audit *a, struct batch *b, struct audit_entry *x, struct err *e) {
    const int rc = x->text.failed ? err_nomem(e, "audit") : add_line(a, b, buf_view(&x->text), e);
    buf_fini(&x->text);
    return rc;
}

static int add_checkpoint(const struct audit *a, struct batch *b, const char *why, uint64_t through,
                          const uint8_t hash[SHA256_BYTES], struct err *e) {
    struct audit_entry x;
    audit_entry_begin(&x, "checkpoint");
    audit_checkpoint(&x.text, why, through, hash);
    return add_entry(a, b, &x, e);
}

/* ---- how a log begins ---- */

static const char *after(const struct audit *a) {
    if (a->aside) return "damage";
    if (a->end.seq == 0 && !a->end.torn_bytes) return "new";
    return a->end.stopped ? "stop" : "crash";
}

static int add_intro(const struct audit *a, struct batch *b, struct err *e) {
    struct audit_entry x;
    if (a->end.torn_bytes) {
        audit_entry_begin(&x, "torn");
        audit_number(&x.text, "bytes", (int64_t)a->end.torn_bytes);
        audit_hex(&x.text, "sha256", a->end.torn_hash, SHA256_BYTES);
        if (add_entry(a, b, &x, e) != 0) return -1;
    }
    audit_entry_begin(&x, "start");
    audit_text(&x.text, "what", a->what);
    audit_text(&x.text, "after", after(a));
    audit_text(&x.text, "build", a->build);
    audit_number(&x.text, "pid", (int64_t)getpid());
    audit_flag(&x.text, "required", a->required);
    audit_flag(&x.text, "content", a->content != NULL);
    return add_entry(a, b, &x, e);
}

/* Whoever has the keys holds every entry behind a sealed one against them: one without, of a
 * command that was not told them, would spoil the log for good. */
static int check_seals(const struct audit *a, struct err *e) {
    const bool hmac = a->end.hmac && !a->keys.n_hmac;
    if (!hmac && !(a->end.sig && !a->keys.sign)) return 0;
    return err_set(e, ERR_USAGE,
                   "%s: its entries are sealed, and there is no key for the next; %s names it "
                   "(another CRIA_AUDIT_FILE begins a new log)",
                   a->file, hmac ? "CRIA_AUDIT_KEY_FILE" : "CRIA_AUDIT_SIGN_KEY");
}

/* One that is damaged is kept under another name, and a new one is begun, unless it must not be. */
static int open_store(struct audit *a, struct err *e) {
    char moved[AUDIT_PATH];
    if (a->store) return 0;
    a->store = audit_store_open(a->file, &a->end, e);
    if (!a->store && e->code == ERR_FORMAT && !a->required) {
        struct err why = *e;
        if (audit_store_set_aside(a->file, moved, e) != 0) return -1;
        log_msg(LOG_ERROR, "audit: %s; it is kept as %s, and a new log begins", why.msg, moved);
        a->aside = true;
        a->store = audit_store_open(a->file, &a->end, e);
    }
    if (!a->store) return -1;
    if (check_seals(a, e) != 0) {
        audit_store_close(a->store);
        a->store = NULL;
        return -1;
    }
    a->seq = a->end.seq;
    memcpy(a->hash, a->end.hash, SHA256_BYTES);
    a->intro = true;
    return 0;
}

/* ---- entries of others ---- */

/* What was asked and answered, as digests by the key of this installation. */
static void add_digest(const struct audit *a, struct buf *out, const char *key, struct str text) {
    uint8_t d[SHA256_BYTES];
    if (a->has_digest_key && audit_digest(a->digest_key, text, d) == 0)
        audit_hex(out, key, d, sizeof d);
}

/* The same as texts, for one reader only. */
static int add_content(const struct audit *a, struct audit_entry *x, struct err *e) {
    struct buf plain = {0};
    buf_str(&plain, "{\"v\":1");
    if (x->has_prompt && x->prompt.n) audit_text_n(&plain, "prompt", buf_view(&x->prompt));
    if (x->has_answer) audit_text_n(&plain, "answer", buf_view(&x->answer));
    buf_byte(&plain, '}');
    buf_str(&x->text, ",\"content\":");
    const int rc =
        plain.failed ? err_nomem(e, "audit")
                     : audit_content_seal(a->content, str_of(x->id), buf_view(&plain), &x->text, e);
    if (plain.p) OPENSSL_cleanse(plain.p, plain.cap);
    buf_fini(&plain);
    return rc;
}

/* Once: the texts are gone then, and the job may be tried again as it is. */
static int finish_text(const struct audit *a, struct audit_entry *x, struct err *e) {
    if (x->has_prompt_digest)
        audit_hex(&x->text, "prompt_hmac", x->prompt_digest, SHA256_BYTES);
    else if (x->has_prompt)
        add_digest(a, &x->text, "prompt_hmac", buf_view(&x->prompt));
    if (x->has_answer_digest)
        audit_hex(&x->text, "answer_hmac", x->answer_digest, SHA256_BYTES);
    else if (x->has_answer)
        add_digest(a, &x->text, "answer_hmac", buf_view(&x->answer));
    const bool wanted = a->content && (x->prompt.n || x->answer.n);
    const int rc = wanted ? add_content(a, x, e) : 0;
    buf_fini(&x->prompt), buf_fini(&x->answer);
    x->prompt = x->answer = (struct buf){0};
    x->has_prompt = x->has_answer = x->has_prompt_digest = x->has_answer_digest = false;
    return rc;
}

static int add_job(const struct audit *a, struct batch *b, struct job *j, struct err *e) {
    if ((b->seq + 1) % CHECKPOINT_EVERY == 0) {
        uint8_t hash[SHA256_BYTES];
        memcpy(hash, b->hash, sizeof hash);
        if (add_checkpoint(a, b, "count", b->seq, hash, e) != 0) return -1;
    }
    if (finish_text(a, &j->x, e) != 0 || j->x.text.failed) return -1;
    return add_line(a, b, buf_view(&j->x.text), e);
}

static int add_lost(struct audit *a, struct batch *b, struct err *e) {
    struct audit_entry x;
    pthread_mutex_lock(&a->lock);
    b->n_told = a->n_untold;
    pthread_mutex_unlock(&a->lock);
    if (b->n_told == 0) return 0;
    audit_entry_begin(&x, "lost");
    audit_number(&x.text, "entries", (int64_t)b->n_told);
    return add_entry(a, b, &x, e);
}

static int add_stop(const struct audit *a, struct batch *b, struct err *e) {
    struct audit_entry x;
    audit_entry_begin(&x, "stop");
    audit_text(&x.text, "what", a->what);
    return add_entry(a, b, &x, e);
}

/* ---- the batch ---- */

static int begin(struct audit *a, struct batch *b, struct err *e) {
    if (open_store(a, e) != 0) return -1;
    b->seq = a->seq;
    memcpy(b->hash, a->hash, sizeof b->hash);
    const bool lines = audit_path_is_lines(a->file);
    if (lines && a->rotate_bytes && audit_store_bytes(a->store) >= a->rotate_bytes &&
        audit_store_rotate(a->store, a->seq, e) != 0)
        return -1;
    /* A file that goes on with another's chain says so in its first line, also when its first batch
     * could not be written at once, or by the one that began it. */
    if (lines && a->seq && audit_store_bytes(a->store) == 0) {
        uint8_t hash[SHA256_BYTES];
        memcpy(hash, b->hash, sizeof hash);
        if (add_checkpoint(a, b, "rotate", b->seq, hash, e) != 0) return -1;
    }
    if (a->intro && add_intro(a, b, e) != 0) return -1;
    return add_lost(a, b, e);
}

static int commit(struct audit *a, struct batch *b, struct err *e) {
    if (b->n == 0) return 0;
    const int64_t start = os_now_ns();
    if (audit_store_append(a->store, b->line, b->n, b->seq, b->hash, e) != 0) return -1;
    const int64_t ns = os_now_ns() - start;
    a->seq = b->seq;
    memcpy(a->hash, b->hash, sizeof a->hash);
    a->intro = a->said = false;
    pthread_mutex_lock(&a->lock);
    struct audit_stats *s = &a->stats;
    s->n_entries += (uint64_t)b->n;
    s->n_bytes += b->n_bytes;
    s->n_batches++;
    s->sync_ns += ns;
    if (ns > s->sync_max_ns) s->sync_max_ns = ns;
    s->seq = b->seq;
    a->n_untold -= b->n_told;
    pthread_mutex_unlock(&a->lock);
    return 0;
}

/* The entry first: whoever finds the older ones gone finds out why. */
static int prune(struct audit *a, struct batch *b, const struct job *j, struct err *e) {
    if (add_checkpoint(a, b, "prune", j->through, j->through_hash, e) != 0) return -1;
    if (commit(a, b, e) != 0) return -1;
    return audit_store_drop(a->store, j->through, e);
}

int audit_write_batch(struct audit *a, struct job *jobs, bool last, struct err *e) {
    struct batch b = {0};
    int rc = begin(a, &b, e);
    for (struct job *j = jobs; rc == 0 && j; j = j->next) {
        struct err own = {0};
        if (j->kind == JOB_PRUNE) {
            rc = prune(a, &b, j, e);
            batch_fini(&b);
            return rc;
        }
        if (j->kind == JOB_ENTRY && add_job(a, &b, j, &own) != 0) {
            j->failed = true; /* this one alone; the chain does not have it */
            log_msg(LOG_ERROR, "audit: an entry was lost: %s", own.msg);
        }
    }
    if (rc == 0 && last) rc = add_stop(a, &b, e);
    if (rc == 0) rc = commit(a, &b, e);
    batch_fini(&b);
    if (rc != 0 && !a->said) {
        log_msg(LOG_ERROR, "audit: %s; it is tried again", e->msg);
        a->said = true;
    }
    return rc;
}
