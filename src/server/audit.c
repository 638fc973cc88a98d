/* See audit.h. */
#include "server/audit.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "server/ask.h"
#include "server/front_priv.h"

enum {
    WAIT_MS = 10000, /* for the disk: what takes longer is a broken one */
    A_SECOND = 100,  /* denied requests that are told one by one */
};

/* ---- setters: request.h ---- */

static void set_text(struct request *r, char *out, size_t n, const char *text) {
    pthread_mutex_lock(&r->lock);
    snprintf(out, n, "%s", text ? text : "");
    pthread_mutex_unlock(&r->lock);
}

static void set_json(struct request *r, json_t **at, json_t *take) {
    pthread_mutex_lock(&r->lock);
    json_t *old = *at;
    *at = take;
    pthread_mutex_unlock(&r->lock);
    json_decref(old);
}

void request_audit_pii(struct request *r, enum pii_side side, const struct pii_counts *found) {
    if (!r->audit.on) return;
    pthread_mutex_lock(&r->lock);
    pii_counts_add(&r->audit.found[side], found);
    r->audit.searched = true;
    pthread_mutex_unlock(&r->lock);
}

void request_audit_model(struct request *r, const char *digest, const json_t *options) {
    if (digest) set_text(r, r->audit.digest, sizeof r->audit.digest, digest);
    if (options && r->audit.on) set_json(r, &r->audit.options, json_deep_copy(options));
}

/* ---- before the answer ---- */

static void common(struct audit_entry *x, const struct request *r, const char *route) {
    struct buf *b = &x->text;
    snprintf(x->id, sizeof x->id, "%s", r->id);
    audit_text(b, "id", r->id);
    audit_text(b, "key", r->user);
    audit_text(b, "peer", r->peer);
    audit_text(b, "method", http_method_name(net_req_head(r->net)->method));
    audit_text(b, "route", route);
}

/* *ticket NULL: no entry could be put. */
static int begin(struct request *r, struct err *e) {
    struct audit_entry x;
    audit_entry_begin(&x, "begin");
    common(&x, r, r->route->path);
    struct audit_ticket *t = audit_put_ticket(r->server->audit, &x, e);
    pthread_mutex_lock(&r->lock);
    r->audit.begun = t;
    r->audit.began = t != NULL;
    pthread_mutex_unlock(&r->lock);
    return t ? 0 : -1;
}

/* The ticket is seen once; when it was not written nobody gets by later, either. */
static int see(struct request *r, struct err *e) {
    pthread_mutex_lock(&r->lock);
    struct audit_ticket *t = r->audit.begun;
    const bool unwritten = r->audit.unwritten;
    r->audit.begun = NULL;
    pthread_mutex_unlock(&r->lock);
    if (unwritten) return err_set(e, ERR_BUSY, "the audit log cannot be written");
    const int rc = t ? audit_wait(r->server->audit, t, WAIT_MS, e) : 0;
    audit_ticket_free(r->server->audit, t);
    if (rc == 0) return 0;
    pthread_mutex_lock(&r->lock);
    r->audit.unwritten = true;
    pthread_mutex_unlock(&r->lock);
    return rc;
}

int request_audit_written(struct request *r, struct err *e) {
    return see(r, e);
}

static void keep_prompt(struct request *r) {
    struct audit_facts *f = &r->audit;
    const struct str body = request_body(r);
    if (body.n == 0) return;
    f->has_prompt = audit_digest_of(r->server->audit, body, f->prompt_hmac) == 0;
    if (r->route->right == RIGHT_USE && audit_wants_text(r->server->audit))
        pii_keep_body(r->server, PII_REPLACE, body, &f->prompt);
}

static int refuse(struct request *r, const struct err *e) {
    r->audit.hushed = true;
    reply_header(r, "Retry-After: 1\r\n");
    reply_error(r, 503, "%s", e->msg);
    return -1;
}

/* Those who only look whether the server lives ask all the time. */
static bool is_told(const struct route *t) {
    return t->right != RIGHT_NONE && strcmp(t->path, "/metrics") != 0;
}

int audit_gate(struct request *r) {
    struct audit *a = r->server->audit;
    const int right = r->route->right;
    struct err e = {0};
    if (!a || !is_told(r->route)) return 0;
    r->audit.on = true;
    keep_prompt(r);
    if (!audit_is_required(a)) return 0;
    const bool failing = audit_failing(a);
    if (right == RIGHT_READ && !failing)
        return 0; /* nothing is done: the entry at its end will do */
    if (begin(r, &e) != 0) return refuse(r, &e);
    /* What changes something is not begun before its entry is on the disk. */
    const bool first = (right & RIGHTS_CHANGE) != 0 || failing;
    return first && see(r, &e) != 0 ? refuse(r, &e) : 0;
}

int request_audit_require(struct request *r, struct err *e) {
    if (!r->server->audit)
        return err_set(e, ERR_BUSY, "this model is used with an audit log only; CRIA_AUDIT is off");
    pthread_mutex_lock(&r->lock);
    const bool begun = r->audit.began;
    pthread_mutex_unlock(&r->lock);
    return begun ? 0 : begin(r, e);
}

bool audit_door(struct request *r, struct err *e) {
    return !r->audit.on || r->audit.hushed || see(r, e) == 0;
}

/* ---- the answer ---- */

/* Plain text stands as it is; what else there is, thinking, calls, other choices, under a line of
 * its own. */
static void begin_piece(const struct audit_facts *f, const struct gen_event *ev, struct buf *out) {
    static const char *const name[] = {
        [GEN_THINKING] = "thinking", [GEN_TEXT] = "text", [GEN_CALL] = "call"};
    const bool same = f->has_answer && f->answer_kind == (int)ev->kind &&
                      f->answer_choice == ev->choice && ev->kind != GEN_CALL;
    const bool plain = !f->has_answer && ev->kind == GEN_TEXT && ev->choice == 0;
    if (!same && !plain)
        buf_printf(out, "%s[%s %d]\n", out->n ? "\n" : "", name[ev->kind], ev->choice);
}

static int append(const char *p, size_t n, void *to) {
    buf_append(to, p, n);
    return 0;
}

static void add_piece(const struct audit_facts *f, const struct gen_event *ev, struct str text,
                      const json_t *call, struct buf *out) {
    begin_piece(f, ev, out);
    if (ev->kind == GEN_CALL)
        json_dump_callback(call, append, out, JSON_COMPACT);
    else
        buf_append(out, text.p, text.n);
}

void audit_answer(struct request *r, const struct gen_event *ev) {
    struct audit_facts *f = &r->audit;
    struct str text;
    const json_t *call;
    if (ev->kind == GEN_END) f->failed = ev->err.code;
    if (ev->kind != GEN_TEXT && ev->kind != GEN_THINKING && ev->kind != GEN_CALL) return;
    f->is_apart |= ask_kept(ev, &text, &call) && audit_wants_text(r->server->audit);
    if (f->is_apart) add_piece(f, ev, text, call, &f->kept);
    add_piece(f, ev, ev->text, ev->data, &f->answer);
    f->has_answer = true;
    f->answer_kind = (int)ev->kind;
    f->answer_choice = ev->choice;
}

/* ---- the entry ---- */

/* Options with texts in them (stop, a grammar) may say what the prompt does: those are digests. */
static json_t *hide_texts(const struct request *r, const json_t *options) {
    json_t *out = json_object(), *v;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)options, key, v) {
        uint8_t d[SHA256_BYTES];
        char text[2 * SHA256_BYTES + 16] = "hmac:";
        const bool plain = json_is_number(v) || json_is_boolean(v) || json_is_null(v);
        char *whole = plain ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        if (plain) {
            json_object_set(out, key, v);
        } else if (whole && audit_digest_of(r->server->audit, str_of(whole), d) == 0) {
            for (int i = 0; i < SHA256_BYTES; i++)
                snprintf(text + 5 + 2 * i, 3, "%02x", d[i]);
            json_object_set_new(out, key, json_string(text));
        }
        free(whole);
    }
    return out;
}

static const char *outcome(const struct request *r, const struct log_request *l) {
    /* Not r->gone: who has all of an answer leaves, too. */
    if (l->status == 499 || r->audit.failed == ERR_CANCELLED) return "left";
    if (r->cut) return "cut";
    if (l->status >= 500) return "failed";
    if (l->status >= 400) return "refused";
    return r->audit.failed != ERR_NONE ? "failed" : "done";
}

static void add_work(struct buf *b, const struct log_request *l, int64_t now) {
    audit_count(b, "ms", (now - l->start_ns) / 1000000);
    if (l->first_ns) audit_count(b, "first_ms", (l->first_ns - l->start_ns) / 1000000);
    audit_count(b, "load_ms", l->load_ns / 1000000);
    if (!l->work) return;
    audit_count(b, "queue_ms", l->work->queue_ns / 1000000);
    audit_count(b, "prompt_ms", l->work->prompt_ns / 1000000);
    audit_count(b, "eval_ms", l->work->eval_ns / 1000000);
    audit_count(b, "prompt_tokens", l->work->n_prompt);
    audit_count(b, "cached_tokens", l->work->n_cached);
    audit_count(b, "tokens", l->work->n_eval);
    audit_count(b, "truncated_tokens", l->work->n_truncated);
}

/* Numbers only, no found text. */
static json_t *found_json(const struct pii_counts *found) {
    json_t *o = json_object();
    for (int k = 0; k < N_PII; k++)
        if (found->n[k])
            json_object_set_new(o, pii_name((enum pii_kind)k),
                                json_integer((json_int_t)found->n[k]));
    return o;
}

static void add_pii(struct buf *b, const struct audit_facts *f) {
    if (!f->searched) return;
    json_t *o = json_pack("{s:o, s:o}", "request", found_json(&f->found[PII_ASKED]), "answer",
                          found_json(&f->found[PII_ANSWERED]));
    audit_json(b, "pii", o);
    json_decref(o);
}

/* The digest is of what the client got; what is kept may be another text. */
static void add_answer(struct audit_entry *x, struct request *r) {
    struct audit_facts *f = &r->audit;
    x->has_answer = f->has_answer;
    if (f->is_apart) {
        x->has_answer_digest =
            audit_digest_of(r->server->audit, buf_view(&f->answer), x->answer_digest) == 0;
        buf_fini(&f->answer);
        x->answer = f->kept;
    } else {
        x->answer = f->answer;
    }
    f->answer = f->kept = (struct buf){0};
}

static void add_facts(struct audit_entry *x, struct request *r, const struct log_request *l) {
    struct audit_facts *f = &r->audit;
    struct buf *b = &x->text;
    audit_text(b, "digest", f->digest);
    json_t *options = f->options ? hide_texts(r, f->options) : NULL;
    audit_json(b, "options", options);
    json_decref(options);
    audit_text(b, "cache", l->cache);
    audit_text(b, "fallback_reason", l->fallback);
    if (l->fallback) audit_text(b, "asked", f->asked);
    add_pii(b, f);
    if (f->has_prompt) memcpy(x->prompt_digest, f->prompt_hmac, SHA256_BYTES);
    x->has_prompt_digest = f->has_prompt;
    x->has_prompt = f->prompt.n > 0;
    x->prompt = f->prompt;
    f->prompt = (struct buf){0};
    add_answer(x, r);
}

static bool is_denial(int status) {
    return status == 401 || status == 403 || status == 429;
}

/* Those without a key could fill the disk: of each second so many are told one by one, the rest by
 * their number. */
static bool may_tell(struct server *s, uint64_t *n_more) {
    const int64_t now = os_now_ns() / 1000000000;
    pthread_mutex_lock(&s->lock);
    *n_more = 0;
    if (s->denied_s != now) {
        s->denied_s = now;
        *n_more = s->n_denied > A_SECOND ? s->n_denied - A_SECOND : 0;
        s->n_denied = 0;
    }
    const bool may = ++s->n_denied <= A_SECOND;
    pthread_mutex_unlock(&s->lock);
    return may;
}

static void tell_more(struct audit *a, uint64_t n) {
    struct audit_entry x;
    audit_entry_begin(&x, "denied_more");
    audit_number(&x.text, "requests", (int64_t)n);
    audit_put(a, &x);
}

void audit_denied_rest(struct server *s) {
    if (s->audit && s->n_denied > A_SECOND) tell_more(s->audit, s->n_denied - A_SECOND);
}

void audit_end(struct request *r, const struct log_request *l) {
    struct audit *a = r->server->audit;
    struct audit_entry x;
    uint64_t n_more = 0;
    const bool denied = is_denial(l->status);
    if (!a || (!denied && !r->audit.on)) return;
    if (denied && !may_tell(r->server, &n_more)) return;
    if (n_more) tell_more(a, n_more);
    audit_entry_begin(&x, denied ? "denied" : "request");
    common(&x, r, r->route ? r->route->path : l->path);
    audit_text(&x.text, "model", l->model);
    audit_number(&x.text, "status", l->status);
    audit_text(&x.text, "outcome", outcome(r, l));
    audit_count(&x.text, "body_bytes", l->n_body);
    audit_count(&x.text, "bytes", l->n_sent);
    add_work(&x.text, l, os_now_ns());
    add_facts(&x, r, l);
    audit_put(a, &x);
}

void audit_facts_fini(struct audit *a, struct audit_facts *f) {
    if (a) audit_ticket_free(a, f->begun);
    buf_fini(&f->prompt);
    buf_fini(&f->answer);
    buf_fini(&f->kept);
    json_decref(f->options);
}
