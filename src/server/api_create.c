/* /api/create (COMPAT.md 2.6): a model from blobs or from another model.  The request's fields
 * become the commands of a Modelfile; no path of a client's is opened here (SECURITY.md X5). */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "server/allow.h"
#include "server/job.h"
#include "server/order.h"
#include "server/store_routes.h"
#include "store/params.h"

/* Of old clients. */
#define NO_PATHS                                                                                   \
    "no path of a client's is opened here; send the files to /api/blobs, and \"from\", "           \
    "\"files\", \"system\", \"template\", \"parameters\""

const struct field store_create_fields[] = {
    API_MODEL,
    {.name = "stream", .types = FIELD_BOOL},
    {.name = "from", .types = FIELD_TEXT},
    {.name = "files", .types = FIELD_OBJECT},
    {.name = "adapters", .types = FIELD_OBJECT},
    {.name = "draft_files", .types = FIELD_OBJECT},
    {.name = "template", .types = FIELD_TEXT},
    {.name = "system", .types = FIELD_TEXT},
    {.name = "license", .types = FIELD_TEXT | FIELD_ARRAY, .apart = true},
    {.name = "parameters", .types = FIELD_OBJECT},
    {.name = "messages", .types = FIELD_ARRAY},
    {.name = "quantize", .types = FIELD_TEXT, .also = "quantization"},
    {.name = "renderer", .types = FIELD_TEXT},
    {.name = "parser", .types = FIELD_TEXT},
    {.name = "requires", .types = FIELD_TEXT},
    {.name = "fallback", .types = FIELD_TEXT},
    {.name = "cache", .types = FIELD_TEXT},
    {.name = "policy", .types = FIELD_TEXT},
    {.name = "modelfile", .refusal = NO_PATHS},
    {.name = "path", .refusal = NO_PATHS},
    {0}};

static const char *keep(struct order *o, const char *text) {
    return arena_strndup(&o->m.a, text, strlen(text));
}

/* ---- commands ---- */

static int add(struct order *o, enum modelfile_command command, const char *name, const char *value,
               struct err *e) {
    struct modelfile *m = &o->m;
    if (m->n == MODELFILE_MAX_LINES)
        return err_set(e, ERR_LIMIT, "more than %d commands; at most so many", MODELFILE_MAX_LINES);
    if (m->n == o->cap) { /* the old array stays in the arena, as in modelfile.c */
        const int cap = o->cap ? 2 * o->cap : 16;
        struct modelfile_line *more = arena_calloc(&m->a, (size_t)cap, sizeof *more);
        if (!more) return err_nomem(e, "create");
        if (m->n) memcpy(more, m->line, (size_t)m->n * sizeof *more);
        m->line = more;
        o->cap = cap;
    }
    const char *text = keep(o, value), *word = name ? keep(o, name) : NULL;
    if (!text || (name && !word)) return err_nomem(e, "create");
    m->line[m->n++] =
        (struct modelfile_line){.command = command, .name = word, .value = str_of(text)};
    return 0;
}

static int add_texts(struct order *o, const json_t *body, struct err *e) {
    static const struct {
        const char *key;
        enum modelfile_command command;
    } texts[] = {{"from", MF_FROM},         {"template", MF_TEMPLATE}, {"system", MF_SYSTEM},
                 {"renderer", MF_RENDERER}, {"parser", MF_PARSER},     {"requires", MF_REQUIRES}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *v = field_text(body, texts[i].key);
        if (v && *v && add(o, texts[i].command, NULL, v, e) != 0) return -1;
    }
    return 0;
}

/* Commands of our own, as the Modelfile writes them. */
static int add_extensions(struct order *o, const json_t *body, struct err *e) {
    for (const char *const *name = modelfile_extensions; *name; name++) {
        char key[32];
        snprintf(key, sizeof key, "%s", *name);
        for (char *c = key; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        const char *v = field_text(body, key);
        if (v && *v && add(o, MF_EXTENSION, *name, v, e) != 0) return -1;
    }
    return 0;
}

static int add_licenses(struct order *o, json_t *v, struct err *e) {
    const size_t n = json_is_array(v) ? json_array_size(v) : v != NULL;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one))
            return err_set(e, ERR_USAGE,
                           "\"license\" must be of type string, or an array of strings");
        if (json_string_length(one) && add(o, MF_LICENSE, NULL, json_string_value(one), e) != 0)
            return -1;
    }
    return 0;
}

static int add_messages(struct order *o, json_t *list, struct err *e) {
    static const char *const role[] = {"system", "user", "assistant"};
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v) {
        const char *is = field_text(v, "role"), *text = field_text(v, "content");
        size_t k = 0;
        while (k < 3 && (!is || strcmp(is, role[k]) != 0))
            k++;
        if (k == 3 || !text)
            return err_set(e, ERR_USAGE,
                           "messages[%zu]: \"role\" (system, user, assistant) and \"content\" are "
                           "needed, both of type string",
                           i);
        if (add(o, MF_MESSAGE, role[k], text, e) != 0) return -1;
    }
    return 0;
}

/* ---- parameters ---- */

static bool is_of(const struct param *p, const json_t *v) {
    switch (p->kind) {
    case PARAM_INTEGER: return json_is_integer(v);
    case PARAM_NUMBER: return json_is_number(v);
    case PARAM_BOOLEAN: return json_is_boolean(v);
    case PARAM_TEXTS: return json_is_string(v);
    }
    return false;
}

static int add_parameter(struct order *o, const char *name, const json_t *v, struct err *e) {
    static const char *const type[] = {"integer", "number", "boolean",
                                       "string or array of strings"};
    const struct param *p = param_find(name);
    struct buf text = {0};
    if (p && p->use != PARAM_OLD && !is_of(p, v))
        return err_set(e, ERR_USAGE, "option \"%s\" must be of type %s", name, type[p->kind]);
    const bool is_text = param_text(v, &text) && !text.failed;
    json_t *trial = json_object();
    int rc = 0;
    if (is_text || (p && p->use == PARAM_OLD))
        rc = param_set(trial, name, buf_view(&text).p, e) == 0
                 ? add(o, MF_PARAMETER, name, buf_view(&text).p, e)
                 : -1;
    else
        rc = err_set(e, ERR_USAGE, "parameter \"%.60s\": a number, boolean or text is accepted",
                     name);
    json_decref(trial);
    buf_fini(&text);
    return rc;
}

static int add_parameters(struct order *o, json_t *params, struct err *e) {
    const char *name;
    json_t *v, *one;
    size_t i;
    json_object_foreach(params, name, v) {
        if (json_is_null(v)) continue;
        if (!json_is_array(v) && add_parameter(o, name, v, e) != 0) return -1;
        json_array_foreach(v, i, one) if (add_parameter(o, name, one, e) != 0) return -1;
    }
    return 0;
}

/* ---- files ---- */

static int take_files(struct order *o, const json_t *body, const char *key,
                      struct create_file **out, int *n, struct err *e) {
    json_t *files = field_get(body, key), *v;
    const char *name;
    const size_t count = json_object_size(files);
    if (count == 0) return 0;
    *out = arena_calloc(&o->m.a, count, sizeof **out);
    if (!*out) return err_nomem(e, "create");
    json_object_foreach(files, name, v) {
        struct create_file *f = &(*out)[*n];
        f->name = keep(o, name);
        if (!f->name) return err_nomem(e, "create");
        if (!json_is_string(v) || digest_parse(str_of(json_string_value(v)), &f->digest, NULL) != 0)
            return err_set(
                e, ERR_USAGE,
                "\"%s\": \"%.40s\": invalid digest format; \"sha256:\" and 64 hex digits "
                "are accepted",
                key, name);
        ++*n;
    }
    return 0;
}

/* ---- the request ---- */

static int check_source(const struct request *r, const json_t *body, struct err *e) {
    const char *from = field_text(body, "from");
    struct name n;
    if (from && name_parse(from, &n, NULL) == 0 && allow_model(r, &n, e) != 0) return -1;
    if (!from && json_object_size(field_get(body, "files")) == 0)
        return err_set(e, ERR_USAGE, "neither 'from' or 'files' was specified");
    return 0;
}

int order_texts(struct order *o, const json_t *body, struct err *e) {
    if (add_texts(o, body, e) != 0 || add_extensions(o, body, e) != 0 ||
        add_licenses(o, field_get(body, "license"), e) != 0 ||
        add_parameters(o, field_get(body, "parameters"), e) != 0)
        return -1;
    return add_messages(o, field_get(body, "messages"), e);
}

static int take_order(const struct request *r, struct order *o, const json_t *body, struct err *e) {
    const char *quantize = field_text(body, "quantize");
    if (quantize && *quantize && !(o->quantize = keep(o, quantize))) return err_nomem(e, "create");
    if (o->name.pin.hex[0]) return err_set(e, ERR_USAGE, "invalid model name");
    if (check_source(r, body, e) != 0 || order_texts(o, body, e) != 0 ||
        take_files(o, body, "files", &o->file, &o->n_file, e) != 0 ||
        take_files(o, body, "adapters", &o->adapter, &o->n_adapter, e) != 0)
        return -1;
    return take_files(o, body, "draft_files", &o->draft, &o->n_draft, e);
}

static void say(void *ctx, const char *status, const char *digest, uint64_t completed,
                uint64_t total) {
    job_say(ctx, status, total ? digest : NULL, total, completed);
}

static int work(struct job *j, void *ctx, struct err *e) {
    const struct order *o = ctx;
    const struct create_opts opts = {.quantize = o->quantize,
                                     .stop = &j->stop,
                                     .file = o->file,
                                     .n_file = o->n_file,
                                     .adapter = o->adapter,
                                     .n_adapter = o->n_adapter,
                                     .draft = o->draft,
                                     .n_draft = o->n_draft};
    return create_model(server_store(request_server(j->r)), &o->name, &o->m, &opts, say, j, e);
}

void store_create(struct request *r) {
    static const char *const hide[] = {"gathering model components", NULL};
    struct order o = {.cap = 0};
    struct err e = {0};
    const char *model;
    const json_t *body = api_read(r, &model, &o.name);
    if (body && take_order(r, &o, body, &e) == 0) {
        struct job j = {.r = r, .stream = field_bool(body, "stream", true), .hide = hide};
        job_run(&j, work, &o);
    } else if (body) {
        reply_err(r, &e);
    }
    modelfile_fini(&o.m);
}
