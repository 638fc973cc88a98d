/* See answer_rig.h. */
#include "answer_rig.h"

#include <stdlib.h>
#include <string.h>

#include "chat_rig.h"
#include "support.h"

const char tools_text[] =
    "[{'type':'function','function':{'name':'get_weather','description':'w','parameters':{'type':"
    "'object','properties':{'city':{'type':'string'},'days':{'type':'integer'},'unit':{'type':"
    "'string','enum':['c','f']}},'required':['city']}}},{'type':'function','function':{'name':"
    "'now','parameters':{'type':'object','properties':{}}}},{'type':'function','function':{'name':"
    "'deep','parameters':{'type':'object','properties':{'a':{'type':'object'},'l':{'type':'array'},"
    "'s':{'type':'string'}}}}}]";

static void log_call(struct log *l, const json_t *call) {
    const json_t *f = json_object_get(call, "function");
    char *args = json_dumps(json_object_get(f, "arguments"), JSON_COMPACT);
    const char *id = json_string_value(json_object_get(call, "id"));
    assert_int_equal(strlen(id), 13);
    assert_memory_equal(id, "call_", 5);
    assert_string_not_equal(id, l->last_id);
    snprintf(l->last_id, sizeof l->last_id, "%s", id);
    buf_printf(&l->out, "C %s %s", json_string_value(json_object_get(f, "name")), args);
    free(args);
    l->n_call++;
}

int on_piece(void *ctx, const struct answer_piece *p) {
    struct log *l = ctx;
    if (l->kind != (int)p->kind || p->kind == ANSWER_CALL) {
        if (l->kind >= 0) buf_str(&l->out, "|");
        buf_str(&l->out, p->kind == ANSWER_TEXT ? "T " : p->kind == ANSWER_THINKING ? "H " : "");
    }
    l->kind = (int)p->kind;
    if (p->kind == ANSWER_CALL) {
        log_call(l, p->call);
    } else {
        assert_true(p->text.n > 0);
        l->n_text++;
        buf_append(&l->out, p->text.p, p->text.n);
    }
    return 0;
}

struct answer *open_answer(const struct way *w) {
    struct err e = {0};
    json_t *tools = json_of(tools_text);
    const struct answer_opts o = {.parser = w->parser,
                                  .tools = w->no_tools ? NULL : tools,
                                  .thinking = !w->no_thinking,
                                  .in_thinking = w->in_thinking,
                                  .ruled = w->ruled,
                                  .must_call = w->must_call};
    struct answer *a = answer_new(NULL, &o, &e);
    if (!a) fail_msg("%s", e.msg);
    json_decref(tools);
    return a;
}
