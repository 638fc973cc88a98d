/* Checkpoints: everything comes back bit for bit; files that are cut, damaged, made up or of
 * another run are refused by name and change nothing; a process killed at any moment leaves one to
 * load. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "train/checkpoint.h"

/* ---- a run small enough to look at ---- */

#define CONFIG "lr=0.0002\nrank=4\nschedule=cosine\n"

struct run {
    struct params p;
    float *best;
    struct train_state state;
    struct checkpoint_id id;
    struct checkpoint c;
};

static void declare(struct params *p, const char *name, int n_dim, int64_t a, int64_t b) {
    struct err e;
    if (params_add(p, name, n_dim, (const int64_t[]){a, b}, &e) != 0) fail_msg("%s", e.msg);
}

static void run_init(struct run *r, int scale) {
    struct err e;
    *r = (struct run){.state.best_step = -1};
    declare(&r->p, "blk.0.attn_q.weight.lora_a", 2, 33, 4 * scale);
    declare(&r->p, "blk.0.attn_q.weight.lora_b", 2, 4, 21);
    declare(&r->p, "norm", 1, 7, 0);
    if (params_alloc(&r->p, &e) != 0) fail_msg("%s", e.msg);
    r->best = calloc(r->p.n_plane, sizeof *r->best);
    assert_non_null(r->best);
    rng_seed(&r->state.rng, 1);
    memset(r->id.base, 0xba, sizeof r->id.base);
    memset(r->id.data, 0xda, sizeof r->id.data);
    r->id.config = STR(CONFIG);
    r->c = (struct checkpoint){&r->id, &r->state, &r->p, r->best};
}

static void run_fini(struct run *r) {
    params_fini(&r->p);
    free(r->best);
}

static void fill(struct params *p, float *plane, struct rng *r) {
    for (int k = 0; k < p->n_param; k++)
        for (size_t i = 0; i < p->p[k].n; i++)
            plane[p->p[k].at + i] = (float)rng_normal(r);
}

/* Every field something else than zero. */
static void run_fill(struct run *r, uint64_t seed) {
    struct rng g;
    rng_seed(&g, seed);
    fill(&r->p, r->p.w, &g);
    fill(&r->p, r->p.grad, &g);
    fill(&r->p, r->p.m, &g);
    fill(&r->p, r->p.v, &g);
    fill(&r->p, r->best, &g);
    r->state = (struct train_state){
        .step = 123,
        .n_tok = (int64_t)1 << 40,
        .best_step = 99,
        .n_worse = 2,
        .n_skipped = 1,
        .best_loss = 1.0 / 3,
        .rng = g,
    };
    for (int i = 0; i < 16; i++)
        r->state.own[i] = rng_unit(&g);
    for (int i = 0; i < 150; i++)
        spike_guard_check(&r->state.guard, 2 + rng_unit(&g), 20);
}

static bool same_plane(const struct run *a, const float *x, const float *y) {
    return memcmp(x, y, a->p.n_plane * sizeof *x) == 0;
}

/* Field by field: what lies between them is nobody's. */
static bool same_state(const struct train_state *a, const struct train_state *b) {
    const struct spike_guard *g = &a->guard, *h = &b->guard;
    return a->step == b->step && a->n_tok == b->n_tok && a->best_step == b->best_step &&
           a->n_worse == b->n_worse && a->n_skipped == b->n_skipped &&
           a->best_loss == b->best_loss && memcmp(a->own, b->own, sizeof a->own) == 0 &&
           memcmp(&a->rng, &b->rng, sizeof a->rng) == 0 && g->n == h->n && g->at == h->at &&
           memcmp(g->seen, h->seen, sizeof g->seen) == 0;
}

static bool same_run(const struct run *a, const struct run *b) {
    return same_plane(a, a->p.w, b->p.w) && same_plane(a, a->p.m, b->p.m) &&
           same_plane(a, a->p.v, b->p.v) && same_plane(a, a->p.grad, b->p.grad) &&
           same_plane(a, a->best, b->best) && same_state(&a->state, &b->state);
}

static const char *file_in(const char *dir, const char *name) {
    static char path[4][PATH_MAX];
    static int at;
    char *p = path[at++ & 3];
    snprintf(p, PATH_MAX, "%s/%s", dir, name);
    return p;
}

static void write_ok(const char *path, const struct run *r) {
    struct err e;
    if (checkpoint_write(path, &r->c, &e) != 0) fail_msg("%s", e.msg);
}

static void read_ok(const char *path, const struct run *r) {
    struct err e;
    if (checkpoint_read(path, &r->c, &e) != 0) fail_msg("%s", e.msg);
}

/* ---- there and back ---- */

static void all_comes_back(void **state) {
    (void)state;
    char *dir = temp_folder();
    const char *path = file_in(dir, "a.ckpt");
    struct run a, b;
    struct stat st;
    run_init(&a, 1), run_init(&b, 1);
    run_fill(&a, 5), run_fill(&b, 6);
    write_ok(path, &a);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* what was learned from private data */
    read_ok(path, &b);
    memset(a.p.grad, 0, a.p.n_plane * sizeof *a.p.grad); /* of a step that was not finished */
    assert_true(same_run(&a, &b));
    run_fini(&a), run_fini(&b);
    temp_remove(dir);
}

static void no_best_stores_less(void **state) {
    (void)state;
    char *dir = temp_folder();
    const char *path = file_in(dir, "a.ckpt");
    struct run a, b;
    struct stat full, less;
    struct err e = {0};
    run_init(&a, 1), run_init(&b, 1);
    run_fill(&a, 5), run_fill(&b, 6);
    write_ok(path, &a);
    stat(path, &full);
    b.c.best = NULL; /* a run without validation has no place for it */
    assert_int_equal(checkpoint_read(path, &b.c, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    b.c.best = b.best;
    a.state.best_step = -1; /* nothing was validated */
    write_ok(path, &a);
    stat(path, &less);
    assert_int_equal(full.st_size - less.st_size, params_count(&a.p) * sizeof(float));
    read_ok(path, &b);
    memset(a.p.grad, 0, a.p.n_plane * sizeof *a.p.grad);
    memcpy(a.best, b.best, a.p.n_plane * sizeof *a.best); /* left alone */
    assert_true(same_run(&a, &b));
    run_fini(&a), run_fini(&b);
    temp_remove(dir);
}

/* Steps whose gradients hang on the weights and on the generator; how many were skipped. */
static int go_on(struct run *r, int n) {
    struct err e;
    struct team *t = team_new(1, &e);
    int n_skipped = 0;
    assert_non_null(t);
    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < r->p.n_plane; k++)
            r->p.grad[k] += 0.1f * r->p.w[k];
        for (int k = 0; k < r->p.n_param; k++)
            r->p.grad[r->p.p[k].at] += (float)rng_normal(&r->state.rng);
        const double norm = optim_grad_norm(t, &r->p);
        const struct adamw o = {.weight_decay = 0.1f, .max_norm = 1};
        const bool skip = spike_guard_check(&r->state.guard, norm, 2);
        if (skip)
            optim_zero_grad(t, &r->p);
        else
            optim_step(t, &r->p, &o, r->state.step, 1e-2, norm);
        n_skipped += skip;
        r->state.step++;
    }
    team_free(t);
    return n_skipped;
}

static void resumed_is_uninterrupted(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct run whole;
    run_init(&whole, 1);
    run_fill(&whole, 8);
    memset(whole.p.grad, 0, whole.p.n_plane * sizeof(float));
    write_ok(file_in(dir, "0.ckpt"), &whole);
    assert_true(go_on(&whole, 200) > 0); /* there was something to remember */
    for (int cut = 1; cut < 200; cut += 11) {
        struct run part;
        run_init(&part, 1);
        read_ok(file_in(dir, "0.ckpt"), &part);
        go_on(&part, cut);
        write_ok(file_in(dir, "cut.ckpt"), &part);
        run_fini(&part);
        run_init(&part, 1);
        read_ok(file_in(dir, "cut.ckpt"), &part);
        go_on(&part, 200 - cut);
        if (!same_run(&part, &whole)) fail_msg("cut at %d: another end", cut);
        run_fini(&part);
    }
    run_fini(&whole);
    temp_remove(dir);
}

/* ---- what is refused ---- */

static void expect_refused(const char *path, const struct run *r, enum err_code code,
                           const char *say) {
    struct err e = {0};
    char want[PATH_MAX + 400];
    assert_int_equal(checkpoint_read(path, &r->c, &e), -1);
    snprintf(want, sizeof want, "%s: %s", path, say);
    if (strcmp(e.msg, want) != 0) fail_msg("said: %s\nnot:  %s", e.msg, want);
    assert_int_equal(e.code, code);
}

static void other_runs_are_named(void **state) {
    (void)state;
    static const struct {
        const char *config, *say;
    } other[] = {
        {"lr=0.001\nrank=4\nschedule=cosine\n",
         "another run: it was made with lr = 0.0002, this one has 0.001"},
        {"lr=0.0002\nrank=4\n",
         "another run: it was made with schedule = cosine, this one has nothing"},
        {"lr=0.0002\nrank=4\nschedule=cosine\ndropout=0.1\n",
         "another run: it was made with dropout = nothing, this one has 0.1"},
        {"rank=4\nlr=0.0002\nschedule=cosine\n", "another run: its settings come in another order"},
        {"", "another run: it was made with lr = 0.0002, this one has nothing"},
    };
    char *dir = temp_folder();
    const char *path = file_in(dir, "a.ckpt");
    struct run a, b, copy;
    run_init(&a, 1), run_init(&b, 1), run_init(&copy, 1);
    run_fill(&a, 5), run_fill(&b, 6), run_fill(&copy, 6);
    write_ok(path, &a);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        b.id.config = str_of(other[i].config);
        expect_refused(path, &b, ERR_USAGE, other[i].say);
    }
    b.id.config = a.id.config;
    memset(b.id.base, 0xbb, sizeof b.id.base);
    expect_refused(path, &b, ERR_USAGE,
                   "made with another base model: SHA-256 babababababababa..., "
                   "this one has bbbbbbbbbbbbbbbb...");
    memset(b.id.base, 0xba, sizeof b.id.base);
    memset(b.id.data, 0xdd, sizeof b.id.data);
    expect_refused(path, &b, ERR_USAGE,
                   "made with another data: SHA-256 dadadadadadadada..., "
                   "this one has dddddddddddddddd...");
    assert_true(same_run(&b, &copy)); /* untouched all the while */
    run_fini(&b);
    run_init(&b, 2); /* twice the rank, and a liar about it */
    expect_refused(path, &b, ERR_USAGE,
                   "another run: it does not have blk.0.attn_q.weight.lora_a of [33, 8, 1, 1] in "
                   "that place");
    run_fini(&b);
    struct run more = {0};
    run_init(&more, 1);
    params_fini(&more.p);
    declare(&more.p, "blk.0.attn_q.weight.lora_a", 2, 33, 4);
    struct err e;
    assert_int_equal(params_alloc(&more.p, &e), 0);
    expect_refused(path, &more, ERR_USAGE,
                   "another run: it has more than the 1 tensors of this one");
    run_fini(&more), run_fini(&a), run_fini(&copy);
    temp_remove(dir);
}

/* The file in memory, for a change and a look. */
struct image {
    uint8_t *p;
    size_t n;
};

static void put_image(const char *path, const uint8_t *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (n) assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Give the bytes a digest that fits them. */
static void sign(uint8_t *p, size_t n) {
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, p, n - SHA256_BYTES);
    assert_int_equal(sha256_final(&s, p + n - SHA256_BYTES), 0);
}

static void expect_format(const char *path, const struct run *r, const char *begins) {
    struct err e = {0};
    if (checkpoint_read(path, &r->c, &e) == 0) fail_msg("%s was accepted", begins);
    if (e.code != ERR_FORMAT) fail_msg("%s: %s", begins, e.msg);
    const char *say = e.msg + strlen(path) + 2;
    if (strncmp(say, begins, strlen(begins)) != 0) fail_msg("said: %s\nnot:  %s", say, begins);
}

static void cut_and_flipped_files(void **state) {
    (void)state;
    char *dir = temp_folder();
    const char *path = file_in(dir, "a.ckpt");
    struct run a, b, copy;
    size_t n;
    run_init(&a, 1), run_init(&b, 1), run_init(&copy, 1);
    run_fill(&a, 5), run_fill(&b, 6), run_fill(&copy, 6);
    write_ok(path, &a);
    uint8_t *p = slurp(path, &n);
    for (size_t k = 0; k < n; k += k < 100 ? 1 : 61) {
        put_image(path, p, k);
        expect_format(path, &b, "truncated");
    }
    for (size_t k = 0; k < n; k += k < 100 ? 1 : 61) {
        struct err e = {0};
        p[k] ^= 0x10;
        put_image(path, p, n);
        if (checkpoint_read(path, &b.c, &e) == 0) fail_msg("byte %zu flipped: accepted", k);
        assert_int_equal(e.code, k >= 8 && k < 12 ? ERR_UNSUPPORTED : ERR_FORMAT);
        p[k] ^= 0x10;
    }
    uint8_t *longer = malloc(n + 1);
    memcpy(longer, p, n);
    longer[n] = 0;
    put_image(path, longer, n + 1);
    expect_format(path, &b, "damaged: ");
    free(longer);
    assert_true(same_run(&b, &copy));
    put_image(path, p, n);
    read_ok(path, &b);
    free(p);
    run_fini(&a), run_fini(&b), run_fini(&copy);
    temp_remove(dir);
}

static void versions_and_strangers(void **state) {
    (void)state;
    char *dir = temp_folder();
    const char *path = file_in(dir, "a.ckpt");
    struct run a;
    size_t n;
    run_init(&a, 1);
    write_ok(path, &a);
    uint8_t *p = slurp(path, &n);
    p[8] = 7;
    sign(p, n);
    put_image(path, p, n);
    expect_refused(path, &a, ERR_UNSUPPORTED,
                   "checkpoint version 7, of another build; this build reads 2 (a run goes on with "
                   "the build that began it, or begins anew)");
    p[8] = 1; /* which had 9 sections */
    p[12] = 9;
    put_image(path, p, n);
    expect_refused(path, &a, ERR_UNSUPPORTED,
                   "checkpoint version 1, of another build; this build reads 2 (a run goes on with "
                   "the build that began it, or begins anew)");
    memcpy(p, "GGUF", 4);
    put_image(path, p, n);
    expect_refused(path, &a, ERR_FORMAT, "no checkpoint: it does not begin with CRIACKPT");
    put_image(path, p, 3);
    expect_refused(path, &a, ERR_FORMAT, "truncated or no checkpoint: 3 bytes");
    expect_refused(file_in(dir, "b.ckpt"), &a, ERR_NOT_FOUND, strerror(ENOENT));
    struct err e = {0};
    assert_int_equal(checkpoint_read(dir, &a.c, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    free(p);
    run_fini(&a);
    temp_remove(dir);
}

/* Whoever makes up a file can also sign it: sizes and state are still not believed. */
static void made_up_files(void **state) {
    (void)state;
    enum {
        STATE = 80 + 64 + sizeof CONFIG - 1,
        RNG = 176
    }; /* head, digests, settings; in the state */
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 87, (uint64_t)1 << 63, 1 << 20, 0, 1};
    static const struct {
        size_t at;
        uint32_t v;
    } bad[] = {
        {4, 0x80000000},        /* step */
        {12, 0x80000000},       /* n_tok */
        {20, 0xfffffffe},       /* best_step */
        {16, 124},              /* best_step: later than the step */
        {24, 0xffffffff},       /* n_worse */
        {28, 0x80000000},       /* n_skipped */
        {28, 124},              /* n_skipped: more than were done */
        {32, 129},              /* guard.n */
        {32, 0xffffffff},       /* guard.n */
        {32, 5},                /* guard.n, with at elsewhere */
        {36, 128},              /* guard.at */
        {36, 0x80000001},       /* guard.at */
        {RNG + 36, 0x7ff00000}, /* guard.seen[0]: infinite */
    };
    char *dir = temp_folder();
    const char *path = file_in(dir, "a.ckpt");
    struct run a, b, copy;
    size_t n;
    run_init(&a, 1), run_init(&b, 1), run_init(&copy, 1);
    run_fill(&a, 5), run_fill(&b, 6), run_fill(&copy, 6);
    write_ok(path, &a);
    uint8_t *p = slurp(path, &n), *q = malloc(n);
    for (int s = 0; s < 8; s++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            struct err e = {0};
            memcpy(q, p, n);
            memcpy(q + 16 + 8 * s, &sizes[k], 8);
            sign(q, n);
            put_image(path, q, n);
            assert_int_equal(checkpoint_read(path, &b.c, &e), -1);
            assert_int_equal(e.code, ERR_FORMAT);
        }
    for (int s = 0; s < 7; s++) { /* the sum is right, each size is not */
        struct err e = {0};
        uint64_t x[2];
        memcpy(q, p, n);
        memcpy(x, q + 16 + 8 * s, sizeof x);
        x[0]--, x[1]++;
        memcpy(q + 16 + 8 * s, x, sizeof x);
        sign(q, n);
        put_image(path, q, n);
        if (checkpoint_read(path, &b.c, &e) == 0) fail_msg("section %d: accepted", s);
    }
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        memcpy(q, p, n);
        memcpy(q + STATE + bad[k].at, &bad[k].v, 4);
        sign(q, n);
        put_image(path, q, n);
        expect_format(path, &b, "damaged: a state that no run can be in");
    }
    memcpy(q, p, n);
    memset(q + STATE + RNG, 0, 32); /* a generator that would stand still */
    sign(q, n);
    put_image(path, q, n);
    expect_format(path, &b, "damaged: a state that no run can be in");
    memcpy(q, p, n);
    memset(q + STATE + 16, 0xff, 8); /* no validation, and yet a best one */
    sign(q, n);
    put_image(path, q, n);
    expect_format(path, &b, "damaged: planes of other sizes");
    assert_true(same_run(&b, &copy));
    free(p), free(q);
    run_fini(&a), run_fini(&b), run_fini(&copy);
    temp_remove(dir);
}

/* ---- the folder ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in dir, sorted, with blanks between. */
static void expect_names(const char *dir, const char *want) {
    char *names[32], list[1024] = "";
    size_t n = 0, at = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d)) && n < 32;)
        if (x->d_name[0] != '.') names[n++] = strdup(x->d_name);
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? " " : "", names[i]);
        free(names[i]);
    }
    assert_string_equal(list, want);
}

static void save_at(const char *dir, struct run *r, int64_t step) {
    struct err e;
    r->state.step = step;
    if (checkpoint_save(dir, &r->c, &e) != 0) fail_msg("%s", e.msg);
}

/* The step that is loaded; -1: there is none. */
static int64_t load_step(const char *dir, const struct run *r) {
    struct err e;
    char path[PATH_MAX];
    if (checkpoint_load(dir, &r->c, path, &e) != 0) fail_msg("%s", e.msg);
    return path[0] ? r->state.step : -1;
}

static void folder_keeps_two(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct run a, b;
    run_init(&a, 1), run_init(&b, 1);
    assert_int_equal(load_step(dir, &b), -1);
    save_at(dir, &a, 5);
    expect_names(dir, "step-000005.ckpt");
    save_at(dir, &a, 10);
    put_image(file_in(dir, "step-000011.ckpt.tmp"), (const uint8_t *)"half", 4);
    put_image(file_in(dir, "step-00012.ckpt"), (const uint8_t *)"not ours", 8);
    put_image(file_in(dir, "step-0000012.ckpt"), (const uint8_t *)"not ours", 8);
    put_image(file_in(dir, "run.jsonl"), (const uint8_t *)"{}\n", 3);
    assert_int_equal(load_step(dir, &b), 10);
    save_at(dir, &a, 15);
    expect_names(dir, "run.jsonl step-0000012.ckpt step-000010.ckpt step-000015.ckpt "
                      "step-00012.ckpt");
    save_at(dir, &a, 1234567); /* more digits: still the newest */
    assert_int_equal(load_step(dir, &b), 1234567);
    save_at(dir, &a, 12); /* gone back: what was later is no part of this history */
    assert_int_equal(load_step(dir, &b), 12);
    expect_names(dir, "run.jsonl step-0000012.ckpt step-000012.ckpt step-00012.ckpt");
    run_fini(&a), run_fini(&b);
    temp_remove(dir);
}

static void damaged_newest_is_passed_over(void **state) {
    (void)state;
    char *dir = temp_folder(), path[PATH_MAX];
    struct run a, b;
    struct err e = {0};
    run_init(&a, 1), run_init(&b, 1);
    save_at(dir, &a, 1);
    save_at(dir, &a, 2);
    assert_int_equal(truncate(file_in(dir, "step-000002.ckpt"), 700), 0);
    assert_int_equal(load_step(dir, &b), 1);
    b.id.config = STR("lr=1\n"); /* whole, but of another run: no older one is better */
    save_at(dir, &a, 2);
    assert_int_equal(checkpoint_load(dir, &b.c, path, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_non_null(strstr(e.msg, "step-000002.ckpt: another run: it was made with lr = 0.0002"));
    b.id.config = a.id.config;
    assert_int_equal(truncate(file_in(dir, "step-000002.ckpt"), 0), 0);
    assert_int_equal(truncate(file_in(dir, "step-000001.ckpt"), 900), 0);
    assert_int_equal(checkpoint_load(dir, &b.c, path, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "step-000002.ckpt: truncated")); /* the newest one's error */
    assert_string_equal(path, "");
    assert_int_equal(checkpoint_load(file_in(dir, "none"), &b.c, path, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    run_fini(&a), run_fini(&b);
    temp_remove(dir);
}

/* So is one that cannot be read: here a link that leads to itself. */
static void unreadable_newest_is_passed_over(void **state) {
    (void)state;
    char *dir = temp_folder(), path[PATH_MAX];
    struct run a, b;
    struct err e = {0};
    run_init(&a, 1), run_init(&b, 1);
    save_at(dir, &a, 1);
    assert_int_equal(symlink("step-000002.ckpt", file_in(dir, "step-000002.ckpt")), 0);
    assert_int_equal(checkpoint_read(file_in(dir, "step-000002.ckpt"), &b.c, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(load_step(dir, &b), 1);
    assert_int_equal(truncate(file_in(dir, "step-000001.ckpt"), 900), 0);
    assert_int_equal(checkpoint_load(dir, &b.c, path, &e), -1);
    assert_int_equal(e.code, ERR_IO); /* the newest one's error */
    assert_non_null(strstr(e.msg, "step-000002.ckpt: "));
    run_fini(&a), run_fini(&b);
    temp_remove(dir);
}

static void one_run_a_folder(void **state) {
    (void)state;
    char *dir = temp_folder(), want[PATH_MAX + 100];
    struct err e = {0};
    const int fd = checkpoint_lock(dir, &e);
    assert_true(fd >= 0);
    assert_int_equal(checkpoint_lock(dir, &e), -1);
    assert_int_equal(e.code, ERR_BUSY);
    snprintf(want, sizeof want, "%s: another training run writes its checkpoints here", dir);
    assert_string_equal(e.msg, want);
    close(fd);
    const int again = checkpoint_lock(dir, &e);
    assert_true(again >= 0);
    close(again);
    assert_int_equal(checkpoint_lock(file_in(dir, "none"), &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    temp_remove(dir);
}

/* In a child, for the limit and the ignored signal stay with a process. */
static void full_disk_keeps_the_old(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct run a, b;
    int status;
    run_init(&a, 1), run_init(&b, 1);
    save_at(dir, &a, 1);
    const pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        const struct rlimit small = {1000, 1000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &small);
        a.state.step = 2;
        _exit(checkpoint_save(dir, &a.c, &e) == -1 && e.code == ERR_IO ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    expect_names(dir, "step-000001.ckpt");
    assert_int_equal(load_step(dir, &b), 1);
    run_fini(&a), run_fini(&b);
    temp_remove(dir);
}

/* ---- kill -9 ---- */

/* What step s must have in its planes. */
static void fill_step(struct run *r, int64_t step) {
    struct rng g;
    rng_seed(&g, (uint64_t)step);
    fill(&r->p, r->p.w, &g), fill(&r->p, r->p.m, &g), fill(&r->p, r->p.v, &g);
    r->state.step = step;
    r->state.rng = g;
}

/* What a process that may be gone by now has promised: shared memory. */
struct promise {
    volatile int64_t step;
};

/* Save steps from..., each promised when it is there; never returns. */
static void save_forever(const char *dir, struct run *r, int64_t from, struct promise *done) {
    struct err e;
    for (int64_t step = from;; step++) {
        fill_step(r, step);
        if (checkpoint_save(dir, &r->c, &e) != 0) _exit(1);
        done->step = step;
    }
}

/* Let the child work, until it has saved once or right away, then for up to 40 ms. */
static void wait_a_moment(const struct promise *done, int round, struct rng *g) {
    const int64_t was = done->step, until = os_now_ns() + (int64_t)10 * 1000000000;
    while (round % 3 && done->step == was && os_now_ns() < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = rng_below(g, 40000) * 1000L}, NULL);
}

static void expect_step(const struct run *r, struct run *want, int64_t step) {
    fill_step(want, step);
    if (!same_run(r, want)) fail_msg("step %lld: other contents", (long long)step);
}

/* Whatever has a checkpoint's name is one: loading passes over nothing. */
static void expect_all_whole(const char *dir, const struct run *r) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));) {
        const char *dot = strrchr(x->d_name, '.');
        if (dot && strcmp(dot, ".ckpt") == 0) read_ok(file_in(dir, x->d_name), r);
    }
    closedir(d);
}

static void check_after_kill(const char *dir, const struct promise *done, struct run *got,
                             struct run *want) {
    expect_all_whole(dir, got);
    const int64_t step = load_step(dir, got), least = done->step;
    if (step == -1 && least == 0) return; /* it had not come to its first */
    if (step < least || step > least + 1)
        fail_msg("step %lld loaded, %lld were done", (long long)step, (long long)least);
    expect_step(got, want, step);
}

static void killed_at_any_moment(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct run r, got, want;
    struct rng g;
    struct promise *done =
        mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    run_init(&r, 300), run_init(&got, 300), run_init(&want, 300); /* half a megabyte */
    rng_seed(&g, (uint64_t)time(NULL));
    for (int round = 0; round < 50; round++) {
        int status;
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) save_forever(dir, &r, done->step + 1, done);
        wait_a_moment(done, round, &g);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status)); /* it had not given up before */
        check_after_kill(dir, done, &got, &want);
    }
    assert_true(done->step >= 30);
    save_at(dir, &r, done->step + 2);
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *x; (x = readdir(d));)
        n += x->d_name[0] != '.';
    closedir(d);
    assert_int_equal(n, 2); /* nothing half-written is left */
    munmap(done, sizeof *done);
    run_fini(&r), run_fini(&got), run_fini(&want);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_comes_back),
        cmocka_unit_test(no_best_stores_less),
        cmocka_unit_test(resumed_is_uninterrupted),
        cmocka_unit_test(other_runs_are_named),
        cmocka_unit_test(cut_and_flipped_files),
        cmocka_unit_test(versions_and_strangers),
        cmocka_unit_test(made_up_files),
        cmocka_unit_test(folder_keeps_two),
        cmocka_unit_test(damaged_newest_is_passed_over),
        cmocka_unit_test(unreadable_newest_is_passed_over),
        cmocka_unit_test(one_run_a_folder),
        cmocka_unit_test(full_disk_keeps_the_old),
        cmocka_unit_test(killed_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
