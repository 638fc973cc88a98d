/* What an answer is made of, while it comes: the parser that tells thinking, text and calls apart,
 * and the grammars that it must follow.
 *
 * An answer that may be a call or must have a format follows whichever of both grammars still fits;
 * they begin to hold where the answer proper begins, behind the thoughts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/local.h"
#include "sample/constrain.h"

/* ---- rules ---- */

static int n_mask(const struct local *g) {
    return (engine_n_vocab(g->engine) + 31) / 32;
}

static int call_grammar(struct task *t, const struct answer *a, struct err *e) {
    const struct gen_request *q = &t->q;
    const char *name = q->tool_choice == GEN_CHOICE_NAMED ? q->tool_name.p : NULL;
    struct buf text = {0};
    if (!a) {
        err_set(e, ERR_UNSUPPORTED,
                "key \"tool_choice\": without the model's template there are no calls");
        return err_field(e, "tool_choice");
    }
    int rc = answer_call_grammar(a, q->tools, name, !q->one_call, &text, e);
    if (rc == 0 && text.failed) rc = err_nomem(e, "tool_choice");
    if (rc == 0) t->grammar[0] = grammar_parse(buf_view(&text), e);
    buf_fini(&text);
    return t->grammar[0] ? 0 : err_field(e, "tools");
}

static bool must_call(const struct gen_request *q) {
    return q->tool_choice == GEN_CHOICE_REQUIRED || q->tool_choice == GEN_CHOICE_NAMED;
}

bool local_is_ruled(const struct gen_request *q) {
    return q->format || must_call(q);
}

/* Once; it stays as it is, and is read without the lock by those who have been here. */
static int make_vocab(struct local *g, struct err *e) {
    pthread_mutex_lock(&g->vocab_lock);
    if (!g->grammar_vocab)
        g->grammar_vocab = grammar_vocab_new(engine_vocab(g->engine), engine_n_vocab(g->engine), e);
    pthread_mutex_unlock(&g->vocab_lock);
    return g->grammar_vocab ? 0 : -1;
}

/* With tools that may be called, the answer is a call or has the format. */
static int make_grammars(struct local *g, struct task *t, const struct answer *a, struct err *e) {
    const struct gen_request *q = &t->q;
    const bool may_call = json_array_size(q->tools) > 0 && q->tool_choice != GEN_CHOICE_NONE;
    if (may_call && q->strict && a && local_strict_grammar(t, a, e) != 0) return -1;
    if (!local_is_ruled(q) && !t->strict) return 0;
    if (may_call && local_is_ruled(q) && call_grammar(t, a, e) != 0) return -1;
    if (q->format && !must_call(q)) {
        t->grammar[1] = grammar_of_format(q->format, e);
        if (!t->grammar[1]) return err_field(e, "format");
    }
    if (make_vocab(g, e) != 0) return -1;
    t->mask = calloc((size_t)n_mask(g) * LOCAL_RULES, sizeof *t->mask);
    return t->mask ? 0 : err_nomem(e, "grammar");
}

/* What both rules allow, together. */
static int choose_of_two(struct choice *c, struct sampler *s, const float *logits, int32_t *id,
                         struct err *e) {
    const struct local *g = local_of(c->t->base.gen);
    const int n = n_mask(g);
    uint32_t *a = c->t->mask, *b = a + n;
    if (accept_mask(c->rule[0], g->grammar_vocab, a, e) < 0) return -1;
    if (accept_mask(c->rule[1], g->grammar_vocab, b, e) < 0) return -1;
    for (int i = 0; i < n; i++)
        a[i] |= b[i];
    *id = sampler_choose_masked(s, logits, a);
    return *id >= 0;
}

/* The rules take the token; one that does not is out. */
static int take(struct choice *c, int32_t id, struct err *e) {
    const struct local *g = local_of(c->t->base.gen);
    for (int i = 0; i < LOCAL_RULES; i++) {
        const int fits = c->rule[i] ? accept_token(c->rule[i], g->grammar_vocab, id, e) : 1;
        if (fits < 0) return -1;
        if (fits) continue;
        accept_free(c->rule[i]);
        c->rule[i] = NULL;
    }
    return 0;
}

static int choose(void *ctx, struct sampler *s, const float *logits, int32_t *id, struct err *e) {
    struct choice *c = ctx;
    const struct local *g = local_of(c->t->base.gen);
    int rc = 1;
    if (c->strict) return local_strict_choose(c, s, logits, id, e);
    if (!c->ruled) c->ruled = !c->answer || answer_in_text(c->answer);
    if (!c->ruled) {
        *id = sampler_choose(s, logits);
        return 1;
    }
    struct acceptor *one = c->rule[0] ? c->rule[0] : c->rule[1];
    if (c->rule[0] && c->rule[1])
        rc = choose_of_two(c, s, logits, id, e);
    else if (one)
        rc = sampler_choose_constrained(s, logits, one, g->grammar_vocab, c->t->mask, id, e);
    else
        return 0;
    if (rc > 0 && take(c, *id, e) != 0) return -1;
    return rc;
}

/* ---- making one ---- */

static bool has_parser(const struct gen_request *q) {
    return q->op == GEN_OP_CHAT || (q->op == GEN_OP_TEXT && !q->raw && !q->suffix.p);
}

/* Control tokens that are marks of this answer. */
static int show_marks(struct local *g, struct task *t, const struct answer *a, struct err *e) {
    const struct vocab *v = engine_vocab(g->engine);
    for (size_t i = 0; i < g->control.n; i++) {
        const int32_t id = g->control.v[i];
        if (!answer_wants_token(a, vocab_text(v, id))) continue;
        if (!t->shown) t->shown = calloc((size_t)n_mask(g), sizeof *t->shown);
        if (!t->shown) return err_nomem(e, "answer");
        t->shown[id / 32] |= 1u << (id % 32);
    }
    return 0;
}

struct answer *local_parser(struct local *g, struct task *t, struct err *e) {
    const struct gen_request *q = &t->q;
    struct err none;
    const struct chat_template *tm = local_template(g, t, &none);
    const bool calls = json_array_size(q->tools) > 0 && q->tool_choice != GEN_CHOICE_NONE;
    e->code = ERR_NONE;
    if (!has_parser(q) || (!tm && !g->parser)) return NULL;
    const struct answer_opts o = {.tools = calls ? q->tools : NULL,
                                  .thinking = q->think != GEN_THINK_OFF,
                                  .in_thinking = t->in_thinking,
                                  .ruled = local_is_ruled(q),
                                  .must_call = must_call(q),
                                  .parser = g->parser};
    return answer_new(tm, &o, e);
}

int local_answers(struct local *g, struct task *t, struct decode_request *r, struct err *e) {
    for (int i = 0; i < t->q.n; i++) {
        struct choice *c = &t->choice[i];
        c->t = t, c->index = i;
        c->answer = local_parser(g, t, e);
        if (!c->answer && e->code) return -1;
        if (i > 0) continue;
        if (c->answer && show_marks(g, t, c->answer, e) != 0) return -1;
        if (make_grammars(g, t, c->answer, e) != 0) return -1;
    }
    for (int i = 0; i < t->q.n; i++)
        for (int k = 0; k < LOCAL_RULES; k++)
            if (t->grammar[k] && !(t->choice[i].rule[k] = accept_new(t->grammar[k], e))) return -1;
    for (int i = 0; t->strict && i < t->q.n; i++)
        if (!(t->choice[i].strict = local_strict_new(g, t, e))) return -1;
    r->shown = t->shown;
    if (t->mask) r->choose = choose;
    return 0;
}

void local_choice_fini(struct choice *c) {
    json_decref(c->logprobs);
    answer_free(c->answer);
    local_strict_free(c->strict);
    for (int k = 0; k < LOCAL_RULES; k++)
        accept_free(c->rule[k]);
}

/* ---- what is told ---- */

static struct gen_stats stats_of(const struct task *t, const struct decode_stats *st) {
    return (struct gen_stats){.n_prompt = st->n_prompt,
                              .n_cached = st->n_prompt_cached,
                              .n_eval = st->n_eval,
                              .n_truncated = t->all.n_truncated,
                              .n_shift = st->n_shift,
                              .n_drafted = st->n_drafted,
                              .n_accepted = st->n_accepted,
                              .queue_ns = t->job.begin_ns ? t->job.begin_ns - t->start_ns : 0,
                              .prompt_ns = st->prompt_ns,
                              .eval_ns = st->eval_ns};
}

/* The first answer's prompt has been read. */
static void tell_prompt(struct task *t, const struct decode_stats *st) {
    if (t->prompt_told) return;
    t->prompt_told = true;
    t->all = stats_of(t, st);
    t->all.n_eval = t->all.n_shift = t->all.n_drafted = t->all.n_accepted = 0;
    t->all.eval_ns = 0;
    local_tell(t, &(struct gen_event){.kind = GEN_PROMPT,
                                      .stats = t->all,
                                      .token = t->prompt.v,
                                      .n_token = (int)t->prompt.n});
    if (!t->q.echo || !t->q.prompt.p) return;
    for (int i = 0; i < t->q.n; i++)
        local_tell(t, &(struct gen_event){.kind = GEN_TEXT, .choice = i, .text = t->q.prompt});
}

/* {"token", "logprob", "bytes"} */
static json_t *candidate_json(const struct vocab *v, const struct candidate *c) {
    struct buf piece = {0};
    tok_piece(v, c->id, true, &piece);
    json_t *bytes = json_array(), *text = json_stringn(piece.p ? piece.p : "", piece.n);
    for (size_t i = 0; i < piece.n; i++)
        json_array_append_new(bytes, json_integer((unsigned char)piece.p[i]));
    if (!text) text = json_string("\xef\xbf\xbd"); /* part of a character */
    buf_fini(&piece);
    const double p = c->p > 0 ? log((double)c->p) : -9999.0; /* JSON has no -infinity */
    return json_pack("{s:o, s:f, s:o}", "token", text, "logprob", p, "bytes", bytes);
}

static void add_logprobs(struct choice *c, const struct decode_event *ev) {
    const struct vocab *v = engine_vocab(local_of(c->t->base.gen)->engine);
    json_t *one = candidate_json(v, &ev->chosen), *top = json_array();
    for (int i = 0; i < ev->n_top && i < c->t->q.top_logprobs; i++)
        json_array_append_new(top, candidate_json(v, &ev->top[i]));
    json_object_set_new(one, "top_logprobs", top);
    if (!c->logprobs) c->logprobs = json_array();
    json_array_append_new(c->logprobs, one);
}

/* Text, with the tokens since the last. */
static void tell_text(struct choice *c, enum gen_kind kind, struct str text) {
    local_tell(c->t, &(struct gen_event){.kind = kind,
                                         .choice = c->index,
                                         .text = text,
                                         .data = c->logprobs,
                                         .token = c->n_id ? c->id : NULL,
                                         .n_token = c->n_id});
    c->n_id = 0;
    json_decref(c->logprobs);
    c->logprobs = NULL;
}

/* Nonzero: one call is all that was asked for. */
static int tell_piece(void *ctx, const struct answer_piece *p) {
    struct choice *c = ctx;
    if (p->kind == ANSWER_CALL) {
        if (c->t->q.one_call && c->n_call > 0) return 1;
        c->n_call++;
        local_tell(c->t,
                   &(struct gen_event){.kind = GEN_CALL, .choice = c->index, .data = p->call});
        return c->t->q.one_call;
    }
    if (p->text.n > 0) tell_text(c, p->kind == ANSWER_THINKING ? GEN_THINKING : GEN_TEXT, p->text);
    return 0;
}

int local_event(struct sched_job *j, int choice, const struct decode_event *ev,
                const struct decode_stats *st) {
    struct task *t = local_task_of(j);
    struct choice *c = &t->choice[choice];
    int rc = 0;
    tell_prompt(t, st);
    if (ev->token >= 0) {
        c->id[c->n_id++] = ev->token;
        if (t->q.logprobs) add_logprobs(c, ev);
    }
    if (ev->text.n > 0) {
        if (c->answer)
            rc = answer_push(c->answer, ev->text, tell_piece, c);
        else
            tell_text(c, GEN_TEXT, ev->text);
    }
    if (c->n_id == PENDING_IDS) tell_text(c, GEN_TEXT, STR(""));
    return rc;
}

static void add_stats(struct gen_stats *all, const struct gen_stats *st) {
    all->n_eval += st->n_eval;
    all->n_shift += st->n_shift;
    all->n_drafted += st->n_drafted;
    all->n_accepted += st->n_accepted;
    if (st->eval_ns > all->eval_ns) all->eval_ns = st->eval_ns; /* they run side by side */
}

static enum gen_why why_of(const struct choice *c, const struct decode_stats *st) {
    const bool cut =
        st->why == DECODE_CANCELLED && !sched_stopped(&c->t->job); /* after the one call */
    if (c->n_call > 0 && (st->why == DECODE_STOP || cut)) return GEN_CALLS;
    return st->why == DECODE_STOP     ? GEN_STOP
           : st->why == DECODE_LENGTH ? GEN_LENGTH
                                      : GEN_CANCELLED;
}

void local_finish(struct sched_job *j, int choice, const struct decode_stats *st) {
    struct task *t = local_task_of(j);
    struct choice *c = &t->choice[choice];
    if (st->n_prompt > 0) tell_prompt(t, st);
    if (c->answer) (void)answer_finish(c->answer, tell_piece, c);
    if (c->n_id > 0) tell_text(c, GEN_TEXT, STR("")); /* the last tokens had no text */
    struct gen_event ev = {.kind = GEN_FINISH, .choice = choice, .stats = stats_of(t, st)};
    ev.why = why_of(c, st);
    if (st->stop >= 0) ev.stop = t->answer[choice].stop[st->stop];
    add_stats(&t->all, &ev.stats);
    local_tell(t, &ev);
}
