/* `cria pii` as a user runs it: what it prints, exit codes, names and addresses by a model that a
 * server has. */
#include "server_rig.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define MAIL "jane.doe@example.com"
static const char text[] = "Dear J\xc3\xa4ne,\nwrite to " MAIL ", card 4111 1111 1111 1111\n";

static void runs(const char *const *args, const char *in, int code, const char *want) {
    struct ran r;
    run_cria(&r, args, in, strlen(in), 60);
    if (r.code != code ||
        !strstr(code == 0 || code == 5 ? buf_view(&r.out).p : buf_view(&r.err).p, want))
        fail_msg("code %d: %s%s\nwanted %d %s", r.code, buf_view(&r.out).p, buf_view(&r.err).p,
                 code, want);
    ran_fini(&r);
}
#define RUN(code, in, want, ...)                                                                   \
    runs((const char *const[]){"pii", __VA_ARGS__, NULL}, in, code, want)

static void prints_what_is_found(void **state) {
    (void)state;
    RUN(0, text, "2:10\temail\t" MAIL "\n2:37\tcard\t4111 1111 1111 1111\n", "-");
    RUN(0, text, "write to [EMAIL], card [CARD]\n", "-", "--redact");
    RUN(0, text, "write to j***@e***.com, card **** **** **** 1111\n", "--mask", "-");
    RUN(0, text, "write to <EMAIL_1>, card <CARD_1>\n", "--replace", "-");
    RUN(0, text, "write to [EMAIL], card **** **** **** 1111\n", "--redact", "--entities",
        "email,card=mask", "-");
    RUN(0, text, "\"placeholders\":{\"<EMAIL_1>\":\"" MAIL "\"", "--replace", "--json", "-");
    RUN(0, text,
        "{\"entity\":\"email\",\"start\":21,\"end\":41,\"line\":2,\"column\":10,\"action\":"
        "\"report\"}",
        "--json", "-");
}

static void check_has_a_code(void **state) {
    (void)state;
    RUN(5, text, "email", "--check", "-");
    RUN(0, "nothing here\n", "", "--check", "-");
    RUN(0, text, "", "--check", "--entities", "iban", "-");
}

static void says_what_is_wrong(void **state) {
    (void)state;
    RUN(2, text, "\"mail\"; all, email", "--entities", "mail", "-");
    RUN(2, text, "one of --redact, --mask and --replace", "--mask", "--redact", "-");
    RUN(2, text, "--model MODEL is needed", "--entities", "name", "-");
    RUN(2, text, "FILE or -", "a", "b");
    RUN(3, text, "No such file", "not/there");
}

/* Bytes that are not UTF-8 pass through. */
static void any_bytes_pass(void **state) {
    (void)state;
    RUN(0, "\xff\xfe " MAIL " \xc3", "\xff\xfe [EMAIL] \xc3", "--redact", "-");
}

/* Time goes with the length also where all is one line. */
static void one_long_line(void **state) {
    enum { N = 40000 };
    (void)state;
    struct buf in = {0};
    struct ran r;
    for (int i = 0; i < N; i++)
        buf_printf(&in, "\xc3\xa4 %s and more, ", MAIL);
    const int64_t t0 = os_now_ns();
    run_cria(&r, (const char *const[]){"pii", "-", NULL}, in.p, in.n, 60);
    const double s = (double)(os_now_ns() - t0) * 1e-9;
    assert_int_equal(r.code, 0);
    char last[80];
    snprintf(last, sizeof last, "\n1:%d\temail\t" MAIL "\n", 3 + (N - 1) * 33);
    assert_string_equal(r.out.p + r.out.n - strlen(last), last);
    if (!SANITIZED && s > 5) fail_msg("%g s", s);
    ran_fini(&r);
    buf_fini(&in);
}

/* nginx stands for a server with a model that says these. */
static void model_finds_names(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct server p = {0};
    if (system("command -v nginx >/dev/null") != 0) skip();
    nginx_start(
        &p, dir, "model",
        "server { listen 127.0.0.1:$port; default_type application/json;\n"
        "location = / { default_type text/plain; return 200 'Ollama is running'; }\n"
        "location = /api/version { return 200 '{\"version\":\"0.32.0\"}'; }\n"
        "location = /api/show { return 200 "
        "'{\"details\":{},\"model_info\":{},\"capabilities\":[\"completion\"]}'; }\n"
        "location = /api/chat { return 200 "
        "'{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":"
        "\"{\\\\\"names\\\\\":[\\\\\"Ann Lee\\\\\",\\\\\"Zed\\\\\"],\\\\\"addresses\\\\\":[\\\\\"1 "
        "High St, Ely\\\\\"]}\"},\"done\":true}\\n'; }\n}\n");
    char host[64];
    snprintf(host, sizeof host, "127.0.0.1:%d", p.port);
    setenv("CRIA_HOST", host, 1);
    static const char in[] =
        "Ann\nLee lives at 1 High St,  Ely. Annabel Lee does not; nor does Ann Lees. " MAIL "\n";
    RUN(0, in, "[NAME] lives at [ADDRESS]. Annabel Lee does not; nor does Ann Lees. [EMAIL]\n",
        "--model", "m", "--redact", "-");
    RUN(0, in, "1:1\tname\tAnn\\nLee\n", "--model", "m", "--entities", "name", "-");
    unsetenv("CRIA_HOST");
    server_stop(&p);
    temp_remove(dir);
}

/* One that is opened here: what it says follows the schema, whatever it is. */
static void model_here_answers(void **state) {
    (void)state;
    RUN(0, text, "email\t" MAIL, "--model", golden("models/llama32.gguf"), "-");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_what_is_found), cmocka_unit_test(check_has_a_code),
        cmocka_unit_test(says_what_is_wrong),   cmocka_unit_test(any_bytes_pass),
        cmocka_unit_test(one_long_line),        cmocka_unit_test(model_finds_names),
        cmocka_unit_test(model_here_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
