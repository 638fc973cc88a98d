/* An example to tokens, with those marked that the model has to say.
 *
 * A conversation is rendered once by the model's own template, as it would stand in a prompt, and
 * tokenized as a whole.  Where an answer begins and ends in it is found by rendering again:
 *
 *   whole    <user> Hi <end> <assistant> Hello <end> <user> Bye <end> <assistant> Ciao <end>
 *   asked    <user> Hi <end> <assistant>                     what the model is given for answer 1
 *   told     <user> Hi <end> <assistant> Hello <end>         the same with the answer
 *
 * An answer begins in whole where asked ends and goes up to the first token that ends generation,
 * which is learned as well, or to where told ends.  That holds only where asked and told are
 * beginnings of whole.  Some templates change what was said before (earlier thoughts disappear,
 * tools are shown before the last question): answers for which that is so are not learned, since no
 * prompt would ever ask for them in that form. */
#include "train/data.h"

#include <stdlib.h>

#include "train/example_priv.h"

/* Tokens of the template between the text of an answer and the one that ends it. */
enum { MAX_CLOSING = 2 };
/* Answers in a conversation for which two prompts are rendered each; of more, the last. */
enum { MAX_ANSWERS = 256 };
/* The date of templates that tell one: 26 July 2024, noon, as in Llama 3's when it is not told. */
enum { DEFAULT_NOW_S = 1721995200 };

struct rendered {
    struct chat_prompt p;
    struct ids ids;
};

static void rendered_fini(struct rendered *r) {
    chat_prompt_fini(&r->p);
    ids_fini(&r->ids);
}

struct talk {
    const struct data_opts *o;
    const struct chat_template *chat;
    const json_t *tools;
    json_t *list; /* owned: all messages up to the last answer */
    struct rendered whole;
    struct data_row *out;
};

static struct str token_text(const struct vocab *v, int32_t id) {
    return id >= 0 ? vocab_text(v, id) : (struct str){"", 0};
}

/* The first n messages of list. */
static int render(const struct talk *t, const json_t *list, size_t n, bool ask, struct rendered *r,
                  struct err *e) {
    const struct vocab *v = t->o->vocab;
    const struct vocab_special *s = vocab_special(v);
    json_t *first = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(first, json_array_get(list, i));
    const struct chat_input in = {
        .messages = first,
        .tools = t->tools,
        .add_generation_prompt = ask,
        .bos = token_text(v, s->bos),
        .eos = token_text(v, s->eos),
        .now_s = t->o->now_s ? t->o->now_s : DEFAULT_NOW_S,
    };
    *r = (struct rendered){0};
    int rc = json_array_size(first) == n ? 0 : err_nomem(e, "conversation");
    if (rc == 0) rc = chat_render(t->chat, &in, &r->p, e);
    if (rc == 0) rc = chat_encode(v, &r->p, &r->ids, e);
    if (rc == 0 && r->ids.failed) rc = err_nomem(e, "conversation");
    json_decref(first);
    return rc;
}

/* ---- where an answer is ---- */

static size_t n_common(const struct ids *a, const struct ids *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->v[n] == b->v[n])
        n++;
    return n;
}

static size_t n_common_text(struct str a, struct str b) {
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

/* Does all of asked but the template's own last words stand in whole?  Those may differ: they open
 * thoughts, say, that this answer does not have. */
static bool is_beginning(const struct rendered *asked, const struct rendered *whole) {
    const struct chat_prompt *p = &asked->p;
    const size_t n = n_common_text(buf_view(&p->text), buf_view(&whole->p.text));
    if (n == p->text.n) return true;
    const struct tok_span *last = p->n_trust ? &p->trust[p->n_trust - 1] : NULL;
    return last && last->hi == p->text.n && n > last->lo;
}

static size_t find_end_token(const struct vocab *v, const struct ids *ids, size_t from) {
    while (from < ids->n && !vocab_is_eog(v, ids->v[from]))
        from++;
    return from;
}

/* Tokens [*lo, *hi) of whole are what the model says as message i.  False: they are not to be
 * found, or not said like that. */
static bool find_answer(const struct talk *t, size_t i, size_t *lo, size_t *hi) {
    const struct ids *whole = &t->whole.ids;
    const bool last = i + 1 == json_array_size(t->list);
    struct rendered asked = {0}, told = {0};
    bool found = render(t, t->list, i, true, &asked, NULL) == 0 &&
                 is_beginning(&asked, &t->whole) &&
                 (last || render(t, t->list, i + 1, false, &told, NULL) == 0);
    if (found) {
        *lo = n_common(&asked.ids, whole);
        const size_t end = find_end_token(t->o->vocab, whole, *lo);
        const size_t same = last ? whole->n : n_common(&told.ids, whole);
        const bool ends = end < whole->n && end <= same + MAX_CLOSING;
        /* The last token of told may have grown by what follows. */
        found = last || end < same || same + 1 >= told.ids.n;
        *hi = ends ? end + 1 : same;
    }
    rendered_fini(&asked);
    rendered_fini(&told);
    return found && *lo <= *hi;
}

/* ---- the end of the last answer ---- */

/* What the template writes behind an answer when the conversation goes on; the token that ends
 * generation is the last of it.  False: it writes none soon. */
static bool find_closing(const struct talk *t, size_t *n, struct rendered *longer) {
    const struct ids *whole = &t->whole.ids;
    json_t *list = json_copy(t->list);
    json_array_append_new(list, json_pack("{s:s, s:s}", "role", "user", "content", "?"));
    bool found = render(t, list, json_array_size(list), true, longer, NULL) == 0 &&
                 n_common(&longer->ids, whole) == whole->n;
    json_decref(list);
    if (!found) return false;
    const size_t end = find_end_token(t->o->vocab, &longer->ids, whole->n);
    *n = end + 1 - whole->n;
    return end < longer->ids.n && *n <= MAX_CLOSING + 1;
}

static void push(struct data_row *r, int32_t id, bool learn) {
    const size_t cap = r->ids.cap;
    if (r->ids.failed) return;
    ids_push(&r->ids, id);
    if (r->ids.cap != cap) {
        bool *l = realloc(r->learn, r->ids.cap * sizeof *l);
        if (l) r->learn = l;
        if (!l) r->ids.failed = true;
    }
    if (!r->ids.failed) r->learn[r->ids.n - 1] = learn;
}

static void close_answer(const struct talk *t, bool learn) {
    const struct vocab_special *s = vocab_special(t->o->vocab);
    const int32_t end = s->eos >= 0 ? s->eos : s->eot;
    struct rendered longer = {0};
    size_t n, from = t->whole.ids.n;
    if (find_closing(t, &n, &longer)) {
        for (size_t i = 0; i < n; i++)
            push(t->out, longer.ids.v[from + i], learn);
    } else if (end >= 0) {
        push(t->out, end, learn);
    }
    rendered_fini(&longer);
}

/* ---- a conversation ---- */

static bool is_last_answer(const bool *wanted, size_t i, size_t n) {
    for (size_t k = i + 1; k < n; k++)
        if (wanted[k]) return false;
    return true;
}

/* Mark the answers that are wanted; how many were. */
static int mark_answers(struct talk *t, const bool *wanted) {
    const size_t n = json_array_size(t->list), limit = (size_t)t->o->max_tokens;
    size_t n_wanted = 0;
    int n_marked = 0;
    for (size_t i = 0; i < n; i++)
        n_wanted += wanted[i];
    for (size_t i = 0; i < n; i++) {
        size_t lo, hi;
        if (!wanted[i]) continue;
        if (t->o->last_only && !is_last_answer(wanted, i, n)) continue;
        if ((n_wanted > MAX_ANSWERS && !is_last_answer(wanted, i, n)) ||
            !find_answer(t, i, &lo, &hi)) {
            t->out->changes = true;
            continue;
        }
        for (size_t k = lo; k < hi; k++)
            t->out->learn[k] = true;
        if (i + 1 == n && (hi == lo || !vocab_is_eog(t->o->vocab, t->whole.ids.v[hi - 1])))
            close_answer(t, true);
        n_marked++;
        if (limit && hi >= limit) break; /* the others are cut off */
    }
    return n_marked;
}

/* Everything up to the last answer, and which answers are to be learned. */
static json_t *gather(const struct example *x, const json_t *follow, bool **wanted) {
    const size_t n = json_array_size(x->messages);
    json_t *list = json_copy(x->messages);
    json_array_extend(list, (json_t *)follow);
    size_t all = json_array_size(list);
    bool *w = calloc(all + 1, sizeof *w);
    for (size_t i = 0; w && i < all; i++)
        w[i] = i < n ? x->learned[i] : example_is_role(json_array_get(list, i), "assistant");
    while (all > 0 && !example_is_role(json_array_get(list, all - 1), "assistant"))
        json_array_remove(list, --all);
    *wanted = w;
    if (w) return list;
    json_decref(list);
    return NULL;
}

static enum example_fault encode_talk(struct talk *t, const bool *wanted, struct err *e) {
    const size_t n = json_array_size(t->list);
    const size_t limit = t->o->max_tokens > 0 ? (size_t)t->o->max_tokens : SIZE_MAX;
    if (render(t, t->list, n, false, &t->whole, e) != 0) return EXAMPLE_REFUSED;
    for (size_t i = 0; i < t->whole.ids.n; i++)
        push(t->out, t->whole.ids.v[i], false);
    if (t->out->ids.failed) return EXAMPLE_BROKEN;
    if (t->out->ids.n > limit && !t->o->cut) return EXAMPLE_FINE; /* the caller refuses it */
    if (mark_answers(t, wanted) > 0) return EXAMPLE_FINE;
    err_set(e, ERR_UNSUPPORTED,
            "chat template: no answer is found as it was said in what the "
            "template makes of the conversation");
    return EXAMPLE_REFUSED;
}

/* ---- a text ---- */

/* Special tokens are read: such texts may come from a template.  One begin token, one end token. */
static enum example_fault encode_text(const struct data_opts *o, struct str text,
                                      struct data_row *out, struct err *e) {
    const struct vocab_special *s = vocab_special(o->vocab);
    const int32_t end = s->eos >= 0 ? s->eos : s->eot;
    struct ids ids = {0};
    if (tok_encode(o->vocab, text, (struct tok_opts){.add_special = true, .parse_special = true},
                   &ids, e) != 0) {
        ids_fini(&ids);
        return EXAMPLE_BROKEN;
    }
    const bool twice = ids.n > 1 && s->bos >= 0 && ids.v[0] == s->bos && ids.v[1] == s->bos;
    for (size_t i = twice; i < ids.n; i++)
        push(out, ids.v[i], true);
    if (end >= 0 && (ids.n == 0 || !vocab_is_eog(o->vocab, ids.v[ids.n - 1]))) push(out, end, true);
    out->ids.failed |= ids.failed;
    ids_fini(&ids);
    return EXAMPLE_FINE;
}

/* ---- both ---- */

/* What comes behind the last token to learn teaches nothing. */
static void count_labels(struct data_row *r) {
    for (size_t i = 1; i < r->ids.n; i++)
        r->n_label += r->learn[i];
    while (r->n_label > 0 && !r->learn[r->ids.n - 1])
        r->ids.n--;
}

enum example_fault data_encode(const struct data_opts *o, const struct example *x,
                               const json_t *follow, struct data_row *out, struct err *e) {
    enum example_fault f = EXAMPLE_BROKEN;
    struct talk t = {.o = o, .chat = o->chat, .tools = x->tools, .out = out};
    struct chat_template *plain = NULL;
    bool *wanted = NULL;
    *out = (struct data_row){0};
    if (x->text) {
        f = encode_text(o, example_str(x->text), out, e);
    } else {
        if (!t.chat) t.chat = plain = chat_template_plain(e);
        t.list = gather(x, follow, &wanted);
        if (t.chat && !t.list) err_nomem(e, "conversation");
        if (t.chat && t.list) f = encode_talk(&t, wanted, e);
    }
    if (out->ids.failed) {
        err_nomem(e, "tokens");
        f = EXAMPLE_BROKEN;
    }
    if (f == EXAMPLE_FINE) count_labels(out);
    rendered_fini(&t.whole);
    json_decref(t.list);
    chat_template_free(plain);
    free(wanted);
    return f;
}

void data_row_fini(struct data_row *r) {
    ids_fini(&r->ids);
    free(r->learn);
    *r = (struct data_row){0};
}
