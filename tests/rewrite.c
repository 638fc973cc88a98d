/* See rewrite.h. */
#include "rewrite.h"

#include "gguf/write.h"
#include "support.h"

const char REWRITE_CHATML[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

static void check(int rc, const struct err *e) {
    if (rc != 0) fail_msg("%s", e->msg);
}

void rewrite_model(const char *src, const char *dst, void (*add)(struct gguf_writer *w, void *ctx),
                   void *ctx) {
    struct err e = {0};
    struct gguf *g = gguf_open(src, &e);
    struct gguf_writer *w = g ? gguf_writer_new(dst, 0, &e) : NULL;
    check(w ? 0 : -1, &e);
    for (int i = 0; i < gguf_n_kv(g); i++)
        check(gguf_copy_kv(w, gguf_kv_at(g, i), &e), &e);
    add(w, ctx);
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        check(gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, &e), &e);
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        check(gguf_write_data(w, t->data, t->n_bytes, &e), &e);
    }
    check(gguf_writer_finish(w, &e), &e);
    gguf_close(g);
}

static void add_template(struct gguf_writer *w, void *ctx) {
    struct err e = {0};
    check(gguf_set_str(w, "tokenizer.chat_template", str_of(ctx), &e), &e);
}

void rewrite_template(const char *src, const char *dst, const char *chat_template) {
    rewrite_model(src, dst, add_template, (void *)(uintptr_t)chat_template);
}
