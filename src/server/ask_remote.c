/* See ask_remote.h.  A thread for each request; when the client leaves, or the server stops, its
 * transfer is ended. */
#include "server/ask_remote.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/os.h"
#include "net/client.h"
#include "policy/leave.h"
#include "server/models.h"
#include "server/remote_answer.h"
#include "server/remote_request.h"
#include "server/request_priv.h"
#include "server/server.h"

enum {
    KEY_MAX = 4096,
    ANSWER_MAX = 8 << 20,
    STALL_S = 30,
    TOTAL_S = 600, /* of an answer that keeps coming */
};

struct asking {
    struct request *r; /* counted */
    struct fallback *f;
    struct ask a; /* fn, ctx, times */
    struct fallback_remote to;
    struct buf body, authorization;
    struct remote_answer answer;
    int64_t began_ns, end_ns; /* end_ns: when it must be over */
    bool told, late;
    atomic_bool gone;
};

static void asking_free(struct asking *x) {
    remote_answer_fini(&x->answer);
    buf_fini(&x->body);
    buf_fini(&x->authorization);
    free(x);
}

/* ---- its thread ---- */

static void on_gone(void *ctx) {
    struct asking *x = ctx;
    atomic_store(&x->gone, true);
}

static void on_part(void *ctx, const struct gen_event *ev) {
    struct asking *x = ctx;
    if (!x->told && ev->kind != GEN_PROMPT) {
        x->told = true;
        request_note_first(x->r);
    }
    x->a.fn(x->a.ctx, ev);
}

static bool is_first_late(const struct asking *x, int64_t now) {
    return x->a.first_token_ns && !x->told && now - x->began_ns >= x->a.first_token_ns;
}

/* Also while nothing comes: what was told once may pause for as long as STALL_S. */
static bool is_over(void *ctx) {
    struct asking *x = ctx;
    const int64_t now = os_now_ns();
    x->late |= is_first_late(x, now);
    return x->late || now >= x->end_ns;
}

static int say_over(const struct asking *x, struct err *e) {
    return err_set(e, ERR_TIMEOUT, "%s",
                   x->late ? "no token came in time"
                           : "the answer took longer than a request may take");
}

static int on_bytes(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct asking *x = ctx;
    return is_over(x) ? say_over(x, e) : remote_answer_take(&x->answer, bytes, n, e);
}

/* What an answer without an answer says. */
static int refused(const struct net_answer *a, struct err *e) {
    struct err unused;
    if (a->status >= 300 && a->status < 400)
        return err_set(e, ERR_IO, "status %d: it points elsewhere, which is not followed",
                       a->status);
    json_t *o = json_read_object("answer", buf_view(&a->body), 1000, &unused);
    const json_t *error = json_object_get(o, "error");
    const char *said = json_string_value(json_object_get(error, "message"));
    err_set(e, ERR_IO, "status %d%s%.200s", a->status, said ? ": " : "", said ? said : "");
    json_decref(o);
    return -1;
}

static int transfer(struct asking *x, struct net_client *client, struct err *e) {
    static const char *const header[] = {"Content-Type: application/json",
                                         "Accept: text/event-stream"};
    const struct net_request q = {
        .method = NET_POST,
        .url = x->to.url,
        .header = header,
        .n_header = 2,
        .authorization = x->authorization.n ? x->authorization.p : NULL,
        .body = buf_view(&x->body),
        .write = on_bytes,
        .ctx = x,
        .max_bytes = ANSWER_MAX,
        .stall_s = STALL_S,
        .cancel = &x->gone,
        .over = is_over,
        .keep_redirect = true, /* neither key nor prompt go where nobody said */
    };
    struct net_answer a = {0};
    int rc = net_do(client, &q, &a, e);
    if (rc == 0 && a.status != 200) rc = refused(&a, e);
    if (rc == 0) rc = remote_answer_end(&x->answer, e);
    net_answer_fini(&a);
    if (rc != 0 && e->code == ERR_CANCELLED && !atomic_load(&x->gone) && is_over(x))
        return say_over(x, e);
    return rc;
}

static void *run(void *arg) {
    struct asking *x = arg;
    struct fallback *f = x->f;
    struct err e = {0};
    struct net_client *client =
        request_audit_written(x->r, &e) == 0 ? fallback_client(f, &e) : NULL;
    const int rc = client ? transfer(x, client, &e) : -1;
    request_on_gone(x->r, NULL, NULL);
    if (rc != 0 && e.code != ERR_CANCELLED) err_prefix(&e, x->to.model);
    if (x->a.fate) x->a.fate->first_late = x->late;
    request_note_work(x->r, &x->answer.stats, 0);
    struct gen_event last = {.kind = GEN_END, .stats = x->answer.stats};
    if (rc != 0) last.err = e;
    x->a.fn(x->a.ctx, &last);
    request_unref(x->r);
    asking_free(x);
    net_thread_end();
    fallback_leave(f);
    return NULL;
}

/* ---- the beginning ---- */

static int read_key(const char *path, struct buf *out, struct err *e) {
    struct buf b = {0};
    if (!*path) return 0;
    if (os_read_file(path, KEY_MAX, &b, e) != 0) {
        buf_fini(&b);
        return err_prefix(e, "setting CRIA_FALLBACK_KEY_FILE");
    }
    const size_t n = b.n ? strcspn(b.p, "\r\n") : 0;
    buf_printf(out, "Bearer %.*s", (int)n, n ? b.p : "");
    explicit_bzero(b.p, b.n);
    buf_fini(&b);
    return out->failed ? err_nomem(e, "request") : 0;
}

static int fill(struct asking *x, const json_t *gen, struct err *e) {
    const int64_t limit = models_request_timeout(server_models(request_server(x->r)));
    json_t *body = remote_request(gen, x->to.model, e);
    if (!body) return -1;
    int rc = json_append("request", body, &x->body, e);
    json_decref(body);
    x->began_ns = os_now_ns();
    x->end_ns = x->began_ns + TOTAL_S * INT64_C(1000000000);
    if (limit > 0 && x->a.start_ns + limit < x->end_ns) x->end_ns = x->a.start_ns + limit;
    if (rc == 0) rc = policy_check_leaving(x->to.url, e);
    return rc == 0 ? read_key(x->to.key_file, &x->authorization, e) : -1;
}

static int launch(struct asking *x, struct err *e) {
    pthread_attr_t attr;
    pthread_t t;
    if (fallback_enter(x->f, e) != 0) return -1;
    request_ref(x->r);
    request_set_model(x->r, x->to.model);
    request_on_gone(x->r, on_gone, x);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    const int rc = pthread_create(&t, &attr, run, x);
    pthread_attr_destroy(&attr);
    if (rc == 0) return 0;
    request_on_gone(x->r, NULL, NULL);
    request_unref(x->r);
    fallback_leave(x->f);
    return err_set(e, ERR_IO, "a thread cannot be started");
}

int ask_remote(struct request *r, const struct ask *a, const struct fallback_remote *to,
               struct err *e) {
    struct asking *x = calloc(1, sizeof *x);
    int rc = x ? 0 : err_nomem(e, "request");
    if (a->fate) a->fate->stage = CHAIN_READY;
    if (rc == 0) {
        *x = (struct asking){.r = r, .f = server_fallback(request_server(r)), .a = *a, .to = *to};
        x->answer = (struct remote_answer){.fn = on_part, .ctx = x};
        atomic_init(&x->gone, false);
        rc = fill(x, a->gen, e);
    }
    json_decref(a->gen);
    if (rc == 0) {
        if (a->fate) a->fate->stage = CHAIN_REMOTE;
        rc = launch(x, e);
    }
    if (rc != 0 && x) asking_free(x);
    return rc;
}
