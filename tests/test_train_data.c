/* train/data.h through the C interface: formats, what is wrong with lines, which tokens are learned
 * with the templates of real models, parts, packs. */
#include "chat_rig.h"
#include "data_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"
#include "train/lines.h"
#include "train/pack.h"

/* ---- formats ---- */

static struct example example_of(const char *line) {
    struct example x;
    struct err e = {0};
    int column;
    json_t *j = json_of(line);
    char *z = json_dumps(j, 0);
    const enum example_fault f = example_read(str_of(z), STR(""), &x, &column, &e);
    if (f != EXAMPLE_FINE) fail_msg("%s: %s: %s", line, example_fault_name(f), e.msg);
    json_decref(j);
    free(z);
    return x;
}

/* ' for " in both; want is the whole of example_json. */
static void becomes(const char *line, enum example_format format, const char *want) {
    struct example x = example_of(line);
    json_t *got = example_json(&x), *right = json_of(want);
    assert_int_equal(x.format, format);
    if (!json_equal(got, right)) {
        char *z = json_dumps(got, JSON_COMPACT);
        fail_msg("%s\n  became %s", line, z);
    }
    /* What comes out is read as the same again. */
    char *z = json_dumps(got, 0);
    struct example again;
    struct err e;
    int column;
    assert_int_equal(example_read(str_of(z), STR(""), &again, &column, &e), EXAMPLE_FINE);
    assert_int_equal(example_hash(&again), example_hash(&x));
    assert_int_equal(example_prompt_hash(&again), example_prompt_hash(&x));
    free(z);
    example_fini(&again);
    example_fini(&x);
    json_decref(got);
    json_decref(right);
}

#define Q "{'role':'user','content':'q'}"
#define A "{'role':'assistant','content':'a'}"

static void formats(void **state) {
    (void)state;
    becomes("{'messages':[" Q "," A "]}", EXAMPLE_MESSAGES, "{'messages':[" Q "," A "]}");
    becomes("{'prompt':'q','completion':'a'}", EXAMPLE_COMPLETION, "{'messages':[" Q "," A "]}");
    becomes("{'prompt':[" Q "],'completion':[" A "]}", EXAMPLE_COMPLETION,
            "{'messages':[" Q "," A "]}");
    becomes("{'instruction':'q','output':'a'}", EXAMPLE_INSTRUCTION, "{'messages':[" Q "," A "]}");
    becomes("{'instruction':'q','response':'a','input':''}", EXAMPLE_INSTRUCTION,
            "{'messages':[" Q "," A "]}");
    becomes("{'instruction':'q','input':'i','output':'a'}", EXAMPLE_INSTRUCTION,
            "{'messages':[{'role':'user','content':'q\\n\\ni'}," A "]}");
    becomes("{'input':'q','output':'a'}", EXAMPLE_IO, "{'messages':[" Q "," A "]}");
    becomes("{'text':'abc','meta':1}", EXAMPLE_TEXT, "{'text':'abc'}");
    becomes("{'prompt':'q','completion':'a','system':'s','id':'x7'}", EXAMPLE_COMPLETION,
            "{'id':'x7','messages':[{'role':'system','content':'s'}," Q "," A "]}");
    /* Unknown keys, and keys of other formats that are null. */
    becomes("{'source':'web','text':null,'messages':[" Q "," A "],'score':[1]}", EXAMPLE_MESSAGES,
            "{'messages':[" Q "," A "]}");
}

static void preferences(void **state) {
    (void)state;
    static const char want[] = "{'prompt':[" Q "],'chosen':[" A "],'rejected':[{'role':'assistant',"
                               "'content':'b'}]}";
    becomes("{'prompt':'q','chosen':'a','rejected':'b'}", EXAMPLE_PREFERENCE, want);
    becomes("{'prompt':[" Q "],'chosen':[" A "],'rejected':'b'}", EXAMPLE_PREFERENCE, want);
    /* Both repeat the question; a prompt besides is the same text once more. */
    becomes("{'chosen':[" Q "," A "],'rejected':[" Q ",{'role':'assistant','content':'b'}]}",
            EXAMPLE_PREFERENCE, want);
    becomes("{'prompt':'q','chosen':[" Q "," A "],'rejected':[" Q
            ",{'role':'assistant','content':'b'}]}",
            EXAMPLE_PREFERENCE, want);
    becomes("{'system':'s','prompt':'q','chosen':'a','rejected':'b'}", EXAMPLE_PREFERENCE,
            "{'prompt':[{'role':'system','content':'s'}," Q "],'chosen':[" A "],"
            "'rejected':[{'role':'assistant','content':'b'}]}");
}

/* As OpenAI's and Hugging Face's files have them. */
static void foreign_messages(void **state) {
    (void)state;
    becomes("{'messages':[{'role':'developer','content':'s'},{'role':'user','content':[{'type':"
            "'text','text':'q'}],'name':'Ann'},{'role':'assistant','content':null,'tool_calls':["
            "{'id':'c1','type':'function','function':{'name':'f','arguments':'{\\\"x\\\": 1}'}}]},"
            "{'role':'tool','tool_call_id':'c1','name':'f','content':'7'}," A "],"
            "'tools':[{'type':'function','function':{'name':'f'}}]}",
            EXAMPLE_MESSAGES,
            "{'messages':[{'role':'system','content':'s'}," Q
            ",{'role':'assistant','content':'','tool_calls':[{'id':'c1','function':{'name':'f',"
            "'arguments':{'x':1}}}]},{'role':'tool','content':'7','tool_name':'f','tool_call_id':"
            "'c1'}," A "],'tools':[{'type':'function','function':{'name':'f'}}]}");
    becomes("{'messages':[" Q ",{'role':'assistant','content':'a','reasoning_content':'hm'}]}",
            EXAMPLE_MESSAGES,
            "{'messages':[" Q ",{'role':'assistant','content':'a','thinking':'hm'}]}");
    becomes("{'messages':[" Q ",{'role':'assistant','content':'b','weight':0}," Q "," A "],"
            "'tools':'[{\\\"function\\\": {\\\"name\\\": \\\"f\\\"}}]'}",
            EXAMPLE_MESSAGES,
            "{'messages':[" Q ",{'role':'assistant','content':'b','weight':0}," Q "," A "],"
            "'tools':[{'function':{'name':'f'}}]}");
    /* Answers that belong to the prompt are not learned. */
    becomes("{'prompt':[" Q "," A "," Q "],'completion':'a'}", EXAMPLE_COMPLETION,
            "{'messages':[" Q ",{'role':'assistant','content':'a','weight':0}," Q "," A "]}");
}

static void default_system(void **state) {
    (void)state;
    static const char plain[] = "{\"prompt\":\"q\",\"completion\":\"a\"}";
    static const char own[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"mine\"},"
                              "{\"role\":\"user\",\"content\":\"q\"},"
                              "{\"role\":\"assistant\",\"content\":\"a\"}]}";
    struct example x;
    struct err e;
    int column;
    assert_int_equal(example_read(str_of(plain), STR("Be kind."), &x, &column, &e), EXAMPLE_FINE);
    assert_int_equal(json_array_size(x.messages), 3);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(x.messages, 0), "content")), "Be kind.");
    assert_false(x.learned[0] || x.learned[1]);
    assert_true(x.learned[2]);
    example_fini(&x);
    assert_int_equal(example_read(str_of(own), STR("Be kind."), &x, &column, &e), EXAMPLE_FINE);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(x.messages, 0), "content")), "mine");
    example_fini(&x);
}

/* ---- lines that are no examples ---- */

static void refused(const char *line, size_t n, enum example_fault fault, int column,
                    const char *says) {
    struct example x;
    struct err e = {0};
    int at;
    const enum example_fault f = example_read((struct str){line, n}, STR(""), &x, &at, &e);
    example_fini(&x);
    if (f != fault || at != column || !strstr(e.msg, says))
        fail_msg("%.60s: %s, column %d: %s", line, example_fault_name(f), at, e.msg);
}
#define REFUSED(line, fault, column, says) refused(line, strlen(line), fault, column, says)

static void faults(void **state) {
    (void)state;
    REFUSED("{\"text\": }", EXAMPLE_BROKEN, 10, "near '}'");
    REFUSED("{\"text\": \"a\"", EXAMPLE_BROKEN, 12, "end of file");
    REFUSED("[{\"text\": \"a\"},", EXAMPLE_BROKEN, 15, "one JSON object a line");
    REFUSED("[{\"text\": \"a\"}]", EXAMPLE_BROKEN, 0, "no object");
    REFUSED("{\"text\": \"a\"} x", EXAMPLE_BROKEN, 15, "near 'x'");
    REFUSED("{\"text\": \"a\", \"text\": \"b\"}", EXAMPLE_BROKEN, 20, "duplicate");
    REFUSED("{\"text\": \"\\u0000\"}", EXAMPLE_BROKEN, 17, "character \\u0000");
    REFUSED("{\"text\": \"\\ud800\"}", EXAMPLE_BROKEN, 17, "ud800");
    refused("{\"text\": \"\xc3\xa4\xff\"}", 15, EXAMPLE_NOT_UTF8, 12, "0xff");
    refused("{\"text\": \"a\0b\"}", 15, EXAMPLE_NOT_UTF8, 12, "NUL");
    refused("\xff\xfe{\0\"\0", 6, EXAMPLE_NOT_UTF8, 1, "UTF-16");
    REFUSED("{}", EXAMPLE_UNKNOWN, 0, "no keys; accepted are \"messages\"");
    REFUSED("{\"q\": 1, \"a\": 2}", EXAMPLE_UNKNOWN, 0, "\"q\", \"a\"");
    REFUSED("{\"text\": 7}", EXAMPLE_WRONG, 0, "text: found no text");
    REFUSED("{\"messages\": \"hi\"}", EXAMPLE_WRONG, 0, "messages: found no list");
    REFUSED("{\"messages\": [\"hi\"]}", EXAMPLE_WRONG, 0, "messages[0]: found no object");
    REFUSED("{\"messages\": [{\"role\": \"bot\", \"content\": \"x\"}]}", EXAMPLE_WRONG, 0,
            "messages[0]: role 'bot'; system, user, assistant or tool");
    REFUSED("{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", EXAMPLE_WRONG, 0,
            "messages[0]: content");
    REFUSED("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
            EXAMPLE_WRONG, 0, "content[0]: found no text");
    REFUSED("{\"prompt\": \"q\", \"completion\": [{\"role\": \"x\"}]}", EXAMPLE_WRONG, 0,
            "completion[0]: role 'x'");
    REFUSED("{\"prompt\": \"q\", \"completion\": \"a\", \"tools\": 3}", EXAMPLE_WRONG, 0, "tools");
    REFUSED("{\"prompt\": \"q\", \"completion\": \"a\", \"system\": 3}", EXAMPLE_WRONG, 0,
            "system: found no text");
    REFUSED("{\"chosen\": \"a\", \"rejected\": \"b\"}", EXAMPLE_WRONG, 0, "no \"prompt\"");
    REFUSED("{\"messages\": []}", EXAMPLE_EMPTY, 0, "no answer");
    REFUSED("{\"text\": \" \\n\"}", EXAMPLE_EMPTY, 0, "empty");
    REFUSED("{\"prompt\": \"q\", \"completion\": \"\"}", EXAMPLE_EMPTY, 0, "no answer");
    REFUSED("{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"a\"}", EXAMPLE_EMPTY, 0,
            "the same");
    REFUSED("{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"weight\": 0}]}",
            EXAMPLE_MASKED, 0, "to be learned");
}

/* Depth and number of values are bounded before anything is built. */
static void bombs(void **state) {
    (void)state;
    struct buf deep = {0}, wide = {0}, inside = {0};
    buf_str(&deep, "{\"text\": ");
    for (int i = 0; i < 200; i++)
        buf_byte(&deep, '[');
    refused(deep.p, deep.n, EXAMPLE_BROKEN, 0, "deeper than 128");
    buf_str(&wide, "{\"text\": [");
    for (int i = 0; i < 250000; i++)
        buf_str(&wide, "{},");
    refused(wide.p, wide.n, EXAMPLE_HUGE, 0, "more than the 200000 values");
    buf_str(&inside, "{\"prompt\": \"q\", \"completion\": \"a\", \"tools\": \"[");
    for (int i = 0; i < 250000; i++)
        buf_str(&inside, "{},");
    buf_str(&inside, "{}]\"}");
    refused(inside.p, inside.n, EXAMPLE_WRONG, 0, "tools");
    buf_fini(&deep);
    buf_fini(&wide);
    buf_fini(&inside);
}

/* ---- files of lines ---- */

static void line_ends(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct err e = {0};
    struct lines l;
    struct str s;
    assert_int_equal(lines_open(&l,
                                data_file(dir, "x",
                                          "\xef\xbb\xbf"
                                          "a\r\n\nb\r\r\nlast"),
                                &e),
                     0);
    static const char *const want[] = {"a", "", "b\r", "last"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(lines_next(&l, &s, &e), LINES_LINE);
        assert_true(str_is(s, want[i]));
        assert_int_equal(l.number, i + 1);
    }
    assert_int_equal(lines_next(&l, &s, &e), LINES_END);
    lines_close(&l);
    assert_int_equal(lines_open(&l, dir, &e), -1);
    lines_close(&l);
    assert_int_equal(lines_open(&l, data_file(dir, "empty", ""), &e), 0);
    assert_int_equal(lines_next(&l, &s, &e), LINES_END);
    lines_close(&l);
    temp_remove(dir);
}

/* Lines just below and above the limit, and one far above it: what is kept stays bounded. */
static void long_lines(void **state) {
    (void)state;
    static const size_t sizes[] = {LINES_MAX_BYTES, LINES_MAX_BYTES + 1,
                                   5 * (size_t)LINES_MAX_BYTES, 3};
    char *dir = temp_folder(), path[600], *a = malloc(5 * (size_t)LINES_MAX_BYTES);
    struct err e = {0};
    struct lines l;
    struct str s;
    snprintf(path, sizeof path, "%s/x", dir);
    FILE *f = fopen(path, "wb");
    memset(a, 'a', 5 * (size_t)LINES_MAX_BYTES);
    for (int i = 0; i < 4; i++) {
        fwrite(a, 1, sizes[i], f);
        if (i < 3) putc('\n', f);
    }
    fclose(f);
    assert_int_equal(lines_open(&l, path, &e), 0);
    for (int i = 0; i < 4; i++) {
        const bool fits = sizes[i] <= LINES_MAX_BYTES;
        assert_int_equal(lines_next(&l, &s, &e), fits ? LINES_LINE : LINES_LONG);
        assert_int_equal(s.n, fits ? sizes[i] : 0);
        assert_int_equal(l.number, i + 1);
        assert_true(l.data.cap <= 3 * (size_t)LINES_MAX_BYTES);
    }
    assert_int_equal(lines_next(&l, &s, &e), LINES_END);
    lines_close(&l);
    assert_int_equal(truncate(path, 4 * (off_t)LINES_MAX_BYTES), 0);
    assert_int_equal(lines_open(&l, path, &e), 0); /* the long one is the last */
    assert_int_equal(lines_next(&l, &s, &e), LINES_LINE);
    assert_int_equal(lines_next(&l, &s, &e), LINES_LONG);
    assert_int_equal(lines_next(&l, &s, &e), LINES_LONG);
    assert_int_equal(lines_next(&l, &s, &e), LINES_END);
    lines_close(&l);
    free(a);
    temp_remove(dir);
}

/* ---- which tokens are learned ---- */

struct shop {
    char *dir;
    struct data_vocab v;
    struct chat_template *t;
    struct data_opts o;
    struct dataset d;
    struct err e;
};

/* With the vocabulary and the template of a golden file, or of a source; neither: plain. */
static void shop_open(struct shop *s, const char *file, const char *source, const char *specials) {
    *s = (struct shop){.dir = temp_folder()};
    if (specials)
        data_vocab_open(&s->v, s->dir, specials);
    else
        data_vocab_for(&s->v, s->dir, file);
    if (file) s->t = template_of(file);
    if (source) s->t = source_template(source);
    s->o = (struct data_opts){.vocab = s->v.v, .chat = s->t};
}

static int shop_read(struct shop *s, const char *text) {
    dataset_fini(&s->d);
    s->e = (struct err){0};
    return dataset_read(&s->d, data_file(s->dir, "data.jsonl", text), &s->o, &s->e);
}

static void shop_close(struct shop *s) {
    dataset_fini(&s->d);
    chat_template_free(s->t);
    data_vocab_close(&s->v);
    temp_remove(s->dir);
}

/* Sequence i: all of it (NULL: of no interest), and what is learned. */
static void shop_has(const struct shop *s, int i, const char *all, const char *learned) {
    struct buf text = {0}, parts = {0};
    assert_true(i < s->d.n_seq);
    data_text(s->v.v, &s->d, i, &text);
    data_learned(s->v.v, &s->d, i, &parts);
    if (all) assert_string_equal(text.p, all);
    assert_string_equal(parts.p ? parts.p : "", learned);
    buf_fini(&text);
    buf_fini(&parts);
}

static void learns(struct shop *s, const char *line, const char *all, const char *learned) {
    if (shop_read(s, line) != 0) fail_msg("%s", s->e.msg);
    shop_has(s, 0, all, learned);
}

static const char two_turns[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi you\"},{\"role\":\"assistant\",\"content\":"
    "\"Hello there\"},{\"role\":\"user\",\"content\":\"Bye\"},{\"role\":\"assistant\",\"content\":"
    "\"Ciao!\"},{\"role\":\"user\",\"content\":\"never answered\"}]}\n";

static void chatml(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, "own-chatml.jinja", NULL, NULL);
    learns(&s, two_turns,
           "<s><|im_start|>user\nHi you<|im_end|>\n<|im_start|>assistant\nHello there<|im_end|>\n"
           "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nCiao!<|im_end|>",
           "[Hello there<|im_end|>][Ciao!<|im_end|>]");
    assert_int_equal(s.d.count.n_fault[EXAMPLE_LAST_ONLY], 0);
    assert_int_equal(s.d.n_label, s.d.seq[0].n_label);
    s.o.last_only = true;
    learns(&s, two_turns, NULL, "[Ciao!<|im_end|>]");
    s.o.last_only = false;
    s.o.system = STR("Be kind.");
    learns(&s, "{\"prompt\":\"q\",\"completion\":\"a\"}",
           "<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
           "<|im_start|>assistant\na<|im_end|>",
           "[a<|im_end|>]");
    /* The answer begins with a blank line: "\n\n" is one token, and what is behind the prompt's
     * tokens is learned. */
    learns(&s, "{\"prompt\":\"q\",\"completion\":\"\\na\"}", NULL, "[\n\na<|im_end|>]");
    /* Text that looks like control tokens is text, in questions and in answers. */
    learns(&s, "{\"prompt\":\"<|im_end|>\",\"completion\":\"a<|im_end|>b\"}", NULL,
           "[a<|im_end|>b<|im_end|>]");
    int n = 0;
    for (int i = 0; i < s.d.seq[0].n; i++)
        n += vocab_attr(s.v.v, s.d.tok[i]) == TOKEN_CONTROL;
    assert_int_equal(n, 7); /* BOS, two or three of each of three turns; none from the texts */
    learns(&s,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
           "\"content\":\"no\",\"weight\":0},{\"role\":\"user\",\"content\":\"q\"},"
           "{\"role\":\"assistant\",\"content\":\"yes\"}]}",
           NULL, "[yes<|im_end|>]");
    shop_close(&s);
}

/* The template forgets earlier thoughts, and writes empty ones into the last answer only. */
static void unstable_template(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, "Qwen-Qwen3-0.6B.jinja", NULL, NULL);
    learns(&s, two_turns, NULL, "[<think>\n\n</think>\n\nCiao!<|im_end|>]");
    assert_int_equal(s.d.count.n_fault[EXAMPLE_LAST_ONLY], 1);
    assert_int_equal(s.d.n_example, 1);
    learns(&s,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
           "\"content\":\"a\",\"reasoning_content\":\"hm\"}]}",
           NULL, "[<think>\nhm\n</think>\n\na<|im_end|>]");
    assert_int_equal(s.d.count.n_fault[EXAMPLE_LAST_ONLY], 0);
    shop_close(&s);
}

static void tool_calls(void **state) {
    (void)state;
    static const char line[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Rain?\"},{\"role\":\"assistant\","
        "\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"sky\","
        "\"arguments\":\"{\\\"at\\\": \\\"here\\\"}\"}}]},{\"role\":\"tool\",\"tool_call_id\":"
        "\"c\",\"content\":\"wet\"},{\"role\":\"assistant\",\"content\":\"Yes.\"}],\"tools\":"
        "[{\"type\":\"function\",\"function\":{\"name\":\"sky\",\"description\":\"d\","
        "\"parameters\":{\"type\":\"object\",\"properties\":{\"at\":{\"type\":\"string\"}}}}}]}";
    struct shop s;
    shop_open(&s, "Qwen-Qwen2.5-7B-Instruct.jinja", NULL, NULL);
    learns(&s, line, NULL,
           "[<tool_call>\n{\"name\": \"sky\", \"arguments\": {\"at\": \"here\"}}\n</tool_call>"
           "<|im_end|>][Yes.<|im_end|>]");
    shop_close(&s);
    shop_open(&s, "own-zephyr.jinja", NULL, NULL);
    if (s.t) assert_int_equal(shop_read(&s, line), -1);
    if (s.t) assert_non_null(strstr(s.e.msg, "line 1: this model does not support tools"));
    shop_close(&s);
}

/* A Modelfile's TEMPLATE stops behind the last answer: what ends it is found in a longer
 * conversation. */
static void go_template(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, NULL,
              "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}"
              "<|im_start|>{{ .Role }}\n{{ .Content }}{{ if or (ne .Role \"assistant\") (not "
              "$last) }}<|im_end|>\n{{ end }}{{ if and $last (ne .Role \"assistant\") }}"
              "<|im_start|>assistant\n{{ end }}{{- end }}",
              "<s> </s> <|im_start|> <|im_end|>");
    learns(&s, two_turns,
           "<s><|im_start|>user\nHi you<|im_end|>\n<|im_start|>assistant\nHello there<|im_end|>\n"
           "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nCiao!<|im_end|>",
           "[Hello there<|im_end|>][Ciao!<|im_end|>]");
    shop_close(&s);
}

/* A model that knows no chats: prompt and answer one behind the other, and the end token. */
static void no_template(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, NULL, NULL, "<s> </s> <|x|>");
    learns(&s, "{\"prompt\":\"The sky\",\"completion\":\" is blue.\"}", "<s>The sky is blue.</s>",
           "[ is blue.</s>]");
    learns(&s, "{\"system\":\"Be kind.\",\"prompt\":\"q\",\"completion\":\"a\"}",
           "<s>Be kind.\n\nqa</s>", "[a</s>]");
    learns(&s, two_turns, NULL, "[Hello there][Ciao!</s>]");
    learns(&s, "{\"text\":\"abc\"}", "<s>abc</s>", "[abc</s>]");
    /* Special tokens in a text are what they look like; begin and end are not doubled. */
    learns(&s, "{\"text\":\"<s>a<|x|>b</s>\"}", "<s>a<|x|>b</s>", "[a<|x|>b</s>]");
    assert_int_equal(s.d.seq[0].n, 5);
    assert_int_equal(s.d.seq[0].n_label, 4);
    shop_close(&s);
}

static void pairs(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, "own-chatml.jinja", NULL, NULL);
    learns(&s,
           "{\"prompt\":\"q\",\"chosen\":\"good\",\"rejected\":\"bad one\"}\n"
           "{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"}\n",
           "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\ngood<|im_end|>",
           "[good<|im_end|>]");
    shop_has(&s, 1, "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nbad one<|im_end|>",
             "[bad one<|im_end|>]");
    assert_true(s.d.pairs);
    assert_int_equal(s.d.n_seq, 4);
    assert_int_equal(s.d.n_example, 2);
    assert_int_equal(s.d.seq[3].line, 2);
    /* Preferences and other examples do not mix. */
    assert_int_equal(shop_read(&s, "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                   "{\"text\":\"x\"}\n"),
                     -1);
    assert_non_null(strstr(s.e.msg, "line 2: found an ordinary example among preferences"));
    shop_close(&s);
}

/* For every template that there is: of the last answer all is learned that a prompt does not give,
 * it ends with a token that ends generation, and nothing that a user said is learned. */
static void all_templates(void **state) {
    (void)state;
    char **names = golden_names("chat/templates", ".jinja", 7);
    int n_right = 0, n_whole = 0;
    for (char **name = names; *name; name++) {
        struct shop s;
        struct buf learned = {0};
        shop_open(&s, *name, NULL, NULL);
        if (s.t && shop_read(&s, two_turns) == 0) {
            const struct data_seq *q = &s.d.seq[0];
            data_learned(s.v.v, &s.d, 0, &learned);
            if (strstr(learned.p, "Hi you") || strstr(learned.p, "Bye") ||
                !strstr(learned.p, "Ciao!"))
                fail_msg("%s: %s", *name, learned.p);
            assert_true(vocab_is_eog(s.v.v, s.d.label[q->n - 2]));
            if (strstr(learned.p, "Hello there"))
                n_whole++;
            else
                assert_int_equal(s.d.count.n_fault[EXAMPLE_LAST_ONLY], 1);
            n_right++;
        }
        buf_fini(&learned);
        shop_close(&s);
    }
    names_free(names);
    print_message("%d templates, %d learn both answers\n", n_right, n_whole);
    assert_true(n_right >= (golden_is_full() ? 45 : 7));
    assert_true(n_whole >= (golden_is_full() ? 41 : 6));
}

/* The vocabularies of real models with their own templates: tokens meet texts in another way in
 * each (blanks in front, merged newlines, blanks that special tokens swallow). */
static void real_vocabularies(void **state) {
    (void)state;
    static const char *const real[][3] = {
        {"llama-spm", "own-llama2.jinja", "[ Hello there </s>][ Ciao! </s>]"},
        {"llama-spm", "own-zephyr.jinja", "[Hello there</s>][Ciao!</s>]"},
        {"phi-3", "microsoft-Phi-3.5-mini-instruct.jinja", "[ Hello there<|end|>][ Ciao!<|end|>]"},
        {"llama-bpe", "meta-llama-Llama-3.2-3B-Instruct.jinja",
         "[Hello there<|eot_id|>][Ciao!<|eot_id|>]"},
        {"qwen2", "Qwen-Qwen2.5-7B-Instruct.jinja", "[Hello there<|im_end|>][Ciao!<|im_end|>]"},
        {"qwen2", "Qwen-Qwen3-0.6B.jinja", "[<think>\n\n</think>\n\nCiao!<|im_end|>]"},
        {"gpt-2", NULL, "[Hello there][Ciao!<|endoftext|>]"},
    };
    if (!golden_is_full()) skip();
    char *dir = temp_folder();
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        char rel[100];
        struct err e = {0};
        struct dataset d;
        struct buf learned = {0};
        snprintf(rel, sizeof rel, "vocab/ggml-vocab-%s.gguf", real[i][0]);
        struct gguf *g = gguf_open(golden(rel), &e);
        struct vocab *v = g ? vocab_load(g, &e) : NULL;
        if (!v) fail_msg("%s", e.msg);
        struct chat_template *t = real[i][1] ? template_of(real[i][1]) : NULL;
        const struct data_opts o = {.vocab = v, .chat = t};
        if (dataset_read(&d, data_file(dir, "x", two_turns), &o, &e) != 0) fail_msg("%s", e.msg);
        data_learned(v, &d, 0, &learned);
        assert_string_equal(learned.p, real[i][2]);
        buf_fini(&learned);
        dataset_fini(&d);
        chat_template_free(t);
        vocab_free(v);
        gguf_close(g);
    }
    temp_remove(dir);
}

/* ---- a file ---- */

struct issues {
    int n, line[32], other[32];
    enum example_fault fault[32];
};

static void note(void *ctx, const struct data_issue *i) {
    struct issues *l = ctx;
    assert_true(l->n < 32);
    l->line[l->n] = i->line;
    l->other[l->n] = i->other;
    l->fault[l->n++] = i->fault;
}

static const char mixed[] = "{\"id\":1,\"text\":\"first\"}\r\n"
                            "\n"
                            "{\"text\":\"first\"}\n"                  /* 3: duplicate of 1 */
                            "{\"id\":\"1\",\"text\":\"other\"}\n"     /* 4: id of 1 */
                            "{broken\n"                               /* 5 */
                            "{\"text\":\"\"}\n"                       /* 6: empty */
                            "{\"text\":\"a very long text, that\"}\n" /* 7: too long */
                            "{\"prompt\":\"q\",\"completion\":\"a\"}\n"
                            "{\"x\":1}\n" /* 9: unknown */
                            "{\"text\":\"last\"}";

static void counts(void **state) {
    (void)state;
    static const int lines[] = {3, 4, 5, 6, 7, 9};
    static const enum example_fault want[] = {EXAMPLE_DUPLICATE, EXAMPLE_DUPLICATE_ID,
                                              EXAMPLE_BROKEN,    EXAMPLE_EMPTY,
                                              EXAMPLE_LONG,      EXAMPLE_UNKNOWN};
    struct shop s;
    struct issues l = {0};
    shop_open(&s, NULL, NULL, "<s> </s>");
    s.o.max_tokens = 12;
    s.o.on_issue = note;
    s.o.ctx = &l;
    /* The default: an error is one. */
    assert_int_equal(shop_read(&s, mixed), -1);
    assert_int_equal(s.e.code, ERR_FORMAT);
    assert_non_null(strstr(s.e.msg, "data.jsonl: line 5, column "));
    l = (struct issues){0};
    s.o.skip_bad = true;
    if (shop_read(&s, mixed) != 0) fail_msg("%s", s.e.msg);
    assert_int_equal(l.n, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(l.line[i], lines[i]);
        assert_int_equal(l.fault[i], want[i]);
        assert_int_equal(s.d.count.n_fault[want[i]], 1);
        assert_int_equal(l.other[i], i < 2 ? 1 : 0);
    }
    assert_int_equal(s.d.count.n_line, 9);
    assert_int_equal(s.d.n_example, 3);
    assert_int_equal(s.d.seq[1].line, 8);
    assert_int_equal(s.d.seq[2].line, 10);
    assert_int_equal(s.d.count.n_format[EXAMPLE_TEXT], 3); /* with the one that is too long */
    assert_int_equal(s.d.count.first, EXAMPLE_TEXT);
    shop_has(&s, 2, "<s>last</s>", "[last</s>]");
    shop_close(&s);
}

static void too_long(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, NULL, NULL, "<s> </s>");
    s.o.max_tokens = 8;
    s.o.cut = true;
    learns(&s, "{\"prompt\":\"abc\",\"completion\":\"defghi\"}", "<s>abcdefg", "[defg]");
    assert_int_equal(s.d.count.n_fault[EXAMPLE_CUT], 1);
    /* What is left has nothing to learn. */
    assert_int_equal(shop_read(&s, "{\"prompt\":\"abcdefghij\",\"completion\":\"k\"}"), -1);
    assert_int_equal(s.d.count.n_fault[EXAMPLE_MASKED], 1);
    assert_non_null(strstr(s.e.msg, "no example is left of 1 lines (1 nothing to learn)"));
    s.o.cut = false;
    assert_int_equal(shop_read(&s, "{\"prompt\":\"abc\",\"completion\":\"defghi\"}"), -1);
    assert_int_equal(s.d.count.n_fault[EXAMPLE_LONG], 1);
    assert_int_equal(shop_read(&s, ""), -1);
    assert_non_null(strstr(s.e.msg, "the file is empty"));
    assert_int_equal(shop_read(&s, "\n \r\n"), -1);
    assert_non_null(strstr(s.e.msg, "only blank lines"));
    shop_close(&s);
}

/* One token is nothing to foretell: a vocabulary without begin and end tokens has such texts. */
static void one_token(void **state) {
    (void)state;
    struct shop s;
    shop_open(&s, NULL, NULL, "");
    assert_int_equal(shop_read(&s, "{\"text\":\"a\"}\n{\"text\":\"ab\"}\n"), 0);
    assert_int_equal(s.d.count.n_fault[EXAMPLE_SHORT], 1);
    shop_has(&s, 0, "ab", "[b]");
    shop_close(&s);
}

static void digests(void **state) {
    (void)state;
    uint8_t first[SHA256_BYTES];
    struct shop s;
    shop_open(&s, "own-chatml.jinja", NULL, NULL);
    assert_int_equal(shop_read(&s, two_turns), 0);
    memcpy(first, s.d.digest, sizeof first);
    assert_int_equal(shop_read(&s, two_turns), 0);
    assert_memory_equal(first, s.d.digest, sizeof first);
    s.o.last_only = true; /* other labels */
    assert_int_equal(shop_read(&s, two_turns), 0);
    assert_memory_not_equal(first, s.d.digest, sizeof first);
    shop_close(&s);
}

static void stops(void **state) {
    (void)state;
    static const volatile int stop = 1;
    struct shop s;
    shop_open(&s, NULL, NULL, "<s> </s>");
    s.o.stop = &stop;
    assert_int_equal(shop_read(&s, two_turns), -1);
    assert_int_equal(s.e.code, ERR_CANCELLED);
    shop_close(&s);
}

/* ---- parts ---- */

/* n examples with n_prompt different prompts. */
static char *many(int n, int n_prompt, int from) {
    struct buf b = {0};
    for (int i = 0; i < n; i++)
        buf_printf(&b, "{\"prompt\":\"question %d\",\"completion\":\"answer %d\"}\n",
                   from + i % n_prompt, from + i);
    return b.p;
}

static void split(void **state) {
    (void)state;
    struct shop s;
    struct data_part train, valid, again_t, again_v;
    struct data_leaks leaks;
    shop_open(&s, NULL, NULL, "<s> </s>");
    char *text = many(200, 50, 0);
    assert_int_equal(shop_read(&s, text), 0);
    assert_int_equal(data_part_split(&s.d, 0.1, 7, &train, &valid, &s.e), 0);
    assert_int_equal(data_part_split(&s.d, 0.1, 7, &again_t, &again_v, &s.e), 0);
    assert_int_equal(train.n + valid.n, 200);
    assert_int_equal(valid.n, 20); /* five prompts of four examples */
    assert_memory_equal(valid.example, again_v.example, (size_t)valid.n * sizeof *valid.example);
    for (int i = 0; i < valid.n; i++)
        for (int k = 0; k < train.n; k++)
            assert_true(s.d.prompt_hash[valid.example[i]] != s.d.prompt_hash[train.example[k]]);
    data_part_fini(&again_t);
    data_part_fini(&again_v);
    assert_int_equal(data_part_split(&s.d, 0.1, 8, &again_t, &again_v, &s.e), 0);
    assert_memory_not_equal(valid.example, again_v.example,
                            (size_t)valid.n * sizeof *valid.example);
    data_part_fini(&again_t);
    data_part_fini(&again_v);
    data_part_fini(&train);
    data_part_fini(&valid);
    /* One at least, and never all; nothing where nothing is asked. */
    assert_int_equal(data_part_split(&s.d, 0.001, 7, &train, &valid, &s.e), 0);
    assert_int_equal(valid.n, 4);
    data_part_fini(&train);
    data_part_fini(&valid);
    assert_int_equal(data_part_split(&s.d, 0, 7, &train, &valid, &s.e), 0);
    assert_int_equal(valid.n, 0);
    assert_int_equal(train.n, 200);
    data_part_fini(&train);
    data_part_fini(&valid);
    free(text);
    text = many(5, 1, 0);
    assert_int_equal(shop_read(&s, text), 0);
    assert_int_equal(data_part_split(&s.d, 0.2, 7, &train, &valid, &s.e), -1);
    assert_non_null(strstr(s.e.msg, "5 examples of one prompt"));
    data_part_fini(&train);
    data_part_fini(&valid);
    assert_int_equal(data_leaks_find(&s.d, &s.d, &leaks, &s.e), 0);
    assert_int_equal(leaks.n_same, 5);
    free(text);
    shop_close(&s);
}

static void leaks(void **state) {
    (void)state;
    struct shop s, v;
    struct data_leaks l;
    struct data_part unknown;
    shop_open(&s, NULL, NULL, "<s> </s>");
    shop_open(&v, NULL, NULL, "<s> </s>");
    char *text = many(10, 10, 0);
    assert_int_equal(shop_read(&s, text), 0);
    free(text);
    assert_int_equal(shop_read(&v, "{\"prompt\":\"new\",\"completion\":\"x\"}\n"
                                   "{\"instruction\":\"question 3\",\"output\":\"answer 3\"}\n"
                                   "{\"prompt\":\" question 4\",\"completion\":\"other\"}\n"),
                     0);
    assert_int_equal(data_leaks_find(&s.d, &v.d, &l, &s.e), 0);
    assert_int_equal(l.n_same, 1);
    assert_int_equal(l.n_prompt, 1);
    assert_int_equal(l.line, 2);
    assert_int_equal(data_part_unknown(&s.d, &v.d, &unknown, &s.e), 0);
    assert_int_equal(unknown.n, 1);
    assert_int_equal(unknown.example[0], 0);
    data_part_fini(&unknown);
    shop_close(&s);
    shop_close(&v);
}

static void statistics(void **state) {
    (void)state;
    struct buf b = {0};
    struct shop s;
    struct data_part all;
    struct data_stats st;
    shop_open(&s, NULL, NULL, "<s> </s>");
    for (int i = 100; i >= 1; i--) { /* lengths 102 .. 3, all but the first token learned */
        buf_str(&b, "{\"text\":\"");
        for (int k = 0; k < i; k++)
            buf_byte(&b, 'x');
        buf_str(&b, "\"}\n");
    }
    assert_int_equal(shop_read(&s, b.p), 0);
    assert_int_equal(data_part_all(&s.d, &all, &s.e), 0);
    assert_int_equal(data_part_stats(&all, &st, &s.e), 0);
    assert_int_equal(st.n, 100);
    assert_int_equal(st.min, 3);
    assert_int_equal(st.median, 52);
    assert_int_equal(st.p95, 97);
    assert_int_equal(st.max, 102);
    assert_int_equal(st.total, 5250);
    assert_int_equal(st.n_label, 5150);
    assert_true(st.mean == 52.5);
    assert_true(dataset_bytes(&s.d) >= 5250 * 8);
    data_part_fini(&all);
    buf_fini(&b);
    shop_close(&s);
}

/* ---- packs ---- */

static uint32_t next(uint32_t *x) {
    return *x = *x * 1664525 + 1013904223;
}

static void packs(void **state) {
    (void)state;
    enum { N = 3000, MAX = 1000 };
    static int len[N], start[N + 1], in[N];
    static int32_t order[N];
    uint32_t seed = 1;
    struct err e;
    int64_t total = 0;
    for (int i = 0; i < N; i++) {
        len[i] = 1 + (int)(next(&seed) >> 8) % (i % 3 ? 200 : MAX);
        total += len[i];
    }
    const int n = pack_best_fit(len, N, MAX, order, start, &e);
    assert_true(n > 0 && start[0] == 0 && start[n] == N);
    for (int k = 0; k < n; k++) {
        int sum = 0;
        assert_true(start[k] < start[k + 1]);
        for (int i = start[k]; i < start[k + 1]; i++) {
            sum += len[order[i]];
            in[order[i]]++;
        }
        assert_true(sum <= MAX);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(in[i], 1);
    /* Johnson's bound, against the least that any packing could need. */
    const int least = (int)((total + MAX - 1) / MAX);
    print_message("%d packs, at least %d\n", n, least);
    assert_true(9 * n <= 11 * least + 9);
    static const int exact[] = {6, 3, 4, 7, 5, 5};
    assert_int_equal(pack_best_fit(exact, 6, 10, order, start, &e), 3);
    static const int one[] = {64};
    assert_int_equal(pack_best_fit(one, 1, 64, order, start, &e), 1);
    assert_int_equal(pack_best_fit(NULL, 0, 64, order, start, &e), 0);
}

/* Much room costs nothing where there is little to lay out: in a process of its own, whose peak
 * begins at what it has. */
static void roomy_packs(void **state) {
    (void)state;
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static const int len[] = {6, 300, 4, 7, 5, 5};
        int32_t order[6];
        int start[7];
        const size_t before = os_rss_bytes();
        if (pack_best_fit(len, 6, 1 << 26, order, start, NULL) != 1 || start[1] != 6) _exit(2);
        _exit(os_peak_rss_bytes() < before + (16 << 20) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        cmocka_unit_test(preferences),
        cmocka_unit_test(foreign_messages),
        cmocka_unit_test(default_system),
        cmocka_unit_test(faults),
        cmocka_unit_test(bombs),
        cmocka_unit_test(line_ends),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(chatml),
        cmocka_unit_test(unstable_template),
        cmocka_unit_test(tool_calls),
        cmocka_unit_test(go_template),
        cmocka_unit_test(no_template),
        cmocka_unit_test(pairs),
        cmocka_unit_test(all_templates),
        cmocka_unit_test(real_vocabularies),
        cmocka_unit_test(counts),
        cmocka_unit_test(too_long),
        cmocka_unit_test(one_token),
        cmocka_unit_test(digests),
        cmocka_unit_test(stops),
        cmocka_unit_test(split),
        cmocka_unit_test(leaks),
        cmocka_unit_test(statistics),
        cmocka_unit_test(packs),
        cmocka_unit_test(roomy_packs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
