/* New knowledge in a small place: ten invented facts are taught to the guide, the model that ships,
 * and asked in ways that were not trained.  `make quality-campaign` does it with fifty, and looks
 * at what else becomes of the model (tests/quality_campaign). */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

#define MODEL "models/guide.gguf"
#define DATA "tests/quality/"

enum { N_TOWN = 5 };

static char *dir;

static const char *temp(const char *name) {
    static char ring[8][512];
    static int at;
    char *b = ring[at++ & 7];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

/* The first towns of facts.txt, two facts each. */
static void write_towns(void) {
    size_t n;
    char *text = (char *)slurp(DATA "facts.txt", &n);
    struct buf out = {0};
    int n_town = 0;
    for (size_t at = 0; at < n && n_town < N_TOWN;) {
        const char *line = text + at, *end = memchr(line, '\n', n - at);
        const size_t len = end ? (size_t)(end - line) + 1 : n - at;
        if (*line != '#') buf_append(&out, line, len), n_town++;
        at += len;
    }
    if (os_write_file(temp("towns.txt"), out.p, out.n, NULL) != 0) fail_msg("%s", dir);
    buf_fini(&out);
    free(text);
}

static void write_questions(const char *kind, const char *path) {
    char assign[32];
    struct ran r;
    snprintf(assign, sizeof assign, "kind=%s", kind);
    const char *const args[] = {
        "-v", assign, "-f", DATA "facts.awk", DATA "phrasings.txt", temp("towns.txt"), NULL};
    if (run_program(&r, "/usr/bin/awk", args, NULL, 0, 30) != 0)
        fail_msg("awk: %.*s", (int)r.err.n, r.err.p);
    if (os_write_file(path, r.out.p, r.out.n, NULL) != 0) fail_msg("%s", path);
    ran_fini(&r);
}

/* Share of right answers, by tools/exam; lora: NULL, or the adapter's file. */
static double exam(const char *questions, const char *lora, int n_asked) {
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria", *slash = strrchr(cria, '/');
    char program[512];
    struct ran r;
    snprintf(program, sizeof program, "%.*s/tools/exam", slash ? (int)(slash - cria) : 1,
             slash ? cria : ".");
    const char *const with[] = {"--lora", lora, MODEL, questions, NULL};
    if (run_program(&r, program, with + (lora ? 0 : 2), NULL, 0, 120) != 0)
        fail_msg("%s: %.*s", program, (int)r.err.n, r.err.p);
    json_t *j = json_loadb(r.out.p, r.out.n, 0, NULL);
    const double exact = json_number_value(json_object_get(j, "exact"));
    assert_int_equal(json_integer_value(json_object_get(j, "asked")), n_asked);
    json_decref(j);
    ran_fini(&r);
    return exact;
}

/* The adapter's file of a model in the store. */
static void find_adapter(const char *name, char *path, size_t cap) {
    struct ran r;
    const char *const args[] = {"show", name, "--modelfile", NULL};
    if (run_cria(&r, args, NULL, 0, 30) != 0) fail_msg("%.*s", (int)r.err.n, r.err.p);
    const char *line = strstr(r.out.p, "\nADAPTER ");
    if (!line) fail_msg("no ADAPTER in %s", r.out.p);
    snprintf(path, cap, "%.*s", (int)strcspn(line + 9, "\n"), line + 9);
    ran_fini(&r);
}

static void ten_facts(void **state) {
    (void)state;
    char adapter[512];
    struct ran r;
    if (access(MODEL, R_OK) != 0) fail_msg("%s is missing; `make guide` trains it", MODEL);
    dir = temp_folder();
    setenv("CRIA_MODELS", temp("store"), 1);
    write_towns();
    write_questions("train", temp("train.jsonl"));
    write_questions("test", temp("unseen.jsonl"));
    assert_true(exam(temp("unseen.jsonl"), NULL, 8 * N_TOWN) == 0);
    const char *const args[] = {"tune",  MODEL,   "--data",   temp("train.jsonl"),
                                "--out", "facts", "--val",    "0",
                                "--ctx", "256",   "--epochs", "12",
                                "--lr",  "2e-3",  NULL};
    if (run_cria(&r, args, NULL, 0, 300) != 0) fail_msg("%.*s", (int)r.err.n, r.err.p);
    ran_fini(&r);
    find_adapter("facts", adapter, sizeof adapter);
    const double trained = exam(temp("train.jsonl"), adapter, 16 * N_TOWN);
    const double unseen = exam(temp("unseen.jsonl"), adapter, 8 * N_TOWN);
    print_message("right: %.1f %% of trained phrasings, %.1f %% of unseen ones\n", 100 * trained,
                  100 * unseen);
    assert_true(trained >= 0.98 && unseen >= 0.9);
    unsetenv("CRIA_MODELS");
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ten_facts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
