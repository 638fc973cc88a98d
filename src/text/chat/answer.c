/* See answer.h.  Text is held back only while it may be the beginning of a mark, and calls until
 * they are complete; where a piece ends must not depend on how the text was cut. */
#include "text/chat/answer.h"

#include <stdlib.h>
#include <time.h>

#include "text/chat/answer_priv.h"

/* ---- Telling ---- */

void answer_tell(struct answer *a, enum answer_kind kind, struct str text) {
    const struct answer_piece p = {.kind = kind, .text = text};
    if (text.n == 0 || a->rc != 0) return;
    a->rc = a->fn(a->ctx, &p);
}

/* As Ollama's: call_ and eight letters or digits. */
static void make_id(struct answer *a, char id[16]) {
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    memcpy(id, "call_", 5);
    for (int i = 5; i < 13; i++) {
        a->seed = a->seed * 6364136223846793005u + 1442695040888963407u;
        id[i] = alphabet[(a->seed >> 33) % 36];
    }
    id[13] = 0;
}

void answer_tell_calls(struct answer *a, const json_t *calls) {
    const json_t *c;
    size_t i;
    json_array_foreach(calls, i, c) {
        char id[16];
        make_id(a, id);
        json_t *call =
            json_pack("{s:s, s:{s:O, s:O}}", "id", id, "function", "name",
                      json_object_get(c, "name"), "arguments", json_object_get(c, "arguments"));
        const struct answer_piece p = {.kind = ANSWER_CALL, .text = STR(""), .call = call};
        if (a->rc == 0) a->rc = call ? a->fn(a->ctx, &p) : 1;
        json_decref(call);
        a->n_call++;
    }
}

void answer_consume(struct answer *a, size_t n) {
    if (n > 0) a->last = a->held.p[n - 1];
    buf_drop(&a->held, n);
    a->n_given -= n < a->n_given ? n : a->n_given;
    a->scan = 0;
}

/* The first n bytes of held, as text. */
static void tell_text(struct answer *a, size_t n) {
    const size_t given = n < a->n_given ? n : a->n_given;
    answer_consume(a, given);
    n -= given;
    struct str s = {a->held.p, n};
    while (a->drop_blank && s.n > 0 && answer_blank(s.p[0]))
        s.p++, s.n--;
    if (s.n > 0) a->drop_blank = false;
    answer_tell(a, ANSWER_TEXT, s);
    answer_consume(a, n);
}

/* ---- Marks ---- */

int answer_match(struct str s, const char *mark) {
    const size_t n = strlen(mark);
    if (s.n >= n) return memcmp(s.p, mark, n) == 0;
    return memcmp(s.p, mark, s.n) == 0 ? -1 : 0;
}

static struct str rest(const struct answer *a, size_t from) {
    return (struct str){a->held.p ? a->held.p + from : "", a->held.n - from};
}

static size_t blanks(const struct answer *a, size_t from) {
    size_t n = from;
    while (n < a->held.n && answer_blank(a->held.p[n]))
        n++;
    return n - from;
}

/* Calls are looked for. */
static bool looks(const struct answer *a) {
    return a->tools && a->n_failed < ANSWER_MAX_FAILED;
}

enum mark_kind { MARK_NONE, MARK_MAYBE, MARK_CALL, MARK_NOISE };

struct mark {
    enum mark_kind kind;
    const struct call_form *form;
    size_t n; /* bytes */
};

/* The mark at held[at]. */
static struct mark mark_at(const struct answer *a, size_t at, bool last) {
    const struct str s = rest(a, at);
    const char before = at > 0 ? a->held.p[at - 1] : a->last;
    bool maybe = false;
    for (int i = 0; i < STYLE_NOISE && a->style.noise[i]; i++) {
        const int m = answer_match(s, a->style.noise[i]);
        if (m > 0) return (struct mark){MARK_NOISE, NULL, strlen(a->style.noise[i])};
        maybe |= m < 0;
    }
    /* What is left out may begin with the mark of a call (">>>all", ">>>"). */
    if (maybe && !last) return (struct mark){MARK_MAYBE, NULL, 0};
    for (int i = 0; looks(a) && i < STYLE_FORMS && a->style.form[i].body; i++) {
        const struct call_form *f = &a->style.form[i];
        if (f->line_start && before != '\n') continue;
        const int m = answer_match(s, f->open);
        if (m > 0) return (struct mark){MARK_CALL, f, strlen(f->open)};
        maybe |= m < 0;
    }
    return (struct mark){maybe && !last ? MARK_MAYBE : MARK_NONE, NULL, 0};
}

static bool begin_call(struct answer *a, const struct call_form *f, size_t body) {
    a->form = f;
    a->body = body;
    a->json = (struct json_scan){.at = body};
    a->scan = body;
    a->state = AT_CALL;
    return true;
}

/* A call without a mark: JSON at the beginning of the answer or behind such a call. */
static const struct call_form bare_form = {.open = "", .body = BODY_JSON};

static bool is_bare(const struct answer *a, size_t at) {
    return a->style.bare && looks(a) && at < a->held.n &&
           (a->held.p[at] == '{' || a->held.p[at] == '[');
}

/* ---- States: true when something was done and there may be more ----
 */

static bool at_start(struct answer *a, bool last) {
    const size_t n = blanks(a, 0);
    if (n >= ANSWER_MAX_BLANK || (n == a->held.n && last)) {
        a->state = AT_TEXT;
        return true;
    }
    if (n == a->held.n) return false;
    const int think = a->style.think_open ? answer_match(rest(a, n), a->style.think_open) : 0;
    const struct mark m = mark_at(a, n, last);
    if ((think < 0 && !last) || m.kind == MARK_MAYBE) return false;
    if (think > 0) {
        const size_t end = n + strlen(a->style.think_open);
        a->state = AT_THINK;
        a->drop_blank = a->thinking;
        if (a->thinking)
            answer_consume(a, end);
        else
            tell_text(a, end);
        return true;
    }
    if (m.kind == MARK_NOISE) return answer_consume(a, n + m.n), true;
    if (m.kind == MARK_CALL) return begin_call(a, m.form, n + m.n);
    if (is_bare(a, n)) return begin_call(a, &bare_form, n);
    a->state = AT_TEXT;
    return true;
}

/* Thoughts lose white space at both ends. */
static void tell_thought(struct answer *a, size_t n) {
    struct str s = {a->held.p, n};
    while (a->drop_blank && s.n > 0 && answer_blank(s.p[0]))
        s.p++, s.n--;
    if (s.n > 0) a->drop_blank = false;
    answer_tell(a, a->thinking ? ANSWER_THINKING : ANSWER_TEXT, s);
    answer_consume(a, n);
}

static bool at_think(struct answer *a, bool last) {
    const char *close = a->style.think_close;
    size_t i = 0;
    int m = 0;
    for (; i < a->held.n; i++)
        if ((m = answer_match(rest(a, i), close)) != 0 && (m > 0 || !last)) break;
    size_t n = i;
    while (a->thinking && n > 0 && answer_blank(a->held.p[n - 1]) && i - n < ANSWER_MAX_BLANK)
        n--;
    if (m > 0 && i < a->held.n) {
        if (a->thinking) tell_thought(a, n);
        if (a->thinking) answer_consume(a, i - n + strlen(close));
        if (!a->thinking) tell_text(a, i + strlen(close));
        a->drop_blank = a->thinking;
        a->state = AT_TEXT;
        return true;
    }
    tell_thought(a, n);
    if (last) answer_consume(a, a->held.n);
    return false;
}

static bool at_text(struct answer *a, bool last) {
    for (size_t i = a->scan; i < a->held.n; i++) {
        const struct mark m = mark_at(a, i, last);
        if (m.kind == MARK_NONE) continue;
        tell_text(a, i);
        if (m.kind == MARK_MAYBE) return false;
        if (m.kind == MARK_NOISE) answer_consume(a, m.n);
        if (m.kind == MARK_CALL) return begin_call(a, m.form, m.n);
        return true;
    }
    tell_text(a, a->held.n);
    return false;
}

/* It was none: its mark is text, and what follows is looked at again. */
static bool fail_call(struct answer *a) {
    a->n_failed++;
    a->state = AT_TEXT;
    tell_text(a, a->body > 0 ? a->body : 1);
    return true;
}

static bool at_call(struct answer *a, bool last) {
    size_t end = 0;
    const int r = answer_call_end(a, last, &end);
    if (r == 0 && !last && a->held.n <= ANSWER_MAX_CALL) return false;
    if (r <= 0 || end > ANSWER_MAX_CALL) return fail_call(a);
    const struct str body = {a->held.p + a->body, end - a->body};
    json_t *calls = answer_parse(a, a->form, body);
    if (!calls) return fail_call(a);
    a->n_body++;
    answer_tell_calls(a, calls);
    json_decref(calls);
    answer_consume(a, end);
    a->drop_blank = false;
    a->state = AT_AFTER;
    return true;
}

/* Llama writes several bare calls with "; " between them. */
static int bare_follows(const struct answer *a, size_t at, size_t *skip) {
    *skip = 0;
    if (is_bare(a, at)) return 1;
    if (!a->style.bare || a->held.p[at] != ';') return 0;
    const size_t n = 1 + blanks(a, at + 1);
    if (at + n == a->held.n) return -1;
    *skip = n;
    return is_bare(a, at + n);
}

static bool at_after(struct answer *a, bool last) {
    const size_t n = blanks(a, 0);
    size_t skip = 0;
    if (n >= ANSWER_MAX_BLANK) return a->state = AT_TEXT, true;
    if (n == a->held.n) {
        if (last) answer_consume(a, n);
        return false;
    }
    const char *close = a->form->close;
    const int closes = close ? answer_match(rest(a, n), close) : 0;
    const struct mark m = mark_at(a, n, last);
    const int bare = a->form->body == BODY_JSON ? bare_follows(a, n, &skip) : 0;
    if (!last && (closes < 0 || m.kind == MARK_MAYBE || bare < 0)) return false;
    if (closes > 0) return answer_consume(a, n + strlen(close)), true;
    if (m.kind == MARK_NOISE) return answer_consume(a, n + m.n), true;
    if (m.kind == MARK_CALL) return begin_call(a, m.form, n + m.n);
    if (bare > 0) return begin_call(a, &bare_form, n + skip);
    a->state = AT_TEXT;
    return true;
}

static bool step(struct answer *a, bool last) {
    if (a->style.harmony) return answer_harmony_step(a, last);
    switch (a->state) {
    case AT_START: return at_start(a, last);
    case AT_THINK: return at_think(a, last);
    case AT_TEXT: return at_text(a, last);
    case AT_CALL: return at_call(a, last);
    case AT_AFTER: return at_after(a, last);
    }
    return false;
}

/* ---- Interface ---- */

static int choose_style(struct answer *a, const struct chat_template *t,
                        const struct answer_opts *o, struct err *e) {
    static const struct answer_style none = {.name = "none"};
    if (o->parser && *o->parser) return answer_style_named(o->parser, &a->style, e);
    a->style = t ? *chat_template_style(t) : none;
    if (a->tools && !answer_style_calls(&a->style))
        return err_set(e, ERR_UNSUPPORTED,
                       "this model does not support tools: its template shows no form of calls");
    return 0;
}

struct answer *answer_new(const struct chat_template *t, const struct answer_opts *o,
                          struct err *e) {
    struct timespec now = {0};
    struct answer *a = calloc(1, sizeof *a);
    if (!a) {
        err_nomem(e, "answer");
        return NULL;
    }
    if (json_array_size(o->tools) > 0) a->tools = json_deep_copy(o->tools);
    a->thinking = o->thinking;
    a->ruled = o->ruled;
    a->must_call = o->must_call;
    if (choose_style(a, t, o, e) != 0) {
        answer_free(a);
        return NULL;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    a->seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)(uintptr_t)a << 7;
    a->state = o->in_thinking && a->style.think_close ? AT_THINK : AT_START;
    a->drop_blank = a->state == AT_THINK && a->thinking;
    a->last = '\n';
    if (a->style.starts && a->tools) {
        a->n_given = strlen(a->style.starts);
        buf_str(&a->held, a->style.starts);
    }
    a->channel = o->in_thinking ? ANSWER_THINKING : ANSWER_TEXT;
    /* Without thinking and tools the prompt ends behind the header of the answer. */
    a->headed = o->in_thinking || (!a->thinking && !a->tools);
    return a;
}

void answer_free(struct answer *a) {
    if (!a) return;
    json_decref(a->tools);
    json_decref(a->callee);
    buf_fini(&a->held);
    free(a);
}

int answer_push(struct answer *a, struct str text, answer_fn *fn, void *ctx) {
    a->fn = fn;
    a->ctx = ctx;
    a->rc = 0;
    buf_append(&a->held, text.p, text.n);
    if (a->held.failed) return -1;
    while (a->rc == 0 && a->held.n > 0 && step(a, false))
        ;
    return a->rc;
}

int answer_finish(struct answer *a, answer_fn *fn, void *ctx) {
    a->fn = fn;
    a->ctx = ctx;
    a->rc = 0;
    while (a->rc == 0 && a->held.n > 0 && step(a, true))
        ;
    return a->rc;
}

bool answer_in_text(const struct answer *a) {
    if (a->style.harmony && a->must_call) return !a->headed && a->held.n == 0;
    if (a->style.harmony) return a->headed && !a->callee && a->channel == ANSWER_TEXT;
    if (a->state != AT_START) return a->state == AT_TEXT && a->held.n == 0;
    const bool may_think = a->style.think_open && a->thinking && !a->ruled;
    return !may_think && a->held.n == a->n_given;
}

static bool holds(const char *mark, struct str token) {
    return mark && token.n > 0 && memmem(mark, strlen(mark), token.p, token.n);
}

bool answer_wants_token(const struct answer *a, struct str token) {
    const struct answer_style *s = &a->style;
    static const char *const harmony[] = {"<|start|>",     "<|channel|>", "<|message|>", "<|end|>",
                                          "<|constrain|>", "<|call|>",    "<|return|>"};
    for (size_t i = 0; s->harmony && i < sizeof harmony / sizeof *harmony; i++)
        if (str_is(token, harmony[i])) return true;
    bool wanted = holds(s->think_open, token) || holds(s->think_close, token);
    for (int i = 0; i < STYLE_NOISE && s->noise[i]; i++)
        wanted |= holds(s->noise[i], token);
    for (int i = 0; a->tools && i < STYLE_FORMS && s->form[i].body; i++)
        wanted |= holds(s->form[i].open, token) || holds(s->form[i].close, token) ||
                  holds(s->form[i].sep, token) || holds(s->form[i].title, token);
    return wanted;
}
