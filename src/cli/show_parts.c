/* What `cria show NAME` says beyond the model's file: texts of its layers, its config, projector.
 */
#include <stdio.h>
#include <string.h>

#include "cli/show.h"
#include "create/create.h"

enum { MAX_TEXT = 16 << 20 };

/* All layers of a kind, one after another. */
static int read_all(const struct cli_model *m, enum layer_kind kind, struct buf *out,
                    struct err *e) {
    for (int i = 0; i < m->r.manifest.n_layer; i++) {
        if (m->r.manifest.layer[i].kind != kind) continue;
        if (out->n) buf_str(out, "\n\n");
        if (store_read_blob(m->store, &m->r.manifest.layer[i].digest, MAX_TEXT, out, e) != 0)
            return -1;
    }
    return 0;
}

static int open_projector(struct show_parts *p, const struct cli_model *m, struct err *e) {
    const struct layer *l = manifest_layer(&m->r.manifest, LAYER_PROJECTOR);
    char path[STORE_PATH];
    if (!l) return 0;
    if (store_blob(m->store, &l->digest, path, NULL, e) != 0) return -1;
    p->projector = gguf_open(path, e);
    return p->projector ? 0 : -1;
}

int show_parts_open(struct show_parts *p, const struct cli_model *m, struct err *e) {
    *p = (struct show_parts){.projector = NULL};
    if (!m->store) return 0;
    name_short(&m->r.name, p->name);
    if (read_all(m, LAYER_LICENSE, &p->license, e) != 0 ||
        read_all(m, LAYER_SYSTEM, &p->system, e) != 0 ||
        cli_model_text(m, LAYER_TEMPLATE, &p->template, e) != 0 ||
        cli_model_parameters(m, &p->parameters, e) != 0 || recipe_config(&m->r, &p->config, e) != 0)
        return -1;
    return open_projector(p, m, e);
}

void show_parts_close(struct show_parts *p) {
    gguf_close(p->projector);
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
    s->system = buf_view(&p->system);
    s->parameters = buf_view(&p->parameters);
    s->modelfile = buf_view(&p->modelfile);
    if (p->config.requires_version) s->requires_version = str_of(p->config.requires_version);
}
