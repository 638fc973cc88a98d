/* Fine-tunes that are interrupted, killed and fed with bad data: FINETUNE.md 6, Q13 and Q14.
 *
 * TUNE_KILLS: how many kills (default 6); `make train-campaign` does 100. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "sample/rng.h"
#include "tune_rig.h"

#define RUN "--epochs 12 --lr 0.01 --val 0.2 --patience 0 --save-every 1 --dropout 0.05 --seed 3"

static struct tune_rig rig;

static int open_rig(void **state) {
    (void)state;
    tune_rig_open(&rig, "train/models/llama-q8.gguf");
    return 0;
}

static int close_rig(void **state) {
    (void)state;
    tune_rig_close(&rig);
    return 0;
}

static void sleep_ms(double ms) {
    const struct timespec t = {(time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000};
    nanosleep(&t, NULL);
}

/* 128 + signal, or the exit code. */
static int wait_for(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Is there a word in what the started command has written? */
static bool has_written(const char *word) {
    struct buf b = {0};
    const bool is = os_read_file(tune_path(&rig, "running"), 1 << 22, &b, NULL) == 0 &&
                    strstr(buf_view(&b).p, word);
    buf_fini(&b);
    return is;
}

static bool wait_until_written(const char *word) {
    for (int i = 0; i < 6000; i++) {
        if (has_written(word)) return true;
        sleep_ms(10);
    }
    return false;
}

static void keep_adapter(const char *name, char out[80]) {
    snprintf(out, 80, "%s", tune_adapter(&rig, name));
}

/* The only folder of checkpoints. */
static void find_run(char path[1200]) {
    DIR *d = opendir(tune_path(&rig, "store/.cria"));
    path[0] = 0;
    for (struct dirent *x; d && (x = readdir(d));)
        if (strncmp(x->d_name, "train-", 6) == 0)
            snprintf(path, 1200, "%s/%s", tune_path(&rig, "store/.cria"), x->d_name);
    if (d) closedir(d);
    assert_true(path[0]);
}

/* ---- Ctrl-C ---- */

static void interrupted(void **state) {
    (void)state;
    char whole[80], text[9000];
    tune_examples(&rig, "d.jsonl", 30);
    tune(&rig, 0, "d.jsonl", "whole", RUN);
    keep_adapter("whole", whole);

    const pid_t pid = tune_start(&rig, "d.jsonl", "cut", RUN);
    assert_true(wait_until_written("step 5/"));
    kill(pid, SIGINT);
    assert_int_equal(wait_for(pid), 130);
    assert_true(has_written("the same command goes on from there"));
    snprintf(text, sizeof text, "To go on: cria tune %s --data %s --out cut --epochs 12", rig.model,
             tune_path(&rig, "d.jsonl"));
    assert_true(has_written(text));
    tune_store_is(&rig, 1, 1);

    /* Other settings are another run; the same one goes on, and its folder goes. */
    tune_says(&tune(&rig, 3, "d.jsonl", "cut", RUN " --rank 4 --alpha 32 --resume")->err,
              "nothing to resume: the checkpoint of step ");
    tune_says(&tune(&rig, 3, "d.jsonl", "cut", RUN " --rank 4 --alpha 32 --resume")->err,
              "(rank 16 there, 4 here)");
    tune_says(&tune(&rig, 0, "d.jsonl", "cut", RUN " --rank 4 --dry-run")->err,
              "plan: from the beginning; the checkpoint of step ");
    tune_says(&tune(&rig, 0, "d.jsonl", "cut", RUN " --dry-run")->err,
              "plan: goes on from the checkpoint of step ");
    tune_store_is(&rig, 1, 1);
    tune_says(&tune(&rig, 0, "d.jsonl", "cut", RUN " --resume")->err,
              "resuming from the checkpoint");
    assert_string_equal(whole, tune_adapter(&rig, "cut"));
    tune_store_is(&rig, 2, 0);
    tune_says(&tune(&rig, 3, "d.jsonl", "cut", RUN " --resume")->err, "nothing to resume");
}

/* A service manager's signal is as good; what a killed process half wrote does not stay. */
static void terminated(void **state) {
    (void)state;
    char run[1200], file[1300];
    struct err e;
    tune_examples(&rig, "d.jsonl", 30);
    for (int again = 0; again < 2; again++) {
        const pid_t pid = tune_start(&rig, "d.jsonl", "m", RUN " --epochs 2000");
        assert_true(wait_until_written(again ? "resuming from" : "step "));
        kill(pid, SIGTERM);
        assert_int_equal(wait_for(pid), 128 + SIGTERM);
        assert_true(has_written("the same command goes on from there"));
        find_run(run);
        snprintf(file, sizeof file, "%s/step-000007.ckpt.tmp", run);
        assert_int_not_equal(access(file, F_OK), 0);
        assert_int_equal(os_write_file(file, "half", 4, &e), 0);
    }
    /* The second one ends it at once, whatever it does. */
    unlink(tune_path(&rig, "running"));
    const pid_t pid = tune_start(&rig, "d.jsonl", "n", RUN " --epochs 2000");
    assert_true(wait_until_written("step "));
    kill(pid, SIGSTOP);
    kill(pid, SIGINT), kill(pid, SIGTERM);
    kill(pid, SIGCONT);
    const int code = wait_for(pid);
    assert_true(code == 128 + SIGTERM || code == 128 + SIGINT);
    tune_store_is(&rig, 0, 2);
}

static void restarted(void **state) {
    (void)state;
    char whole[80];
    tune_examples(&rig, "d.jsonl", 30);
    const pid_t pid = tune_start(&rig, "d.jsonl", "m", RUN);
    assert_true(wait_until_written("step 5/"));
    kill(pid, SIGINT);
    assert_int_equal(wait_for(pid), 130);
    struct ran *r = tune(&rig, 0, "d.jsonl", "m", RUN " --restart");
    assert_null(strstr(r->err.p, "resuming"));
    keep_adapter("m", whole);
    tune(&rig, 0, "d.jsonl", "n", RUN);
    assert_string_equal(whole, tune_adapter(&rig, "n"));
    tune_store_is(&rig, 2, 0);
}

/* Two at a time: the second is told so. */
static void one_at_a_time(void **state) {
    (void)state;
    tune_examples(&rig, "d.jsonl", 30);
    const pid_t pid = tune_start(&rig, "d.jsonl", "m", RUN " --epochs 2000");
    assert_true(wait_until_written("step "));
    tune_says(&tune(&rig, 1, "d.jsonl", "m", RUN " --epochs 2000")->err, "another");
    kill(pid, SIGINT);
    assert_int_equal(wait_for(pid), 130);
}

/* ---- kill -9 ---- */

/* Q13: killed at random moments, again and again, until it gets through: the same bits. */
static void killed(void **state) {
    (void)state;
    const char *wish = getenv("TUNE_KILLS");
    const int n_kill = wish ? atoi(wish) : SANITIZED ? 3 : 6;
    char whole[80], name[16];
    struct rng random;
    int n_done = 0, n_run = 0, n_resumed = 0;
    const int64_t t0 = os_now_ns();
    tune_examples(&rig, "d.jsonl", 30);
    tune(&rig, 0, "d.jsonl", "whole", RUN);
    keep_adapter("whole", whole);
    const double whole_ms = (double)(os_now_ns() - t0) * 1e-6;
    rng_seed(&random, wish ? (uint64_t)time(NULL) : 5);
    while (n_done < n_kill) {
        snprintf(name, sizeof name, "m%d", n_run++);
        for (;;) { /* one model, killed until it is made */
            const pid_t pid = tune_start(&rig, "d.jsonl", name, RUN);
            sleep_ms(rng_unit(&random) * whole_ms);
            kill(pid, SIGKILL);
            const int code = wait_for(pid);
            n_resumed += has_written("resuming from");
            if (code == 0) break;
            assert_int_equal(code, 128 + SIGKILL);
            n_done++;
            tune_store_is(&rig, -1,
                          -1); /* also killed before there was a checkpoint, or at the end */
            if (n_done == n_kill) tune(&rig, 0, "d.jsonl", name, RUN);
            if (n_done == n_kill) break;
        }
        assert_string_equal(whole, tune_adapter(&rig, name));
        tune_cria(&rig, 0, "gc");
        tune_store_is(&rig, n_run + 1, 0);
    }
    print_message("%d kills in %d runs, resumed %d times: all adapters equal\n", n_done, n_run,
                  n_resumed);
    assert_true(n_resumed > 0);
}

/* ---- what stays ---- */

/* gc takes what is half written, checkpoints after a week, and folders without any. */
static void collected(void **state) {
    (void)state;
    char run[1200], file[1300];
    tune_examples(&rig, "d.jsonl", 30);
    const pid_t pid = tune_start(&rig, "d.jsonl", "m", RUN);
    assert_true(wait_until_written("step 5/"));
    kill(pid, SIGINT);
    assert_int_equal(wait_for(pid), 130);
    find_run(run);
    snprintf(file, sizeof file, "%s/step-000099.ckpt.tmp", run);
    struct err e;
    assert_int_equal(os_write_file(file, "half", 4, &e), 0);
    struct timespec six[2] = {{time(NULL) - 6 * 86400, 0}, {time(NULL) - 6 * 86400, 0}};
    assert_int_equal(utimensat(AT_FDCWD, run, six, 0), 0);
    tune_cria(&rig, 0, "gc --dry-run");
    assert_int_equal(access(file, F_OK), 0);
    tune_cria(&rig, 0, "gc --now");
    assert_int_not_equal(access(file, F_OK), 0);
    tune_store_is(&rig, 0, 1);
    tune_says(&tune(&rig, 0, "d.jsonl", "m", RUN " --dry-run")->err, "plan: goes on from");
    struct stat st; /* it is as old as it was */
    assert_int_equal(stat(run, &st), 0);
    assert_true(time(NULL) - st.st_mtime > 5 * 86400);
    six[1].tv_sec -= 2 * 86400;
    assert_int_equal(utimensat(AT_FDCWD, run, six, 0), 0);
    tune_cria(&rig, 0, "gc");
    tune_store_is(&rig, 0, 0);
    /* Without a checkpoint it goes soon. */
    assert_int_equal(mkdir(run, 0700), 0);
    tune_cria(&rig, 0, "gc");
    tune_store_is(&rig, 0, 1);
    tune_cria(&rig, 0, "gc --now");
    tune_store_is(&rig, 0, 0);
}

/* ---- the log ---- */

/* It is none of the files that are read, and where it cannot be is known first. */
static void wrong_log(void **state) {
    (void)state;
    char more[9000];
    tune_examples(&rig, "d.jsonl", 30);
    tune_examples(&rig, "v.jsonl", 3);
    snprintf(more, sizeof more, "--log %s", tune_path(&rig, "d.jsonl"));
    tune_says(&tune(&rig, 2, "d.jsonl", "m", more)->err, "d.jsonl: is the input");
    snprintf(more, sizeof more, "--valid %s --log %s", tune_path(&rig, "v.jsonl"),
             tune_path(&rig, "v.jsonl"));
    tune_says(&tune(&rig, 2, "d.jsonl", "m", more)->err, "v.jsonl: is the input");
    snprintf(more, sizeof more, "--log %s", rig.model);
    tune_says(&tune(&rig, 2, "d.jsonl", "m", more)->err, "is the input");
    snprintf(more, sizeof more, "--log %s", tune_path(&rig, "none/log"));
    struct ran *r = tune(&rig, 3, "d.jsonl", "m", more);
    tune_says(&r->err, "there is no folder ");
    assert_null(strstr(r->err.p, "gathering"));
}

/* ---- bad data ---- */

static void write_all_kinds(void) {
    tune_write(&rig, "mixed.jsonl",
               "{\"prompt\": \"one\", \"completion\": \"1\"}\n"
               "{\"prompt\": \"one\", \"completion\": \"1\"}\n" /* twice */
               "\n"
               "{\"prompt\": \"none\", \"completion\": \"\"}\n" /* nothing to learn */
               "{\"messages\": [{\"role\": \"user\", \"content\": \"who?\"}]}\n"
               "{\"prompt\": \"two\", \"completion\": \"2\"}\n");
}

/* Left out, and counted. */
static void odd_examples(void **state) {
    (void)state;
    struct buf b = {0};
    write_all_kinds();
    struct ran *r = tune(&rig, 0, "mixed.jsonl", "m", "--steps 2");
    tune_says(&r->err, "training data: 2 examples");
    tune_says(&r->err, "left out");
    buf_str(&b, "{\"prompt\": \"long\", \"completion\": \"");
    for (int i = 0; i < 500; i++)
        buf_printf(&b, "%d ", i);
    buf_str(&b, "\"}\n{\"prompt\": \"short\", \"completion\": \"yes\"}\n");
    tune_write(&rig, "long.jsonl", buf_view(&b).p);
    r = tune(&rig, 0, "long.jsonl", "l", "--steps 2 --ctx 64");
    tune_says(&r->err, "training data: 1 examples");
    tune_says(&r->err, "too long");
    r = tune(&rig, 0, "long.jsonl", "c", "--steps 2 --ctx 64 --cut true");
    tune_says(&r->err, "training data: 2 examples");
    buf_fini(&b);
    tune_store_is(&rig, 3, 0);
}

static void bad_data(void **state) {
    (void)state;
    static const char *const bad[][3] = {
        {"broken.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\", \n",
         "line 2"},
        {"empty.jsonl", "", "the file is empty"},
        {"blank.jsonl", "\n\n  \n", "only blank lines"},
        {"masked.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n", "no example is left"},
        {"utf8.jsonl",
         "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"\xff\", \"completion\": "
         "\"b\"}\n",
         "line 2"},
        {"keys.jsonl", "{\"question\": \"a\", \"reply\": \"b\"}\n", "line 1"},
        {"type.jsonl", "{\"prompt\": 3, \"completion\": \"b\"}\n", "line 1"},
        {"list.jsonl", "[1, 2]\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tune_write(&rig, bad[i][0], bad[i][1]);
        tune_says(&tune(&rig, 1, bad[i][0], "m", "--steps 2")->err, bad[i][2]);
        tune_store_is(&rig, 0, 0);
    }
    tune_says(&tune(&rig, 3, "nothing.jsonl", "m", "")->err, "No such file");
    /* Lines that are no examples can be counted instead. */
    struct ran *r = tune(&rig, 0, "broken.jsonl", "m", "--steps 2 --skip-bad true");
    tune_says(&r->err, "training data: 1 examples");
    tune_store_is(&rig, 1, 0);
}

/* A line of 1 GB without an end costs neither memory nor patience. */
static void endless_line(void **state) {
    (void)state;
    const char *path = tune_path(&rig, "huge.jsonl");
    tune_write(&rig, "huge.jsonl", "{\"prompt\": \"");
    if (truncate(path, SANITIZED ? 1 << 26 : 1 << 30) != 0) skip();
    struct ran *r = tune(&rig, 1, "huge.jsonl", "m", "--steps 2");
    tune_says(&r->err, "line 1");
    if (!SANITIZED) assert_true(r->peak_rss_bytes < 300u << 20);
    tune_store_is(&rig, 0, 0);
}

/* A base of which one weight is infinite: every loss is no number.  An end with advice, no model.
 */
static void no_numbers(void **state) {
    (void)state;
    size_t n;
    struct err e;
    const float infinite = INFINITY;
    uint8_t *file = slurp(golden("train/models/llama-untied.gguf"), &n);
    memcpy(file + n - 64, &infinite, sizeof infinite); /* in the last tensor */
    snprintf(rig.model, sizeof rig.model, "%s", tune_path(&rig, "inf.gguf"));
    assert_int_equal(os_write_file(rig.model, file, n, &e), 0);
    free(file);
    tune_examples(&rig, "d.jsonl", 30);
    struct ran *r = tune(&rig, 1, "d.jsonl", "m", "--epochs 20");
    tune_says(&r->err, "step 1 skipped");
    tune_says(&r->err, "20 steps in a row");
    tune_says(&r->err, "lower learning rate");
    tune_says(&tune(&rig, 1, "d.jsonl", "m", "--steps 3")->err, "3 steps in a row");
    tune_store_is(&rig, 0, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(interrupted, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(terminated, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(restarted, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(one_at_a_time, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(collected, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(wrong_log, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(killed, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(odd_examples, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(bad_data, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(endless_line, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(no_numbers, open_rig, close_rig),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
