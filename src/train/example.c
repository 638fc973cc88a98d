/* See example.h: what a line is, by its keys, and what is in it. */
#include "train/example.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/work.h"
#include "text/chat/chat_json.h"
#include "train/example_priv.h"

static const char known[] =
    "accepted are \"messages\"; \"prompt\" and \"completion\"; \"instruction\" and \"output\" or "
    "\"response\"; \"input\" and \"output\"; \"text\"; \"prompt\", \"chosen\" and \"rejected\"";

const char *example_format_name(enum example_format f) {
    static const char *const names[EXAMPLE_N_FORMAT] = {
        "messages", "prompt/completion",     "instruction/output", "input/output",
        "text",     "prompt/chosen/rejected"};
    return names[f];
}

const char *example_fault_name(enum example_fault f) {
    static const char *const names[EXAMPLE_N_FAULT] = {
        [EXAMPLE_FINE] = "fine",
        [EXAMPLE_BROKEN] = "broken JSON",
        [EXAMPLE_NOT_UTF8] = "wrong UTF-8",
        [EXAMPLE_HUGE] = "too large",
        [EXAMPLE_UNKNOWN] = "unknown format",
        [EXAMPLE_WRONG] = "wrong value",
        [EXAMPLE_REFUSED] = "refused by the chat template",
        [EXAMPLE_EMPTY] = "empty",
        [EXAMPLE_SHORT] = "one token only",
        [EXAMPLE_MASKED] = "nothing to learn",
        [EXAMPLE_LONG] = "too long",
        [EXAMPLE_DUPLICATE] = "duplicate",
        [EXAMPLE_DUPLICATE_ID] = "duplicate id",
        [EXAMPLE_CUT] = "cut at the end",
        [EXAMPLE_LAST_ONLY] = "earlier answers not learned",
    };
    return names[f];
}

/* ---- the line ---- */

static int n_character(struct str s) {
    uint32_t cp;
    int n = 0;
    for (size_t i = 0; i < s.n; n++)
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
    return n;
}

static enum example_fault check_bytes(struct str line, int *column, struct err *e) {
    const size_t good = utf8_valid_prefix(line.p, line.n);
    const char *nul = line.n ? memchr(line.p, 0, good) : NULL;
    if (good == line.n && !nul) return EXAMPLE_FINE;
    const size_t at = nul ? (size_t)(nul - line.p) : good;
    *column = n_character((struct str){line.p, at}) + 1;
    if (str_starts(line, STR("\xff\xfe")) || str_starts(line, STR("\xfe\xff")))
        err_set(e, ERR_FORMAT, "found UTF-16; UTF-8 is accepted");
    else if (nul)
        err_set(e, ERR_FORMAT, "found a NUL byte; text is accepted");
    else
        err_set(e, ERR_FORMAT, "found bytes that are no UTF-8 (0x%02x...); UTF-8 is accepted",
                (unsigned char)line.p[at]);
    return EXAMPLE_NOT_UTF8;
}

static enum example_fault parse(struct str line, json_t **out, int *column, struct err *e) {
    struct err own = {0};
    json_error_t je;
    enum example_fault f = check_bytes(line, column, e);
    if (f != EXAMPLE_FINE) return f;
    if (json_check("line", line, EXAMPLE_MAX_VALUES, &own) != 0) {
        err_set(e, ERR_FORMAT, "%s", own.msg);
        return own.code == ERR_LIMIT ? EXAMPLE_HUGE : EXAMPLE_BROKEN;
    }
    *out = json_read(line, JSON_REJECT_DUPLICATES, &je);
    if (json_is_object(*out)) return EXAMPLE_FINE;
    if (!*out && work_stopped())
        work_given_up(e);
    else if (!*out && json_error_code(&je) == json_error_out_of_memory)
        err_nomem(e, "line");
    else if (!*out && json_error_code(&je) == json_error_null_character) {
        *column = je.column;
        err_set(e, ERR_FORMAT, "found the character \\u0000; text is accepted");
    } else if (!*out) {
        *column = je.column;
        err_set(e, ERR_FORMAT, "found no JSON: %s; one JSON object a line is accepted", je.text);
    } else
        err_set(e, ERR_FORMAT, "found JSON that is no object; one object a line is accepted");
    return EXAMPLE_BROKEN;
}

/* ---- formats ---- */

struct reading {
    const json_t *o; /* the line */
    struct example *x;
    json_t *weight0; /* indices of messages that are not to be learned */
    int n_asked;     /* messages that only ask, whoever says them */
};

static bool detect(const json_t *o, enum example_format *f) {
    if (example_get(o, "messages"))
        *f = EXAMPLE_MESSAGES;
    else if (example_get(o, "chosen") && example_get(o, "rejected"))
        *f = EXAMPLE_PREFERENCE;
    else if (example_get(o, "prompt") && example_get(o, "completion"))
        *f = EXAMPLE_COMPLETION;
    else if (example_get(o, "instruction") &&
             (example_get(o, "output") || example_get(o, "response")))
        *f = EXAMPLE_INSTRUCTION;
    else if (example_get(o, "input") && example_get(o, "output"))
        *f = EXAMPLE_IO;
    else if (example_get(o, "text"))
        *f = EXAMPLE_TEXT;
    else
        return false;
    return true;
}

static void say_keys(const json_t *o, struct err *e) {
    struct buf keys = {0};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        if (keys.n > 80) continue;
        buf_printf(&keys, "%s\"%.30s\"", keys.n ? ", " : "", key);
    }
    err_set(e, ERR_FORMAT, "found %s%s; %s", keys.n ? "the keys " : "no keys", keys.n ? keys.p : "",
            known);
    buf_fini(&keys);
}

/* Append the messages of a key to the conversation. */
static int add(struct reading *r, const char *key, const char *role, struct err *e) {
    const size_t base = json_array_size(r->x->messages);
    json_t *weight0 = json_array(), *w;
    size_t i;
    json_t *list = example_messages(key, example_get(r->o, key), role, weight0, e);
    json_array_foreach(weight0, i, w)
        json_array_append_new(r->weight0, json_integer((json_int_t)base + json_integer_value(w)));
    if (list) json_array_extend(r->x->messages, list);
    json_decref(weight0);
    json_decref(list);
    return list ? 0 : -1;
}

static int add_text(struct reading *r, const char *role, struct str text, struct err *e) {
    json_t *j = chat_json_text(text);
    json_t *list = j ? example_messages("", j, role, NULL, e) : NULL;
    if (list) json_array_extend(r->x->messages, list);
    json_decref(j);
    json_decref(list);
    return list ? 0 : err_nomem(e, "line");
}

/* What must be a text. */
static int need_text(const json_t *o, const char *key, struct err *e) {
    if (json_is_string(example_get(o, key))) return 0;
    return err_set(e, ERR_FORMAT, "%s: found no text; a text is accepted", key);
}

static int read_instruction(struct reading *r, struct err *e) {
    const char *answer = example_get(r->o, "output") ? "output" : "response";
    const struct str input = example_str(example_get(r->o, "input"));
    struct buf ask = {0};
    if (need_text(r->o, "instruction", e) != 0 || need_text(r->o, answer, e) != 0) return -1;
    if (example_get(r->o, "input") && need_text(r->o, "input", e) != 0) return -1;
    const struct str instruction = example_str(example_get(r->o, "instruction"));
    buf_append(&ask, instruction.p, instruction.n);
    if (input.n > 0) buf_str(&ask, "\n\n");
    buf_append(&ask, input.p, input.n);
    int rc = ask.failed ? err_nomem(e, "line") : add_text(r, "user", buf_view(&ask), e);
    buf_fini(&ask);
    if (rc == 0) rc = add_text(r, "assistant", example_str(example_get(r->o, answer)), e);
    return rc;
}

/* ---- preferences ---- */

static json_t *slice(const json_t *list, size_t from, size_t to) {
    json_t *out = json_array();
    for (size_t i = from; i < to; i++)
        json_array_append(out, json_array_get(list, i));
    return out;
}

/* Both answers repeat the question: what they begin with alike is the prompt. */
static int take_common(struct reading *r, struct err *e) {
    struct example *x = r->x;
    const size_t a = json_array_size(x->chosen), b = json_array_size(x->rejected);
    size_t n = 0;
    while (n + 1 < a && n + 1 < b &&
           json_equal(json_array_get(x->chosen, n), json_array_get(x->rejected, n)))
        n++;
    if (n == 0)
        return err_set(e, ERR_FORMAT,
                       "found no \"prompt\", and \"chosen\" and \"rejected\" do not "
                       "begin with the same messages; one of these is needed");
    json_t *prompt = slice(x->chosen, 0, n), *chosen = slice(x->chosen, n, a);
    json_t *rejected = slice(x->rejected, n, b);
    json_decref(x->messages);
    json_decref(x->chosen);
    json_decref(x->rejected);
    x->messages = prompt;
    x->chosen = chosen;
    x->rejected = rejected;
    return 0;
}

/* Do both repeat a question?  Then they are whole conversations, and a prompt besides is in them.
 */
static bool are_whole(const struct example *x) {
    const json_t *a = json_array_get(x->chosen, 0), *b = json_array_get(x->rejected, 0);
    return a && b && json_equal(a, b) && !example_is_role(a, "assistant");
}

static int read_preference(struct reading *r, struct err *e) {
    struct example *x = r->x;
    x->chosen = example_messages("chosen", example_get(r->o, "chosen"), "assistant", NULL, e);
    if (!x->chosen) return -1;
    x->rejected = example_messages("rejected", example_get(r->o, "rejected"), "assistant", NULL, e);
    if (!x->rejected) return -1;
    if (example_get(r->o, "prompt") && !are_whole(x)) return add(r, "prompt", "user", e);
    return take_common(r, e);
}

/* ---- what all have ---- */

static int read_conversation(struct reading *r, struct err *e) {
    const json_t *o = r->o;
    r->x->messages = json_array();
    switch (r->x->format) {
    case EXAMPLE_MESSAGES:
        if (json_is_array(example_get(o, "messages"))) return add(r, "messages", "user", e);
        return err_set(e, ERR_FORMAT, "messages: found no list; a list of messages is accepted");
    case EXAMPLE_COMPLETION:
        if (add(r, "prompt", "user", e) != 0) return -1;
        r->n_asked = (int)json_array_size(r->x->messages);
        return add(r, "completion", "assistant", e);
    case EXAMPLE_INSTRUCTION: return read_instruction(r, e);
    case EXAMPLE_IO:
        if (need_text(o, "input", e) != 0 || need_text(o, "output", e) != 0) return -1;
        if (add(r, "input", "user", e) != 0) return -1;
        return add(r, "output", "assistant", e);
    default: return read_preference(r, e);
    }
}

static int learned(struct reading *r, struct err *e) {
    struct example *x = r->x;
    const json_t *m, *w;
    size_t i;
    x->learned = calloc(json_array_size(x->messages) + 1, sizeof *x->learned);
    if (!x->learned) return err_nomem(e, "line");
    json_array_foreach(x->messages, i, m) x->learned[i] =
        (int)i >= r->n_asked && !x->chosen && example_is_role(m, "assistant");
    json_array_foreach(r->weight0, i, w) x->learned[json_integer_value(w)] = false;
    return 0;
}

/* In front of all, where there is none. */
static int put_system(struct example *x, const json_t *o, struct str system, struct err *e) {
    const json_t *own = example_get(o, "system");
    const size_t n = json_array_size(x->messages);
    if (own && need_text(o, "system", e) != 0) return -1;
    if (own) system = example_str(own);
    if (system.n == 0 || example_is_role(json_array_get(x->messages, 0), "system")) return 0;
    bool *learns = realloc(x->learned, (n + 2) * sizeof *learns);
    if (!learns) return err_nomem(e, "line");
    x->learned = learns;
    json_t *m = json_object();
    if (json_object_set_new(m, "role", json_string("system")) != 0 ||
        json_object_set_new(m, "content", chat_json_text(system)) != 0) {
        json_decref(m);
        return err_nomem(e, "line");
    }
    if (json_array_insert_new(x->messages, 0, m) != 0) return err_nomem(e, "line");
    memmove(learns + 1, learns, n * sizeof *learns);
    learns[0] = false;
    return 0;
}

static bool some_answer(const json_t *list, const bool *of) {
    const json_t *m;
    size_t i;
    json_array_foreach(list, i, m) if ((!of || of[i]) && example_is_role(m, "assistant") &&
                                       example_says_something(m)) return true;
    return false;
}

static enum example_fault judge(const struct example *x, struct err *e) {
    if (x->chosen) {
        const bool both = some_answer(x->chosen, NULL) && some_answer(x->rejected, NULL);
        if (both && !json_equal(x->chosen, x->rejected)) return EXAMPLE_FINE;
        err_set(e, ERR_FORMAT,
                both ? "\"chosen\" and \"rejected\" are the same"
                     : "\"chosen\" or \"rejected\" is empty");
        return EXAMPLE_EMPTY;
    }
    if (some_answer(x->messages, x->learned)) return EXAMPLE_FINE;
    if (some_answer(x->messages, NULL)) {
        err_set(e, ERR_FORMAT, "no answer in it is to be learned");
        return EXAMPLE_MASKED;
    }
    err_set(e, ERR_FORMAT, "no answer in it");
    return EXAMPLE_EMPTY;
}

static enum example_fault read_text(const json_t *o, struct example *x, struct err *e) {
    if (need_text(o, "text", e) != 0) return EXAMPLE_WRONG;
    x->text = json_incref(example_get(o, "text"));
    if (!example_is_blank(example_str(x->text))) return EXAMPLE_FINE;
    err_set(e, ERR_FORMAT, "the text is empty");
    return EXAMPLE_EMPTY;
}

static enum example_fault read_object(const json_t *o, struct str system, struct example *x,
                                      struct err *e) {
    struct reading r = {.o = o, .x = x, .weight0 = NULL};
    json_t *id = example_get(o, "id");
    if (!detect(o, &x->format)) {
        say_keys(o, e);
        return EXAMPLE_UNKNOWN;
    }
    if (json_is_string(id) || json_is_number(id)) x->id = json_incref(id);
    if (x->format == EXAMPLE_TEXT) return read_text(o, x, e);
    if (example_get(o, "tools") && !(x->tools = example_tools(example_get(o, "tools"), e)))
        return EXAMPLE_WRONG;
    r.weight0 = json_array();
    int rc = read_conversation(&r, e);
    if (rc == 0) rc = learned(&r, e);
    if (rc == 0) rc = put_system(x, o, system, e);
    json_decref(r.weight0);
    return rc == 0 ? judge(x, e) : EXAMPLE_WRONG;
}

enum example_fault example_read(struct str line, struct str system, struct example *x, int *column,
                                struct err *e) {
    json_t *o = NULL;
    *x = (struct example){0};
    *column = 0;
    enum example_fault f = parse(line, &o, column, e);
    if (f == EXAMPLE_FINE) f = read_object(o, system, x, e);
    json_decref(o);
    return f;
}

void example_fini(struct example *x) {
    json_decref(x->messages);
    json_decref(x->tools);
    json_decref(x->chosen);
    json_decref(x->rejected);
    json_decref(x->text);
    json_decref(x->id);
    free(x->learned);
    *x = (struct example){0};
}

/* ---- one form ---- */

/* Answers that are not learned say so. */
static json_t *with_weights(const struct example *x) {
    json_t *out = json_array(), *m;
    size_t i;
    json_array_foreach(x->messages, i, m) {
        const bool plain = x->chosen || x->learned[i] || !example_is_role(m, "assistant");
        json_t *copy = plain ? json_incref(m) : json_copy(m);
        if (!plain) json_object_set_new(copy, "weight", json_integer(0));
        json_array_append_new(out, copy);
    }
    return out;
}

json_t *example_json(const struct example *x) {
    json_t *o = json_object();
    if (x->id) json_object_set(o, "id", x->id);
    if (x->text) json_object_set(o, "text", x->text);
    if (x->messages) json_object_set_new(o, x->chosen ? "prompt" : "messages", with_weights(x));
    if (x->chosen) json_object_set(o, "chosen", x->chosen);
    if (x->rejected) json_object_set(o, "rejected", x->rejected);
    if (x->tools) json_object_set(o, "tools", x->tools);
    return o;
}

static int add_hash(const char *p, size_t n, void *hash) {
    uint64_t *h = hash;
    *h = hash64(p, n, *h);
    return 0;
}

uint64_t example_hash(const struct example *x) {
    uint64_t h = 0;
    json_t *o = example_json(x);
    json_object_del(o, "id");
    json_dump_callback(o, add_hash, &h, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    return h;
}

static struct str trim(struct str s) {
    while (s.n > 0 && strchr(" \t\r\n", s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    return s;
}

static uint64_t hash_text(struct str s, uint64_t seed) {
    s = trim(s);
    return hash64(s.n ? s.p : "", s.n, seed);
}

uint64_t example_prompt_hash(const struct example *x) {
    uint64_t h = 0;
    bool asked = false;
    const json_t *m;
    size_t i;
    if (x->text) return hash_text(example_str(x->text), 0);
    json_array_foreach(x->messages, i, m) {
        if (example_is_role(m, "system")) continue;
        if (example_is_role(m, "assistant") && asked) break;
        asked |= example_is_role(m, "user");
        h = hash_text(example_str(json_object_get(m, "role")), h);
        h = hash_text(example_str(json_object_get(m, "content")), h);
    }
    return asked ? h : example_hash(x);
}
