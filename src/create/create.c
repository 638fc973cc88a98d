/* See create.h and create_priv.h. */
#include "create/create.h"

#include <stdio.h>
#include <stdlib.h>

#include "create/create_priv.h"
#include "policy/model_policy.h"
#include "text/chat/chat.h"

void create_say(struct creation *k, const char *status, const char *digest) {
    if (k->say) k->say(k->ctx, status, digest, 0, 0);
}

bool create_stopped(const struct creation *k) {
    return k->o->stop && __atomic_load_n(k->o->stop, __ATOMIC_RELAXED);
}

int create_progress(void *bar, uint64_t done, uint64_t all) {
    const struct create_bar *b = bar;
    if (b->k->say) b->k->say(b->k->ctx, b->status, NULL, done, all);
    return create_stopped(b->k);
}

/* ---- layers ---- */

int create_layer_path(const struct creation *k, const struct layer *l, char path[STORE_PATH],
                      struct err *e) {
    if (!l->from) return store_blob(k->s, &l->digest, path, NULL, e);
    snprintf(path, STORE_PATH, "%s", l->from);
    return 0;
}

int create_layer_text(const struct creation *k, const struct layer *l, size_t max_bytes,
                      struct buf *out, struct err *e) {
    if (!l->from) return store_read_blob(k->s, &l->digest, max_bytes, out, e);
    buf_append(out, l->from, l->n_bytes);
    return out->failed ? err_nomem(e, "text of a layer") : 0;
}

int create_add_layer(struct creation *k, const struct layer *l, struct err *e) {
    if (k->n_layer == MANIFEST_MAX_LAYERS)
        return err_set(e, ERR_LIMIT, "more than %d layers; at most so many", MANIFEST_MAX_LAYERS);
    if (k->n_layer == k->cap_layer) {
        const int cap = k->cap_layer ? 2 * k->cap_layer : 16;
        struct layer *more = realloc(k->layer, (size_t)cap * sizeof *more);
        if (!more) return err_nomem(e, "layers");
        k->layer = more;
        k->cap_layer = cap;
    }
    /* A license that is there already is not added again. */
    for (int i = 0; i < k->n_layer; i++)
        if (k->layer[i].kind == l->kind && digest_eq(&k->layer[i].digest, &l->digest) &&
            strcmp(k->layer[i].media_type, l->media_type) == 0)
            return 0;
    k->layer[k->n_layer++] = *l;
    return 0;
}

struct layer *create_layer(struct creation *k, enum layer_kind kind) {
    for (int i = 0; i < k->n_layer; i++)
        if (k->layer[i].kind == kind) return &k->layer[i];
    return NULL;
}

void create_drop_layers(struct creation *k, enum layer_kind kind) {
    int kept = 0;
    for (int i = 0; i < k->n_layer; i++)
        if (k->layer[i].kind != kind) k->layer[kept++] = k->layer[i];
    k->n_layer = kept;
}

/* One order, Ollama's for a model from files, whatever was inherited: equal models have equal
 * manifests. */
static void sort_layers(struct creation *k) {
    static const enum layer_kind order[] = {LAYER_MODEL,     LAYER_PROJECTOR, LAYER_ADAPTER,
                                            LAYER_DRAFT,     LAYER_TEMPLATE,  LAYER_SYSTEM,
                                            LAYER_LICENSE,   LAYER_PARAMS,    LAYER_MESSAGES,
                                            LAYER_EXTENSION, LAYER_OTHER};
    int at = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        for (int from = at; from < k->n_layer; from++) {
            if (k->layer[from].kind != order[i]) continue;
            const struct layer l = k->layer[from];
            memmove(k->layer + at + 1, k->layer + at, (size_t)(from - at) * sizeof l);
            k->layer[at++] = l;
        }
}

/* ---- config ---- */

static const char *keep(struct creation *k, struct str s) {
    return s.n ? arena_strndup(&k->a, s.p, s.n) : NULL;
}

static int describe(struct creation *k, const struct gguf *g, struct err *e) {
    struct model_config *c = &k->c;
    struct str arch = STR("");
    struct buf b = {0};
    double n = 0;
    if (gguf_get_str(g, "general.architecture", &arch, e) < 0) return -1;
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const int64_t *ne = gguf_tensor_at(g, i)->ne;
        n += (double)ne[0] * (double)ne[1] * (double)ne[2] * (double)ne[3];
    }
    buf_count(&b, n);
    c->model_format = "gguf";
    c->model_family = keep(k, arch);
    c->family[0] = c->model_family;
    c->n_family = c->model_family != NULL;
    if (c->n_family && create_layer(k, LAYER_PROJECTOR)) c->family[c->n_family++] = "clip";
    c->model_type = b.failed ? NULL : keep(k, buf_view(&b));
    c->file_type = create_file_type(g);
    buf_fini(&b);
    return c->model_type ? 0 : err_nomem(e, "config");
}

static int describe_model(struct creation *k, struct err *e) {
    const struct layer *l = create_layer(k, LAYER_MODEL);
    char path[STORE_PATH];
    if (!l) return err_set(e, ERR_FORMAT, "no model among what FROM names");
    if (store_blob(k->s, &l->digest, path, NULL, e) != 0) return -1;
    struct gguf *g = gguf_open(path, e);
    const int rc = g ? describe(k, g, e) : -1;
    gguf_close(g);
    return rc;
}

/* "0.14.0", with or without a v: three numbers and perhaps -word. */
static int check_version(const struct modelfile_line *l, const char **out, struct err *e) {
    const char *v = l->value.p + (l->value.p[0] == 'v');
    unsigned part[3];
    int used = 0;
    if (sscanf(v, "%9u.%9u.%9u%n", &part[0], &part[1], &part[2], &used) != 3 ||
        (v[used] && v[used] != '-' && v[used] != '+')) {
        err_set(e, ERR_FORMAT, "requires must be a valid semver (e.g. 0.14.0); found \"%.40s\"",
                l->value.p);
        return create_at_line(l, e);
    }
    *out = v;
    return 0;
}

static int config_lines(struct creation *k, const struct modelfile *m, struct err *e) {
    for (int i = 0; i < m->n; i++) {
        const struct modelfile_line *l = &m->line[i];
        const char *v = l->value.n ? l->value.p : NULL;
        if (l->command == MF_RENDERER) k->c.renderer = v;
        if (l->command == MF_PARSER) k->c.parser = v;
        if (l->command == MF_REQUIRES && check_version(l, &k->c.requires_version, e) != 0)
            return -1;
    }
    return 0;
}

static int write_config(struct creation *k, struct layer *out, struct err *e) {
    char(*text)[DIGEST_TEXT] = calloc((size_t)k->n_layer + 1, sizeof *text);
    const char **id = calloc((size_t)k->n_layer + 1, sizeof *id);
    struct buf b = {0};
    int rc = text && id ? 0 : err_nomem(e, "config");
    for (int i = 0; rc == 0 && i < k->n_layer; i++) {
        digest_format(&k->layer[i].digest, text[i]);
        id[i] = text[i];
    }
    if (rc == 0) rc = model_config_build(&k->c, id, k->n_layer, &b, e);
    if (rc == 0) rc = create_text_blob(k, out, buf_view(&b), e);
    free(text);
    free(id);
    buf_fini(&b);
    return rc;
}

/* ---- all ---- */

static int each(struct creation *k, const struct modelfile *m, enum modelfile_command command,
                int (*fn)(struct creation *k, const struct modelfile_line *l, struct err *e),
                struct err *e) {
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == command && fn(k, &m->line[i], e) != 0) return -1;
    return 0;
}

/* What is merged afterwards is quantized then, once. */
static int requantize(struct creation *k, const struct modelfile *m, struct err *e) {
    return k->o->merge && !create_tunes(m, k->o) ? 0 : create_requantize(k, e);
}

static int gather(struct creation *k, const struct name *n, const struct modelfile *m,
                  struct err *e) {
    create_say(k, "gathering model components", NULL);
    if (each(k, m, MF_FROM, create_from, e) != 0 || create_files(k, MF_FROM, e) != 0 ||
        requantize(k, m, e) != 0 || each(k, m, MF_ADAPTER, create_adapter, e) != 0 ||
        create_files(k, MF_ADAPTER, e) != 0 || each(k, m, MF_DRAFT, create_draft, e) != 0 ||
        create_files(k, MF_DRAFT, e) != 0 || create_detect_template(k, m, e) != 0)
        return -1;
    if (create_texts(k, m, e) != 0) return -1;
    if (create_tunes(m, k->o)) return create_tune(k, n, m, e);
    return k->o->merge ? create_merge(k, e) : 0;
}

static int finish(struct creation *k, const struct name *n, const struct modelfile *m,
                  struct err *e) {
    struct layer config = {.kind = LAYER_OTHER, .media_type = MEDIA_CONFIG};
    struct buf b = {0};
    if (describe_model(k, e) != 0 || config_lines(k, m, e) != 0) return -1;
    sort_layers(k);
    int rc = write_config(k, &config, e);
    if (rc == 0) rc = manifest_build(&config, k->layer, k->n_layer, &b, e);
    if (rc == 0) create_say(k, "writing manifest", NULL);
    if (rc == 0 && create_stopped(k)) rc = err_set(e, ERR_CANCELLED, "interrupted");
    if (rc == 0) rc = store_put(k->s, n, buf_view(&b), e);
    if (rc == 0) create_say(k, "success", NULL);
    buf_fini(&b);
    return rc;
}

/* One that nobody can render would be found out by the first conversation. */
static int check_template(const struct modelfile_line *l, struct err *e) {
    struct err why = {0};
    struct chat_template *t = l->value.n ? chat_template_new(l->value, &why) : NULL;
    const char *advice = strstr(why.msg, "; use --raw"); /* for those who run a file */
    if (t || l->value.n == 0) {
        chat_template_free(t);
        return 0;
    }
    err_set(e, ERR_FORMAT, "template error: %.*s",
            (int)(advice ? advice - why.msg : (long)strlen(why.msg)), why.msg);
    return create_at_line(l, e);
}

static int at_most_one(const struct modelfile *m, enum modelfile_command command, const char *word,
                       struct err *e) {
    int n = 0;
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == command && ++n > 1)
            return err_set(e, ERR_FORMAT, "(line %d): a second %s; one is accepted",
                           m->line[i].line, word);
    return 0;
}

/* FALLBACK, CACHE, POLICY: each once, and as it is read later. */
static int check_extension(const struct modelfile *m, const struct modelfile_line *l,
                           struct err *e) {
    struct model_policy unused = {0};
    for (const struct modelfile_line *x = m->line; x < l; x++)
        if (x->command == MF_EXTENSION && strcmp(x->name, l->name) == 0)
            return err_set(e, ERR_FORMAT, "(line %d): a second %s; one is accepted", l->line,
                           l->name);
    return model_policy_line(&unused, l->name, l->value, e) == 0 ? 0 : create_at_line(l, e);
}

int create_check(const struct modelfile *m, const struct create_opts *o, struct err *e) {
    const char *unused;
    int mix;
    if (at_most_one(m, MF_ADAPTER, "ADAPTER", e) != 0 ||
        at_most_one(m, MF_DRAFT, "DRAFT", e) != 0 ||
        at_most_one(m, MF_TRAINFILE, "TRAINFILE", e) != 0 ||
        at_most_one(m, MF_VALIDFILE, "VALIDFILE", e) != 0 || create_tune_check(m, o, e) != 0)
        return -1;
    if (o->quantize && create_find_mix(o->quantize, &mix, e) != 0) return -1;
    for (int i = 0; i < m->n; i++) {
        const struct modelfile_line *l = &m->line[i];
        if ((l->command == MF_REQUIRES && check_version(l, &unused, e) != 0) ||
            (l->command == MF_TEMPLATE && check_template(l, e) != 0) ||
            (l->command == MF_EXTENSION && check_extension(m, l, e) != 0))
            return -1;
    }
    return 0;
}

int create_model(struct store *s, const struct name *n, const struct modelfile *m,
                 const struct create_opts *o, create_event_fn *say, void *ctx, struct err *e) {
    struct creation k = {.s = s, .o = o, .say = say, .ctx = ctx};
    if (n->pin.hex[0])
        return err_set(e, ERR_USAGE, "create: a name with a digest; a name without is accepted");
    if (o->quality && !o->quantize)
        return err_set(e, ERR_USAGE,
                       "create: quality without quantize; it compares with the source");
    if (create_check(m, o, e) != 0) return -1;
    k.lease = store_lease(s, e);
    int rc = k.lease ? gather(&k, n, m, e) : -1;
    if (rc == 0 && !o->plan_only) rc = finish(&k, n, m, e);
    if (rc == 0 && k.train_dir[0]) tune_folder_remove(k.train_dir);
    create_work_end(&k);
    store_lease_end(k.lease);
    json_decref(k.params);
    free(k.layer);
    model_config_fini(&k.c);
    arena_fini(&k.a);
    return rc;
}
