/* create/export_adapter.c: adapters in PEFT's form.  The golden adapters exist in both, made by
 * another program: each must come out of the other bit by bit. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/f16.h"
#include "create/convert.h"
#include "create/export_adapter.h"
#include "gguf/safetensors.h"
#include "gguf/write.h"
#include "model/lora_set.h"

static char *dir;
static char adapter[600], folder[600];

static int make_dir(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(adapter, sizeof adapter, "%s/adapter.gguf", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static void export_to(const char *name, const char *from, const char *base) {
    struct err e;
    snprintf(folder, sizeof folder, "%s/%s", dir, name);
    if (export_adapter(from, base, folder, NULL, &e) != 0) fail_msg("%s", e.msg);
}

static json_t *config_of(const char *in) {
    char path[700];
    snprintf(path, sizeof path, "%s/adapter_config.json", in);
    return slurp_json(path);
}

static struct safetensors *tensors_of(const char *in) {
    struct err e;
    struct safetensors *s = safetensors_open(in, &e);
    if (!s) fail_msg("%s", e.msg);
    return s;
}

static void same_file(const char *a, const char *b) {
    size_t na, nb;
    uint8_t *x = slurp(a, &na), *y = slurp(b, &nb);
    if (na != nb || memcmp(x, y, na) != 0) fail_msg("%s and %s differ", a, b);
    free(x), free(y);
}

/* ---- round trips ---- */

static bool same_set(const json_t *a, const json_t *b) {
    bool same = json_array_size(a) == json_array_size(b);
    for (size_t i = 0; i < json_array_size(a); i++) {
        bool found = false;
        for (size_t k = 0; k < json_array_size(b); k++)
            found |= json_equal(json_array_get(a, i), json_array_get(b, k));
        same = same && found;
    }
    return same;
}

/* What the golden config says, ours says; it may say more. */
static void same_config(const char *golden_folder, const char *ours) {
    json_t *want = config_of(golden_folder), *got = config_of(ours), *v;
    const char *key;
    json_object_foreach(want, key, v) {
        const json_t *w = json_object_get(got, key);
        const bool number = json_is_number(v) && json_is_number(w);
        const bool same = number ? json_number_value(v) == json_number_value(w)
                          : strcmp(key, "target_modules") == 0 ? same_set(v, w)
                                                               : json_equal(v, w);
        if (!same) fail_msg("%s: \"%s\" differs", ours, key);
    }
    json_decref(want), json_decref(got);
}

static void same_tensors(const char *a, const char *b) {
    struct lora_set x, y;
    struct err e;
    if (lora_set_open(&x, a, NULL, &e) != 0 || lora_set_open(&y, b, NULL, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(x.n, y.n);
    assert_true(x.alpha == y.alpha);
    for (int i = 0; i < x.n; i++) {
        const struct lora_set_pair *p = &x.pair[i], *q = lora_set_find(&y, p->name);
        assert_non_null(q);
        assert_int_equal(p->a->n_bytes, q->a->n_bytes);
        assert_int_equal(p->b->n_bytes, q->b->n_bytes);
        assert_memory_equal(p->a->data, q->a->data, p->a->n_bytes);
        assert_memory_equal(p->b->data, q->b->data, p->b->n_bytes);
    }
    lora_set_close(&x), lora_set_close(&y);
}

static void both_ways(const char *model, const char *tag) {
    char rel[128], base[600], gguf[600], peft[600], want[700], got[700];
    const struct convert_opts none = {0};
    struct err e;
    snprintf(rel, sizeof rel, "train/models/%s.gguf", model);
    snprintf(base, sizeof base, "%s", golden(rel));
    snprintf(rel, sizeof rel, "train/adapters/%s.%s.gguf", model, *tag ? tag : "lora");
    snprintf(gguf, sizeof gguf, "%s", golden(rel));
    snprintf(rel, sizeof rel, "train/adapters/%s%s%s.peft", model, *tag ? "." : "", tag);
    snprintf(peft, sizeof peft, "%s", golden(rel));
    snprintf(want, sizeof want, "%s/adapter_model.safetensors", peft);

    /* GGUF -> PEFT: the other program's file.  rsLoRA is not to be seen in that GGUF. */
    export_to("from-gguf", gguf, base);
    snprintf(got, sizeof got, "%s/adapter_model.safetensors", folder);
    same_file(want, got);
    /* -> GGUF */
    if (convert_adapter(folder, base, adapter, &none, &e) != 0) fail_msg("%s", e.msg);
    same_tensors(gguf, adapter);
    /* PEFT -> GGUF -> PEFT, the base not needed again */
    if (convert_adapter(peft, base, adapter, &none, &e) != 0) fail_msg("%s", e.msg);
    same_tensors(gguf, adapter);
    export_to("from-peft", adapter, NULL);
    snprintf(got, sizeof got, "%s/adapter_model.safetensors", folder);
    same_file(want, got);
    same_config(peft, folder);
}

static void golden_adapters_go_both_ways(void **state) {
    (void)state;
    static const char *const models[] = {"llama-q8", "qwen2", "llama-tied", "llama-untied"};
    for (int i = 0; i < (golden_is_full() ? 4 : 2); i++) {
        both_ways(models[i], "");
        both_ways(models[i], "subset");
    }
}

static void more_adapters_come_back(void **state) {
    (void)state;
    static const struct {
        const char *adapter, *model;
    } all[] = {{"llama32.lora-qv", "llama32"},
               {"llama32.lora-all", "llama32"},
               {"llamaq.lora-all", "llamaq"},
               {"qwen2.lora-all", "qwen2"}};
    const struct convert_opts none = {0};
    for (int i = 0; i < (golden_is_full() ? 4 : 1); i++) {
        char rel[128], base[600];
        struct err e;
        snprintf(rel, sizeof rel, "models/%s.gguf", all[i].model);
        snprintf(base, sizeof base, "%s", golden(rel));
        snprintf(rel, sizeof rel, "lora/%s.gguf", all[i].adapter);
        export_to("more", golden(rel), base);
        if (convert_adapter(folder, base, adapter, &none, &e) != 0) fail_msg("%s", e.msg);
        same_tensors(golden(rel), adapter);
    }
}

/* ---- adapters made here ---- */

struct made { /* a pair of W, [n_in] to [n_out] */
    const char *w;
    int n_in, n_out, rank;
    enum qtype type;
};

struct shape {
    const char *arch;
    int n_layer, n_head, n_kv, n_ff;
};

/* Column i of row r is r + i / 64, which F16 and Q8_0's blocks of a row hold. */
static void put_half(struct gguf_writer *w, const struct made *m, bool b) {
    const int n_row = b ? m->n_out : m->rank, n_col = b ? m->rank : m->n_in;
    struct err e;
    for (int r = 0; r < n_row; r++)
        for (int i = 0; i < n_col; i++) {
            const float v = (float)r + (float)i / 64;
            const uint16_t h = f32_to_f16(v);
            const void *p = m->type == QT_F16 ? (const void *)&h : &v;
            assert_int_equal(gguf_write_data(w, p, m->type == QT_F16 ? 2 : 4, &e), 0);
        }
}

static void make(struct shape s, float alpha, const struct made *pair, int n) {
    struct err e;
    char key[128];
    struct gguf_writer *w = gguf_writer_new(adapter, 0, &e);
    gguf_set_str(w, "general.type", STR("adapter"), &e);
    gguf_set_str(w, "adapter.type", STR("lora"), &e);
    gguf_set_str(w, "general.architecture", str_of(s.arch), &e);
    gguf_set_f32(w, "adapter.lora.alpha", alpha, &e);
    const struct {
        const char *key;
        int value;
    } keys[] = {{"block_count", s.n_layer},
                {"attention.head_count", s.n_head},
                {"attention.head_count_kv", s.n_kv},
                {"feed_forward_length", s.n_ff}};
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s.%s", s.arch, keys[i].key);
        if (keys[i].value) gguf_set_u32(w, key, (uint32_t)keys[i].value, &e);
    }
    for (int i = 0; i < n; i++) {
        char name[160];
        const int64_t a[] = {pair[i].n_in, pair[i].rank}, b[] = {pair[i].rank, pair[i].n_out};
        snprintf(name, sizeof name, "%s.lora_a", pair[i].w);
        assert_int_equal(gguf_add_tensor(w, name, pair[i].type, 2, a, &e), 0);
        snprintf(name, sizeof name, "%s.lora_b", pair[i].w);
        assert_int_equal(gguf_add_tensor(w, name, pair[i].type, 2, b, &e), 0);
    }
    for (int i = 0; i < n; i++)
        put_half(w, &pair[i], false), put_half(w, &pair[i], true);
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
}
#define MAKE(s, alpha, ...)                                                                        \
    make(s, alpha, (const struct made[]){__VA_ARGS__},                                             \
         (int)(sizeof(struct made[]){__VA_ARGS__} / sizeof(struct made)))

static const struct shape small = {"llama", 2, 4, 2, 48};

/* Row r of module's B begins with the number of the tensor's row that it was. */
static void expect_rows(const struct safetensors *s, const char *module, int n_row,
                        int (*row)(int r)) {
    char name[200];
    float v[8];
    snprintf(name, sizeof name, "base_model.model.%s.lora_B.weight", module);
    const struct st_tensor *t = safetensors_find(s, name);
    if (!t) fail_msg("no %s", name);
    assert_int_equal(t->shape[0], n_row);
    for (int r = 0; r < n_row; r++) {
        safetensors_floats(t, (size_t)(r * t->shape[1]), 1, v);
        if (v[0] != (float)row(r)) fail_msg("%s: row %d is %g", name, r, (double)v[0]);
    }
}

/* Heads of 8 rows: checkpoint row half * 4 + i is GGUF's 2 i + half. */
static int rotated(int r) {
    return r / 8 * 8 + 2 * (r % 4) + r % 8 / 4;
}
static int same(int r) {
    return r;
}
static int rotated_k(int r) {
    return 32 + rotated(r);
}
static int behind_k(int r) {
    return 48 + r;
}
static int second_half(int r) {
    return 48 + r;
}

/* What GGUF has in one and checkpoints of the family do not is cut; A goes to all parts. */
static void fused_tensors_are_cut(void **state) {
    (void)state;
    MAKE(small, 6, {"blk.1.attn_qkv.weight", 32, 64, 3, QT_F32},
         {"blk.1.ffn_up.weight", 32, 96, 3, QT_F32}, {"blk.0.ffn_up.weight", 32, 48, 3, QT_F32});
    export_to("cut", adapter, NULL);
    struct safetensors *s = tensors_of(folder);
    assert_int_equal(safetensors_n(s), 6 * 2);
    expect_rows(s, "model.layers.1.self_attn.q_proj", 32, rotated);
    expect_rows(s, "model.layers.1.self_attn.k_proj", 16, rotated_k);
    expect_rows(s, "model.layers.1.self_attn.v_proj", 16, behind_k);
    expect_rows(s, "model.layers.1.mlp.gate_proj", 48, same);
    expect_rows(s, "model.layers.1.mlp.up_proj", 48, second_half);
    expect_rows(s, "model.layers.0.mlp.up_proj", 48, same);
    const struct st_tensor *q = safetensors_find(
                               s, "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"),
                           *v = safetensors_find(
                               s, "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight");
    assert_int_equal(q->n_bytes, 3 * 32 * 4);
    assert_memory_equal(q->data, v->data, q->n_bytes);
    safetensors_close(s);
}

/* Phi 3's checkpoints have them in one as well. */
static void fused_checkpoints_stay(void **state) {
    (void)state;
    struct shape phi = small;
    phi.arch = "phi3";
    MAKE(phi, 6, {"blk.0.attn_qkv.weight", 32, 64, 3, QT_F32},
         {"blk.0.ffn_up.weight", 32, 96, 3, QT_F32}, {"output.weight", 32, 64, 3, QT_F32});
    export_to("phi", adapter, NULL);
    struct safetensors *s = tensors_of(folder);
    assert_int_equal(safetensors_n(s), 3 * 2);
    expect_rows(s, "model.layers.0.self_attn.qkv_proj", 64, same);
    expect_rows(s, "model.layers.0.mlp.gate_up_proj", 96, same);
    expect_rows(s, "lm_head", 64, same);
    safetensors_close(s);
}

static void types_are_kept(void **state) {
    (void)state;
    MAKE(small, 6, {"blk.0.attn_q.weight", 32, 32, 4, QT_F16},
         {"blk.0.attn_k.weight", 32, 16, 4, QT_F32});
    export_to("types", adapter, NULL);
    struct safetensors *s = tensors_of(folder);
    assert_int_equal(safetensors_at(s, 0)->type, ST_F32); /* by name: k_proj first */
    assert_int_equal(safetensors_at(s, 3)->type, ST_F16);
    expect_rows(s, "model.layers.0.self_attn.q_proj", 32, rotated);
    expect_rows(s, "model.layers.0.self_attn.k_proj", 16, rotated);
    safetensors_close(s);
}

/* ---- adapter_config.json ---- */

static void expect_config(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    json_error_t je;
    json_t *want = json_vpack_ex(&je, 0, fmt, ap), *got = config_of(folder), *v;
    va_end(ap);
    if (!want) fail_msg("%s", je.text);
    const char *key;
    json_object_foreach(want, key, v) if (!json_equal(v, json_object_get(got, key))) fail_msg(
        "\"%s\" is %s", key, json_dumps(json_object_get(got, key), JSON_ENCODE_ANY | JSON_COMPACT));
    json_decref(want), json_decref(got);
}

static void targets_and_layers(void **state) {
    (void)state;
    MAKE(small, 6, {"blk.0.attn_v.weight", 32, 16, 4, QT_F32},
         {"blk.1.attn_v.weight", 32, 16, 4, QT_F32});
    export_to("config", adapter, NULL);
    expect_config("{s:[s], s:n, s:i, s:i, s:b, s:{}, s:n, s:s, s:s}", "target_modules", "v_proj",
                  "layers_to_transform", "r", 4, "lora_alpha", 6, "use_rslora", 0, "rank_pattern",
                  "base_model_name_or_path", "task_type", "CAUSAL_LM", "bias", "none");
    MAKE(small, 6.5, {"blk.1.attn_v.weight", 32, 16, 4, QT_F32});
    export_to("config", adapter, NULL); /* replaces */
    expect_config("{s:[s], s:[i], s:f}", "target_modules", "v_proj", "layers_to_transform", 1,
                  "lora_alpha", 6.5);
    MAKE(small, 0, {"blk.0.attn_v.weight", 32, 16, 4, QT_F32},
         {"blk.1.ffn_down.weight", 48, 32, 4, QT_F32});
    export_to("config", adapter, NULL); /* no alpha: the product as it stands */
    expect_config("{s:[s,s], s:n, s:i}", "target_modules", "model.layers.0.self_attn.v_proj",
                  "model.layers.1.mlp.down_proj", "layers_to_transform", "lora_alpha", 4);
    MAKE(small, 6, {"blk.0.attn_v.weight", 32, 16, 4, QT_F32},
         {"blk.1.attn_v.weight", 32, 16, 2, QT_F32});
    export_to("config", adapter, NULL);
    expect_config("{s:[s], s:i, s:{s:i}, s:i}", "target_modules", "v_proj", "r", 4, "rank_pattern",
                  "model.layers.1.self_attn.v_proj", 2, "lora_alpha", 6);
}

static void name_of_the_base(void **state) {
    (void)state;
    struct err e;
    const struct export_opts o = {.base_name = "someone/model \"x\""};
    MAKE(small, 6, {"blk.0.attn_v.weight", 32, 16, 4, QT_F32});
    snprintf(folder, sizeof folder, "%s/named", dir);
    if (export_adapter(adapter, NULL, folder, &o, &e) != 0) fail_msg("%s", e.msg);
    expect_config("{s:s}", "base_model_name_or_path", "someone/model \"x\"");
}

/* ---- what is refused, with nothing written ---- */

static void refused(const char *base, enum err_code code, const char *says) {
    struct err e = {0};
    snprintf(folder, sizeof folder, "%s/refused", dir);
    if (export_adapter(adapter, base, folder, NULL, &e) == 0) fail_msg("exported: %s", says);
    if (e.code != code || !strstr(e.msg, says))
        fail_msg("\"%s\" (%d) does not say %s", e.msg, e.code, says);
    assert_int_not_equal(access(folder, F_OK), 0);
}

static void what_is_refused(void **state) {
    (void)state;
    static const char *const weights[] = {"token_embd.weight", "blk.0.attn_norm.weight",
                                          "blk.0.ffn_gate_inp.weight", "blk.0.ffn_up_exps.weight",
                                          "blk.0.attn_x.weight"};
    struct shape s = small;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        MAKE(small, 6, {weights[i], 32, 32, 4, QT_F32});
        refused(NULL, ERR_UNSUPPORTED, weights[i]);
    }
    MAKE(small, 6, {"blk.2.attn_q.weight", 32, 32, 4, QT_F32});
    refused(NULL, ERR_FORMAT, "the base has 2 layers");
    MAKE(small, 6, {"blk.0.attn_q.weight", 32, 28, 4, QT_F32});
    refused(NULL, ERR_FORMAT, "28 rows");
    s.n_head = 0;
    MAKE(s, 6, {"blk.0.attn_q.weight", 32, 32, 4, QT_F32});
    refused(NULL, ERR_NOT_FOUND, "the base's file is needed");
    refused(golden("train/models/qwen2.gguf"), ERR_FORMAT, "qwen2");
    refused("/nowhere/base.gguf", ERR_NOT_FOUND, "/nowhere/base.gguf");
    s.arch = "gpt2";
    MAKE(s, 6, {"blk.0.attn_q.weight", 32, 32, 4, QT_F32});
    refused(NULL, ERR_UNSUPPORTED, "gpt2");
    s.arch = "bert";
    MAKE(s, 6, {"blk.0.attn_q.weight", 32, 32, 4, QT_F32});
    refused(NULL, ERR_UNSUPPORTED, "bert");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_adapters_go_both_ways),
        cmocka_unit_test(more_adapters_come_back),
        cmocka_unit_test(fused_tensors_are_cut),
        cmocka_unit_test(fused_checkpoints_stay),
        cmocka_unit_test(types_are_kept),
        cmocka_unit_test(targets_and_layers),
        cmocka_unit_test(name_of_the_base),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
