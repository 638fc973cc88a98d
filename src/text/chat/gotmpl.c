/* From messages to the data of a template, and its runs: one over everything, or, for a template
 * of the old form, one for each turn.  Follows Ollama's template.Execute. */
#include "text/chat/gotmpl.h"

#include <stdlib.h>
#include <time.h>

#include "text/chat/gotmpl_priv.h"

struct gotmpl *gotmpl_new(struct str source, struct err *e) {
    struct gotmpl *t = calloc(1, sizeof *t);
    if (!t) {
        err_nomem(e, "template");
        return NULL;
    }
    char *copy = NULL;
    int rc = 0;
    if (source.n > GT_MAX_SOURCE)
        rc = err_set(e, ERR_LIMIT, "template: %zu bytes; at most %d are accepted", source.n,
                     GT_MAX_SOURCE);
    else if (!(copy = arena_strndup(&t->arena, source.n ? source.p : "", source.n)))
        rc = err_nomem(e, "template");
    if (rc == 0) rc = gt_parse(t, (struct str){copy, source.n}, e);
    if (rc == 0) return t;
    gotmpl_free(t);
    return NULL;
}

void gotmpl_free(struct gotmpl *t) {
    if (!t) return;
    arena_fini(&t->arena);
    free(t);
}

/* ---- Data --------------------------------------------------------------------------------------
 */

static const json_t *get(const json_t *o, const char *go, const char *api) {
    const json_t *j = json_object_get(o, go);
    return j ? j : json_object_get(o, api);
}

static struct str text(const json_t *j) {
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

static json_t *json_of(struct str s) {
    return json_stringn_nocheck(s.n ? s.p : "", s.n);
}

/* Texts in a row, a blank line between them: one copy, not one for each. */
static json_t *join_contents(const json_t *messages, size_t from, size_t to, bool system) {
    struct buf x = {0};
    bool first = true;
    for (size_t i = from; i < to; i++) {
        const json_t *m = json_array_get(messages, i);
        const struct str s = text(get(m, "Content", "content"));
        if (system ? !str_is(text(get(m, "Role", "role")), "system") : i > from && s.n == 0)
            continue;
        if (!first) buf_str(&x, "\n\n");
        first = false;
        buf_append(&x, s.p, s.n);
    }
    json_t *j = x.failed ? NULL : json_of(buf_view(&x));
    buf_fini(&x);
    return j;
}

/* Adjacent messages of one role, but for tools' results, become one. */
static json_t *collate(const json_t *messages) {
    json_t *out = json_array();
    const size_t n = json_array_size(messages);
    for (size_t i = 0, next; out && i < n; i = next) {
        json_t *m = json_array_get(messages, i);
        const struct str role = text(get(m, "Role", "role"));
        for (next = i + 1; next < n && !str_is(role, "tool"); next++)
            if (!str_eq(role, text(get(json_array_get(messages, next), "Role", "role")))) break;
        m = next == i + 1 ? json_incref(m) : json_copy(m);
        const char *key = json_object_get(m, "Content") ? "Content" : "content";
        if (next > i + 1) json_object_set_new(m, key, join_contents(messages, i, next, false));
        json_array_append_new(out, m);
    }
    return out;
}

/* What every run sees. */
static json_t *base_data(const struct gotmpl_input *in) {
    json_t *d = json_object();
    json_object_set_new(d, "Response", json_string(""));
    json_object_set_new(d, "Think", json_boolean(in->think));
    json_object_set_new(d, "ThinkLevel", json_of(in->think_level));
    json_object_set_new(d, "IsThinkSet", json_boolean(in->think_set));
    return d;
}

static int check_messages(const json_t *messages, struct err *e) {
    const json_t *m;
    size_t i;
    if (messages && !json_is_array(messages) && !json_is_null(messages))
        return err_set(e, ERR_FORMAT, "messages: found no list; a list of objects is needed");
    json_array_foreach(messages, i, m) if (!json_is_object(m)) return err_set(
        e, ERR_FORMAT, "messages[%zu]: found no object; one is needed", i);
    return 0;
}

/* ---- Runs --------------------------------------------------------------------------------------
 */

static int run_once(struct gt_run *r, const struct gotmpl_input *in, json_t *messages) {
    json_t *d = base_data(in);
    json_object_set_new(d, "System",
                        join_contents(in->messages, 0, json_array_size(in->messages), true));
    json_object_set(d, "Messages", messages);
    json_object_set_new(d, "Tools", in->tools ? json_incref((json_t *)in->tools) : json_null());
    const int rc = gt_exec(r, d);
    json_decref(d);
    return rc;
}

static int run_infill(struct gt_run *r, const struct gotmpl_input *in) {
    json_t *d = base_data(in);
    json_object_set_new(d, "Prompt", json_of(in->prompt));
    json_object_set_new(d, "Suffix", json_of(in->suffix));
    const int rc = gt_exec(r, d);
    json_decref(d);
    return rc;
}

struct turn {
    struct str system, prompt, response;
};

static int run_turn(struct gt_run *r, const struct gotmpl_input *in, struct turn *t, bool last) {
    json_t *d = base_data(in);
    json_object_set_new(d, "System", json_of(t->system));
    json_object_set_new(d, "Prompt", json_of(t->prompt));
    json_object_set_new(d, "Response", json_of(t->response));
    r->last_turn = last;
    int rc = gt_exec(r, d);
    json_decref(d);
    /* A template that does not say where the answer stands has it at its end. */
    if (rc == 0 && !r->t->response) chat_quote(r->out, t->response);
    *t = (struct turn){STR(""), STR(""), STR("")};
    return rc;
}

/* System, prompt and response in turn; the last run ends where the answer begins. */
static int run_turns(struct gt_run *r, const struct gotmpl_input *in, const json_t *messages) {
    struct turn t = {STR(""), STR(""), STR("")};
    const json_t *m;
    size_t i;
    json_array_foreach(messages, i, m) {
        const struct str role = text(get(m, "Role", "role"));
        const struct str content = text(get(m, "Content", "content"));
        const bool system = str_is(role, "system"), user = str_is(role, "user");
        const bool full = t.response.n > 0 || (system && t.prompt.n > 0);
        if ((system || user) && full && run_turn(r, in, &t, false) != 0) return -1;
        if (system) t.system = content;
        if (user) t.prompt = content;
        if (str_is(role, "assistant")) t.response = content;
    }
    return run_turn(r, in, &t, true);
}

static int64_t local_now(void) {
    const time_t t = time(NULL);
    struct tm tm;
    return localtime_r(&t, &tm) ? (int64_t)t + tm.tm_gmtoff : (int64_t)t;
}

static int64_t cpu_now_ns(void) {
    struct timespec t = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int gotmpl_render(const struct gotmpl *t, const struct gotmpl_input *in, struct chat_prompt *out,
                  struct err *e) {
    if (check_messages(in->messages, e) != 0) return -1;
    struct gt_run *r = calloc(1, sizeof *r);
    json_t *messages = collate(in->messages);
    int rc;
    if (!r || !messages) {
        rc = err_nomem(e, "template");
        goto done;
    }
    r->t = t;
    r->out = out;
    r->out_start = out->text.n;
    r->e = e;
    r->now_s = in->now_s ? in->now_s : local_now();
    r->start_ns = cpu_now_ns();
    if (in->prompt.n > 0 && in->suffix.n > 0)
        rc = run_infill(r, in);
    else if (in->once || t->messages)
        rc = run_once(r, in, messages);
    else
        rc = run_turns(r, in, messages);
    if (rc == 0 && out->failed) rc = err_nomem(e, "template");
    arena_fini(&r->arena);
done:
    json_decref(messages);
    free(r);
    return rc;
}
