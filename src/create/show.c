/* What a GGUF file says about itself, for `cria show` and /api/show. */
#include "create/show.h"

#include "base/json.h"
#include "text/chat/chat.h"

#include <stdio.h>
#include <string.h>

/* What the file says that it can do.  A pooling type marks a model of embeddings; tools and
 * thinking are abilities of the chat template. */
static void find_capabilities(struct show_info *s, const struct gguf *g) {
    static const char *const pooling[] = {"bert", "nomic-bert", "jina-bert-v2"};
    bool embedding = false;
    char key[128];
    snprintf(key, sizeof key, "%.*s.pooling_type", (int)s->architecture.n, s->architecture.p);
    embedding = gguf_find(g, key) != NULL;
    for (size_t i = 0; i < sizeof pooling / sizeof *pooling; i++)
        embedding = embedding || str_is(s->architecture, pooling[i]);
    if (gguf_n_tensor(g) == 0 || s->architecture.n == 0 || gguf_find(g, "adapter.type")) return;
    s->capability[s->n_capability++] = embedding ? "embedding" : "completion";
    const struct chat_caps caps = chat_source_caps(s->chat_template);
    if (caps.tools) s->capability[s->n_capability++] = "tools";
    if (caps.insert || gguf_find(g, "tokenizer.ggml.fim_pre_token_id") ||
        gguf_find(g, "tokenizer.ggml.prefix_token_id"))
        s->capability[s->n_capability++] = "insert";
    if (caps.thinking) s->capability[s->n_capability++] = "thinking";
}

/* The mix's name, or the type that most weights have. */
static const char *find_quantization(const struct gguf *g, uint32_t file_type) {
    double n[QT_COUNT] = {0};
    int best = 0;
    const char *name = gguf_file_type_name(file_type);
    if (gguf_n_tensor(g) == 0) return NULL;
    if (name) return name;
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        n[t->type] += (double)t->n_bytes;
    }
    for (int i = 1; i < QT_COUNT; i++)
        if (n[i] > n[best]) best = i;
    return qtype_name((uint32_t)best);
}

double show_count_values(const struct gguf *g) {
    double n = 0;
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const int64_t *ne = gguf_tensor_at(g, i)->ne;
        n += (double)ne[0] * (double)ne[1] * (double)ne[2] * (double)ne[3];
    }
    return n;
}

json_t *show_training(const struct gguf *g) {
    enum { MAX_VALUES = 1000 };
    struct str text = STR("");
    if (gguf_get_str(g, KEY_TRAINING, &text, NULL) != 1) return NULL;
    return json_read_object(KEY_TRAINING, text, MAX_VALUES, NULL);
}

int show_read(struct show_info *s, const struct gguf *g, struct err *e) {
    uint32_t file_type = UINT32_MAX;
    char key[128];
    *s = (struct show_info){.architecture = STR("")};
    if (gguf_get_str(g, "general.architecture", &s->architecture, e) < 0) return -1;
    if (s->architecture.n > 64)
        return err_set(e, ERR_FORMAT, "%s: key 'general.architecture' has %zu bytes; at most 64",
                       gguf_path(g), s->architecture.n);
    snprintf(key, sizeof key, "%.*s.context_length", (int)s->architecture.n, s->architecture.p);
    if (gguf_get_u32(g, key, &s->context_length, e) < 0) return -1;
    snprintf(key, sizeof key, "%.*s.embedding_length", (int)s->architecture.n, s->architecture.p);
    if (gguf_get_u32(g, key, &s->embedding_length, e) < 0) return -1;
    if (gguf_get_u32(g, "general.file_type", &file_type, e) < 0 ||
        gguf_get_str(g, "general.license", &s->license, e) < 0 ||
        gguf_get_str(g, "general.license.link", &s->license_link, e) < 0 ||
        gguf_get_str(g, "tokenizer.chat_template", &s->chat_template, e) < 0)
        return -1;
    s->n_param = show_count_values(g);
    s->quantization = find_quantization(g, file_type);
    find_capabilities(s, g);
    return 0;
}
