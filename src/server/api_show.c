/* /api/show (COMPAT.md 2.5): what a model is, brings and can do. */
#include <stdlib.h>
#include <string.h>

#include "create/create.h"
#include "create/show.h"
#include "server/store_routes.h"
#include "store/describe.h"
#include "store/params.h"

const struct field store_show_fields[] = {API_MODEL,
                                          {.name = "verbose", .types = FIELD_BOOL},
                                          {.name = "system", .types = FIELD_TEXT},
                                          {.name = "template", .types = FIELD_TEXT},
                                          API_OPTIONS,
                                          {0}};

/* Borrowed by what is built from it. */
struct showing {
    const json_t *body;
    struct store *store;
    struct recipe recipe;
    struct gguf *g;
    struct show_parts parts;
    struct show_info info;
    json_t *training; /* owned, or NULL */
};

static void set_text(json_t *o, const char *key, struct str s) {
    if (s.n) json_object_set_new(o, key, show_string(s));
}

static void set_word(json_t *o, const char *key, const char *text) {
    if (text && *text) json_object_set_new(o, key, json_string(text));
}

/* A request may ask how the model looks with other texts and options. */
static struct str or_asked(const struct showing *x, const char *key, struct str own) {
    const char *asked = field_text(x->body, key);
    return asked && *asked ? str_of(asked) : own;
}

static int set_parameters(const struct showing *x, json_t *o, struct err *e) {
    json_t *params;
    struct buf lines = {0};
    if (recipe_params(&x->recipe, &params, e) != 0) return -1;
    if (!params) params = json_object();
    json_object_update(params, field_get(x->body, "options"));
    param_lines(params, &lines);
    while (lines.n && lines.p[lines.n - 1] == '\n')
        lines.n--;
    set_text(o, "parameters", buf_view(&lines));
    json_decref(params);
    buf_fini(&lines);
    return 0;
}

static void set_details(const struct showing *x, json_t *o) {
    json_t *details = model_config_details(&x->parts.config);
    const struct show_info *s = &x->info;
    struct buf size = {0};
    buf_count(&size, s->n_param);
    /* Of a config that says nothing the file still does. */
    if (!x->parts.config.model_family && s->architecture.n)
        json_object_set_new(details, "family", show_string(s->architecture));
    if (!x->parts.config.model_type)
        json_object_set_new(details, "parameter_size", json_string(buf_view(&size).p));
    if (!x->parts.config.file_type && s->quantization)
        json_object_set_new(details, "quantization_level", json_string(s->quantization));
    json_object_set_new(o, "details", details);
    buf_fini(&size);
}

static json_t *capabilities(const struct showing *x) {
    json_t *list = json_array();
    const struct model_config *c = &x->parts.config;
    for (int i = 0; i < x->info.n_capability; i++)
        json_array_append_new(list, json_string(x->info.capability[i]));
    for (int i = 0; i < c->n_capability; i++) {
        bool known = false;
        for (int k = 0; k < x->info.n_capability; k++)
            known = known || strcmp(c->capability[i], x->info.capability[k]) == 0;
        if (!known) json_array_append_new(list, json_string(c->capability[i]));
    }
    return list;
}

static void set_files(const struct showing *x, json_t *o) {
    const bool verbose = field_bool(x->body, "verbose", false);
    json_t *none = json_array();
    json_t *info = show_metadata_json(x->g, verbose, none);
    json_object_set_new(info, "general.parameter_count", json_integer((json_int_t)x->info.n_param));
    json_object_set_new(o, "model_info", info);
    if (x->parts.projector) {
        json_t *projector = show_metadata_json(x->parts.projector, verbose, none);
        json_object_set_new(projector, "general.parameter_count",
                            json_integer((json_int_t)show_count_values(x->parts.projector)));
        json_object_set_new(o, "projector_info", projector);
    }
    if (verbose) json_object_set_new(o, "tensors", show_tensors_json(x->g));
    json_decref(none);
}

static void set_modified(const struct showing *x, json_t *o) {
    struct store_entry *m;
    char when[API_TIME];
    int n;
    if (store_list(x->store, x->parts.name, &m, &n, NULL) != 0) return;
    for (int i = 0; i < n; i++) {
        if (!name_eq(&m[i].name, &x->recipe.name)) continue;
        api_time(m[i].modified_s, when);
        json_object_set_new(o, "modified_at", json_string(when));
        break;
    }
    free(m);
}

static int build(const struct showing *x, json_t *o, struct err *e) {
    const struct model_config *c = &x->parts.config;
    json_t *messages;
    if (recipe_messages(&x->recipe, &messages, e) != 0) return -1;
    set_text(o, "license", x->info.license);
    set_text(o, "modelfile", x->info.modelfile);
    if (set_parameters(x, o, e) != 0) {
        json_decref(messages);
        return -1;
    }
    set_text(o, "template", or_asked(x, "template", x->info.chat_template));
    set_text(o, "system", or_asked(x, "system", x->info.system));
    set_word(o, "renderer", c->renderer);
    set_word(o, "parser", c->parser);
    set_details(x, o);
    if (messages) json_object_set_new(o, "messages", messages);
    set_files(x, o);
    json_object_set_new(o, "capabilities", capabilities(x));
    set_modified(x, o);
    set_word(o, "requires", c->requires_version);
    if (x->info.training) json_object_set(o, "training", (json_t *)(uintptr_t)x->info.training);
    return 0;
}

static int open_model(struct showing *x, const struct name *n, const char *model, struct err *e) {
    if (recipe_open(&x->recipe, x->store, n, model, e) != 0) return -1;
    x->g = gguf_open(x->recipe.path, e);
    if (!x->g || show_read(&x->info, x->g, e) != 0 ||
        show_parts_open(&x->parts, &x->recipe, e) != 0 ||
        create_print_modelfile(x->store, &x->recipe.name, &x->parts.modelfile, e) != 0)
        return -1;
    x->info.training = x->training = show_training(x->g);
    show_add_parts(&x->info, &x->parts);
    return 0;
}

void store_show(struct request *r) {
    const char *model;
    struct name n;
    struct err e = {0};
    struct showing x = {.body = api_read(r, &model, &n)};
    if (!x.body) return;
    x.store = server_store(request_server(r));
    json_t *o = json_object();
    const int rc = open_model(&x, &n, model, &e) == 0 ? build(&x, o, &e) : -1;
    json_decref(x.training);
    show_parts_close(&x.parts);
    gguf_close(x.g);
    recipe_close(&x.recipe);
    if (rc == 0) {
        reply_json(r, 200, o);
        return;
    }
    json_decref(o);
    reply_err(r, &e);
}
