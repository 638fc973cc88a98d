/* Built-in chat templates: the families that most files use, recognized by what their template
 * text says and rendered in C.  Recognition is strict: a template with a feature that is not
 * modelled here is unknown rather than rendered wrongly.
 *
 * Source of the formats: the models' own templates (tokenizer_config.json). */
#include "text/chat/builtin.h"

#include <stdlib.h>
#include <time.h>

#include "base/utf8.h"
#include "text/uclass.h"

struct builtin {
    const struct family *family;
    struct str default_system; /* owned; what ChatML models say when nobody says otherwise */
    bool bos;                  /* writes bos_token first */
    bool trim;                 /* strips contents */
    bool header;               /* Llama 3.1: date header in the system turn */
    bool clock;                /* Llama 3.2: header with today's date */
    bool tight;                /* Phi-4: no newline after role and end */
    bool system_first; /* Mistral: the system text goes to the first user turn, not the last */
    bool system_role;  /* Gemma 3: system text in front of the first user turn */
    bool skip_empty_system;
    bool user_eos;   /* DeepSeek: user turns end like the assistant's */
    bool open_think; /* the answer begins inside <think> */
    struct str inst, inst_end, answer, answer_end; /* Mistral: the texts around turns; static */
};

typedef int render_fn(const struct builtin *t, const struct chat_input *in, struct chat_prompt *p,
                      struct err *e);

struct family {
    const char *name;
    bool (*detect)(struct str source, struct builtin *t);
    render_fn *render;
};

/* ---- Reading template texts --------------------------------------------------------------------
 */

static const char *find(struct str s, const char *z) {
    return s.n ? memmem(s.p, s.n, z, strlen(z)) : NULL; /* s.p may be NULL */
}

static bool has(struct str s, const char *z) {
    return find(s, z) != NULL;
}

/* Does s contain any of a NULL-terminated list? */
static bool has_any(struct str s, const char *const *list) {
    for (; *list; list++)
        if (has(s, *list)) return true;
    return false;
}

/* Does the template bring a system text of its own?  "You have access to" of tools does not count.
 */
static bool speaks_itself(struct str s) {
    static const char *const signs[] = {"You are ", "default_system", "SYSTEM_PROMPT", NULL};
    return has_any(s, signs);
}

/* ---- Rendering helpers -------------------------------------------------------------------------
 */

static void say(struct chat_prompt *p, const char *z) {
    chat_say(p, str_of(z));
}

static bool is_role(const struct chat_message *m, const char *role) {
    return str_is(m->role, role);
}

/* Python's str.strip(). */
static bool strips(uint32_t cp) {
    return uclass_is_blank(cp) || (cp >= 0x1c && cp <= 0x1f);
}

static struct str trim(struct str s) {
    uint32_t cp;
    while (s.n > 0) {
        const size_t len = (size_t)utf8_decode(s.p, s.n, &cp);
        if (!strips(cp)) break;
        s.p += len;
        s.n -= len;
    }
    while (s.n > 0) {
        size_t len = 1;
        while (len < 4 && len < s.n && ((uint8_t)s.p[s.n - len] & 0xc0) == 0x80)
            len++;
        utf8_decode(s.p + s.n - len, len, &cp);
        if (!strips(cp)) break;
        s.n -= len;
    }
    return s;
}

static struct str trim_newlines(struct str s, bool front, bool back) {
    while (front && s.n > 0 && s.p[0] == '\n')
        s.p++, s.n--;
    while (back && s.n > 0 && s.p[s.n - 1] == '\n')
        s.n--;
    return s;
}

static struct str content(const struct builtin *t, const struct chat_message *m) {
    return t->trim ? trim(m->content) : m->content;
}

static void quote(const struct builtin *t, const struct chat_message *m, struct chat_prompt *p) {
    chat_quote(p, content(t, m));
}

/* "<a>role<b>content<c>" */
static void turn(const struct builtin *t, const struct chat_message *m, const char *a,
                 const char *b, const char *c, struct chat_prompt *p) {
    say(p, a);
    chat_say(p, m->role); /* one of three known words */
    say(p, b);
    quote(t, m, p);
    say(p, c);
}

static int refuse(struct err *e, const char *why) {
    return err_set(e, ERR_UNSUPPORTED, "chat template of the model: %s", why);
}

static int must_alternate(const struct chat_message *m, int n, bool strict, struct err *e) {
    for (int i = 0; i < n; i++) {
        if (is_role(&m[i], "user") != (i % 2 == 0))
            return refuse(e, "roles must alternate user, assistant, user, assistant...");
        if (strict && is_role(&m[i], "system"))
            return refuse(e, "a system message may only stand first");
    }
    return 0;
}

/* Day, month and year of the conversation, in C whatever the locale. */
static struct tm today(const struct chat_input *in) {
    struct tm tm = {0};
    const time_t t = in->now_s ? (time_t)in->now_s : time(NULL);
    if (in->now_s)
        gmtime_r(&t, &tm);
    else
        localtime_r(&t, &tm);
    return tm;
}

static const char *const months[12] = {"January",   "February", "March",    "April",
                                       "May",       "June",     "July",     "August",
                                       "September", "October",  "November", "December"};

/* ---- Llama 3 -----------------------------------------------------------------------------------
 */

static bool detect_llama3(struct str s, struct builtin *t) {
    static const char *const others[] = {"<function=", "reasoning", "<think>", "recipient", NULL};
    if (!has(s, "<|start_header_id|>") || !has(s, "<|eot_id|>") || has_any(s, others)) return false;
    t->bos = has(s, "bos_token");
    t->trim = has(s, "| trim") || has(s, "|trim");
    t->header = has(s, "Cutting Knowledge Date: December 2023") && has(s, "Today Date: ");
    t->clock = has(s, "strftime_now");
    return !speaks_itself(s) && (t->header || !has(s, "Knowledge"));
}

static void llama3_header(const struct builtin *t, const struct chat_input *in,
                          struct chat_prompt *p) {
    say(p, "<|start_header_id|>system<|end_header_id|>\n\n"
           "Cutting Knowledge Date: December 2023\nToday Date: ");
    if (in->date.n > 0) {
        chat_say(p, in->date);
    } else if (t->clock) {
        const struct tm tm = today(in);
        struct buf b = {0};
        buf_printf(&b, "%02d %.3s %d", tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900);
        chat_say(p, buf_view(&b));
        buf_fini(&b);
    } else {
        say(p, "26 Jul 2024");
    }
    say(p, "\n\n");
    if (in->n > 0 && is_role(&in->message[0], "system")) quote(t, &in->message[0], p);
    say(p, "<|eot_id|>");
}

static int render_llama3(const struct builtin *t, const struct chat_input *in,
                         struct chat_prompt *p, struct err *e) {
    (void)e;
    if (t->header) llama3_header(t, in, p);
    for (int i = 0; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        if (t->header && i == 0 && is_role(m, "system")) continue;
        turn(t, m, "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", p);
    }
    if (in->add_generation_prompt) say(p, "<|start_header_id|>assistant<|end_header_id|>\n\n");
    return 0;
}

/* ---- ChatML: Qwen, SmolLM, LFM2, Phi-4 ---------------------------------------------------------
 */

/* The system text that the template writes when there is none: a literal
 * "<|im_start|>system\n...<|im_end|>" with no quote in between; the newline may be written out. */
static bool find_default_system(struct str s, struct builtin *t) {
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    for (const char *at; (at = find(s, open));) {
        const char *stop = s.p + s.n, *text = at + sizeof open - 1;
        s = (struct str){text, (size_t)(stop - text)};
        if (str_starts(s, STR("\\n")))
            text += 2;
        else if (str_starts(s, STR("\n")))
            text += 1;
        else
            continue;
        const char *end = find(s, close);
        const size_t n = end && end > text ? (size_t)(end - text) : 0;
        if (n == 0 || memchr(text, '\'', n) || memchr(text, '"', n) || memchr(text, '\\', n))
            continue;
        char *copy = malloc(n);
        if (!copy) return false;
        memcpy(copy, text, n);
        t->default_system = (struct str){copy, n};
        return true;
    }
    return true;
}

static bool detect_qwen3(struct str s, struct builtin *t) {
    (void)t;
    return has(s, "<|im_start|>") && has(s, "last_query_index") && !has(s, "macro") &&
           has(s, "message.content.split('</think>')[-1].lstrip") &&
           has(s, "enable_thinking is defined and enable_thinking is false");
}

static bool detect_chatml(struct str s, struct builtin *t) {
    static const char *const others[] = {"reasoning",
                                         "think",
                                         "macro",
                                         "raise_exception",
                                         "upper",
                                         "default_system",
                                         "{{ system_message }}",
                                         NULL};
    if (!has(s, "<|im_start|>") || has_any(s, others)) return false;
    if (has(s, "<|im_sep|>")) {
        t->tight = true;
        return !has(s, "bos_token");
    }
    t->bos = has(s, "bos_token");
    t->trim = has(s, "| trim") || has(s, "|trim");
    t->skip_empty_system = has(s, "ns.system_prompt");
    if (!has(s, "<|im_end|>") || !find_default_system(s, t)) return false;
    return t->default_system.n > 0 || !speaks_itself(s);
}

static int render_chatml(const struct builtin *t, const struct chat_input *in,
                         struct chat_prompt *p, struct err *e) {
    (void)e;
    const char *after_role = t->tight ? "<|im_sep|>" : "\n";
    const char *after_text = t->tight ? "<|im_end|>" : "<|im_end|>\n";
    const bool own_system = in->n > 0 && is_role(&in->message[0], "system");
    if (!own_system && t->default_system.n > 0) {
        say(p, "<|im_start|>system\n");
        chat_say(p, t->default_system);
        say(p, "<|im_end|>\n");
    }
    for (int i = 0; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        if (t->skip_empty_system && i == 0 && own_system && m->content.n == 0) continue;
        turn(t, m, "<|im_start|>", after_role, after_text, p);
    }
    if (in->add_generation_prompt) {
        say(p, "<|im_start|>assistant");
        say(p, after_role);
    }
    return 0;
}

/* The last place of "</think>" in s, or NULL. */
static const char *last_think_end(struct str s) {
    const char *last = NULL;
    for (const char *at; (at = find(s, "</think>"));) {
        last = at;
        s.n -= (size_t)(at + 8 - s.p);
        s.p = at + 8;
    }
    return last;
}

/* An assistant turn of Qwen 3: earlier thoughts are forgotten, those after the last question are
 * written out. */
static void qwen3_answer(struct str text, bool after_query, bool last, struct chat_prompt *p) {
    struct str said = text, thought = {"", 0};
    const char *end = last_think_end(text), *first = find(text, "</think>");
    if (end) {
        said =
            trim_newlines((struct str){end + 8, (size_t)(text.p + text.n - end - 8)}, true, false);
        thought = trim_newlines((struct str){text.p, (size_t)(first - text.p)}, false, true);
        for (const char *at; (at = find(thought, "<think>"));)
            thought = (struct str){at + 7, (size_t)(thought.p + thought.n - at - 7)};
        thought = trim_newlines(thought, true, true);
    }
    say(p, "<|im_start|>assistant\n");
    if (after_query && (last || thought.n > 0)) {
        say(p, "<think>\n");
        chat_quote(p, thought);
        say(p, "\n</think>\n\n");
        said = trim_newlines(said, true, false);
    }
    chat_quote(p, said);
    say(p, "<|im_end|>\n");
}

static int render_qwen3(const struct builtin *t, const struct chat_input *in, struct chat_prompt *p,
                        struct err *e) {
    (void)e;
    int query = in->n - 1; /* the last question of the user */
    for (int i = in->n - 1; i >= 0; i--) {
        if (!is_role(&in->message[i], "user")) continue;
        query = i;
        break;
    }
    for (int i = 0; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        if (is_role(m, "assistant"))
            qwen3_answer(m->content, i > query, i == in->n - 1, p);
        else
            turn(t, m, "<|im_start|>", "\n", "<|im_end|>\n", p);
    }
    if (!in->add_generation_prompt) return 0;
    say(p, "<|im_start|>assistant\n");
    if (in->thinking == CHAT_THINK_OFF) say(p, "<think>\n\n</think>\n\n");
    return 0;
}

/* ---- Phi-3, Phi-4-mini, Zephyr -----------------------------------------------------------------
 */

static bool detect_phi3(struct str s, struct builtin *t) {
    if (!has(s, "<|end|>") || has(s, "<|start|>") || has(s, "<think>") || speaks_itself(s))
        return false;
    t->bos = has(s, "{{ bos_token }}") || has(s, "{{- bos_token }}") || has(s, "{{bos_token}}");
    t->tight = has(s, "'<|' + message['role'] + '|>' + message['content']");
    t->skip_empty_system = has(s, "'system' and message['content']");
    return t->tight || has(s, "<|user|>");
}

static int render_phi3(const struct builtin *t, const struct chat_input *in, struct chat_prompt *p,
                       struct err *e) {
    (void)e;
    for (int i = 0; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        if (t->skip_empty_system && is_role(m, "system") && m->content.n == 0) continue;
        turn(t, m, "<|", t->tight ? "|>" : "|>\n", t->tight ? "<|end|>" : "<|end|>\n", p);
    }
    if (in->add_generation_prompt)
        say(p, t->tight ? "<|assistant|>" : "<|assistant|>\n");
    else
        chat_say(p, in->eos);
    return 0;
}

static bool detect_zephyr(struct str s, struct builtin *t) {
    static const char *const others[] = {"<|end|>", "<think>", "[gMASK]", "<|observation|>", NULL};
    (void)t;
    return has(s, "<|user|>") && has(s, "<|assistant|>") && has(s, "eos_token") &&
           !has_any(s, others) && !speaks_itself(s);
}

static int render_zephyr(const struct builtin *t, const struct chat_input *in,
                         struct chat_prompt *p, struct err *e) {
    (void)e;
    for (int i = 0; i < in->n; i++) {
        turn(t, &in->message[i], "<|", "|>\n", "", p);
        chat_say(p, in->eos);
        say(p, "\n");
    }
    if (in->add_generation_prompt) say(p, "<|assistant|>\n");
    return 0;
}

/* ---- Mistral, Llama 2 --------------------------------------------------------------------------
 */

static bool detect_llama2(struct str s, struct builtin *t) {
    t->trim = has(s, "strip()");
    return has(s, "[INST]") && has(s, "<<SYS>>") && !speaks_itself(s);
}

static int render_llama2(const struct builtin *t, const struct chat_input *in,
                         struct chat_prompt *p, struct err *e) {
    const bool system = in->n > 0 && is_role(&in->message[0], "system");
    const struct chat_message *m = in->message + system;
    const int n = in->n - system;
    if (must_alternate(m, n, false, e)) return -1;
    for (int i = 0; i < n; i++) {
        if (is_role(&m[i], "user")) {
            chat_say(p, in->bos);
            say(p, "[INST] ");
            if (i == 0 && system) {
                /* The strip of the template applies to the two together. */
                say(p, "<<SYS>>\n");
                chat_quote(p, in->message[0].content);
                say(p, "\n<</SYS>>\n\n");
                struct str text = m[i].content;
                if (t->trim) {
                    const struct str t2 = trim(text);
                    text.n = (size_t)(t2.p + t2.n - text.p);
                }
                chat_quote(p, text);
            } else {
                quote(t, &m[i], p);
            }
            say(p, " [/INST]");
        } else if (is_role(&m[i], "assistant")) {
            say(p, " ");
            quote(t, &m[i], p);
            say(p, " ");
            chat_say(p, in->eos);
        }
    }
    return 0;
}

static bool detect_mistral(struct str s, struct builtin *t) {
    static const char *const others[] = {"<<SYS>>", "[THINK]", "<think>", NULL};
    if (!has(s, "[INST]") || has_any(s, others) || speaks_itself(s)) return false;
    t->bos = has(s, "bos_token");
    t->inst = has(s, "[INST] ") ? STR("[INST] ") : STR("[INST]");
    t->inst_end = has(s, " [/INST]") ? STR(" [/INST]") : STR("[/INST]");
    t->answer = has(s, "' ' + message['content']") || has(s, "\" \" + message[\"content\"]") ||
                        has(s, "\" \" + message.content")
                    ? STR(" ")
                    : STR("");
    t->system_first =
        has(s, "loop.first and system_message") || has(s, "loop.index0 == 0 and system_message");
    t->system_role = has(s, "system_message");
    return true;
}

static int render_mistral(const struct builtin *t, const struct chat_input *in,
                          struct chat_prompt *p, struct err *e) {
    const bool system = in->n > 0 && is_role(&in->message[0], "system");
    const struct chat_message *m = in->message + system;
    const int n = in->n - system;
    if (system && !t->system_role) return refuse(e, "it has no system role");
    if (must_alternate(m, n, true, e)) return -1;
    for (int i = 0; i < n; i++) {
        if (is_role(&m[i], "user")) {
            chat_say(p, t->inst);
            if (system && i == (t->system_first ? 0 : n - 1)) {
                chat_quote(p, in->message[0].content);
                say(p, "\n\n");
            }
            quote(t, &m[i], p);
            chat_say(p, t->inst_end);
        } else {
            chat_say(p, t->answer);
            quote(t, &m[i], p);
            chat_say(p, in->eos);
            chat_say(p, t->answer_end);
        }
    }
    return 0;
}

/* ---- Gemma 1, 2, 3 -----------------------------------------------------------------------------
 */

static bool detect_gemma(struct str s, struct builtin *t) {
    t->bos = has(s, "bos_token");
    t->trim = has(s, "| trim");
    t->system_role = has(s, "first_user_prefix");
    return has(s, "<start_of_turn>") && has(s, "<end_of_turn>") && !has(s, "<think") &&
           !speaks_itself(s);
}

static int render_gemma(const struct builtin *t, const struct chat_input *in, struct chat_prompt *p,
                        struct err *e) {
    const bool system = in->n > 0 && is_role(&in->message[0], "system");
    const struct chat_message *m = in->message + system;
    const int n = in->n - system;
    if (system && !t->system_role) return refuse(e, "it has no system role");
    if (must_alternate(m, n, false, e)) return -1;
    for (int i = 0; i < n; i++) {
        say(p, "<start_of_turn>");
        if (is_role(&m[i], "assistant"))
            say(p, "model");
        else
            chat_say(p, m[i].role);
        say(p, "\n");
        if (i == 0 && system) {
            chat_quote(p, in->message[0].content);
            say(p, "\n\n");
        }
        quote(t, &m[i], p);
        say(p, "<end_of_turn>\n");
    }
    if (in->add_generation_prompt) say(p, "<start_of_turn>model\n");
    return 0;
}

/* ---- Granite 3 ---------------------------------------------------------------------------------
 */

static bool detect_granite(struct str s, struct builtin *t) {
    if (!has(s, "<|start_of_role|>") || has(s, "<|start_of_thought|>")) return false;
    t->header = has(s, "Knowledge Cutoff Date: April 2024. Today's Date: ") &&
                has(s, "strftime_now('%B %d, %Y')") &&
                has(s, "You are Granite, developed by IBM.") &&
                has(s, " You are a helpful AI assistant.\"");
    return t->header || !has(s, "Knowledge Cutoff");
}

static int render_granite(const struct builtin *t, const struct chat_input *in,
                          struct chat_prompt *p, struct err *e) {
    (void)e;
    if (t->header && !(in->n > 0 && is_role(&in->message[0], "system"))) {
        const struct tm tm = today(in);
        struct buf b = {0};
        buf_printf(
            &b,
            "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024. "
            "Today's Date: %s %02d, %d. You are Granite, developed by IBM. You are a helpful "
            "AI assistant.<|end_of_text|>\n",
            months[tm.tm_mon], tm.tm_mday, tm.tm_year + 1900);
        chat_say(p, buf_view(&b));
        buf_fini(&b);
    }
    for (int i = 0; i < in->n; i++)
        turn(t, &in->message[i], "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>\n", p);
    if (in->add_generation_prompt) say(p, "<|start_of_role|>assistant<|end_of_role|>");
    return 0;
}

/* ---- DeepSeek V2.5, R1 -------------------------------------------------------------------------
 */

static bool detect_deepseek(struct str s, struct builtin *t) {
    static const char *const others[] = {"thinking", "reasoning", "is_first_sp", "<｜DSML｜", NULL};
    if (!has(s, "<｜User｜>") || !has(s, "<｜end▁of▁sentence｜>") || has_any(s, others))
        return false;
    t->bos = has(s, "bos_token");
    t->open_think = has(s, "<｜Assistant｜><think>\\n");
    t->trim = has(s, "split('</think>')"); /* here: earlier thoughts are forgotten */
    t->user_eos = has(s, "message['content'] + '<｜end▁of▁sentence｜>' -}}\n    {%- endif -%}\n"
                         "    {%- if message['role'] == 'assistant'");
    return has(s, "ns.system_prompt") && !speaks_itself(s);
}

static int render_deepseek(const struct builtin *t, const struct chat_input *in,
                           struct chat_prompt *p, struct err *e) {
    (void)e;
    for (int i = in->n - 1; i >= 0; i--) { /* the last system message counts */
        if (!is_role(&in->message[i], "system")) continue;
        chat_quote(p, in->message[i].content);
        break;
    }
    for (int i = 0; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        if (is_role(m, "user")) {
            say(p, "<｜User｜>");
            chat_quote(p, m->content);
            if (t->user_eos) say(p, "<｜end▁of▁sentence｜>");
        } else if (is_role(m, "assistant")) {
            struct str text = m->content;
            const char *end = t->trim ? last_think_end(text) : NULL;
            if (end) text = (struct str){end + 8, (size_t)(text.p + text.n - end - 8)};
            say(p, "<｜Assistant｜>");
            chat_quote(p, text);
            say(p, "<｜end▁of▁sentence｜>");
        }
    }
    if (in->add_generation_prompt)
        say(p, t->open_think ? "<｜Assistant｜><think>\n" : "<｜Assistant｜>");
    return 0;
}

/* ---- gpt-oss -----------------------------------------------------------------------------------
 */

static bool detect_gptoss(struct str s, struct builtin *t) {
    (void)t;
    return has(s, "<|start|>") && has(s, "<|channel|>final<|message|>") && has(s, "<|return|>") &&
           has(s, "Knowledge cutoff: 2024-06") && has(s, "strftime_now(\"%Y-%m-%d\")");
}

static int render_gptoss(const struct builtin *t, const struct chat_input *in,
                         struct chat_prompt *p, struct err *e) {
    (void)e;
    const struct tm tm = today(in);
    struct buf b = {0};
    buf_printf(
        &b,
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\nCurrent date: %d-%02d-%02d\n\nReasoning: medium\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every "
        "message.<|end|>",
        tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    chat_say(p, buf_view(&b));
    buf_fini(&b);
    const bool system = in->n > 0 && is_role(&in->message[0], "system");
    if (system && in->message[0].content.n > 0) {
        say(p, "<|start|>developer<|message|># Instructions\n\n");
        chat_quote(p, in->message[0].content);
        say(p, "\n\n<|end|>");
    }
    for (int i = system; i < in->n; i++) {
        const struct chat_message *m = &in->message[i];
        const bool ends = i == in->n - 1 && !in->add_generation_prompt;
        if (is_role(m, "user")) {
            turn(t, m, "<|start|>", "<|message|>", "<|end|>", p);
        } else if (is_role(m, "assistant")) {
            say(p, "<|start|>assistant<|channel|>final<|message|>");
            chat_quote(p, m->content);
            say(p, ends ? "<|return|>" : "<|end|>");
        }
    }
    if (in->add_generation_prompt) say(p, "<|start|>assistant");
    return 0;
}

/* ---- Interface ---------------------------------------------------------------------------------
 */

static const struct family families[] = {
    {"gpt-oss", detect_gptoss, render_gptoss},      {"llama3", detect_llama3, render_llama3},
    {"qwen3", detect_qwen3, render_qwen3},          {"chatml", detect_chatml, render_chatml},
    {"deepseek", detect_deepseek, render_deepseek}, {"gemma", detect_gemma, render_gemma},
    {"granite", detect_granite, render_granite},    {"llama2", detect_llama2, render_llama2},
    {"mistral", detect_mistral, render_mistral},    {"phi3", detect_phi3, render_phi3},
    {"zephyr", detect_zephyr, render_zephyr},
};

struct builtin *builtin_new(struct str source) {
    struct builtin *t = calloc(1, sizeof *t);
    for (size_t i = 0; t && i < sizeof families / sizeof *families; i++) {
        *t = (struct builtin){.family = &families[i]};
        if (families[i].detect(source, t)) return t;
        free((char *)t->default_system.p);
    }
    free(t);
    return NULL;
}

void builtin_free(struct builtin *t) {
    if (!t) return;
    free((char *)t->default_system.p);
    free(t);
}

const char *builtin_name(const struct builtin *t) {
    return t->family->name;
}

int builtin_render(const struct builtin *t, const struct chat_input *in, struct chat_prompt *p,
                   struct err *e) {
    if (t->bos) chat_say(p, in->bos);
    return t->family->render(t, in, p, e);
}
