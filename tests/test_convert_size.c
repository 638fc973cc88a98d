/* A large model is converted without being held: only read-only pages of its file are mapped, and
 * the kernel drops those when it needs them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hf.h"
#include "hf_edit.h"
#include "hub_rig.h"

enum { N_LAYER = 8, WIDE = 1024, N_FF = 4096, N_VOCAB = 448 };

struct header {
    json_t *j;
    size_t n; /* bytes of data so far */
};

static void add(struct header *h, int layer, const char *rest, int rows, int cols) {
    char name[200];
    const size_t n = (size_t)rows * (size_t)(cols ? cols : 1) * 2;
    if (layer < 0)
        snprintf(name, sizeof name, "model.%s.weight", rest);
    else
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, rest);
    json_object_set_new(h->j, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", "BF16", "shape",
                                  cols ? json_pack("[i, i]", rows, cols) : json_pack("[i]", rows),
                                  "data_offsets", (json_int_t)h->n, (json_int_t)(h->n + n)));
    h->n += n;
}

/* 270 MB of BF16 zeros, which take no room on the disk. */
static size_t write_large(const char *d) {
    static const char *const square[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                         "self_attn.o_proj"};
    struct header h = {json_object(), 0};
    char path[1400];
    add(&h, -1, "embed_tokens", N_VOCAB, WIDE);
    add(&h, -1, "norm", WIDE, 0);
    for (int il = 0; il < N_LAYER; il++) {
        add(&h, il, "input_layernorm", WIDE, 0);
        add(&h, il, "post_attention_layernorm", WIDE, 0);
        for (int i = 0; i < 4; i++)
            add(&h, il, square[i], WIDE, WIDE);
        add(&h, il, "mlp.gate_proj", N_FF, WIDE);
        add(&h, il, "mlp.up_proj", N_FF, WIDE);
        add(&h, il, "mlp.down_proj", WIDE, N_FF);
    }
    char *text = json_dumps(h.j, JSON_COMPACT);
    const uint64_t n = strlen(text);
    snprintf(path, sizeof path, "%s/model.safetensors", d);
    const int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, &n, 8), 8);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    assert_int_equal(ftruncate(fd, (off_t)(8 + n + h.n)), 0);
    close(fd);
    free(text), json_decref(h.j);
    return h.n;
}

/* A quarter of the model's size is all the memory that may be written. */
static void memory_is_bounded(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int v;
    } sizes[] = {{"hidden_size", WIDE},
                 {"num_hidden_layers", N_LAYER},
                 {"intermediate_size", N_FF},
                 {"num_attention_heads", 16},
                 {"num_key_value_heads", 16}};
    struct rlimit was, less;
    char path[1400];
    const char *const d = hub_path("large");
    assert_int_equal(hf_write(hub_golden("llama32"), d, HF_BF16), 0);
    const size_t n = write_large(d);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        hf_set(d, "config.json", sizes[i].key, json_integer(sizes[i].v));
    assert_int_equal(getrlimit(RLIMIT_DATA, &was), 0);
    less = was;
    less.rlim_cur = n / 4;
    if (!SANITIZED) assert_int_equal(setrlimit(RLIMIT_DATA, &less), 0);
    hub_folder("large", path);
    assert_int_equal(setrlimit(RLIMIT_DATA, &was), 0);
    struct gguf *g = hub_open(path);
    const struct gguf_tensor *t = gguf_tensor(g, "blk.7.ffn_down.weight");
    assert_true(t && t->type == QT_BF16 && t->ne[0] == N_FF && t->ne[1] == WIDE);
    assert_true(gguf_file_bytes(g) > n);
    gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_bounded)};
    return cmocka_run_group_tests(tests, hub_set_up, hub_tear_down);
}
