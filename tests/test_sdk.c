/* The clients that people use, from npm and unmodified, against a running server: tests/js.  Each
 * file there is one test here; what it says when it fails is shown.  `./quickstart test` installs
 * node and the clients. */
#include "api_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct serve serve;

/* Qwen's way to show tools and to call them; random weights call none unless they are made to. */
#define TOOLS                                                                                      \
    "{{- if or .System .Tools }}<|im_start|>system\\n{{ .System }}{{- if .Tools }}\\n# Tools\\n"   \
    "<tools>{{ range .Tools }}\\n{\\\"type\\\": \\\"function\\\", \\\"function\\\": "              \
    "{{ .Function }}}{{ end }}\\n</tools>{{ end }}<|im_end|>\\n{{ end }}"
#define TURNS                                                                                      \
    "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}"            \
    "{{- if eq .Role \\\"user\\\" }}<|im_start|>user\\n{{ .Content }}<|im_end|>\\n"                \
    "{{ else if eq .Role \\\"assistant\\\" }}<|im_start|>assistant\\n%s{{ .Content }}"             \
    "{{- if .ToolCalls }}{{ range .ToolCalls }}\\n<tool_call>\\n{\\\"name\\\": \\\""               \
    "{{ .Function.Name }}\\\", \\\"arguments\\\": {{ .Function.Arguments }}}\\n</tool_call>"       \
    "{{ end }}{{ end }}{{ if not $last }}<|im_end|>\\n{{ end }}"                                   \
    "{{ else if eq .Role \\\"tool\\\" }}<|im_start|>user\\n<tool_response>\\n{{ .Content }}\\n"    \
    "</tool_response><|im_end|>\\n{{ end }}"                                                       \
    "{{ if and (ne .Role \\\"assistant\\\") $last }}<|im_start|>assistant\\n%s{{ end }}{{ end }}"
#define THOUGHT "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"

static int start(void **state) {
    (void)state;
    static const char form[] = ",\"template\":\"" TOOLS TURNS "\"";
    char more[sizeof form + 200];
    serve_start(&serve, NULL, NULL);
    snprintf(more, sizeof more, form, "", "");
    api_make(&serve, "chat", "llama32", more);
    snprintf(more, sizeof more, form, THOUGHT, "<think>\\n");
    api_make(&serve, "thinker", "llama32", more);
    api_make(&serve, "embedder", "bert", "");
    return 0;
}

static int stop(void **state) {
    (void)state;
    return serve_stop(&serve);
}

static void run_file(const char *file) {
    char url[64], path[200];
    struct ran r;
    if (access("tests/js/node_modules/.installed", R_OK) != 0)
        fail_msg("tests/js/node_modules is not there; `./quickstart test` installs it");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", serve.port);
    snprintf(path, sizeof path, "tests/js/%s", file);
    setenv("CRIA_TEST_URL", url, 1);
    const char *const args[] = {"node", "--test", path, NULL};
    const int code = run_program(&r, "/usr/bin/env", args, "", 0, SANITIZED ? 280 : 120);
    if (code != 0) printf("%s\n%s\n", r.out.p ? r.out.p : "", r.err.p ? r.err.p : "");
    assert_int_equal(code, 0);
    ran_fini(&r);
}

static void ollama(void **state) {
    (void)state;
    run_file("ollama.test.mjs");
}

static void openai(void **state) {
    (void)state;
    run_file("openai.test.mjs");
}

static void anthropic(void **state) {
    (void)state;
    run_file("anthropic.test.mjs");
}

static void agents(void **state) {
    (void)state;
    run_file("agents.test.mjs");
}

static void examples(void **state) {
    (void)state;
    run_file("examples.test.mjs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ollama), cmocka_unit_test(openai),   cmocka_unit_test(anthropic),
        cmocka_unit_test(agents), cmocka_unit_test(examples),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
