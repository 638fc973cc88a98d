/* A GGUF file that nobody wrote a TEMPLATE for: the named one that its Jinja chat template is
 * (text/chat/named.h), with the parameters that belong to it. */
#include <stdio.h>

#include "create/create_priv.h"
#include "text/chat/named.h"

static int add_text(struct creation *k, enum layer_kind kind, const char *text, struct err *e) {
    struct layer l = {.kind = kind, .media_type = layer_media_type(kind)};
    return create_text_blob(k, &l, str_of(text), e) == 0 ? create_add_layer(k, &l, e) : -1;
}

static bool says(const struct modelfile *m, enum modelfile_command command) {
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == command) return true;
    return false;
}

static const struct chat_named *of_file(const struct gguf *g) {
    struct str jinja;
    return gguf_get_str(g, "tokenizer.chat_template", &jinja, NULL) > 0 ? chat_named_find(jinja)
                                                                        : NULL;
}

int create_detect_template(struct creation *k, const struct modelfile *m, struct err *e) {
    const struct layer *l = create_layer(k, LAYER_MODEL);
    char path[STORE_PATH], status[128];
    if (!l || k->inherited || says(m, MF_TEMPLATE) || says(m, MF_RENDERER)) return 0;
    if (create_layer_path(k, l, path, e) != 0) return -1;
    struct gguf *g = gguf_open(path, e);
    if (!g) return -1;
    const struct chat_named *n = of_file(g);
    gguf_close(g);
    if (!n) return 0;
    snprintf(status, sizeof status, "using autodetected template %s", n->name);
    create_say(k, status, NULL);
    return add_text(k, LAYER_TEMPLATE, n->text, e) == 0 ? add_text(k, LAYER_PARAMS, n->params, e)
                                                        : -1;
}
