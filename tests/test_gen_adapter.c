/* gen_add_adapter: an adapter for a model that is open, in this process and in a child.  What it
 * answers then is what it answers when it was opened with the adapter. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen_rig.h"
#include "gguf/write.h"

static const char *const llama = "models/llama32.gguf";
static const char prompt[] = "'op':'text','prompt':'once upon','raw':true,'options':"
                             "{'temperature':0,'num_predict':24,'ignore_eos':true}";

typedef struct gen *open_fn(const char *path, const struct gen_opts *o, struct err *e);

static struct gen *open_child(const char *path, const struct gen_opts *o, struct err *e) {
    return gen_open_child(path, o, NULL, e);
}

static open_fn *const impls[] = {gen_open_local, open_child};

static char *dir, path[600];

static char tuned_file[600];

static struct gen *open_gen(int impl, const char *lora) {
    struct err e = {0};
    struct gen_opts o = {.engine = {.n_threads = 2, .n_ctx = 256}};
    if (lora) o.engine.lora = &lora, o.engine.n_lora = 1;
    struct gen *g = impls[impl](golden(llama), &o, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

static void add(struct gen *g, const char *name, const char *file, float scale) {
    struct err e = {0};
    if (gen_add_adapter(g, name, file, scale, &e) != 0) fail_msg("%s", e.msg);
}

static void refuse(struct gen *g, const char *name, const char *file, enum err_code code,
                   const char *says) {
    struct err e = {0};
    assert_int_equal(gen_add_adapter(g, name, file, 1, &e), -1);
    if (e.code != code || !strstr(e.msg, says))
        fail_msg("\"%s\" (%d) does not say %s", e.msg, e.code, says);
}

static void same_ids(const struct talk *a, const struct talk *b, bool wanted) {
    assert_int_equal(a->n_id[0], 24);
    assert_int_equal(b->n_id[0], 24);
    assert_true((memcmp(a->id[0], b->id[0], 24 * sizeof a->id[0][0]) == 0) == wanted);
}

static void adapters_are_named_by_requests(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct talk plain = {0}, tuned = {0}, t = {0}, none = {0}, half = {0}, unknown = {0};
        struct gen *g = open_gen(i, tuned_file);
        talk(&tuned, g, "{%s}", prompt);
        talk(&plain, g, "{%s,'adapter':''}", prompt);
        gen_close(g);
        same_ids(&plain, &tuned, false);

        g = open_gen(i, NULL);
        talk(&none, g, "{%s}", prompt);
        same_ids(&none, &plain, true);
        add(g, "mine", tuned_file, 1);
        add(g, "half", tuned_file, 0.5f);
        talk_fini(&none);
        none = (struct talk){0};
        talk(&none, g, "{%s}", prompt); /* nobody else gets it */
        same_ids(&none, &plain, true);
        talk(&t, g, "{%s,'adapter':'mine'}", prompt);
        same_ids(&t, &tuned, true);
        talk(&half, g, "{%s,'adapter':'half'}", prompt);
        same_ids(&half, &tuned, false);
        talk_start(&unknown, g, "{%s,'adapter':'other'}", prompt);
        talk_wait(&unknown);
        assert_int_equal(unknown.err.code, ERR_NOT_FOUND);
        gen_close(g);
        talk_fini(&plain), talk_fini(&tuned), talk_fini(&t);
        talk_fini(&none), talk_fini(&half), talk_fini(&unknown);
    }
}

/* Texts are embedded with the adapter that is named, too. */
static void vectors(void **state) {
    (void)state;
    static const char embed[] = "'op':'embed','input':['once upon a time','the end']";
    for (int i = 0; i < 2; i++) {
        struct talk want = {0}, plain = {0}, got = {0}, none = {0};
        struct gen *g = open_gen(i, tuned_file);
        talk(&want, g, "{%s}", embed);
        talk(&plain, g, "{%s,'adapter':''}", embed);
        gen_close(g);
        g = open_gen(i, NULL);
        add(g, "mine", tuned_file, 1);
        talk(&got, g, "{%s,'adapter':'mine'}", embed);
        talk(&none, g, "{%s}", embed);
        gen_close(g);
        for (int k = 0; k < 2; k++) {
            const size_t n = (size_t)want.n_vector * sizeof *want.vector[k];
            assert_int_equal(want.n_vector, 64);
            assert_memory_equal(got.vector[k], want.vector[k], n);
            assert_memory_equal(none.vector[k], plain.vector[k], n);
            assert_memory_not_equal(none.vector[k], want.vector[k], n);
        }
        talk_fini(&want), talk_fini(&plain), talk_fini(&got), talk_fini(&none);
    }
}

/* Those that run go on; then both run in one batch, each as if alone. */
static void adapters_come_while_others_run(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct talk plain = {0}, tuned = {0}, long_one = {0}, both[6] = {0};
        struct gen *g = open_gen(i, tuned_file);
        talk(&tuned, g, "{%s}", prompt);
        gen_close(g);
        g = open_gen(i, NULL);
        talk(&plain, g, "{%s}", prompt);
        talk_start(&long_one, g,
                   "{'op':'text','prompt':'once upon','raw':true,'options':{'temperature':0,"
                   "'num_predict':200,'ignore_eos':true}}");
        talk_wait_events(&long_one, 3);
        add(g, "mine", tuned_file, 1);
        for (int k = 0; k < 6; k++)
            talk_start(&both[k], g, k % 2 ? "{%s,'adapter':'mine'}" : "{%s}", prompt);
        for (int k = 0; k < 6; k++) {
            talk_wait(&both[k]);
            same_ids(&both[k], k % 2 ? &tuned : &plain, true);
            talk_fini(&both[k]);
        }
        talk_wait(&long_one);
        assert_int_equal(long_one.n_id[0], 200);
        assert_memory_equal(long_one.id[0], plain.id[0], 24 * sizeof plain.id[0][0]);
        gen_close(g);
        talk_fini(&plain), talk_fini(&tuned), talk_fini(&long_one);
    }
}

/* A pair of that rank for llama32's blk.0.attn_q. */
static const char *of_rank(int rank, const char *arch) {
    struct err e;
    const int64_t a[] = {64, rank}, b[] = {rank, 64};
    snprintf(path, sizeof path, "%s/rank.gguf", dir);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    gguf_set_str(w, "general.type", STR("adapter"), &e);
    gguf_set_str(w, "adapter.type", STR("lora"), &e);
    gguf_set_str(w, "general.architecture", str_of(arch), &e);
    gguf_set_f32(w, "adapter.lora.alpha", 8, &e);
    gguf_add_tensor(w, "blk.0.attn_q.weight.lora_a", QT_F32, 2, a, &e);
    gguf_add_tensor(w, "blk.0.attn_q.weight.lora_b", QT_F32, 2, b, &e);
    for (int i = 0; i < 2 * 64 * rank; i++) {
        const float v = sinf((float)i);
        assert_int_equal(gguf_write_data(w, &v, sizeof v, &e), 0);
    }
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
    return path;
}

/* What is wrong is told, and the model answers as before. */
static void wrong_adapters_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct talk before = {0}, after = {0};
        struct gen *g = open_gen(i, NULL);
        talk(&before, g, "{%s}", prompt);
        refuse(g, "x", "/nowhere/a.gguf", ERR_NOT_FOUND, "/nowhere/a.gguf");
        refuse(g, "x", golden(llama), ERR_FORMAT, "general.type");
        refuse(g, "x", of_rank(8, "qwen2"), ERR_FORMAT, "general.architecture");
        refuse(g, "x", of_rank(GEN_ADAPTER_RANK + 1, "llama"), ERR_LIMIT, "rank 65");
        refuse(g, "x", dir, ERR_FORMAT, "directory");
        add(g, "x", of_rank(GEN_ADAPTER_RANK, "llama"), 1);
        refuse(g, "x", tuned_file, ERR_USAGE, "not free");
        for (int k = 1; k < ENGINE_MAX_LORA; k++) {
            char name[16];
            snprintf(name, sizeof name, "a%d", k);
            add(g, name, tuned_file, 1);
        }
        refuse(g, "more", tuned_file, ERR_LIMIT, "at most");
        talk(&after, g, "{%s}", prompt);
        same_ids(&before, &after, true);
        assert_true(gen_alive(g));
        gen_close(g);
        talk_fini(&before), talk_fini(&after);
    }
}

static void *add_many(void *gen) {
    static int next;
    for (int k = 0; k < 4; k++) {
        char name[24];
        snprintf(name, sizeof name, "t%d", __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED));
        add(gen, name, tuned_file, 1);
    }
    return NULL;
}

/* Any number of threads may add. */
static void several_at_once(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct gen *g = open_gen(i, NULL);
        struct talk t = {0};
        pthread_t thread[3];
        talk_start(&t, g, "{%s}", prompt);
        for (int k = 0; k < 3; k++)
            assert_int_equal(pthread_create(&thread[k], NULL, add_many, g), 0);
        for (int k = 0; k < 3; k++)
            pthread_join(thread[k], NULL);
        talk_wait(&t);
        assert_int_equal(t.err.code, ERR_NONE);
        gen_close(g);
        talk_fini(&t);
    }
}

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(tuned_file, sizeof tuned_file, "%s", golden("lora/llama32.lora-qv.gguf"));
    use_program();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_are_named_by_requests),
        cmocka_unit_test(vectors),
        cmocka_unit_test(adapters_come_while_others_run),
        cmocka_unit_test(wrong_adapters_are_refused),
        cmocka_unit_test(several_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
