/* Sound files with bad contents (SECURITY.md F6-F8, F12) through the loader, and a few tokens
 * through whatever it accepts: hyper-parameters, missing keys and tensors, shapes, vocabularies. */
#include "support.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "badgguf.h"
#include "base/os.h"
#include "engine/session.h"
#include "gguf/write.h"
#include "seedgguf.h"

static char *dir;

/* A file without a name, at a path nonetheless; refilled for each case. */
struct scratch {
    int fd;
    char path[64];
    bool any_arch; /* keys of all kinds: only nonsense must be refused, see is_nonsense() */
    int n_wrong, n_refused;
};

static void scratch_open(struct scratch *s, bool any_arch) {
    *s = (struct scratch){.fd = memfd_create("bad.gguf", MFD_CLOEXEC), .any_arch = any_arch};
    assert_true(s->fd >= 0);
    snprintf(s->path, sizeof s->path, "/proc/self/fd/%d", s->fd);
}

/* A prompt and one more token: what was accepted must also run, in finite numbers or not. */
static void use(struct engine *g) {
    struct err e = {0};
    struct ids ids = {0};
    const float *logits;
    if (tok_encode(engine_vocab(g), STR("the t\xc3\xa9 \xff<s>"),
                   (struct tok_opts){.add_special = true, .parse_special = true}, &ids, &e) == 0 &&
        ids.n > 0) {
        struct buf text = {0};
        struct session *s = session_new(g, &e);
        if (s) session_feed(s, ids.v, (int)(ids.n < 8 ? ids.n : 8), &logits, NULL, &e);
        tok_decode(engine_vocab(g), ids.v, ids.n, (struct detok_opts){0}, &text, &e);
        session_free(s);
        buf_fini(&text);
    }
    ids_fini(&ids);
}

/* No key of any architecture may have these values; but two of them never read the window. */
static bool is_nonsense(const char *name) {
    static const char *const values[] = {
        " = NaN",          " = inf",       " = -inf",           " = -1",
        " = empty string", " = float NaN", " is an empty array"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const char *at = strstr(name, values[i]);
        if (at && at[strlen(values[i])] == 0) return !strstr(name, ".sliding_window");
    }
    return false;
}

static void wrong(struct scratch *s, const struct bad_case *c, const char *what, const char *msg) {
    print_message("%s: %s: %s: %s\n", c->id, c->name, what, msg);
    s->n_wrong++;
}

static void check_case(void *ctx, const struct bad_case *c) {
    struct scratch *s = ctx;
    struct err e = {0};
    const struct engine_opts o = {.n_ctx = 32, .n_threads = 1, .n_batch = 8};
    const bool strict = c->kind != MAY_LOAD && (!s->any_arch || is_nonsense(c->name));
    assert_int_equal(ftruncate(s->fd, 0), 0);
    assert_int_equal(pwrite(s->fd, c->bytes, c->n, 0), (ssize_t)c->n);
    const int64_t t0 = os_now_ns();
    struct engine *g = engine_open(s->path, &o, &e);
    if (g) {
        use(g);
        engine_close(g);
        if (strict) wrong(s, c, "was accepted", "");
    } else {
        s->n_refused++;
        if (strncmp(e.msg, s->path, strlen(s->path)) != 0) wrong(s, c, "file not named", e.msg);
        /* A wrong size may also show in a tensor whose shape does not fit it. */
        if (strict && c->blame && !strstr(e.msg, c->blame) && !strstr(e.msg, "its place needs"))
            wrong(s, c, "not named", e.msg);
        if (e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) wrong(s, c, "wrong code", e.msg);
    }
    if (os_now_ns() - t0 > 2000000000) wrong(s, c, "slow", e.msg);
    if (getenv("CRIA_TEST_VERBOSE"))
        print_message("%-4s %-40s %s\n", c->id, c->name, g ? "ACCEPTED" : e.msg);
}

static void bad_seeds_are_refused(void **state) {
    (void)state;
    struct scratch s;
    char path[700];
    scratch_open(&s, false);
    snprintf(path, sizeof path, "%s/seed.gguf", dir);
    for (int i = 0; i < 2; i++) {
        seed_gguf_write(path, (enum seed_vocab)i);
        bad_model_each(path, check_case, &s);
        bad_vocab_each(path, check_case, &s);
    }
    close(s.fd);
    if (s.n_wrong) fail_msg("%d cases went wrong", s.n_wrong);
}

/* Every architecture's own keys: nonsense is refused, and nothing crashes or hangs. */
static void odd_keys_of_architectures(void **state) {
    (void)state;
    struct scratch s;
    int n = 0;
    if (!golden_is_full()) return;
    char **names = golden_names("models", ".gguf", 25);
    scratch_open(&s, true);
    for (char **name = names; *name; name++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", golden("models"), *name);
        n += bad_hparams_each(path, check_case, &s);
    }
    names_free(names);
    close(s.fd);
    if (n < 3000) fail_msg("%d cases; at least 3000 expected", n);
    if (s.n_wrong) fail_msg("%d cases went wrong", s.n_wrong);
}

/* The golden model's metadata with twice the heads in each further layer, and one key more. */
static void refuse_growing_heads(const char *key, uint32_t u, float f) {
    struct err e = {0};
    char path[700];
    int32_t n_head[64];
    for (int i = 0; i < 64; i++)
        n_head[i] = i ? 8 : 4;
    snprintf(path, sizeof path, "%s/heads.gguf", dir);
    struct gguf *g = gguf_open(golden("models/llama32.gguf"), &e);
    assert_non_null(g);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(w);
    for (int i = 0; i < gguf_n_kv(g); i++)
        assert_int_equal(gguf_copy_kv(w, gguf_kv_at(g, i), &e), 0);
    assert_int_equal(gguf_set_arr(w, "llama.attention.head_count", GGUF_I32, n_head, 64, &e), 0);
    assert_int_equal(u ? gguf_set_u32(w, key, u, &e) : gguf_set_f32(w, key, f, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    gguf_close(g);
    assert_null(engine_open(path, &(struct engine_opts){.n_ctx = 32}, &e));
    if (!strstr(e.msg, "attention.head_count' is 8 for layer 1")) fail_msg("%s", e.msg);
}

/* Buffers that are sized once for all layers must fit every layer. */
static void heads_that_differ(void **state) {
    (void)state;
    refuse_growing_heads("llama.attention.max_alibi_bias", 0, 8);
    refuse_growing_heads("llama.attention.kv_lora_rank", 16, 0);
}

static int setup(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_seeds_are_refused),
        cmocka_unit_test(odd_keys_of_architectures),
        cmocka_unit_test(heads_that_differ),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
