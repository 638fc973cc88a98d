/* The C programs of examples/ do what their comments say, with the shared library and the static
 * one.  hello is in test_api; those in JavaScript are in tests/js. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "serve_rig.h"
#include "server_rig.h"
#include "support.h"

static const char *const linked[] = {"", ".static"};

/* $B/examples/NAME beside the program under test, $B/cria. */
static const char *example(const char *name, const char *kind) {
    static char path[600];
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *slash = strrchr(cria, '/');
    snprintf(path, sizeof path, "%.*s/examples/%s%s", slash ? (int)(slash - cria) : 1,
             slash ? cria : ".", name, kind);
    return path;
}

static void test_search(void **state) {
    (void)state;
    static const char notes[] = "a llama eats hay\nthe sea is blue\n\nrust never sleeps\n";
    for (int i = 0; i < 2; i++) {
        char *dir = temp_folder(), db[700];
        struct ran r;
        snprintf(db, sizeof db, "%s/notes.db", dir);
        const char *add[] = {golden("models/bert.gguf"), db, NULL};
        assert_int_equal(
            run_program(&r, example("search", linked[i]), add, notes, sizeof notes - 1, 30), 0);
        assert_string_equal(r.out.p, "4 lines read\n");
        ran_fini(&r);
        /* A text is nearest to itself, and its vector has length 1. */
        const char *find[] = {golden("models/bert.gguf"), db, "the sea is blue", NULL};
        assert_int_equal(run_program(&r, example("search", linked[i]), find, "", 0, 30), 0);
        assert_memory_equal(r.out.p, " 1.000  the sea is blue\n", 24);
        assert_non_null(strstr(r.out.p, "rust never sleeps"));
        ran_fini(&r);
        temp_remove(dir);
    }
}

static pid_t start_web(const char *path, int port) {
    char number[16];
    snprintf(number, sizeof number, "%d", port);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl(path, path, golden("models/llama32.gguf"), number, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void wait_for_port(int port) {
    const struct timespec nap = {.tv_nsec = 20000000};
    for (int i = 0; i < 500 && !server_answers(port); i++)
        nanosleep(&nap, NULL);
    assert_true(server_answers(port));
}

static void test_web(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct serve s = {.port = server_free_port()};
        const pid_t pid = start_web(example("web", linked[i]), s.port);
        struct answer a;
        int status;
        wait_for_port(s.port);
        size_t most = 0; /* an untrained model may end its answer at any token */
        for (int k = 0; k < 6 && most <= 100; k++) {
            ask(&s, &a, "POST", "/", NULL, "Once upon a time");
            assert_int_equal(a.status, 200);
            assert_string_equal(answer_header(&a, "Transfer-Encoding"), "chunked");
            assert_true(a.whole);
            most = a.body.n > most ? a.body.n : most;
            answer_fini(&a);
        }
        assert_true(most > 100);
        ask(&s, &a, "GET", "/", NULL, NULL);
        assert_int_equal(a.status, 400);
        answer_fini(&a);
        kill(pid, SIGTERM);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_search), cmocka_unit_test(test_web)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
