/* Bad model files through the commands, as a user meets them (SECURITY.md F1-F12, F17, F18): exit
 * code 1 (3 when there is no such file), one line on stderr that names the file and what is wrong
 * in it, nothing on stdout, little time and memory. */
#include "support.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "badgguf.h"
#include "gguf/read.h"
#include "seedgguf.h"

/* The same cases run in test_gguf_bad and test_model_bad. */
enum { STRIDE = SANITIZED ? 9 : 1 };

static char *dir;
static char seeds[2][600]; /* SPM, BPE */
static char bad[600], out[600], partial[620];

enum door { DOOR_SHOW, DOOR_RUN, DOOR_QUANTIZE, N_DOOR };

static int through(struct ran *r, enum door door, const char *path) {
    const char *const args[N_DOOR][10] = {
        [DOOR_SHOW] = {"show", path},
        [DOOR_RUN] = {"run", "--raw", "--threads=1", path, "x", "-o", "num_predict=1", "-o",
                      "num_ctx=32"},
        [DOOR_QUANTIZE] = {"quantize", "--threads=1", path, out, "Q8_0"},
    };
    return run_cria(r, args[door], NULL, 0, 20);
}

static double children_cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Lines of stderr that are no warnings. */
static int n_line(const char *text) {
    int n = 0;
    for (const char *p = text; *p;) {
        const char *nl = strchr(p, '\n');
        if (strncmp(p, "warning: ", 9) != 0) n++;
        p = nl ? nl + 1 : p + strlen(p);
    }
    return n;
}

struct tally {
    const char *path; /* what is given to the commands */
    int n, n_wrong, skip;
    bool doors[N_DOOR];
};

static void wrong(struct tally *t, enum door door, const char *name, const char *what,
                  const struct ran *r) {
    print_message("%s, door %d: %s: code %d, %.3f s: %s%s\n", name, door, what, r->code, r->seconds,
                  r->out.p, r->err.p);
    t->n_wrong++;
}

/* What quantize leaves is a sound file, or nothing. */
static void check_output(struct tally *t, const char *name, const struct ran *r) {
    struct err e = {0};
    struct gguf *g = gguf_open(out, &e);
    if (r->code == 0 && !g) wrong(t, DOOR_QUANTIZE, name, e.msg, r);
    if (r->code != 0 && access(out, F_OK) == 0) wrong(t, DOOR_QUANTIZE, name, "left a file", r);
    if (access(partial, F_OK) == 0) wrong(t, DOOR_QUANTIZE, name, "left a partial file", r);
    gguf_close(g);
    unlink(out);
    unlink(partial);
}

static void expect(struct tally *t, enum door door, const char *name, bool must_fail, int code,
                   const char *blame, size_t n_file) {
    struct ran r;
    double cpu = 1e9;
    for (int tries = 0; tries < (SANITIZED ? 1 : 3) && cpu > 0.1;
         tries++) { /* a busy machine slows a run, not three */
        if (tries) ran_fini(&r);
        const double t0 = children_cpu_s();
        through(&r, door, t->path);
        cpu = fmin(cpu, children_cpu_s() - t0);
    }
    t->n++;
    if (door == DOOR_QUANTIZE) check_output(t, name, &r);
    /* A model whose context is shorter than the prompt has loaded. */
    const bool loaded = r.code == 0 || (r.code == 5 && strstr(r.err.p, "the context holds"));
    if (r.code != code && (must_fail || !loaded)) wrong(t, door, name, "exit code", &r);
    if (!loaded) {
        const char *error = strstr(r.err.p, "Error: ");
        if (r.out.n != 0) wrong(t, door, name, "something on stdout", &r);
        if (!error || n_line(r.err.p) != 1) wrong(t, door, name, "not one line of error", &r);
        if (!strstr(r.err.p, t->path)) wrong(t, door, name, "the file is not named", &r);
        if (blame && !strstr(r.err.p, blame) && !strstr(r.err.p, "its place needs"))
            wrong(t, door, name, blame, &r);
    }
    if (strchr(r.err.p, '\x1b')) wrong(t, door, name, "an escape sequence", &r);
    if (!SANITIZED && cpu > 0.1) wrong(t, door, name, "too slow", &r);
    if (!SANITIZED && r.peak_rss_bytes > n_file + ((size_t)64 << 20))
        wrong(t, door, name, "too much memory", &r);
    ran_fini(&r);
}

static void check_case(void *ctx, const struct bad_case *c) {
    struct tally *t = ctx;
    char name[256];
    if (t->skip++ % STRIDE != 0) return;
    snprintf(name, sizeof name, "%s %s", c->id, c->name);
    FILE *f = fopen(t->path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(c->bytes, 1, c->n, f), c->n);
    assert_int_equal(fclose(f), 0);
    for (int door = 0; door < N_DOOR; door++) {
        const bool must_fail = c->kind == BAD_FILE || c->kind == BAD_MODEL ||
                               (c->kind == BAD_KIND && door == DOOR_RUN);
        if (t->doors[door])
            expect(t, (enum door)door, name, must_fail, 1, must_fail ? c->blame : NULL, c->n);
    }
}

static void check(const struct tally *t, int at_least) {
    if (t->n < at_least / STRIDE)
        fail_msg("%d cases; at least %d expected", t->n, at_least / STRIDE);
    if (t->n_wrong) fail_msg("%d of %d cases went wrong", t->n_wrong, t->n);
}

static void bad_structure(void **state) {
    (void)state;
    struct tally t = {.path = bad, .doors = {true, true, true}};
    bad_structure_each(seeds[0], check_case, &t);
    check(&t, 720);
}

static void bad_model(void **state) {
    (void)state;
    struct tally t = {.path = bad, .doors = {true, true, true}};
    bad_model_each(seeds[0], check_case, &t);
    check(&t, 600);
}

static void bad_vocab(void **state) {
    (void)state;
    struct tally t = {.path = bad, .doors = {true, true, true}};
    bad_vocab_each(seeds[0], check_case, &t);
    bad_vocab_each(seeds[1], check_case, &t);
    check(&t, 360);
}

/* The file that is wrong, or missing, is named; it need not be the one that was given. */
static void bad_splits(void **state) {
    (void)state;
    for (int odd = SPLIT_GOOD; odd < SPLIT_ODD_COUNT; odd++) {
        char first[700], name[32], *folder = temp_folder();
        bad_split_write(seeds[0], folder, 3, (enum split_odd)odd, first, sizeof first);
        snprintf(name, sizeof name, "F17 split %d", odd);
        for (int door = 0; door < N_DOOR; door++) {
            struct ran r;
            through(&r, (enum door)door, first);
            const int code = odd == SPLIT_GOOD ? 0 : odd == SPLIT_MISSING ? 3 : 1;
            if (r.code != code) fail_msg("%s: code %d: %s", name, r.code, r.err.p);
            if (code && (n_line(r.err.p) != 1 || !strstr(r.err.p, folder)))
                fail_msg("%s: %s", name, r.err.p);
            ran_fini(&r);
            unlink(out);
        }
        temp_remove(folder);
    }
}

static void odd_paths(void **state) {
    (void)state;
    struct tally t = {0};
    char path[700];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof path, "%s/link", dir);
    assert_int_equal(symlink(path, path), 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", dir);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    snprintf(path, sizeof path, "%s/sparse", dir);
    const int sparse = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(sparse >= 0);
    if (ftruncate(sparse, (off_t)10 << 40) != 0) assert_int_equal(ftruncate(sparse, 1 << 30), 0);
    snprintf(path, sizeof path, "%s/empty", dir);
    close(open(path, O_RDWR | O_CREAT, 0600));

    static const struct {
        const char *name;
        int code;
    } odd[] = {{"fifo", 1}, {"link", 1}, {"socket", 1}, {"sparse", 1},    {"empty", 1},
               {"", 1},     {"none", 3}, {"no/ne", 3},  {"/dev/zero", 1}, {"/dev/null", 1}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (int door = 0; door < N_DOOR; door++) {
            const bool absolute = odd[i].name[0] == '/';
            snprintf(path, sizeof path, "%s%s%s", absolute ? "" : dir, absolute ? "" : "/",
                     odd[i].name);
            t.path = path;
            expect(&t, (enum door)door, odd[i].name, true, odd[i].code, NULL, 0);
        }
    close(fd), close(sparse);
    check(&t, 10 * N_DOOR);
}

/* F3: what quantize writes comes from its input alone.  Two runs over differently filled memory
 * give the same bytes: none of them was memory that nobody had set. */
static void no_memory_leaks_into_files(void **state) {
    (void)state;
    static const char *const types[] = {"Q8_0", "Q4_0", "Q5_1", "IQ4_NL", "F16", "Q4_K_M", "Q2_K"};
    char in[600];
    snprintf(in, sizeof in, "%s", golden_is_full() ? golden("models/llamaq.gguf") : seeds[0]);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint8_t *bytes[2];
        size_t n[2];
        for (int k = 0; k < 2; k++) {
            struct ran r;
            const char *const args[] = {"quantize", in, out, types[i], NULL};
            setenv("MALLOC_PERTURB_", k ? "85" : "170", 1);
            run_cria(&r, args, NULL, 0, 60);
            unsetenv("MALLOC_PERTURB_");
            if (r.code != 0) fail_msg("%s: %s", types[i], r.err.p);
            ran_fini(&r);
            bytes[k] = slurp(out, &n[k]);
            unlink(out);
        }
        assert_int_equal(n[0], n[1]);
        if (memcmp(bytes[0], bytes[1], n[0]) != 0) fail_msg("%s: two runs differ", types[i]);
        free(bytes[0]), free(bytes[1]);
    }
}

/* Texts of a file that would move the cursor, or a file whose own name would. */
static void texts_are_harmless(void **state) {
    (void)state;
    char path[700];
    struct ran r;
    snprintf(path, sizeof path, "%s/\x1b[31mred\n.gguf", dir);
    assert_int_equal(through(&r, DOOR_SHOW, path), 3);
    assert_null(strchr(r.err.p, '\x1b'));
    assert_int_equal(n_line(r.err.p), 1);
    ran_fini(&r);
}

static int setup(void **state) {
    (void)state;
    dir = temp_folder();
    for (int i = 0; i < 2; i++) {
        snprintf(seeds[i], sizeof seeds[i], "%s/seed%d.gguf", dir, i);
        seed_gguf_write(seeds[i], (enum seed_vocab)i);
    }
    snprintf(bad, sizeof bad, "%s/bad.gguf", dir);
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    snprintf(partial, sizeof partial, "%s.partial", out);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_structure),
        cmocka_unit_test(bad_model),
        cmocka_unit_test(bad_vocab),
        cmocka_unit_test(bad_splits),
        cmocka_unit_test(odd_paths),
        cmocka_unit_test(texts_are_harmless),
        cmocka_unit_test(no_memory_leaks_into_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
