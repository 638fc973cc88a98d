/* A model as the Modelfile that makes it again. */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "create/create_priv.h"
#include "store/params.h"

enum { MAX_TEXT = MODELFILE_MAX_BYTES, MAX_VALUES = 1 << 18 };

struct printer {
    struct store *s;
    const struct manifest *m;
    struct buf *out;
    struct err *e;
};

static int print(const struct printer *p, enum modelfile_command command, const char *name,
                 struct str value) {
    const struct modelfile_line l = {.command = command, .name = name, .value = value};
    return modelfile_print(&l, p->out, p->e);
}

static int print_path(const struct printer *p, enum modelfile_command command,
                      const struct layer *l) {
    char path[STORE_PATH], real[PATH_MAX];
    if (store_blob(p->s, &l->digest, path, NULL, p->e) != 0) return -1;
    return print(p, command, NULL, str_of(realpath(path, real) ? real : path));
}

static int print_text(const struct printer *p, enum modelfile_command command, const char *name,
                      const struct layer *l) {
    struct buf text = {0};
    int rc = store_read_blob(p->s, &l->digest, MAX_TEXT, &text, p->e);
    if (rc == 0) rc = print(p, command, name, buf_view(&text));
    buf_fini(&text);
    return rc;
}

static int print_value(const struct printer *p, const char *name, const json_t *v) {
    struct buf text = {0};
    const int rc =
        param_text(v, &text)
            ? print(p, MF_PARAMETER, name, buf_view(&text))
            : err_set(p->e, ERR_FORMAT, "parameter %.40s: no number, boolean or text", name);
    buf_fini(&text);
    return rc;
}

static int print_param(const struct printer *p, const char *name, const json_t *v) {
    int rc = 0;
    if (!json_is_array(v)) return print_value(p, name, v);
    for (size_t i = 0; rc == 0 && i < json_array_size(v); i++)
        rc = print_value(p, name, json_array_get(v, i));
    return rc;
}

/* The JSON of a layer: an object, or with a key put around it an array. */
static json_t *read_json(const struct printer *p, const struct layer *l, bool array) {
    struct buf text = {0};
    json_t *o = NULL;
    if (array) buf_str(&text, "{\"list\":");
    if (store_read_blob(p->s, &l->digest, MAX_TEXT, &text, p->e) == 0) {
        if (array) buf_str(&text, "}");
        o = json_read_object(l->media_type, buf_view(&text), MAX_VALUES, p->e);
    }
    buf_fini(&text);
    return o;
}

static int print_params(const struct printer *p, const struct layer *l) {
    json_t *o = read_json(p, l, false), *v;
    const char *name;
    int rc = o ? 0 : -1;
    json_object_foreach(o, name, v) if (rc == 0) rc = print_param(p, name, v);
    json_decref(o);
    return rc;
}

static int print_messages(const struct printer *p, const struct layer *l) {
    json_t *o = read_json(p, l, true);
    const json_t *list = json_object_get(o, "list");
    int rc = o ? 0 : -1;
    if (o && !json_is_array(list))
        rc = err_set(p->e, ERR_FORMAT, "%s: found no array; an array of messages is needed",
                     l->media_type);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(one, "role"));
        const char *text = json_string_value(json_object_get(one, "content"));
        rc = role && text ? print(p, MF_MESSAGE, role, str_of(text))
                          : err_set(p->e, ERR_FORMAT, "%s: a message without role or content",
                                    l->media_type);
    }
    json_decref(o);
    return rc;
}

/* application/vnd.cria.<name> back to NAME; NULL: no command of this build. */
static const char *extension_of(const struct layer *l) {
    const char *name = l->media_type + strlen("application/vnd.cria.");
    for (const char *const *x = modelfile_extensions; *x; x++)
        if (strcasecmp(*x, name) == 0) return *x;
    return NULL;
}

/* A media type is a stranger's text: it must not become a line of the Modelfile. */
static void print_left_out(const struct printer *p, const char *media_type) {
    buf_str(p->out, "# left out: a layer ");
    for (const char *c = media_type; *c && c < media_type + 100; c++)
        buf_byte(p->out, isalnum((unsigned char)*c) || strchr("./+-_", *c) ? *c : '?');
    buf_byte(p->out, '\n');
}

static int print_layer(const struct printer *p, const struct layer *l) {
    switch (l->kind) {
    case LAYER_MODEL:
    case LAYER_PROJECTOR: return print_path(p, MF_FROM, l);
    case LAYER_ADAPTER: return print_path(p, MF_ADAPTER, l);
    case LAYER_DRAFT: return print_path(p, MF_DRAFT, l);
    case LAYER_TEMPLATE: return print_text(p, MF_TEMPLATE, NULL, l);
    case LAYER_SYSTEM: return print_text(p, MF_SYSTEM, NULL, l);
    case LAYER_LICENSE: return print_text(p, MF_LICENSE, NULL, l);
    case LAYER_PARAMS: return print_params(p, l);
    case LAYER_MESSAGES: return print_messages(p, l);
    case LAYER_EXTENSION:
        if (extension_of(l)) return print_text(p, MF_EXTENSION, extension_of(l), l);
        break;
    case LAYER_OTHER: break;
    }
    print_left_out(p, l->media_type);
    return 0;
}

static int print_config(const struct printer *p) {
    struct buf text = {0};
    struct model_config c = {0};
    int rc = store_read_blob(p->s, &p->m->config.digest, CONFIG_MAX_BYTES, &text, p->e);
    if (rc == 0) rc = model_config_parse("config", buf_view(&text), &c, p->e);
    if (rc == 0 && c.renderer) rc = print(p, MF_RENDERER, NULL, str_of(c.renderer));
    if (rc == 0 && c.parser) rc = print(p, MF_PARSER, NULL, str_of(c.parser));
    if (rc == 0 && c.requires_version) rc = print(p, MF_REQUIRES, NULL, str_of(c.requires_version));
    model_config_fini(&c);
    buf_fini(&text);
    return rc;
}

int create_print_modelfile(struct store *s, const struct name *n, struct buf *out, struct err *e) {
    static const enum layer_kind order[] = {LAYER_MODEL,     LAYER_PROJECTOR, LAYER_ADAPTER,
                                            LAYER_DRAFT,     LAYER_TEMPLATE,  LAYER_SYSTEM,
                                            LAYER_PARAMS,    LAYER_LICENSE,   LAYER_MESSAGES,
                                            LAYER_EXTENSION, LAYER_OTHER};
    struct manifest m = {0};
    struct name found;
    char name[NAME_TEXT];
    int rc = store_get(s, n, &found, &m, e);
    const struct printer p = {s, &m, out, e};
    if (rc == 0) {
        name_short(&found, name);
        buf_printf(out,
                   "# Modelfile generated by \"ollama show\"\n"
                   "# To build a new Modelfile based on this, replace FROM with:\n# FROM %s\n\n",
                   name);
    }
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        for (int j = 0; rc == 0 && j < m.n_layer; j++)
            if (m.layer[j].kind == order[i]) rc = print_layer(&p, &m.layer[j]);
    if (rc == 0) rc = print_config(&p);
    manifest_fini(&m);
    return rc;
}
