/* What the audit log costs a request: servers without one, with one, and with one that is required,
 * asked in turns.  CRIA_CAMPAIGN=1 asks often and prints the figures; they say something on a
 * machine with nothing else on it only, so there alone they are held against the limits (p99 1 ms,
 * 1 % of the throughput). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_rig.h"
#include "base/os.h"

enum { N_MODE = 5, WARM = 5, WORDS = 60 };

static const struct mode {
    const char *audit, *file;
} modes[N_MODE] = {{"off", "none"},
                   {"on", "audit.db"},
                   {"on", "audit.jsonl"},
                   {"required", "audit.db"},
                   {"required", "audit.jsonl"}};

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static char *make_body(void) {
    struct buf b = {0};
    buf_str(&b,
            "{\"model\":\"llama32\",\"stream\":false,\"options\":{\"num_predict\":16,\"seed\":1},"
            "\"prompt\":\"");
    for (int i = 0; i < WORDS; i++)
        buf_printf(&b, "word%d ", i % 7);
    buf_str(&b, "\"}");
    return b.p;
}

/* Milliseconds of one request on a connection that is kept. */
static double one(struct wire *w, const char *body) {
    struct answer a = {0};
    struct buf text = {0};
    const int64_t start = os_now_ns();
    wire_ask(w, "POST", "/api/generate", NULL, body);
    assert_true(wire_head(w, &a, 60));
    while (wire_body(w, &text, 60) == 1)
        ;
    const double ms = (double)(os_now_ns() - start) / 1e6;
    if (a.status != 200) fail_msg("%d: %s", a.status, text.p);
    answer_fini(&a);
    buf_fini(&text);
    return ms;
}

static void what_it_costs(void **state) {
    struct serve s[N_MODE];
    struct wire w[N_MODE];
    double load = 99, *ms[N_MODE];
    (void)state;
    const bool campaign = in_campaign();
    const int n = campaign ? 5000 : 10;
    char *dir = temp_folder(), *body = make_body();
    getloadavg(&load, 1);
    for (int m = 0; m < N_MODE; m++) {
        char mode[64], file[900];
        snprintf(mode, sizeof mode, "CRIA_AUDIT=%s", modes[m].audit);
        snprintf(file, sizeof file, "CRIA_AUDIT_FILE=%s/%d-%s", dir, m, modes[m].file);
        serve_start(&s[m], NULL, (const char *const[]){mode, file, NULL});
        api_make(&s[m], "llama32", "llama32", "");
        wire_open(&w[m], &s[m]);
        assert_non_null(ms[m] = calloc((size_t)n, sizeof **ms));
        for (int i = 0; i < WARM; i++)
            one(&w[m], body);
    }
    for (int i = 0; i < n; i++)
        for (int m = 0; m < N_MODE; m++)
            ms[m][i] = one(&w[m], body);
    for (int m = 0; m < N_MODE; m++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += ms[m][i];
        qsort(ms[m], (size_t)n, sizeof **ms, by_size);
        const double p50 = ms[m][n / 2], p99 = ms[m][n - 1 - n / 100];
        if (campaign)
            printf("%-9s %-12s p50 %.2f ms  p90 %.2f  p99 %.2f  mean %.3f\n", modes[m].audit,
                   modes[m].file, p50, ms[m][n * 9 / 10], p99, sum / n);
        if (campaign && load < 0.3 && strcmp(modes[m].audit, "on") == 0)
            assert_true(p99 <= ms[0][n - 1 - n / 100] + 1);
    }
    if (campaign)
        printf("load %.1f before%s\n", load, load < 0.3 ? "" : ": the figures say little");
    for (int m = 0; m < N_MODE; m++) {
        wire_close(&w[m]);
        serve_stop(&s[m]);
        free(ms[m]);
    }
    free(body);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_it_costs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
