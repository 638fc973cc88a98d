/* See chat.h.  Every question sends the whole conversation again; whoever answers computes only
 * what has been added since the last answer. */
#include "cli/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chat_show.h"
#include "cli/cli.h"
#include "store/params.h"

void chat_init(struct chat *c) {
    run_options_init(&c->options);
    c->given = json_object();
    display_init(&c->display, true);
}

/* ---- options ---- */

int chat_set_option(struct chat *c, const char *name, const char *value, struct err *e) {
    struct err why = {0};
    if (run_options_set(&c->options, name, value, &why) == 0) {
        if (strcmp(name, "draft_num_predict") == 0) name = "num_draft";
        json_t *v = run_options_get_json(&c->options, name);
        return !v || json_object_set_new(c->given, name, v) == 0 ? 0 : err_nomem(e, name);
    }
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

int chat_set_format(struct chat *c, const char *text, struct err *e) {
    json_t *format = NULL;
    json_error_t why;
    if (text && strcmp(text, "json") == 0)
        format = json_string(text);
    else if (text && *text)
        format = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (text && *text && !json_is_string(format) && !json_is_object(format)) {
        json_decref(format);
        return err_set(e, ERR_USAGE, "format: found \"%.80s\"; accepted: json, or a JSON schema",
                       text);
    }
    json_decref(c->format);
    c->format = format;
    return 0;
}

int chat_set_think(struct chat *c, const char *text, struct err *e) {
    static const char *const level[] = {"low", "medium", "high", "max"};
    json_t *think = NULL;
    if (text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        think = json_boolean(*text == 't');
    for (int i = 0; text && i < 4; i++)
        if (strcmp(text, level[i]) == 0) think = json_string(text);
    if (text && !think)
        return err_set(e, ERR_USAGE,
                       "think: found \"%.40s\"; accepted: true, false, low, medium, high, max",
                       text);
    json_decref(c->think);
    c->think = think;
    return 0;
}

/* ---- who answers ---- */

static struct talk *open_here(const struct chat *c, struct err *e) {
    struct gen_opts o = {.draft = c->options.draft, .renderer = c->renderer, .parser = c->parser};
    o.engine.lora = &c->lora, o.engine.lora_scale = &c->lora_scale;
    o.engine.n_lora = c->lora != NULL;
    o.engine.chat_template = buf_view(&c->template);
    o.engine.n_parallel = 1;
    run_options_engine(&c->options, &o.engine);
    return engine_user_opts(&o.engine, e) == 0 ? talk_open_local(c->path, &o, e) : NULL;
}

int chat_open(struct chat *c, struct err *e) {
    struct talk *t = c->path ? open_here(c, e) : talk_open_remote(c->name, e);
    if (!t) return -1;
    talk_close(c->talk);
    c->talk = t;
    return 0;
}

void chat_fini(struct chat *c) {
    c->n_history = 0;
    chat_clear(c);
    free(c->turn);
    talk_close(c->talk);
    display_fini(&c->display);
    buf_fini(&c->system);
    buf_fini(&c->template);
    json_decref(c->given);
    json_decref(c->format);
    json_decref(c->think);
    run_options_fini(&c->options);
}

/* ---- the conversation ---- */

static void drop_turns(struct chat *c, int from, int n) {
    if (n == 0) return; /* also when there is no array yet */
    for (int i = from; i < from + n; i++)
        buf_fini(&c->turn[i].text);
    memmove(c->turn + from, c->turn + from + n, (size_t)(c->n_turn - from - n) * sizeof *c->turn);
    c->n_turn -= n;
}

void chat_clear(struct chat *c) {
    drop_turns(c, c->n_history, c->n_turn - c->n_history);
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

static json_t *message(const char *role, struct str text) {
    return json_pack("{s:s, s:s%}", "role", role, "content", text.p ? text.p : "", text.n);
}

json_t *chat_messages(const struct chat *c) {
    json_t *list = json_array();
    int rc = 0;
    if (c->system.n > 0) rc |= json_array_append_new(list, message("system", buf_view(&c->system)));
    for (int i = 0; i < c->n_turn; i++)
        rc |= json_array_append_new(list, message(c->turn[i].role, buf_view(&c->turn[i].text)));
    if (rc == 0) return list;
    json_decref(list);
    return NULL;
}

/* ---- a question ---- */

static json_t *request_of(const struct chat *c, struct str text, struct err *e) {
    /* A prompt that was written in full is taken whole or not at all. */
    json_t *r = c->raw ? json_pack("{s:s, s:s%, s:b, s:b}", "op", "text", "prompt",
                                   text.p ? text.p : "", text.n, "raw", 1, "truncate", 0)
                       : json_pack("{s:s, s:o*}", "op", "chat", "messages", chat_messages(c));
    if (!r || (!c->raw && !json_object_get(r, "messages"))) {
        json_decref(r);
        err_set(e, ERR_FORMAT, "the conversation: a text is no UTF-8");
        return NULL;
    }
    json_object_set(r, "options", c->given);
    if (c->format) json_object_set(r, "format", c->format);
    if (c->think) json_object_set(r, "think", c->think);
    return r;
}

static int ask(struct chat *c, struct str text, struct chat_show *show, struct err *e) {
    struct talk_end end;
    json_t *request = request_of(c, text, e);
    if (!request) return -1;
    const int rc = talk_ask(c->talk, request, c->keep_alive, chat_show_piece, show, &end, e);
    json_decref(request);
    chat_show_end(show, rc == 0 ? &end : NULL);
    if (rc == 0 && end.why == GEN_CANCELLED && cli_interrupted)
        return err_set(e, ERR_CANCELLED, "interrupted");
    return rc;
}

int chat_ask(struct chat *c, struct str text, struct err *e) {
    struct chat_show show = {.chat = c};
    struct err why = {0};
    if (!c->raw && add_turn(c, "user", text, e) != 0) return -1;
    int rc = ask(c, text, &show, &why);
    const bool said = rc == 0 || why.code == ERR_CANCELLED;
    if (said && !c->raw && add_turn(c, "assistant", buf_view(&show.said), &why) != 0) rc = -1;
    /* A question that could not be asked is not part of the conversation. */
    if (!said && !c->raw) drop_turns(c, c->n_turn - 1, 1);
    if (rc != 0 && e) *e = why;
    buf_fini(&show.said);
    return rc;
}
