/* Commands that talk to a server: what they answer is what they answer without one. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_rig.h"
#include "rewrite.h"
#include "term.h"

static struct serve srv;
static char *dir, file[700];

/* The same model as a file here and by the name "chat" in the server's store, which no command
 * here knows the folder of. */
static int set_up(void **state) {
    (void)state;
    char host[64], digest[80], body[300];
    struct buf text = {0};
    dir = temp_folder();
    setenv("HOME", dir, 1);
    setenv("TERM", "xterm", 1);
    setenv("CRIA_NOHISTORY", "1", 1);
    snprintf(file, sizeof file, "%s/chat.gguf", dir);
    rewrite_template(golden("models/llama32.gguf"), file, REWRITE_CHATML);
    serve_start(&srv, NULL, NULL);
    assert_int_equal(api_upload(&srv, file, digest), 201);
    snprintf(body, sizeof body,
             "{\"model\": \"chat\", \"files\": {\"chat.gguf\": \"%s\"}, \"system\": \"Be brief.\", "
             "\"parameters\": {\"temperature\": 0}}",
             digest);
    assert_int_equal(api_status(&srv, "POST", "/api/create", body, &text), 200);
    buf_fini(&text);
    api_make(&srv, "bert", "bert", "");
    snprintf(host, sizeof host, "127.0.0.1:%d", srv.port);
    setenv("CRIA_HOST", host, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    assert_int_equal(serve_stop(&srv), 0);
    temp_remove(dir);
    return 0;
}

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }

/* Exit code as told; standard output is the caller's: free(). */
static char *out_of(const char *const *args, int code) {
    struct ran r;
    if (run_cria(&r, args, "", 0, 60) != code)
        fail_msg("%s: exit %d, expected %d: %s", args[0], r.code, code, r.err.p);
    char *out = strdup(r.out.p ? r.out.p : "");
    ran_fini(&r);
    return out;
}

static void same(const char *const *there, const char *const *here) {
    char *a = out_of(there, 0), *b = out_of(here, 0);
    assert_true(strlen(a) > 1);
    assert_string_equal(a, b);
    free(a), free(b);
}

static void answers(void **state) {
    (void)state;
    same(ARGS("run", "chat", "hello", "-o", "num_predict=9"),
         ARGS("run", file, "hello", "-o", "num_predict=9", "-o", "temperature=0", "--system",
              "Be brief."));
    same(ARGS("run", "chat", "--raw", "hello", "-o", "num_predict=9"),
         ARGS("run", file, "--raw", "hello", "-o", "num_predict=9", "-o", "temperature=0"));
    same(ARGS("run", "chat", "hello", "-o", "num_predict=12", "-o", "temperature=0.9", "-o",
              "seed=7", "-o", "stop=a", "-o", "stop=e"),
         ARGS("run", file, "hello", "-o", "num_predict=12", "-o", "temperature=0.9", "-o", "seed=7",
              "-o", "stop=a", "-o", "stop=e", "--system", "Be brief."));
    same(ARGS("run", "bert", "hello"), ARGS("run", golden("models/bert.gguf"), "hello"));
    char *json = out_of(ARGS("run", "chat", "hello", "--format",
                             "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,2]}},"
                             "\"required\":[\"a\"],\"additionalProperties\":false}"),
                        0);
    json_t *j = json_loads(json, 0, NULL);
    const json_int_t a = json_integer_value(json_object_get(j, "a"));
    if (a != 1 && a != 2) fail_msg("wrote %s", json);
    json_decref(j), free(json);
}

static void stays(void **state) {
    (void)state;
    free(out_of(ARGS("run", "chat", "", "--keepalive", "-1"), 0));
    char *ps = out_of(ARGS("ps"), 0);
    assert_non_null(strstr(ps, "chat:latest"));
    assert_non_null(strstr(ps, "Forever"));
    free(ps);
    free(out_of(ARGS("stop", "chat"), 0));
}

static void names(void **state) {
    (void)state;
    char *list = out_of(ARGS("list"), 0);
    assert_non_null(strstr(list, "chat:latest"));
    assert_non_null(strstr(list, "bert:latest"));
    free(list);
    list = out_of(ARGS("cp", "chat", "other"), 0);
    assert_string_equal(list, "copied 'chat' to 'other'\n");
    free(list);
    list = out_of(ARGS("list", "oth", "--json"), 0);
    json_t *j = json_loads(list, 0, NULL), *m = json_object_get(j, "models");
    assert_int_equal(json_array_size(m), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(m, 0), "name")),
                        "other:latest");
    json_decref(j), free(list);
    free(out_of(ARGS("rm", "other"), 0));
    free(out_of(ARGS("rm", "other"), 3));
    free(out_of(ARGS("pull", "http://127.0.0.1:1/x/y"), serve_isolated() ? 5 : 1));
    free(out_of(ARGS("run", "127.0.0.1:1/x/nobody", "hi"), serve_isolated() ? 5 : 1));
    char store[800];
    snprintf(store, sizeof store, "%s/.cria/models", dir);
    assert_int_equal(access(store, F_OK), -1); /* nothing was done here */
}

/* Commands that find no server, with the server's store for the one here. */
static void here(bool on) {
    static char host[64];
    char store[800];
    if (on) {
        snprintf(host, sizeof host, "%s", getenv("CRIA_HOST"));
        snprintf(store, sizeof store, "%s/models", srv.dir);
        setenv("CRIA_HOST", "127.0.0.1:1", 1);
        setenv("CRIA_MODELS", store, 1);
    } else {
        setenv("CRIA_HOST", host, 1);
        unsetenv("CRIA_MODELS");
    }
}

static void same_show(const char *model, const char *flag) {
    char *a = out_of(ARGS("show", model, flag), 0);
    here(true);
    char *b = out_of(ARGS("show", model, flag), 0);
    here(false);
    assert_string_equal(a, b);
    free(a), free(b);
}

static json_t *json_of(const char *const *args) {
    char *text = out_of(args, 0);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    free(text);
    return j;
}

/* What only the store here knows aside, JSON is the same, too. */
static void same_show_json(const char *model, const char *flag) {
    static const char *const only_here[] = {"id", "path", "gguf_version", "files", "bytes"};
    json_t *a = json_of(ARGS("show", model, "--json", flag));
    here(true);
    json_t *b = json_of(ARGS("show", model, "--json", flag));
    here(false);
    json_object_set_new(a, "name", json_string("-"));
    json_object_set_new(b, "name", json_string("-"));
    for (size_t i = 0; i < sizeof only_here / sizeof *only_here; i++) {
        assert_null(json_object_get(a, only_here[i]));
        assert_int_equal(json_object_del(b, only_here[i]), 0);
    }
    assert_true(json_equal(a, b));
    json_decref(a), json_decref(b);
}

static void show(void **state) {
    (void)state;
    static const char *const flags[] = {NULL,          "-v",         "--metadata",
                                        "--tensors",   "--system",   "--parameters",
                                        "--modelfile", "--template", "--license"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        same_show("chat", flags[i]), same_show("bert", flags[i]);
    char *text = out_of(ARGS("show", "chat", "--system"), 0);
    assert_string_equal(text, "Be brief.\n");
    free(text);
    same_show_json("chat", NULL), same_show_json("bert", NULL), same_show_json("chat", "-v");
    free(out_of(ARGS("show", "nobody"), 3));
    free(out_of(ARGS("show", file), 0)); /* a file is ours */
}

static void chat(void **state) {
    (void)state;
    struct term t;
    term_open(&t, ARGS("run", "chat", "-o", "num_predict=3"), 100);
    assert_true(term_wait(&t, 0, ">>> "));
    term_expect(&t, "hello\r", ">>> ");
    term_expect(&t, "/show info\r", "family");
    term_expect(&t, "/show template\r", "<|im_start|>");
    term_expect(&t, "/show modelfile\r", "FROM");
    term_expect(&t, "/list\r", "bert:latest");
    term_expect(&t, "/set think much\r", "low, medium, high, max");
    term_expect(&t, "/set format json\r", "Set format to 'json' mode.");
    term_expect(&t, "/set noformat\r", "Disabled format.");
    term_expect(&t, "/save kept\r", "Created new model 'kept'");
    term_expect(&t, "/load nobody-has-this\r", "Error:");
    term_expect(&t, "/load kept\r", ">>> ");
    term_expect(&t, "/show modelfile\r", "MESSAGE user hello");
    /* Ctrl-C ends the answer, not the program. */
    term_expect(&t, "/set parameter num_predict 100000\r", ">>> ");
    const size_t from = t.out.n;
    term_send(&t, "go on\r");
    assert_true(term_wait(&t, from + 40, ""));
    kill(t.pid, SIGINT);
    assert_true(term_wait(&t, from + 40, ">>> "));
    term_send(&t, "/bye\r");
    assert_int_equal(term_close(&t), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(stays),
                                       cmocka_unit_test(names), cmocka_unit_test(show),
                                       cmocka_unit_test(chat)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
