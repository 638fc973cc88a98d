/* Named TEMPLATEs: which one a file's Jinja is, what `create` makes of it, and what renders then.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "chat_rig.h"
#include "engine/engine.h"
#include "rewrite.h"
#include "text/chat/gotmpl.h"
#include "text/chat/named.h"

static const char *name_of(const char *jinja) {
    const struct chat_named *n = chat_named_find(str_of(jinja));
    return n ? n->name : "none";
}

/* ---- Reference data ---- */

static void detect_line(void *ctx, int line, json_t *v) {
    (void)ctx, (void)line;
    assert_string_equal(name_of(json_string_value(json_object_get(v, "chat_template"))),
                        json_string_value(json_object_get(v, "name")));
}

static void detects(void **state) {
    (void)state;
    assert_true(each_jsonl(golden("gotmpl/detect.jsonl"), detect_line, NULL) >= 23);
    int n = 0;
    for (const struct chat_known *k = chat_known; k->name; k++, n++)
        assert_string_equal(name_of(k->jinja), k->name);
    assert_true(n >= 32);
    if (!golden_is_full()) return; /* the table has the texts of this file */
    json_t *index = slurp_json(golden("gotmpl/index.json")), *v;
    size_t i;
    json_array_foreach(index, i, v)
        assert_string_equal(name_of(json_string_value(json_object_get(v, "template"))),
                            json_string_value(json_object_get(v, "name")));
    assert_true(json_array_size(index) >= 27);
    json_decref(index);
}

/* The door prints the same. */
static void door(void **state) {
    (void)state;
    struct ran r;
    static const char in[] = "{\"chat_template\":\"{{ x }}\"}\n{\"text\":1}\n";
    run_cria(&r, (const char *const[]){"debug", "template", "--detect", NULL}, in, sizeof in - 1,
             20);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out.p, "{\"error\":\"no matching template found\"}\n"
                                 "{\"error\":\"input: chat_template is missing; a string is "
                                 "needed\"}\n");
    ran_fini(&r);
}

/* ---- Distance, against the whole table of the textbook ---- */

static int textbook(const char *a, const char *b) {
    const size_t n = strlen(a), m = strlen(b);
    int *d = malloc((m + 1) * sizeof *d);
    for (size_t j = 0; j <= m; j++)
        d[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = d[0];
        d[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            const int swap = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = d[j];
            const int less = d[j] < d[j - 1] ? d[j] : d[j - 1];
            d[j] = swap < less + 1 ? swap : less + 1;
        }
    }
    const int all = d[m];
    free(d);
    return all;
}

static const char *textbook_name(const char *jinja) {
    const char *best = "none";
    int least = 100;
    for (const struct chat_known *k = chat_known; k->name; k++) {
        if (labs((long)strlen(k->jinja) - (long)strlen(jinja)) >= 100) continue;
        const int d = textbook(jinja, k->jinja);
        if (d < least) least = d, best = k->name;
    }
    return best;
}

/* Random edits of one of the known texts. */
static void edit(char *s, size_t cap, unsigned *seed, int n) {
    while (n-- > 0) {
        const size_t len = strlen(s), at = len ? (size_t)rand_r(seed) % len : 0;
        const char c = (char)('a' + rand_r(seed) % 26);
        const int what = rand_r(seed) % 3;
        if (what == 0 && len + 1 < cap)
            memmove(s + at + 1, s + at, len - at + 1), s[at] = c;
        else if (what == 1 && len)
            memmove(s + at, s + at + 1, len - at);
        else if (len)
            s[at] = c;
    }
}

static void distances(void **state) {
    (void)state;
    unsigned seed = 20260704;
    int n_known = 0, n_near = 0;
    while (chat_known[n_known].name)
        n_known++;
    for (int i = 0; i < 60; i++) {
        char s[2048];
        const char *jinja = chat_known[rand_r(&seed) % n_known].jinja;
        if (strlen(jinja) > 900) continue;
        snprintf(s, sizeof s, "%s", jinja);
        edit(s, sizeof s, &seed, rand_r(&seed) % 160);
        const char *want = textbook_name(s);
        n_near += strcmp(want, "none") != 0;
        if (strcmp(name_of(s), want) != 0) fail_msg("%s, not %s: %s", name_of(s), want, s);
    }
    assert_in_range(n_near, 5, 55);
}

/* The bound counts characters, and is exact. */
static void bound(void **state) {
    (void)state;
    char s[4096];
    for (int n = 99; n <= 100; n++)
        for (int wide = 0; wide < 2; wide++) {
            size_t at = (size_t)snprintf(s, sizeof s, "%s", chat_known[16].jinja); /* alone */
            for (int i = 0; i < n; i++)
                at += (size_t)snprintf(s + at, sizeof s - at, "%s", wide ? "\xe2\x82\xac" : "#");
            assert_string_equal(name_of(s), n < 100 ? chat_known[16].name : "none");
        }
    assert_string_equal(name_of(""), "none");
    char *huge = calloc(1, (8 << 20) + 1);
    memset(huge, 'a', 8 << 20);
    assert_string_equal(name_of(huge), "none");
    free(huge);
}

/* ---- Our TEMPLATEs ---- */

static const char talk[] = "[{'role':'system','content':'Be brief.'},{'role':'user','content':"
                           "'Hi'},{'role':'assistant','content':'Hello'},{'role':'user','content':"
                           "'Bye'}]";

static void render_named(const struct chat_named *n, const json_t *messages, struct buf *out) {
    struct err e = {0};
    struct chat_prompt p = {0};
    struct gotmpl *t = gotmpl_new(str_of(n->text), &e);
    if (!t || gotmpl_render(t, &(struct gotmpl_input){.messages = messages}, &p, &e) != 0)
        fail_msg("%s: %s", n->name, e.msg);
    buf_append(out, p.text.p, p.text.n);
    chat_prompt_fini(&p);
    gotmpl_free(t);
}

/* All of them are Go, show every message once, in order, and stop somewhere. */
static void templates(void **state) {
    (void)state;
    for (const struct chat_known *k = chat_known; k->name; k++) {
        const struct chat_named *n = chat_named_find(str_of(k->jinja));
        struct buf out = {0};
        json_t *messages = json_of(talk), *params = json_loads(n->params, 0, NULL);
        render_named(n, messages, &out);
        buf_byte(&out, 0);
        const char *at = out.p;
        for (const char *const *w = (const char *const[]){"Be brief.", "Hi", "Hello", "Bye", NULL};
             *w; w++) {
            at = strstr(at, *w);
            if (!at) fail_msg("%s: %s is missing in %s", n->name, *w, out.p);
        }
        assert_true(json_array_size(json_object_get(params, "stop")) > 0);
        json_decref(params);
        json_decref(messages);
        buf_fini(&out);
    }
}

/* The named ones whose reference form is not off from the model's own by blanks or marks. */
static void reference_line(void *ctx, int line, json_t *v) {
    static const char *const same[] = {"alpaca",          "chatml", "granite-instruct",
                                       "llama3-instruct", "phi-3",  "mistral-instruct",
                                       "gemma-instruct",  "zephyr"};
    (void)line;
    const char *file = json_string_value(json_object_get(v, "template"));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (strncmp(file, same[i], strlen(same[i])) != 0) continue;
        const struct chat_known *k = chat_known;
        struct buf out = {0};
        while (strcmp(k->name, same[i]) != 0)
            k++;
        render_named(chat_named_find(str_of(k->jinja)), json_object_get(v, "messages"), &out);
        buf_byte(&out, 0);
        assert_string_equal(out.p, json_string_value(json_object_get(v, "expected")));
        buf_fini(&out);
        ++*(int *)ctx;
    }
}

static void reference(void **state) {
    (void)state;
    int n = 0;
    each_jsonl(golden("gotmpl/named.jsonl"), reference_line, &n);
    assert_int_equal(n, 24);
}

/* ---- create, and what renders ---- */

static char *dir;

static const char *in_dir(const char *name) {
    static char ring[4][600];
    static int at;
    char *b = ring[at++ & 3];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

static void output(struct buf *out, const char *const *args) {
    struct ran r;
    run_cria(&r, args, NULL, 0, 60);
    if (r.code != 0) fail_msg("%s: %s", args[0], r.err.p);
    buf_append(out, r.out.p, r.out.n);
    buf_append(out, r.err.p, r.err.n);
    buf_byte(out, 0);
    ran_fini(&r);
}
#define OUTPUT(out, ...) output(out, (const char *const[]){__VA_ARGS__, NULL})

/* What `create` says and `show` then shows of it. */
static void makes(const char *modelfile, const char *status, const char *template_text,
                  const char *stop) {
    struct err e;
    struct buf said = {0}, shown = {0}, params = {0};
    if (os_write_file(in_dir("Mf"), modelfile, strlen(modelfile), &e) != 0) fail_msg("%s", e.msg);
    OUTPUT(&said, "create", "m", "-f", in_dir("Mf"));
    OUTPUT(&shown, "show", "m", "--template");
    OUTPUT(&params, "show", "m", "--parameters");
    if (status ? !strstr(said.p, status) : strstr(said.p, "autodetected") != NULL)
        fail_msg("%s", said.p);
    assert_string_equal(shown.p, template_text);
    if (!strstr(params.p, stop)) fail_msg("%s", params.p);
    buf_fini(&said), buf_fini(&shown), buf_fini(&params);
}

static void created(void **state) {
    (void)state;
    const struct chat_named *n = chat_named_find(str_of(REWRITE_CHATML));
    char shown[600];
    assert_string_equal(n->name, "chatml");
    snprintf(shown, sizeof shown, "%s", n->text);
    rewrite_template(golden("models/llama32.gguf"), in_dir("chatml.gguf"), REWRITE_CHATML);
    rewrite_template(golden("models/llama32.gguf"), in_dir("own.gguf"),
                     "{{ messages[0].content }}");
    makes("FROM ./chatml.gguf\n", "using autodetected template chatml", shown, "<|im_end|>");
    makes("FROM ./chatml.gguf\nPARAMETER top_k 7\n", "template chatml", shown, "<|im_start|>");
    makes("FROM m\n", NULL, shown, "top_k");
    makes("FROM ./chatml.gguf\nPARAMETER stop X\n", "template chatml", shown, " X\n");
    makes("FROM ./chatml.gguf\nTEMPLATE {{ .Prompt }}\n", NULL, "{{ .Prompt }}\n", "");
    makes("FROM ./own.gguf\n", NULL, "{{ messages[0].content }}\n", "");
}

static const char *renderer(const char *file, const char *given) {
    struct err e = {0};
    const struct engine_opts o = {.vocab_only = true, .chat_template = str_of(given)};
    struct engine *g = engine_open(in_dir(file), &o, &e);
    const struct chat_template *t = g ? engine_template(g, &e) : NULL;
    if (!t) fail_msg("%s", e.msg);
    static char name[32];
    snprintf(name, sizeof name, "%s", chat_template_name(t));
    engine_close(g);
    return name;
}

/* The file's own Jinja, unless somebody wrote another TEMPLATE. */
static void renders(void **state) {
    (void)state;
    const char *text = chat_named_find(str_of(REWRITE_CHATML))->text;
    rewrite_template(golden("models/llama32.gguf"), in_dir("a.gguf"), REWRITE_CHATML);
    rewrite_template(golden("models/llama32.gguf"), in_dir("b.gguf"), "{{ messages[0].content }}");
    assert_string_not_equal(renderer("a.gguf", ""), "go");
    assert_string_not_equal(renderer("a.gguf", text), "go");
    assert_string_equal(renderer("a.gguf", "{{ .Prompt }}"), "go");
    assert_string_equal(renderer("b.gguf", text), "go");
}

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    setenv("CRIA_MODELS", in_dir("store"), 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(detects), cmocka_unit_test(door),      cmocka_unit_test(distances),
        cmocka_unit_test(bound),   cmocka_unit_test(templates), cmocka_unit_test(reference),
        cmocka_unit_test(created), cmocka_unit_test(renders),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
