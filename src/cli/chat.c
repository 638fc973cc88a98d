/* See chat.h.  Every question renders the whole conversation again; the session computes only
 * what has been added since the last answer. */
#include "cli/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/os.h"
#include "cli/cli.h"
#include "engine/embed.h"
#include "engine/speculate.h"
#include "store/params.h"

int chat_set_option(struct chat *c, const char *name, const char *value, struct err *e) {
    struct err why = {0};
    if (run_options_set(&c->options, name, value, &why) == 0) return 0;
    const struct param *p = why.code == ERR_NOT_FOUND ? param_find(name) : NULL;
    if (p && p->use != PARAM_USED) {
        fprintf(stderr, "option \"%s\" has no effect here\n", name);
        return 0;
    }
    return err_set(e, why.code == ERR_NOT_FOUND ? ERR_USAGE : why.code, "%s", why.msg);
}

int chat_assign_option(struct chat *c, const char *assignment, struct err *e) {
    const char *eq = strchr(assignment, '=');
    char name[64];
    if (!eq || eq == assignment || (size_t)(eq - assignment) >= sizeof name)
        return err_set(e, ERR_USAGE, "-o: found \"%.100s\"; accepted: NAME=VALUE", assignment);
    memcpy(name, assignment, (size_t)(eq - assignment));
    name[eq - assignment] = 0;
    return chat_set_option(c, name, eq + 1, e);
}

/* A model and a session on it, closed together. */
struct opened {
    struct engine *engine;
    struct session *session;
};

static void close_model(struct opened *m) {
    session_free(m->session);
    engine_close(m->engine);
    *m = (struct opened){0};
}

static int open_model(struct opened *m, const char *path, const struct engine_opts *o,
                      struct err *e) {
    m->engine = engine_open(path, o, e);
    m->session = m->engine ? session_new(m->engine, e) : NULL;
    if (m->session) return 0;
    close_model(m);
    return -1;
}

/* The draft model sees as much text as the model. */
static int open_draft(struct opened *draft, const char *path, const struct engine *g,
                      struct engine_opts o, struct err *e) {
    o.lora = NULL, o.n_lora = 0;
    o.chat_template = (struct str){0};
    o.n_ctx = engine_n_ctx(g);
    return open_model(draft, path, &o, e) == 0 ? speculate_check_draft(g, draft->engine, e) : -1;
}

static void chat_close(struct chat *c) {
    close_model(&(struct opened){c->draft_engine, c->draft});
    close_model(&(struct opened){c->engine, c->session});
}

int chat_open(struct chat *c, struct err *e) {
    struct engine_opts o = {.lora = &c->lora, .lora_scale = &c->lora_scale};
    struct opened m = {0}, draft = {0};
    o.n_lora = c->lora != NULL;
    o.chat_template = buf_view(&c->template);
    run_options_engine(&c->options, &o);
    if (engine_user_opts(&o, e) != 0 || open_model(&m, c->path, &o, e) != 0) return -1;
    const char *path = c->options.draft;
    if (path && open_draft(&draft, path, m.engine, o, e) != 0) {
        close_model(&draft);
        close_model(&m);
        return -1;
    }
    chat_close(c);
    c->engine = m.engine, c->session = m.session;
    c->draft_engine = draft.engine, c->draft = draft.session;
    return 0;
}

void chat_fini(struct chat *c) {
    c->n_history = 0;
    chat_clear(c);
    free(c->turn);
    chat_close(c);
    display_fini(&c->display);
    buf_fini(&c->system);
    buf_fini(&c->template);
    run_options_fini(&c->options);
}

static void drop_turns(struct chat *c, int from, int n) {
    if (n == 0) return; /* also when there is no array yet */
    for (int i = from; i < from + n; i++)
        buf_fini(&c->turn[i].text);
    memmove(c->turn + from, c->turn + from + n, (size_t)(c->n_turn - from - n) * sizeof *c->turn);
    c->n_turn -= n;
}

void chat_clear(struct chat *c) {
    drop_turns(c, c->n_history, c->n_turn - c->n_history);
    if (c->session) session_truncate(c->session, 0);
}

/* Questions and answers alternate. */
static int add_turn(struct chat *c, const char *role, struct str text, struct err *e) {
    if (c->n_turn == c->cap_turn) {
        const int cap = c->cap_turn ? 2 * c->cap_turn : 16;
        struct turn *t = realloc(c->turn, (size_t)cap * sizeof *t);
        if (!t) return err_nomem(e, "conversation");
        c->turn = t;
        c->cap_turn = cap;
    }
    struct turn *t = &c->turn[c->n_turn++];
    *t = (struct turn){.role = role};
    buf_append(&t->text, text.p, text.n);
    return t->text.failed ? err_nomem(e, "conversation") : 0;
}

int chat_add_history(struct chat *c, const char *role, struct str text, struct err *e) {
    if (add_turn(c, role, text, e) != 0) return -1;
    c->n_history = c->n_turn;
    return 0;
}

/* ---- the prompt ---- */

static int render(const struct chat *c, struct ids *out, struct err *e) {
    struct chat_message *m = calloc((size_t)c->n_turn + 1, sizeof *m);
    int n = 0;
    if (!m) return err_nomem(e, "conversation");
    if (c->system.n > 0)
        m[n++] = (struct chat_message){.role = STR("system"), .content = buf_view(&c->system)};
    for (int i = 0; i < c->n_turn; i++)
        m[n++] = (struct chat_message){.role = str_of(c->turn[i].role),
                                       .content = buf_view(&c->turn[i].text)};
    const int rc = prompt_chat(c->engine, m, n, out, e);
    free(m);
    return rc;
}

/* The conversation as tokens.  What does not fit the context is forgotten from its beginning: the
 * history that the model brings, then a question with its answer at a time, and the user is told.
 */
static int conversation(struct chat *c, struct ids *out, struct err *e) {
    int forgotten = 0;
    for (;;) {
        out->n = 0;
        if (render(c, out, e) != 0) return -1;
        if (out->n < (size_t)engine_n_ctx(c->engine)) break;
        if (c->n_history > 0)
            drop_turns(c, 0, 1), c->n_history--;
        else if (c->n_turn >= 3)
            drop_turns(c, 0, 2), forgotten++;
        else
            break;
    }
    if (forgotten)
        fprintf(stderr, "(the context of %d tokens is full: the oldest %d answers are forgotten)\n",
                engine_n_ctx(c->engine), forgotten);
    return 0;
}

static int make_prompt(struct chat *c, struct str text, struct ids *out, struct err *e) {
    if (c->raw) return prompt_encode(engine_vocab(c->engine), text, out, e);
    if (add_turn(c, "user", text, e) != 0) return -1;
    return conversation(c, out, e);
}

/* ---- the answer ---- */

struct listener {
    struct chat *chat;
    struct buf said; /* owned: the whole answer */
};

static json_t *stamp(const struct chat *c) {
    struct timespec now;
    struct tm tm;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%06ldZ", now.tv_nsec / 1000);
    return json_pack("{s:s, s:s}", "model", c->name ? c->name : c->path, "created_at", text);
}

static int on_event(void *ctx, const struct decode_event *ev) {
    struct listener *l = ctx;
    if (ev->text.n == 0) return 0;
    buf_append(&l->said, ev->text.p, ev->text.n);
    if (l->chat->json) {
        json_t *j = stamp(l->chat);
        json_object_set_new(j, "response", json_stringn(ev->text.p, ev->text.n));
        json_object_set_new(j, "done", json_false());
        cli_print_json(j);
        fflush(stdout);
    } else {
        display_text(&l->chat->display, ev->text);
    }
    return ferror(stdout); /* a full disk: nobody will read the rest */
}

/* As Go prints a duration, which is what Ollama shows: 1.5s, 12.345ms, 2m3.5s. */
static const char *duration(char out[48], int64_t ns) {
    const char *unit = ns < 1000 ? "ns" : ns < 1000000 ? "\u00b5s" : ns < 1000000000 ? "ms" : "s";
    const double per = ns < 1000 ? 1 : ns < 1000000 ? 1e3 : ns < 1000000000 ? 1e6 : 1e9;
    const long minutes = (long)(ns / 60000000000);
    double v = (double)(ns - minutes * 60000000000) / per;
    if (minutes > 0) v = (double)(ns - minutes * 60000000000) * 1e-9;
    char number[20];
    snprintf(number, sizeof number, "%.*f", per == 1 ? 0 : per == 1e9 ? 9 : per == 1e6 ? 6 : 3, v);
    if (strchr(number, '.')) { /* without the zeros at the end */
        size_t n = strlen(number);
        while (number[n - 1] == '0')
            n--;
        if (number[n - 1] == '.') n--;
        number[n] = 0;
    }
    if (minutes >= 60)
        snprintf(out, 48, "%ldh%ldm%ss", minutes / 60, minutes % 60, number);
    else if (minutes > 0)
        snprintf(out, 48, "%ldm%ss", minutes, number);
    else
        snprintf(out, 48, "%s%s", number, unit);
    return out;
}

static double rate(int n, int64_t ns) {
    return ns > 0 ? n / ((double)ns * 1e-9) : 0.0;
}

static void print_timings(const struct chat *c, const struct decode_stats *st, int64_t total_ns) {
    char d[48];
    const int64_t load_ns = (int64_t)(engine_load_s(c->engine) * 1e9);
    fprintf(stderr, "total duration:       %s\n", duration(d, total_ns));
    fprintf(stderr, "load duration:        %s\n", duration(d, load_ns));
    fprintf(stderr, "prompt eval count:    %d token(s)\n", st->n_prompt);
    fprintf(stderr, "prompt cached count:  %d token(s)\n", st->n_prompt_cached);
    fprintf(stderr, "prompt eval duration: %s\n", duration(d, st->prompt_ns));
    fprintf(stderr, "prompt eval rate:     %.2f tokens/s\n",
            rate(st->n_prompt - st->n_prompt_cached, st->prompt_ns));
    fprintf(stderr, "eval count:           %d token(s)\n", st->n_eval);
    fprintf(stderr, "eval duration:        %s\n", duration(d, st->eval_ns));
    fprintf(stderr, "eval rate:            %.2f tokens/s\n", rate(st->n_eval, st->eval_ns));
    if (st->n_drafted > 0)
        fprintf(stderr, "draft count:          %d token(s), %d accepted\n", st->n_drafted,
                st->n_accepted);
}

/* The last JSON line: Ollama's fields, and how much of the prompt was cached. */
static void print_json_end(const struct chat *c, const struct decode_stats *st, int64_t total_ns) {
    static const char *const reason[] = {"stop", "length", "cancelled"};
    json_t *j = stamp(c), *rest;
    rest = json_pack("{s:s, s:b, s:s, s:I, s:I, s:i, s:i, s:I, s:i, s:I}", "response", "", "done",
                     1, "done_reason", reason[st->why], "total_duration", (json_int_t)total_ns,
                     "load_duration", (json_int_t)(engine_load_s(c->engine) * 1e9),
                     "prompt_eval_count", st->n_prompt, "prompt_cached_count", st->n_prompt_cached,
                     "prompt_eval_duration", (json_int_t)st->prompt_ns, "eval_count", st->n_eval,
                     "eval_duration", (json_int_t)st->eval_ns);
    json_object_update(j, rest);
    json_decref(rest);
    if (st->n_drafted > 0) {
        json_object_set_new(j, "draft_count", json_integer(st->n_drafted));
        json_object_set_new(j, "draft_accepted_count", json_integer(st->n_accepted));
    }
    cli_print_json(j);
}

static int show(struct chat *c, const struct ids *prompt, struct listener *l,
                struct decode_stats *st, struct err *e) {
    struct decode_request r = {.prompt = prompt->v, .n_prompt = (int)prompt->n, .special = false};
    if (run_options_request(&c->options, engine_vocab(c->engine), &r, e) != 0) return -1;
    r.draft = c->draft;
    const int64_t t0 = os_now_ns();
    const int rc = decode_run(c->session, &r, on_event, l, &cli_interrupted, st, e);
    const int64_t total = os_now_ns() - t0 + (int64_t)(engine_load_s(c->engine) * 1e9);
    if (!c->json) display_end_line(&c->display);
    if (rc != 0) return -1;
    if (c->json) print_json_end(c, st, total);
    if (c->verbose) {
        fputs("\n", stderr);
        print_timings(c, st, total);
    }
    return 0;
}

int chat_ask(struct chat *c, struct str text, struct err *e) {
    struct listener l = {.chat = c};
    struct ids prompt = {0};
    struct decode_stats st = {0};
    int rc = make_prompt(c, text, &prompt, e);
    if (rc == 0) rc = show(c, &prompt, &l, &st, e);
    if (rc == 0 && !c->raw) rc = add_turn(c, "assistant", buf_view(&l.said), e);
    /* A question that could not be asked is not part of the conversation. */
    if (rc != 0 && (c->n_turn - c->n_history) % 2 == 1) drop_turns(c, c->n_turn - 1, 1);
    if (rc == 0 && st.why == DECODE_CANCELLED && cli_interrupted)
        rc = err_set(e, ERR_CANCELLED, "interrupted");
    ids_fini(&prompt);
    buf_fini(&l.said);
    return rc;
}
