/* Keys in a chat that libedit does not know: pasted texts and the external editor. */
#include "support.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/os.h"
#include "rewrite.h"
#include "term.h"

#define PASTED(text) "\033[200~" text "\033[201~"
#define MARKS_ON "\033[?2004h"
#define MARKS_OFF "\033[?2004l"

static char *dir;
static char model[600]; /* with a chat template */

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(model, sizeof model, "%s/chat.gguf", dir);
    rewrite_template(golden("models/llama32.gguf"), model, REWRITE_CHATML);
    setenv("HOME", dir, 1);
    setenv("TERM", "xterm", 1);
    setenv("CRIA_NOHISTORY", "1", 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static void open_chat(struct term *t) {
    const char *args[] = {"run", model, "--verbose", "-o", "num_predict=1", NULL};
    term_open(t, args, 80);
    assert_true(term_wait(t, 0, ">>> "));
}

/* Tokens of the last prompt, from the timings in a text. */
static int n_prompt(const char *text) {
    static const char label[] = "prompt eval count:";
    const char *at = NULL;
    for (const char *p = text; p && (p = strstr(p, label)); p++)
        at = p;
    assert_non_null(at);
    return atoi(at + sizeof label - 1);
}

/* The same of a message that is asked without a terminal. */
static int n_prompt_of(const char *message) {
    struct ran r;
    const char *args[] = {"run", model, "--verbose", "-o", "num_predict=1", message, NULL};
    assert_int_equal(run_cria(&r, args, "", 0, 30), 0);
    const int n = n_prompt(r.err.p);
    ran_fini(&r);
    return n;
}

static size_t last(const struct term *t, const char *mark) {
    size_t at = 0;
    for (const char *p = t->out.p; (p = strstr(p, mark)); p++)
        at = (size_t)(p - t->out.p) + 1;
    return at;
}

/* Leave, and check that the terminal is as it was. */
static void leave(struct term *t) {
    term_send(t, "/bye\r");
    term_wait(t, 0, NULL);
    assert_true(last(t, MARKS_ON) > 0);
    assert_true(last(t, MARKS_OFF) > last(t, MARKS_ON));
    assert_int_equal(term_close(t), 0);
}

static void test_paste_is_one_message(void **state) {
    (void)state;
    struct term t;
    open_chat(&t);
    /* A command is one line; all line ends alike; what a terminal would obey is dropped. */
    term_expect(&t, PASTED("/alpha\tb\r\nsecond\007 \033line\rthird\n\n"), "third");
    assert_null(strstr(t.out.p, "eval count"));
    assert_non_null(strstr(t.out.p, "... "));
    const size_t from = t.out.n;
    term_expect(&t, " end\r", "eval rate:");
    assert_true(term_wait(&t, from, ">>> "));
    assert_int_equal(n_prompt(t.out.p), n_prompt_of("/alpha\tb\nsecond line\nthird end"));
    /* While it answers the marks are off. */
    const char *off = strstr(t.out.p + from, MARKS_OFF), *said = strstr(t.out.p + from, "total");
    assert_true(off && said && off < said);
    term_expect(&t, PASTED("/? shortcuts"), "shortcuts"); /* one line is as typed */
    term_expect(&t, "\r", "Ctrl + g");
    term_expect(&t, "/clear\r", "Cleared");
    term_expect(&t, "\"\"\"a\r", "... ");
    term_expect(&t, PASTED("b\nc"), "c");
    term_expect(&t, "\"\"\"\r", "eval rate:");
    assert_int_equal(n_prompt(t.out.p), n_prompt_of("a\nb\nc"));
    leave(&t);
}

static void test_paste_given_up(void **state) {
    (void)state;
    struct term t;
    open_chat(&t);
    term_send(&t, "\033[200~without an end\nand so on");
    usleep(50000);
    term_expect(&t, "\003", "Use Ctrl + d or /bye to exit.");
    term_expect(&t, PASTED("one\ntwo"), "two");
    term_expect(&t, "\003", "Use Ctrl + d or /bye to exit.");
    term_expect(&t, "hi\033[D\033[C\r", "eval rate:"); /* keys that begin like a mark */
    assert_int_equal(n_prompt(t.out.p), n_prompt_of("hi"));
    leave(&t);
}

/* ---- the editor ---- */

static char *file(const char *name) {
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void assert_file(const char *name, const char *want) {
    size_t n;
    char *text = (char *)slurp(file(name), &n);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(text, want, n);
    free(text);
}

static void assert_nothing_left(void) {
    glob_t g;
    assert_int_equal(glob(file("cria-*"), 0, NULL, &g), GLOB_NOMATCH);
}

/* Leaves what it was given and the file's mode, and writes another text; or fails. */
static const char script[] = "[ \"$1\" = --wait ] && [ $# = 2 ] || exit 9\n"
                             "cd \"${0%/*}\"\n"
                             "cp \"$2\" seen; stat -c %a \"$2\" >mode\n"
                             "[ ! -e fail ] || exit 3\n"
                             "printf 'from the\\neditor\\n\\n' >\"$2\"\n";

static void test_editor(void **state) {
    (void)state;
    struct term t;
    struct err e;
    char command[800];
    assert_int_equal(os_write_file(file("ed.sh"), script, sizeof script - 1, &e), 0);
    snprintf(command, sizeof command, "sh  %s/ed.sh --wait", dir);
    setenv("CRIA_EDITOR", command, 1);
    setenv("VISUAL", "/nowhere/visual", 1);
    setenv("TMPDIR", dir, 1);
    open_chat(&t);
    term_expect(&t, "draft $(touch x)\007", "editor");
    assert_file("seen", "draft $(touch x)");
    assert_file("mode", "600\n");
    assert_nothing_left();
    assert_null(strstr(t.out.p, "eval count")); /* it waits for Enter */
    term_expect(&t, "!\r", "eval rate:");
    assert_int_equal(n_prompt(t.out.p), n_prompt_of("from the\neditor!"));

    /* All that was read of the message goes to the editor, also a long paste. */
    struct buf text = {0}, paste = {0};
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "%sline %d of a text that is longer than the kernel's line",
                   i ? "\n" : "", i);
    buf_printf(&paste, "\033[200~%s\033[201~", text.p);
    term_expect(&t, paste.p, "line 299 of");
    term_expect(&t, "\007", "editor");
    assert_file("seen", text.p);
    buf_fini(&text), buf_fini(&paste);

    /* The text that came from it is there again when it fails. */
    assert_int_equal(os_write_file(file("fail"), "", 0, &e), 0);
    const size_t from = t.out.n;
    term_expect(&t, "\007", "it ended with code 3");
    assert_file("seen", "from the\neditor");
    assert_true(term_wait(&t, from, "... editor"));
    unlink(file("fail"));
    term_expect(&t, "\007", "editor");
    assert_file("seen", "from the\neditor");
    term_expect(&t, "\003", "Use Ctrl + d");
    leave(&t);
    assert_nothing_left();
}

static void test_no_editor(void **state) {
    (void)state;
    struct term t;
    unsetenv("CRIA_EDITOR");
    setenv("VISUAL", "/nowhere/visual", 1);
    setenv("EDITOR", "/nowhere/editor", 1);
    open_chat(&t);
    term_expect(&t, "text\007", "Error: editor \"/nowhere/visual\": No such file");
    term_expect(&t, "\r", "eval rate:"); /* the text is still there */
    assert_int_equal(n_prompt(t.out.p), n_prompt_of("text"));
    leave(&t);
    setenv("OLLAMA_EDITOR", "/nowhere/ollama", 1);
    open_chat(&t);
    term_expect(&t, "\007", "Error: editor \"/nowhere/ollama\": No such file");
    leave(&t);
    unsetenv("OLLAMA_EDITOR");
    assert_nothing_left();
}

/* What was set and said becomes a model; another one is loaded; one that is not there changes
 * nothing. */
static void test_models(void **state) {
    (void)state;
    struct term t;
    struct ran r;
    char store[700];
    snprintf(store, sizeof store, "%s/store", dir);
    setenv("CRIA_MODELS", store, 1);
    open_chat(&t);
    term_expect(&t, "/show modelfile\r", "models of the store have this");
    term_expect(&t, "/list\r", "No models yet");
    term_expect(&t, "/set system You are brief.\r", "Set system message.");
    term_expect(&t, "/set parameter temperature 0.25\r", "Set parameter");
    term_expect(&t, "hello \"\" there\r", "eval rate:");
    term_expect(&t, "/save\r", "/save NAME");
    term_expect(&t, "/save ../mine\r", "Error: model name");
    term_expect(&t, "/save mine\r", "Created new model 'mine'");
    term_expect(&t, "/set parameter temperature 0.75\r", "0.75");
    term_expect(&t, "/load 127.0.0.1:1/none\r", "Error:");
    term_expect(&t, "/show parameters\r", "0.75"); /* still the old chat */
    term_expect(&t, "/load mine\r", "Loading model 'mine'");
    term_expect(&t, "/show parameters\r", "0.25");
    term_expect(&t, "/show system\r", "You are brief.");
    term_expect(&t, "/show modelfile\r", "MESSAGE user hello");
    term_expect(&t, "/show license\r", "No license");
    term_expect(&t, "/list\r", "mine:latest");
    term_expect(&t, "again\r", "eval rate:");
    term_expect(&t, "/load mine\r", "Loading model 'mine'"); /* the model that is open */
    term_expect(&t, "once more\r", "eval rate:");
    leave(&t);
    const char *args[] = {"show", "mine", "--modelfile", NULL};
    assert_int_equal(run_cria(&r, args, "", 0, 30), 0);
    assert_non_null(strstr(r.out.p, "SYSTEM You are brief."));
    assert_non_null(strstr(r.out.p, "PARAMETER temperature 0.25"));
    assert_non_null(strstr(r.out.p, "MESSAGE assistant "));
    ran_fini(&r);
    unsetenv("CRIA_MODELS");
}

/* A signal, while a line is edited or an answer comes: the terminal is as it was before, the line
 * that was sent is in the history, and whoever waits learns of the signal. */
static void ends_by(int sig, bool in_answer) {
    struct term t;
    struct termios before, after;
    char history[700], *name = NULL;
    const char *args[] = {"run", model,
                          "-o",  "temperature=0",
                          "-o",  in_answer ? "num_predict=100000" : "num_predict=1",
                          NULL};
    snprintf(history, sizeof history, "%s/.cria/history", dir);
    unlink(history);
    term_open(&t, args, 80);
    /* Held open: else the last one to leave would take the settings along. */
    const int fd = open((name = ptsname(t.fd)), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(tcgetattr(fd, &before) == 0 && (before.c_lflag & ICANON));
    assert_true(term_wait(&t, 0, ">>> "));
    const size_t from = t.out.n;
    if (in_answer) {
        term_send(&t, "keep this line\r");
        assert_true(term_wait(&t, from + 400, "")); /* beyond its echo */
    } else {
        term_expect(&t, "keep this line\r", ">>> ");
        term_expect(&t, "half a li", "half a li");
        assert_true(tcgetattr(fd, &after) == 0 && !(after.c_lflag & ICANON));
    }
    kill(t.pid, sig);
    int status = 0;
    for (int i = 0; i < 1000 && waitpid(t.pid, &status, WNOHANG) == 0; i++)
        usleep(10000);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), sig);
    assert_int_equal(tcgetattr(fd, &after), 0);
    assert_int_equal(before.c_lflag, after.c_lflag);
    assert_int_equal(before.c_iflag, after.c_iflag);
    close(fd);
    close(t.fd);
    buf_fini(&t.out);
    size_t n;
    char *kept = (char *)slurp(history, &n);
    assert_non_null(memmem(kept, n, "keep\\040this\\040line", 20));
    free(kept);
}

static void test_signals(void **state) {
    (void)state;
    setenv("CRIA_NOHISTORY", "0", 1);
    ends_by(SIGTERM, false);
    ends_by(SIGHUP, false);
    ends_by(SIGTERM, true);
    setenv("CRIA_NOHISTORY", "1", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paste_is_one_message),
        cmocka_unit_test(test_paste_given_up),
        cmocka_unit_test(test_editor),
        cmocka_unit_test(test_no_editor),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
