/* Bad command lines: each gives one clear line on stderr, nothing on stdout and the right exit
 * code, and none hangs. */
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"

enum { MAX_WORDS = 12, TIMEOUT_S = 20 };

/* Run, and check what every refusal has in common.  `says`: a part of the message. */
static void refuse(const char *const *args, int code, const char *says) {
    struct ran r;
    char line[512] = "";
    for (int i = 0; args[i]; i++)
        strcat(strcat(line, " "), args[i]);
    run_cria(&r, args, "", 0, TIMEOUT_S);
    if (r.code != code) fail_msg("cria%s: exit code %d, not %d; %s", line, r.code, code, r.err.p);
    if (strncmp(r.err.p, "Error: ", 7) != 0 || strchr(r.err.p, '\n') != r.err.p + r.err.n - 1)
        fail_msg("cria%s: not one line: %s", line, r.err.p);
    if (!strstr(r.err.p, says)) fail_msg("cria%s: \"%s\" is not in: %s", line, says, r.err.p);
    if (r.out.n) fail_msg("cria%s: stdout has %s", line, r.out.p);
    ran_fini(&r);
}

struct line {
    const char *args[MAX_WORDS];
    int code;
    const char *says;
};

static const struct line words[] = {
    {{"nosuch"}, 2, "unknown command \"nosuch\""},
    {{"doctr"}, 2, "did you mean `cria doctor`?"},
    {{"--verison"}, 2, "did you mean `cria --version`?"},
    {{"-x"}, 2, "unknown option \"-x\""},
    {{""}, 2, "unknown command \"\""},
    {{"do\x1b[31mctor"}, 2, "\\x1b[31m"},
    {{"help", "nosuch"}, 2, "nosuch"},
    {{"help", "debug", "nosuch"}, 2, "nosuch"},
    {{"debug"}, 2, "a command is missing"},
    {{"debug", "nosuch"}, 2, "unknown command \"nosuch\""},
    {{"doctor", "extra"}, 2, "it takes no argument"},
    {{"doctor", "--jsn"}, 2, "did you mean --json?"},
    {{"doctor", "--json=yes"}, 2, "takes no value"},
    {{"doctor", "-q"}, 2, "unknown option -q"},
};

static void wrong_words(void **s) {
    (void)s;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        refuse(words[i].args, words[i].code, words[i].says);
}

static void settings_that_do_not_parse(void **s) {
    (void)s;
    static const char *const bad[][2] = {
        {"CRIA_THREADS", "abc"},      {"CRIA_THREADS", "0"},    {"CRIA_THREADS", "513"},
        {"OLLAMA_NUM_THREADS", "2x"}, {"CRIA_CPU", "foo"},      {"CRIA_DEBUG", "3"},
        {"CRIA_THREADS", "1e99"},     {"CRIA_CPU", "avx2|ref"}, {"CRIA_THREADS", "=2"}};
    const char *const door[] = {"debug", "sampler", NULL};
    const char *const doctor[] = {"doctor", NULL};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv(bad[i][0], bad[i][1], 1);
        refuse(door, 2, bad[i][1]);
        struct ran r; /* the doctor tells, and goes on */
        assert_int_equal(run_cria(&r, doctor, "", 0, TIMEOUT_S), 0);
        assert_null(strstr(r.out.p, "problems\n  none"));
        ran_fini(&r);
        unsetenv(bad[i][0]);
    }
}

static void help_and_version(void **s) {
    (void)s;
    static const char *const good[][3] = {{"help"},           {"--help"}, {"-h"},
                                          {"help", "doctor"}, {NULL},     {"doctor", "--help"},
                                          {"debug", "-h"},    {"-v"},     {"--version"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ran r;
        const char *args[4] = {good[i][0], good[i][1], NULL};
        assert_int_equal(run_cria(&r, args, "", 0, TIMEOUT_S), 0);
        assert_true(r.out.n > 10);
        assert_int_equal(r.err.n, 0);
        ran_fini(&r);
    }
}

static void doctor_reports(void **s) {
    (void)s;
    struct ran r;
    const char *const args[] = {"doctor", "--json", NULL};
    assert_int_equal(run_cria(&r, args, "", 0, TIMEOUT_S), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_non_null(j);
    static const char *const section[] = {"version",  "build",          "system",
                                          "cpu",      "memory",         "libraries",
                                          "settings", "reference_data", "problems"};
    for (size_t i = 0; i < sizeof section / sizeof *section; i++)
        assert_non_null(json_object_get(j, section[i]));
    json_decref(j);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_words),
        cmocka_unit_test(settings_that_do_not_parse),
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(doctor_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
