/* Bad command lines: each gives one clear line on stderr, nothing on stdout and the right exit
 * code, and none hangs. */
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

#define M "MODEL" /* the golden llama */
#define E "EMBED" /* the golden bert */

static const struct line with_model[] = {
    {{"run", M, "hi", "-o", "nosuch=1"}, 2, "nosuch"},
    {{"run", M, "hi", "-o", "temperature"}, 2, "NAME=VALUE"},
    {{"run", M, "hi", "-o", "temperature=abc"}, 2, "temperature"},
    {{"run", M, "hi", "-o", "temperature=nan"}, 2, "temperature"},
    {{"run", M, "hi", "-o", "top_k=-5"}, 2, "top_k"},
    {{"run", M, "hi", "-o", "num_ctx=1e99"}, 2, "num_ctx"},
    {{"run", M, "hi", "-o", "num_ctx=0"}, 2, "num_ctx"},
    {{"run", M, "--raw", "hi", "-o", "num_ctx=100000000"}, 2, "num_ctx"},
    {{"run", M, "hi", "--threads", "513"}, 2, "1 to 512"},
    {{"run", M, "hi", "--lora", "/nosuch.gguf"}, 3, "/nosuch.gguf"},
    {{"run", M, "hi", "--lora", M ":abc"}, 2, "--lora"},
    {{"run", M, "hi", "--lora", M}, 1, "adapter"},
    {{"embed", E, "x", "--pooling", "foo"}, 2, "--pooling"},
    {{"tokenize", M, "--decode", "abc"}, 2, "--decode"},
    {{"tokenize", M, "--decode", "99999999"}, 1, "99999999"},
    {{"perplexity", M, "/nosuch.txt"}, 3, "/nosuch.txt"},
    {{"perplexity", M, "/tmp"}, 1, "directory"},
    {{"perplexity", M, "/dev/null"}, 1, "regular file"},
    {{"show", M, "extra"}, 2, "show"},
    {{"bench", M, M}, 2, "accepted: MODEL"},
    {{"bench", M, "--kv", "q9"}, 2, "--kv"},
    {{"bench", M, "--kv", "q8_0"}, 1, "Q8_0"},
    {{"bench", M, "--pp", "0", "--tg", "0"}, 2, "nothing to measure"},
    {{"bench", M, "--tg", "1048577"}, 2, "1048576"},
    {{"quantize", M, "/tmp/never.gguf", "Q9_9"}, 2, "Q9_9"},
    {{"quantize", M, "/tmp", "Q8_0"}, 1, "/tmp"},
    {{"quantize", M, M, "Q8_0"}, 2, "another file"},
    {{"quantize", M, "/nosuch/x.gguf", "Q8_0"}, 3, "/nosuch/x.gguf"},
    {{"quantize", M, "/tmp/never.gguf", "Q8_0", "--imatrix", "/nosuch"}, 3, "/nosuch"},
    {{"debug", "logits", M}, 2, "--tokens"},
    {{"debug", "logits", M, "--tokens", "1 x"}, 2, "--tokens"},
    {{"debug", "logits", M, "--tokens", ""}, 2, "--tokens"},
    {{"debug", "logits", M, "--tokens", "99999999"}, 1, "99999999"},
    {{"debug", "logits", M, "--tokens", "1", "--kv", "foo"}, 2, "--kv"},
    {{"debug", "greedy", M, "--tokens", "1", "-n", "-1"}, 2, "--predict"},
    {{"debug", "layers", M, "--tokens", "99999999"}, 1, "99999999"},
    {{"debug", "tensor", M, "nosuch"}, 3, "nosuch"},
    {{"debug", "quant", "NOSUCH", "--row", "32"}, 2, "NOSUCH"},
    {{"debug", "quant", "Q8_0", "--row", "31"}, 2, "multiples of 32"},
    {{"debug", "dequant", "NOSUCH"}, 2, "NOSUCH"},
};

static void wrong_words(void **s) {
    (void)s;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        refuse(words[i].args, words[i].code, words[i].says);
}

/* "MODEL" and "MODEL:abc" become the file and what follows. */
static const char *model_word(const char *word, char *room, size_t n_room) {
    const char *rel = strncmp(word, M, 5) == 0   ? "models/llama32.gguf"
                      : strncmp(word, E, 5) == 0 ? "models/bert.gguf"
                                                 : NULL;
    if (!rel) return word;
    snprintf(room, n_room, "%s%s", golden(rel), word + 5);
    return room;
}

static void wrong_words_beside_a_model(void **s) {
    (void)s;
    for (size_t i = 0; i < sizeof with_model / sizeof *with_model; i++) {
        const char *args[MAX_WORDS] = {NULL};
        char room[MAX_WORDS][512];
        for (int k = 0; k < MAX_WORDS && with_model[i].args[k]; k++)
            args[k] = model_word(with_model[i].args[k], room[k], sizeof room[k]);
        refuse(args, with_model[i].code, with_model[i].says);
    }
}

/* ---- signals and full disks ---- */

/* The process's own handler takes the signal (proc(5), SigCgt). */
static bool catches(pid_t pid, int sig) {
    char path[64], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "SigCgt:", 7) == 0) mask = strtoull(line + 7, NULL, 16);
    if (f) fclose(f);
    return mask >> (sig - 1) & 1;
}

/* Send sig once the program is ready for it, and again: the first may come before its wait. */
static void interrupt(pid_t pid, int sig) {
    siginfo_t ended = {0};
    for (int i = 0; i < 2000 && !catches(pid, sig); i++)
        poll(NULL, 0, 10);
    for (int i = 0; i < 100 && !ended.si_pid; i++) {
        poll(NULL, 0, 300);
        kill(pid, sig);
        waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT);
    }
    if (!ended.si_pid) kill(pid, SIGKILL);
}

/* Start the program with stdout on fd `out` (-1: closed), send it `sig` after a while (0: none);
 * its wait status. */
static int run_with(const char *const *args, int out, int sig) {
    const char *argv[MAX_WORDS + 1] = {getenv("CRIA") ? getenv("CRIA") : "build/cria"};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), 2);
        if (out < 0)
            close(1);
        else
            dup2(out, 1);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (sig) interrupt(pid, sig);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void interrupt_ends_a_long_run(void **s) {
    (void)s;
    const char *const args[] = {"bench", golden("models/llama32.gguf"), "--tg", "1048576", NULL};
    const int null = open("/dev/null", O_WRONLY);
    const int64_t t0 = os_now_ns();
    const int status = run_with(args, null, SIGINT);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_true(os_now_ns() - t0 < 10ll * 1000000000);
    close(null);
}

/* Reading lines from a terminal or a slow pipe ends as well, and not as if all was read. */
static void interrupt_ends_a_wait_for_input(void **s) {
    (void)s;
    const char *const args[] = {"embed", golden("models/bert.gguf"), NULL};
    const int null = open("/dev/null", O_WRONLY), in = dup(0);
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    dup2(p[0], 0);
    const int status = run_with(args, null, SIGINT);
    dup2(in, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 130);
    close(in), close(null), close(p[0]), close(p[1]);
}

static void output_that_cannot_be_written(void **s) {
    (void)s;
    const char *const args[] = {"doctor", NULL};
    const int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    const int status = run_with(args, full, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    /* An answer of ten contexts that nobody can read is not computed. */
    const char *const run[] = {"run",   golden("models/llama32.gguf"),
                               "--raw", "hi",
                               "-o",    "ignore_eos=true",
                               "-o",    "num_ctx=100000",
                               NULL};
    const int64_t t0 = os_now_ns();
    const int stopped = run_with(run, full, 0);
    assert_true(WIFEXITED(stopped) && WEXITSTATUS(stopped) == 1);
    assert_true(os_now_ns() - t0 < 10ll * 1000000000);
    close(full);
    /* `ulimit -f`: an error, not a signal. */
    char *dir = temp_folder(), to[600];
    snprintf(to, sizeof to, "%s/out.gguf", dir);
    const char *const big[] = {"quantize", golden("models/llama32.gguf"), to, "F16", NULL};
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){20000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    const int null = open("/dev/null", O_WRONLY);
    const int limited = run_with(big, null, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    close(null);
    assert_true(WIFEXITED(limited) && WEXITSTATUS(limited) == 1);
    assert_int_equal(rmdir(dir), 0); /* and nothing is left behind */
    free(dir);
    const int closed = run_with(args, -1, 0); /* as `>&-` leaves it */
    assert_true(WIFEXITED(closed) && WEXITSTATUS(closed) == 1);
    int p[2]; /* a reader that has gone: `cria ... | head` */
    assert_int_equal(pipe(p), 0);
    close(p[0]);
    const int gone = run_with(args, p[1], 0);
    assert_true(WIFSIGNALED(gone) && WTERMSIG(gone) == SIGPIPE);
    close(p[1]);
}

static void settings_that_do_not_parse(void **s) {
    (void)s;
    static const char *const bad[][2] = {
        {"CRIA_THREADS", "abc"},      {"CRIA_THREADS", "0"},        {"CRIA_THREADS", "513"},
        {"OLLAMA_NUM_THREADS", "2x"}, {"CRIA_CPU", "foo"},          {"CRIA_DEBUG", "3"},
        {"CRIA_THREADS", "1e99"},     {"CRIA_CPU", "avx2|ref"},     {"CRIA_THREADS", "=2"},
        {"CRIA_PIN", "yes"},          {"CRIA_KV_CACHE_TYPE", "q9"}, {"CRIA_CONTEXT_LENGTH", "many"},
        {"CRIA_CONTEXT_LENGTH", "3"}};
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

/* ---- every command, found through `cria help`, so that a new one is tested from its first day
 * ---- */

struct commands {
    char name[64][32], args[64][96]; /* "show", "FILE" */
    int n;
};

static char *help_text(const char *const *args) {
    struct ran r;
    run_cria(&r, args, "", 0, TIMEOUT_S);
    assert_int_equal(r.code, 0);
    char *text = strdup(r.out.p);
    ran_fini(&r);
    return text;
}

/* The lines "  name ARGS   brief" between "Commands:" and the next empty line. */
static void list_commands(const char *const *help, struct commands *c) {
    char *text = help_text(help), *save, *at = strstr(text, "Commands:\n");
    assert_non_null(at);
    *strstr(at, "\n\n") = 0;
    c->n = 0;
    strtok_r(at, "\n", &save);
    for (char *l; (l = strtok_r(NULL, "\n", &save)) && c->n < 64;) {
        if (l[2] == ' ') continue; /* a brief on its own line */
        if (sscanf(l, "  %31[a-z_] %95[^\n]", c->name[c->n], c->args[c->n]) < 1) continue;
        char *brief = strstr(c->args[c->n], "  ");
        if (brief) *brief = 0;
        if (strcmp(c->name[c->n], "help") != 0) c->n++;
    }
    free(text);
}

/* One command behind `prefix` ("debug" or NULL), then more words. */
static void line_of(const char *out[MAX_WORDS], const char *prefix, const char *name, const char *a,
                    const char *b, const char *c) {
    int n = 0;
    const char *const word[] = {prefix, name, a, b, c};
    for (int i = 0; i < 5; i++)
        if (word[i]) out[n++] = word[i];
    out[n] = NULL;
}

/* An unknown option; then each option of the command's own help without a value, and each number
 * ("N") malformed, far out of range and empty.  Returns how many options were tried. */
static int options_of(const char *prefix, const char *name) {
    const char *args[MAX_WORDS], *const help[] = {"help", prefix ? prefix : name,
                                                  prefix ? name : NULL, NULL};
    line_of(args, prefix, name, "--nosuch-option", NULL, NULL);
    refuse(args, 2, "unknown option --nosuch-option");
    line_of(args, prefix, name, "-~", NULL, NULL);
    refuse(args, 2, "unknown option -~");
    char *text = help_text(help), *save;
    int n = 0;
    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        char option[48] = "--", arg[48] = "";
        char *at = strstr(l, "--");
        if (l[0] != ' ' || !at || at - l > 8) continue;
        sscanf(at, "--%40[a-z0-9-] %40[^ ]", option + 2, arg);
        if (at[strlen(option)] != ' ' || at[strlen(option) + 1] == ' ') continue; /* a flag */
        n++;
        line_of(args, prefix, name, option, NULL, NULL);
        refuse(args, 2, option);
        if (strcmp(arg, "N") != 0) continue;
        static const char *const bad[] = {"abc", "1x",  "",    "99999999999999999999",
                                          "1e3", "nan", "0x10"};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            line_of(args, prefix, name, option, bad[i], NULL);
            refuse(args, 2, option);
        }
    }
    free(text);
    return n;
}

/* Are there commands behind this one? */
static bool is_group(const char *name) {
    char *text = help_text((const char *const[]){"help", name, NULL});
    const bool group = strstr(text, "\nCommands:\n") != NULL;
    free(text);
    return group;
}

static void wrong_options_of_every_command(void **s) {
    (void)s;
    struct commands c, behind;
    int n_option = 0, n_group = 0;
    list_commands((const char *const[]){"help", NULL}, &c);
    assert_true(c.n >= 3);
    for (int i = 0; i < c.n; i++) {
        if (strcmp(c.args[i], "COMMAND") != 0) n_option += options_of(NULL, c.name[i]);
        if (!is_group(c.name[i])) continue;
        n_group++;
        list_commands((const char *const[]){"help", c.name[i], NULL}, &behind);
        assert_true(behind.n >= 1);
        for (int k = 0; k < behind.n; k++)
            n_option += options_of(c.name[i], behind.name[k]);
    }
    assert_true(n_option >= 30);
    assert_true(n_group >= 3); /* debug, data, train */
}

/* ---- every command that takes a model FILE ---- */

struct bad_file {
    const char *name;
    int code;
};

/* needed: without a file it is refused, too. */
static void bad_files_for(const char *prefix, const char *name, const char *dir, bool needed) {
    static const struct bad_file bad[] = {
        {"missing.gguf", 3}, {"folder.gguf", 1}, {"fifo.gguf", 1},
        {"empty.gguf", 1},   {"text.gguf", 1},   {"missing/below.gguf", 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, bad[i].name);
        /* A second and a third word for those that need them (quantize IN OUT TYPE). */
        const bool quantize = strcmp(name, "quantize") == 0,
                   tokens = prefix && strcmp(name, "tokenize");
        const char *args[MAX_WORDS], *second = quantize ? "/dev/null/x"
                                               : tokens ? "--tokens"
                                                        : "text";
        if (prefix && strcmp(name, "tokenize") == 0) second = NULL;
        if (strcmp(name, "show") == 0 || strcmp(name, "bench") == 0) second = NULL;
        if (strcmp(name, "tensor") == 0) second = "output_norm.weight";
        if (strcmp(name, "perplexity") == 0) second = "/dev/null";
        const char *third = quantize                                    ? "Q8_0"
                            : second && strcmp(second, "--tokens") == 0 ? "1"
                                                                        : NULL;
        line_of(args, prefix, name, path, second, third);
        refuse(args, bad[i].code, bad[i].name);
    }
    const char *args[MAX_WORDS];
    line_of(args, prefix, name, NULL, NULL, NULL);
    if (needed) refuse(args, 2, "");
}

static void wrong_files_for_every_command(void **s) {
    (void)s;
    char *dir = temp_folder(), path[512];
    struct err e;
    snprintf(path, sizeof path, "%s/folder.gguf", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/fifo.gguf", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof path, "%s/empty.gguf", dir);
    assert_int_equal(os_write_file(path, "", 0, &e), 0);
    snprintf(path, sizeof path, "%s/text.gguf", dir);
    assert_int_equal(os_write_file(path, "This is no model.\n", 18, &e), 0);

    struct commands c;
    int n = 0;
    list_commands((const char *const[]){"help", NULL}, &c);
    for (int i = 0; i < c.n; i++)
        if (strncmp(c.args[i], "MODEL", 5) == 0 || strncmp(c.args[i], "[MODEL", 6) == 0 ||
            strncmp(c.args[i], "IN", 2) == 0)
            bad_files_for(NULL, c.name[i], dir, c.args[i][0] != '['), n++;
    list_commands((const char *const[]){"debug", "--help", NULL}, &c);
    for (int i = 0; i < c.n; i++)
        if (strncmp(c.args[i], "FILE", 4) == 0 || strncmp(c.args[i], "MODEL", 5) == 0)
            bad_files_for("debug", c.name[i], dir, true), n++;
    assert_true(n >= 12); /* grows with the commands */
    temp_remove(dir);
}

static void help_and_version(void **s) {
    (void)s;
    static const char *const good[][3] = {
        {"help"},           {"help", "help"}, {"help", "--help"},   {"--help"},      {"-h"},
        {"help", "doctor"}, {NULL},           {"doctor", "--help"}, {"debug", "-h"}, {"-v"},
        {"--version"}};
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
    static const char *const section[] = {"version",        "build",     "system",  "cpu",
                                          "memory",         "libraries", "threads", "settings",
                                          "reference_data", "problems"};
    for (size_t i = 0; i < sizeof section / sizeof *section; i++)
        assert_non_null(json_object_get(j, section[i]));
    json_decref(j);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_words),
        cmocka_unit_test(wrong_words_beside_a_model),
        cmocka_unit_test(interrupt_ends_a_long_run),
        cmocka_unit_test(interrupt_ends_a_wait_for_input),
        cmocka_unit_test(output_that_cannot_be_written),
        cmocka_unit_test(settings_that_do_not_parse),
        cmocka_unit_test(wrong_options_of_every_command),
        cmocka_unit_test(wrong_files_for_every_command),
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(doctor_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
