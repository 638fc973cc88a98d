/* The layers that are texts: what the base model has and the Modelfile says.  Parameters are merged
 * by name, template and system message replaced, licenses added, messages replaced as a whole. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "create/create_priv.h"
#include "store/params.h"

enum { MAX_PARAMS_BYTES = 1 << 20, MAX_PARAMS_VALUES = 1 << 16 };

int create_text_blob(struct creation *k, struct layer *l, struct str text, struct err *e) {
    char status[128], digest[DIGEST_TEXT];
    l->n_bytes = text.n;
    if (digest_of(text.p, text.n, &l->digest, e) != 0) return -1;
    if (k->o->plan_only) {
        l->from = arena_strndup(&k->a, text.p, text.n);
        return l->from ? 0 : err_nomem(e, "text of a layer");
    }
    digest_format(&l->digest, digest);
    const bool there = store_has_blob(k->s, &l->digest, l->n_bytes);
    if (store_write_blob(k->lease, text.p, text.n, &l->digest, e) != 0) return -1;
    snprintf(status, sizeof status, "%s layer %s", there ? "using existing" : "creating new",
             digest);
    create_say(k, status, digest);
    return 0;
}

static int typed_layer(struct creation *k, enum layer_kind kind, const char *media_type,
                       struct str text, struct err *e) {
    struct layer l = {.kind = kind, .media_type = media_type};
    return create_text_blob(k, &l, text, e) == 0 ? create_add_layer(k, &l, e) : -1;
}

static int text_layer(struct creation *k, enum layer_kind kind, struct str text, struct err *e) {
    return typed_layer(k, kind, layer_media_type(kind), text, e);
}

/* The last mention counts; an empty one takes the base model's away. */
static int replace(struct creation *k, const struct modelfile *m, enum modelfile_command command,
                   enum layer_kind kind, struct err *e) {
    const struct modelfile_line *last = NULL;
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == command) last = &m->line[i];
    if (!last) return 0;
    create_drop_layers(k, kind);
    return last->value.n ? text_layer(k, kind, last->value, e) : 0;
}

static int licenses(struct creation *k, const struct modelfile *m, struct err *e) {
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == MF_LICENSE &&
            text_layer(k, LAYER_LICENSE, m->line[i].value, e) != 0)
            return -1;
    return 0;
}

/* ---- parameters ---- */

static int base_params(struct creation *k, struct err *e) {
    const struct layer *l = create_layer(k, LAYER_PARAMS);
    struct buf text = {0};
    if (!l) {
        k->params = json_object();
        return k->params ? 0 : err_nomem(e, "parameters");
    }
    if (create_layer_text(k, l, MAX_PARAMS_BYTES, &text, e) == 0)
        k->params = json_read_object("parameters", buf_view(&text), MAX_PARAMS_VALUES, e);
    buf_fini(&text);
    return k->params ? 0 : -1;
}

static int set_param(struct creation *k, json_t *own, const struct modelfile_line *l,
                     struct err *e) {
    const struct param *p = param_find(l->name);
    char text[128];
    if (create_tune_param(l->name)) return 0; /* create_tune.c's */
    if (p && p->use == PARAM_OLD) {
        snprintf(text, sizeof text, "warning: parameter %s is deprecated; it is left out", l->name);
        create_say(k, text, NULL);
        return 0;
    }
    if (param_set(own, l->name, l->value.p, e) == 0) return 0;
    return create_at_line(l, e);
}

static int params(struct creation *k, const struct modelfile *m, struct err *e) {
    json_t *own = json_object();
    struct buf text = {0};
    int rc = own ? base_params(k, e) : err_nomem(e, "parameters");
    for (int i = 0; rc == 0 && i < m->n; i++)
        if (m->line[i].command == MF_PARAMETER) rc = set_param(k, own, &m->line[i], e);
    if (rc == 0 && json_object_size(own)) { /* else the base model's bytes stay as they are */
        json_object_update(k->params, own);
        create_drop_layers(k, LAYER_PARAMS);
        rc = param_encode(k->params, true, &text, e);
        if (rc == 0) rc = text_layer(k, LAYER_PARAMS, buf_view(&text), e);
    }
    json_decref(own);
    buf_fini(&text);
    return rc;
}

/* ---- messages ---- */

static int messages(struct creation *k, const struct modelfile *m, struct err *e) {
    json_t *list = json_array();
    struct buf text = {0};
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == MF_MESSAGE)
            json_array_append_new(list, json_pack("{s:s, s:s}", "role", m->line[i].name, "content",
                                                  m->line[i].value.p));
    int rc = 0;
    if (json_array_size(list)) {
        create_drop_layers(k, LAYER_MESSAGES);
        rc = param_encode(list, false, &text, e);
        if (rc == 0) rc = text_layer(k, LAYER_MESSAGES, buf_view(&text), e);
    }
    json_decref(list);
    buf_fini(&text);
    return rc;
}

/* ---- commands of our own ---- */

static int media_type(struct creation *k, const char *name, const char **out, struct err *e) {
    struct buf b = {0};
    buf_printf(&b, "application/vnd.cria.%s", name);
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] >= 'A' && b.p[i] <= 'Z') b.p[i] = (char)(b.p[i] - 'A' + 'a');
    *out = b.failed ? NULL : arena_strndup(&k->a, b.p, b.n);
    buf_fini(&b);
    return *out ? 0 : err_nomem(e, name);
}

/* The lines of a name replace the base model's of that name. */
static int extension(struct creation *k, const struct modelfile *m, const char *name,
                     struct err *e) {
    const char *media;
    int n = 0, kept = 0;
    for (int i = 0; i < m->n; i++)
        n += m->line[i].command == MF_EXTENSION && strcmp(m->line[i].name, name) == 0;
    if (n == 0) return 0;
    if (media_type(k, name, &media, e) != 0) return -1;
    for (int i = 0; i < k->n_layer; i++)
        if (strcmp(k->layer[i].media_type, media) != 0) k->layer[kept++] = k->layer[i];
    k->n_layer = kept;
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == MF_EXTENSION && strcmp(m->line[i].name, name) == 0 &&
            typed_layer(k, LAYER_EXTENSION, media, m->line[i].value, e) != 0)
            return -1;
    return 0;
}

int create_texts(struct creation *k, const struct modelfile *m, struct err *e) {
    if (replace(k, m, MF_TEMPLATE, LAYER_TEMPLATE, e) != 0 ||
        replace(k, m, MF_SYSTEM, LAYER_SYSTEM, e) != 0 || licenses(k, m, e) != 0 ||
        params(k, m, e) != 0 || messages(k, m, e) != 0)
        return -1;
    for (const char *const *x = modelfile_extensions; *x; x++)
        if (extension(k, m, *x, e) != 0) return -1;
    return 0;
}
