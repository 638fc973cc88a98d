/* Serving beside a training job (gate Q18): how long answers take while a job runs and while it
 * stands still, in turns, so that both meet the same machine.
 *
 * A usual run only asserts that requests are not starved; CRIA_CAMPAIGN=1 asks a model of 135M
 * parameters, which is trained at the same time, prints the figures and holds the promise: the 99th
 * percentile is at most 20 % worse. */
#include "train_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

enum { MAX_ASKED = 1000 };

static struct serve S;

struct times {
    double ms[MAX_ASKED];
    int n;
};

/* A short answer; n of them. */
static void ask_some(struct times *t, int n) {
    for (int i = 0; i < n && t->n < MAX_ASKED; i++) {
        const int64_t t0 = os_now_ns();
        json_decref(ask_json(&S, "POST", "/api/generate", 200,
                             "{\"model\":\"base\",\"raw\":true,\"prompt\":\"number %d of them all "
                             "and what it is\",\"stream\":false,\"options\":{\"num_predict\":16,"
                             "\"ignore_eos\":true,\"temperature\":0}}",
                             i));
        t->ms[t->n++] = (double)(os_now_ns() - t0) / 1e6;
        usleep(20000); /* the job gets the processors back in between */
    }
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(struct times *t, double share) {
    qsort(t->ms, (size_t)t->n, sizeof *t->ms, by_size);
    return t->ms[(int)(share * (t->n - 1))];
}

static void make_base(void) {
    char path[800], tool[700], digest[80];
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    struct ran r;
    if (!in_campaign()) {
        train_base(&S);
        return;
    }
    snprintf(path, sizeof path, "%s/base.gguf", S.dir);
    snprintf(tool, sizeof tool, "%.*stools/mkmodel", (int)(strlen(cria) - strlen("cria")), cria);
    if (run_program(&r, tool, (const char *[]){"smollm2-135m", path, NULL}, NULL, 0, 120) != 0)
        fail_msg("%s", r.err.p);
    ran_fini(&r);
    assert_int_equal(api_upload(&S, path, digest), 201);
    json_decref(ask_json(&S, "POST", "/api/create", 200,
                         "{\"model\":\"base\",\"files\":{\"m.gguf\":\"%s\"},\"stream\":false}",
                         digest));
}

static void beside_a_job(void **state) {
    (void)state;
    static struct times quiet, loud;
    const int n_round = in_campaign() ? 10 : 3, n = in_campaign() ? 20 : 5;
    char digest[80];
    struct wire w;
    serve_start(&S, NULL, NULL);
    make_base();
    train_examples(&S, 200, digest);
    char *body = train_body("tuned", digest, TRAIN_LONG, "");
    wire_open(&w, &S);
    wire_ask(&w, "POST", "/api/train", NULL, body);
    struct answer a;
    assert_true(wire_head(&w, &a, SANITIZED ? 600 : 60) && a.status == 200);
    answer_fini(&a);
    train_wait(&S, "running", 1);
    const pid_t pid = train_process(&S);
    assert_true(pid > 0);
    struct times warm = {.n = 0};
    ask_some(&warm, 2);
    for (int i = 0; i < n_round; i++) {
        kill(pid, SIGSTOP);
        ask_some(&quiet, n);
        kill(pid, SIGCONT);
        ask_some(&loud, n);
    }
    json_t *job = train_job(&S);
    assert_string_equal(text_of(job, "state"), "running");
    const double q50 = percentile(&quiet, 0.5), q99 = percentile(&quiet, 0.99),
                 l50 = percentile(&loud, 0.5), l99 = percentile(&loud, 0.99);
    if (in_campaign())
        fprintf(stderr,
                "answers of 16 tokens beside a job: median %.1f ms, p99 %.1f; it standing still: "
                "%.1f, %.1f (p99 %+.0f %%); %lld steps\n",
                l50, l99, q50, q99, 100 * (l99 / q99 - 1),
                (long long)json_integer_value(json_object_get(job, "step")));
    if (!SANITIZED && (in_campaign() ? l99 > 1.2 * q99 : l50 > 5 * q50 + 100))
        fail_msg("p99 %.1f ms, without training %.1f ms", l99, q99);
    json_decref(job);
    wire_close(&w);
    free(body);
    assert_int_equal(serve_stop(&S), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(beside_a_job)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
