/* `cria create` with a TRAINFILE on a server elsewhere: data is sent as a blob, the server trains,
 * its progress is shown here, Ctrl-C ends the job with a checkpoint.  The server is on loopback, by
 * an address ("127.1") that does not say so. */
#include "train_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

static struct serve S;
static char *dir;
static char host[64], modelfile[800];

static void write_text(const char *name, const char *text) {
    char path[900];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (os_write_file(path, text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
}

static void write_examples(const char *name, int n) {
    struct buf b = {0};
    for (int i = 0; i < n; i++)
        buf_printf(&b, "{\"instruction\":\"number %d\",\"response\":\"it is %d\"}\n", i,
                   i * 37 % 101);
    write_text(name, b.p);
    buf_fini(&b);
}

static int start(void **state) {
    (void)state;
    char path[800];
    serve_start(&S, NULL, NULL);
    train_base(&S);
    dir = temp_folder();
    snprintf(host, sizeof host, "127.1:%d", S.port);
    snprintf(modelfile, sizeof modelfile, "%s/Modelfile", dir);
    snprintf(path, sizeof path, "%s/both", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_examples("data.jsonl", 8);
    write_examples("both/train.jsonl", 9);
    write_examples("both/valid.jsonl", 2);
    setenv("HOME", dir, 1);
    setenv("CRIA_HOST", host, 1);
    setenv("CRIA_MODELS", "/nonexistent/models", 1); /* nothing is to be done here */
    return 0;
}

static int stop(void **state) {
    (void)state;
    temp_remove(dir);
    return serve_stop(&S);
}

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        "create", __VA_ARGS__, NULL                                                                \
    }

static void create(struct ran *r, const char *text, const char *const *args, int code) {
    write_text("Modelfile", text);
    if (run_cria(r, args, NULL, 0, 120) != code)
        fail_msg("exit %d, not %d: %s", r->code, code, r->err.p);
}

#define SHORT                                                                                      \
    "PARAMETER train_ctx 64\nPARAMETER train_batch 4\nPARAMETER train_lr 0.01\n"                   \
    "PARAMETER train_epochs 30\nPARAMETER train_val 0\n"

static void trains_there(void **state) {
    (void)state;
    struct ran r;
    create(&r, "FROM base\nTRAINFILE data.jsonl\nPARAMETER temperature 0\n" SHORT,
           ARGS("tuned", "-f", modelfile, "--json"), 0);
    json_t *lines = json_array();
    for (char *save, *l = strtok_r(r.out.p, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
        json_array_append_new(lines, json_loads(l, 0, NULL));
    const json_t *end = train_line(lines, "event", "end");
    assert_int_equal(json_integer_value(json_object_get(end, "step")), 60);
    assert_non_null(train_line(lines, "event", "step"));
    assert_non_null(train_line(lines, "status", "success"));
    json_decref(lines);
    ran_fini(&r);
    json_t *j = ask_json(&S, "POST", "/api/generate", 200,
                         "{\"model\":\"tuned\",\"prompt\":\"number 3\",\"stream\":false,"
                         "\"options\":{\"num_predict\":9}}");
    if (strncmp(text_of(j, "response"), "it is", 5) != 0) fail_msg("%s", text_of(j, "response"));
    json_decref(j);
}

/* A folder has its own validation; the curve and the words are those of a run here. */
static void folder_and_merge(void **state) {
    (void)state;
    struct ran r;
    create(&r, "FROM base\nTRAINFILE both\nPARAMETER train_steps 4\n" SHORT,
           ARGS("merged", "-f", modelfile, "--merge", "--restart"), 0);
    if (!strstr(r.err.p, "9 examples") || !strstr(r.err.p, "validation") ||
        !strstr(r.err.p, "step 4/4"))
        fail_msg("%s", r.err.p);
    ran_fini(&r);
    json_decref(ask_json(&S, "POST", "/api/show", 200, "{\"model\":\"merged\"}"));
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *text, *more, *says;
        int code;
    } cases[] = {
        {"FROM base\nTRAINFILE data.jsonl\n", "--threads=1", "--threads: for models of this", 1},
        {"FROM base\nTRAINFILE data.jsonl\n", "--dry-run", "--dry-run: for models of this", 1},
        {"FROM base\nTRAINFILE data.jsonl\n", "--log=x", "--log: for models of this", 1},
        {"FROM base\nTRAINFILE data.jsonl\n", "-qQ8_0", "--quantize with TRAINFILE", 1},
        {"FROM base\nTRAINFILE none.jsonl\n", NULL, "(line 2): none.jsonl: no such file", 3},
        {"FROM base\nVALIDFILE data.jsonl\n", NULL, "VALIDFILE without TRAINFILE", 1},
        {"FROM base\nTRAINFILE data.jsonl\nPARAMETER train_lr x\n", NULL, "(line 3): train_lr", 1},
        {"FROM nobody\nTRAINFILE data.jsonl\n", NULL, "model 'nobody' not found", 3},
        {"FROM base\nTRAINFILE Modelfile\n", NULL, "data", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ran r;
        create(&r, cases[i].text, ARGS("no", "-f", modelfile, cases[i].more), cases[i].code);
        if (!strstr(r.err.p, cases[i].says)) fail_msg("%s: %s", cases[i].text, r.err.p);
        ran_fini(&r);
    }
}

static void interrupted(void **state) {
    (void)state;
    char said[900];
    struct buf text = {0};
    struct err e;
    const char *exe = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    write_text("Modelfile", "FROM base\nTRAINFILE data.jsonl\nPARAMETER train_epochs 20000\n"
                            "PARAMETER train_patience 0\nPARAMETER train_ctx 64\n");
    snprintf(said, sizeof said, "%s/said", dir);
    const pid_t pid = fork();
    if (pid == 0) {
        const int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDOUT_FILENO), dup2(fd, STDERR_FILENO);
        execl(exe, exe, "create", "long", "-f", modelfile, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    json_t *job = NULL;
    do { /* that of the model before is there, too */
        json_decref(job);
        usleep(10000);
        job = train_job(&S);
    } while (strcmp(text_of(job, "model"), "long:latest") != 0);
    json_decref(job);
    train_wait(&S, "running", 5);
    kill(pid, SIGINT);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(os_read_file(said, 1 << 20, &text, &e), 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 130) fail_msg("%x %s", status, text.p);
    if (!strstr(text.p, "To go on: cria create long")) fail_msg("%s", text.p);
    job = train_job(&S);
    assert_string_equal(text_of(job, "state"), "cancelled");
    json_decref(job);
    buf_fini(&text);
}

/* With a server on this machine it is done here. */
static void here(void **state) {
    (void)state;
    char store[800], near[64];
    struct ran r;
    snprintf(store, sizeof store, "%s/models", S.dir);
    snprintf(near, sizeof near, "127.0.0.1:%d", S.port);
    setenv("CRIA_MODELS", store, 1);
    setenv("CRIA_HOST", near, 1);
    json_t *before = ask_json(&S, "GET", "/api/train", 200, "%s", "");
    create(&r, "FROM base\nTRAINFILE data.jsonl\nPARAMETER train_steps 2\n" SHORT,
           ARGS("mine", "-f", modelfile), 0);
    json_t *after = ask_json(&S, "GET", "/api/train", 200, "%s", "");
    assert_true(json_equal(before, after));
    json_decref(before), json_decref(after);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_there), cmocka_unit_test(folder_and_merge),
        cmocka_unit_test(refusals),     cmocka_unit_test(interrupted),
        cmocka_unit_test(here),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
