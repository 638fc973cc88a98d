/* What a model of the store has beyond its file: texts of its layers, its config, a projector. */
#include <stdio.h>
#include <string.h>

#include "create/show.h"
#include "store/params.h"

enum { MAX_TEXT = 16 << 20 };

/* All layers of a kind, one after another. */
static int read_all(const struct recipe *m, enum layer_kind kind, struct buf *out, struct err *e) {
    for (int i = 0; i < m->manifest.n_layer; i++) {
        if (m->manifest.layer[i].kind != kind) continue;
        if (out->n) buf_str(out, "\n\n");
        if (store_read_blob(m->store, &m->manifest.layer[i].digest, MAX_TEXT, out, e) != 0)
            return -1;
    }
    return 0;
}

static int open_projector(struct show_parts *p, const struct recipe *m, struct err *e) {
    const struct layer *l = manifest_layer(&m->manifest, LAYER_PROJECTOR);
    char path[STORE_PATH];
    if (!l) return 0;
    if (store_blob(m->store, &l->digest, path, NULL, e) != 0) return -1;
    p->projector = gguf_open(path, e);
    return p->projector ? 0 : -1;
}

static int read_parameters(struct show_parts *p, const struct recipe *m, struct err *e) {
    json_t *o;
    if (recipe_params(m, &o, e) != 0) return -1;
    param_lines(o, &p->parameters);
    json_decref(o);
    return p->parameters.failed ? err_nomem(e, "parameters") : 0;
}

int show_parts_open(struct show_parts *p, const struct recipe *m, struct err *e) {
    *p = (struct show_parts){.projector = NULL};
    name_short(&m->name, p->name);
    if (read_all(m, LAYER_LICENSE, &p->license, e) != 0 ||
        read_all(m, LAYER_SYSTEM, &p->system, e) != 0 ||
        recipe_text(m, LAYER_TEMPLATE, &p->template, e) != 0 || read_parameters(p, m, e) != 0 ||
        recipe_config(m, &p->config, e) != 0)
        return -1;
    if (p->config.training) p->training = json_loads(p->config.training, 0, NULL);
    return open_projector(p, m, e);
}

void show_parts_close(struct show_parts *p) {
    gguf_close(p->projector);
    json_decref(p->training);
    model_config_fini(&p->config);
    buf_fini(&p->license);
    buf_fini(&p->system);
    buf_fini(&p->template);
    buf_fini(&p->parameters);
    buf_fini(&p->modelfile);
}

static void add_capability(struct show_info *s, const char *word) {
    for (int i = 0; i < s->n_capability; i++)
        if (strcmp(s->capability[i], word) == 0) return;
    if (s->n_capability < SHOW_MAX_CAPABILITIES) s->capability[s->n_capability++] = word;
}

void show_add_parts(struct show_info *s, const struct show_parts *p) {
    static const char *const sign[][2] = {
        {".Tools", "tools"}, {".Suffix", "insert"}, {".Think", "thinking"}};
    if (!p->name[0]) return;
    s->name = p->name;
    if (p->license.n) s->license = buf_view(&p->license), s->license_link = STR("");
    if (p->template.n) s->chat_template = buf_view(&p->template);
    for (size_t i = 0; i < sizeof sign / sizeof *sign; i++)
        if (p->template.n && memmem(p->template.p, p->template.n, sign[i][0], strlen(sign[i][0])))
            add_capability(s, sign[i][1]);
    if (p->projector) add_capability(s, "vision");
    s->projector = p->projector;
    if (p->training) s->training = p->training;
    s->system = buf_view(&p->system);
    s->parameters = buf_view(&p->parameters);
    s->modelfile = buf_view(&p->modelfile);
    if (p->config.requires_version) s->requires_version = str_of(p->config.requires_version);
}
