/* Where a model's files come from: FROM, ADAPTER, DRAFT. */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "create/convert.h"
#include "create/create_priv.h"
#include "engine/check.h"
#include "gguf/write.h"
#include "store/registry.h"

/* ---- paths ---- */

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* What nobody would call a model. */
static bool looks_like_path(const char *v) {
    return v[0] == '/' || v[0] == '.' || v[0] == '~' || ends_with(v, ".gguf") ||
           ends_with(v, ".safetensors");
}

/* The path that a value of a Modelfile means. */
static int expand(const char *folder, const char *value, char out[STORE_PATH], struct err *e) {
    const char *home = getenv("HOME");
    int n;
    if (value[0] == '~' && (value[1] == '/' || value[1] == 0)) {
        if (!home || !*home) return err_set(e, ERR_USAGE, "%s: no home folder is set", value);
        n = snprintf(out, STORE_PATH, "%s%s", home, value + 1);
    } else if (value[0] == '~') {
        return err_set(e, ERR_USAGE, "%s: another user's home; ~/... is accepted", value);
    } else if (value[0] == '/') {
        n = snprintf(out, STORE_PATH, "%s", value);
    } else {
        while (value[0] == '.' && value[1] == '/') /* messages then show the path once */
            value += 2;
        n = snprintf(out, STORE_PATH, "%s/%s", folder, value);
    }
    return n < STORE_PATH ? 0
                          : err_set(e, ERR_USAGE, "a path of %d bytes; at most %d are accepted", n,
                                    STORE_PATH - 1);
}

/* What the value names among files.  Neither a fifo nor a device is ever opened (SECURITY.md F18).
 */
int create_look(const char *folder, const char *value, char path[STORE_PATH],
                enum create_what *what, struct err *e) {
    struct stat st;
    *what = CREATE_NOTHING;
    if (!folder) {
        if (!looks_like_path(value)) return 0;
        return err_set(e, ERR_LIMIT,
                       "%s: paths are not opened here; the name of a model is accepted", value);
    }
    if (expand(folder, value, path, e) != 0) return -1;
    if (stat(path, &st) != 0) {
        if (!looks_like_path(value) &&
            (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG))
            return 0;
        return err_errno(e, path);
    }
    if (S_ISREG(st.st_mode) && ends_with(path, ".safetensors"))
        return err_set(e, ERR_FORMAT,
                       "%s: one file of a safetensors model; its folder, with config.json and "
                       "tokenizer, is accepted",
                       path);
    if (S_ISREG(st.st_mode)) *what = CREATE_FILE;
    if (S_ISDIR(st.st_mode)) *what = CREATE_FOLDER;
    if (*what != CREATE_NOTHING) return 0;
    return err_set(e, ERR_FORMAT, "%s: no regular file; a GGUF file or a folder is accepted", path);
}

/* ---- files to blobs ---- */

/* A blob of this store, named by its path (as `show --modelfile` does), needs no copy. */
static bool is_own_blob(const struct creation *k, const char *path, struct digest *d) {
    char blobs[STORE_PATH], real[PATH_MAX], own[PATH_MAX];
    snprintf(blobs, sizeof blobs, "%.*s/blobs", STORE_PATH - 8, store_root(k->s));
    const char *slash = strrchr(path, '/');
    if (!slash || digest_parse(str_of(slash + 1), d, NULL) != 0) return false;
    if (!realpath(path, real) || !realpath(blobs, own)) return false;
    const size_t n = strlen(own);
    return strncmp(real, own, n) == 0 && strcmp(real + n, slash) == 0;
}

/* Was the blob made by us just now, or there before? */
static bool is_new(const struct creation *k, const struct digest *d, time_t since) {
    char path[STORE_PATH];
    struct stat st;
    uint64_t n;
    return store_blob(k->s, d, path, &n, NULL) == 0 && stat(path, &st) == 0 && st.st_ctime >= since;
}

static void say_layer(struct creation *k, const struct digest *d, bool fresh) {
    char status[128], digest[DIGEST_TEXT];
    digest_format(d, digest);
    snprintf(status, sizeof status, "%s layer %s", fresh ? "creating new" : "using existing",
             digest);
    create_say(k, status, digest);
}

/* For a plan a file is looked at where it is. */
static int add_plan_file(struct creation *k, const char *path, enum layer_kind kind,
                         struct err *e) {
    struct layer l = {.kind = kind, .media_type = layer_media_type(kind)};
    l.from = arena_strndup(&k->a, path, strlen(path));
    return l.from ? create_add_layer(k, &l, e) : err_nomem(e, path);
}

static int add_file(struct creation *k, const char *path, enum layer_kind kind, bool ours,
                    struct err *e) {
    struct layer l = {.kind = kind, .media_type = layer_media_type(kind)};
    char status[STORE_PATH + 32];
    const char *slash = strrchr(path, '/');
    const time_t t0 = time(NULL);
    if (!ours && is_own_blob(k, path, &l.digest)) {
        struct stat st;
        if (store_lease_add(k->lease, &l.digest, e) != 0) return -1;
        if (stat(path, &st) != 0) return err_errno(e, path);
        l.n_bytes = (uint64_t)st.st_size;
        say_layer(k, &l.digest, false);
        return create_add_layer(k, &l, e);
    }
    if (k->o->plan_only) return add_plan_file(k, path, kind, e);
    snprintf(status, sizeof status, "%s %s", ours ? "hashing" : "copying file",
             slash ? slash + 1 : path);
    struct create_bar bar = {k, status};
    const enum store_add how = ours ? STORE_MOVE : k->o->link ? STORE_LINK : STORE_COPY;
    if (store_add_file(k->lease, path, how, &l.digest, &l.n_bytes, create_progress, &bar, e) != 0)
        return -1;
    say_layer(k, &l.digest, how == STORE_LINK || is_new(k, &l.digest, t0));
    return create_add_layer(k, &l, e);
}

int create_add_made(struct creation *k, const char *path, enum layer_kind kind, struct err *e) {
    create_drop_layers(k, kind);
    return add_file(k, path, kind, true, e);
}

/* ---- GGUF ---- */

static int read_kind(const struct gguf *g, enum layer_kind *kind, struct err *e) {
    struct str type = STR(""), arch = STR("");
    if (gguf_get_str(g, "general.type", &type, e) < 0 ||
        gguf_get_str(g, "general.architecture", &arch, e) < 0)
        return -1;
    *kind = LAYER_MODEL;
    if (str_is(type, "adapter") || gguf_find(g, "adapter.type"))
        *kind = LAYER_ADAPTER;
    else if (str_is(type, "projector") || str_is(type, "mmproj") || str_is(arch, "clip"))
        *kind = LAYER_PROJECTOR;
    else if (type.n && !str_is(type, "model"))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: a GGUF file of type \"%.*s\"; a model, a projector or an adapter is "
                       "accepted",
                       gguf_path(g), type.n < 40 ? (int)type.n : 40, type.p);
    return 0;
}

/* Splits become one file: a layer is one blob. */
static int join(struct creation *k, const struct gguf *g, const char *out, struct err *e) {
    const int n = gguf_n_tensor(g);
    struct gguf_writer *w = gguf_writer_new(out, (uint32_t)gguf_alignment(g), e);
    struct create_bar bar = {k, "joining split GGUF"};
    uint64_t done = 0;
    int rc = w ? 0 : -1;
    for (int i = 0; rc == 0 && i < gguf_n_kv(g); i++)
        rc = gguf_copy_kv(w, gguf_kv_at(g, i), e);
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        rc = gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, e);
    }
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        rc = gguf_write_data(w, t->data, t->n_bytes, e);
        done += t->n_bytes;
        if (rc == 0 && create_progress(&bar, done, gguf_file_bytes(g)) != 0)
            rc = err_set(e, ERR_CANCELLED, "%s: interrupted", gguf_path(g));
    }
    if (rc == 0) return gguf_writer_finish(w, e);
    gguf_writer_abort(w);
    return -1;
}

/* The file that a folder became has a name that says nothing. */
static int judged(bool converted, const char *folder, struct err *e) {
    return converted ? err_prefix(e, folder) : -1;
}

/* Open and judge a GGUF file; a split one is joined: then path is that of the whole. */
static int take_gguf(struct creation *k, char path[STORE_PATH], enum layer_kind *kind, bool *ours,
                     struct err *e) {
    create_say(k, "parsing GGUF", NULL);
    struct gguf *g = gguf_open(path, e);
    if (!g) return -1;
    int rc = read_kind(g, kind, e);
    if (rc == 0 && *kind == LAYER_MODEL) rc = engine_check_model(g, e);
    if (rc == 0 && gguf_n_split(g) > 1) {
        rc = create_work_path(k, path, e);
        if (rc == 0) rc = join(k, g, path, e);
        *ours = true;
    }
    gguf_close(g);
    return rc;
}

/* ---- folders ---- */

static bool holds(const char *folder, const char *pattern, char first[STORE_PATH], size_t *n) {
    char path[STORE_PATH + 64];
    glob_t found;
    struct buf quoted = {0};
    for (const char *c = folder; *c; c++) { /* the folder's own name is no pattern */
        if (strchr("*?[\\", *c)) buf_byte(&quoted, '\\');
        buf_byte(&quoted, *c);
    }
    snprintf(path, sizeof path, "%s/%s", quoted.p ? quoted.p : ".", pattern);
    buf_fini(&quoted);
    *n = 0;
    if (glob(path, 0, NULL, &found) != 0) return false;
    *n = found.gl_pathc;
    if (*n) snprintf(first, STORE_PATH, "%s", found.gl_pathv[0]);
    globfree(&found);
    return *n > 0;
}

static int convert(struct creation *k, const char *folder, const char *base, const char *out,
                   struct err *e) {
    struct create_bar bar = {k, base ? "converting adapter" : "converting model"};
    const struct convert_opts o = {.progress = create_progress, .ctx = &bar};
    create_say(k, bar.status, NULL);
    return base ? convert_adapter(folder, base, out, &o, e) : convert_model(folder, out, &o, e);
}

/* The GGUF file that a folder holds or becomes.  base: of an adapter, else NULL. */
static int take_folder(struct creation *k, char path[STORE_PATH], const char *base, bool *ours,
                       struct err *e) {
    char first[STORE_PATH], out[STORE_PATH];
    size_t n;
    if (holds(path, "*.safetensors", first, &n)) {
        if (create_work_path(k, out, e) != 0 || convert(k, path, base, out, e) != 0) return -1;
        memcpy(path, out, STORE_PATH);
        *ours = true;
        return 0;
    }
    if (!holds(path, "*.gguf", first, &n))
        return err_set(e, ERR_NOT_FOUND, "%s: no Modelfile or safetensors files found", path);
    if (n > 1 && !strstr(first, "-00001-of-"))
        return err_set(e, ERR_USAGE, "%s: %zu GGUF files; FROM FILE says which", path, n);
    memcpy(path, first, STORE_PATH);
    return 0;
}

/* ---- models of the store ---- */

static int read_config(struct creation *k, const struct manifest *m, const char *name,
                       struct err *e) {
    struct buf text = {0};
    model_config_fini(&k->c);
    int rc = store_read_blob(k->s, &m->config.digest, CONFIG_MAX_BYTES, &text, e);
    if (rc == 0) rc = model_config_parse(name, buf_view(&text), &k->c, e);
    buf_fini(&text);
    if (rc == 0 && (k->c.remote_host || k->c.remote_model))
        rc = err_set(e, ERR_UNSUPPORTED,
                     "model '%s' runs on another host; FROM a model that is here", name);
    return rc;
}

static void on_pull(void *ctx, const struct registry_event *ev) {
    const struct creation *k = ctx;
    if (k->say) k->say(k->ctx, ev->status, ev->digest, ev->completed, ev->total);
}

/* --insecure is for one host: SECURITY.md R15. */
static int one_host(struct creation *k, const struct name *n, struct err *e) {
    if (k->o->insecure && k->insecure_host[0] && strcasecmp(k->insecure_host, n->host) != 0)
        return err_set(e, ERR_USAGE,
                       "--insecure is for one host; found %s and %s (pull one of the models first)",
                       k->insecure_host, n->host);
    snprintf(k->insecure_host, sizeof k->insecure_host, "%s", n->host);
    return 0;
}

/* One that is not here is pulled. */
static int open_base(struct creation *k, const char *value, struct manifest *m, struct err *e) {
    struct name n;
    char shown[NAME_TEXT];
    struct err first = {0};
    const struct registry_opts o = {.insecure = k->o->insecure, .stop = k->o->stop};
    if (name_parse(value, &n, e) != 0) return -1;
    if (store_get(k->s, &n, NULL, m, &first) == 0) return 0;
    if (first.code != ERR_NOT_FOUND) return err_set(e, first.code, "%s", first.msg);
    manifest_fini(m);
    name_short(&n, shown);
    if (one_host(k, &n, e) != 0) return -1;
    if (registry_pull(k->s, &n, &o, NULL, on_pull, k, e) != 0) return err_prefix(e, shown);
    return store_get(k->s, &n, NULL, m, e);
}

/* All its layers; their blobs are held before they are looked at. */
static int inherit(struct creation *k, const char *value, struct err *e) {
    struct manifest m = {0};
    int rc = open_base(k, value, &m, e);
    for (int i = 0; rc == 0 && i < m.n_layer; i++) {
        struct layer l = m.layer[i];
        rc = store_lease_add(k->lease, &l.digest, e);
        if (rc == 0 && !store_has_blob(k->s, &l.digest, l.n_bytes))
            rc = err_set(e, ERR_NOT_FOUND, "model '%s': its blob sha256:%s is missing", value,
                         l.digest.hex);
        if (rc != 0) break;
        l.media_type = arena_strndup(&k->a, l.media_type, strlen(l.media_type));
        l.from = l.name = NULL;
        rc = l.media_type ? create_add_layer(k, &l, e) : err_nomem(e, value);
        if (rc == 0) say_layer(k, &l.digest, false);
    }
    if (rc == 0) rc = read_config(k, &m, value, e);
    k->inherited = true;
    manifest_fini(&m);
    return rc;
}

/* ---- commands ---- */

int create_at_line(const struct modelfile_line *l, struct err *e) {
    char where[32];
    if (l->line <= 0) return -1;
    snprintf(where, sizeof where, "(line %d)", l->line);
    if (e->code == ERR_USAGE) e->code = ERR_FORMAT; /* a mistake in the file, not in the command */
    return err_prefix(e, where);
}

static int quantize_file(struct creation *k, char path[STORE_PATH], bool *ours, struct err *e) {
    char out[STORE_PATH];
    if (create_work_path(k, out, e) != 0 || create_quantize(k, path, out, e) != 0) return -1;
    if (*ours) unlink(path);
    memcpy(path, out, STORE_PATH);
    *ours = true;
    return 0;
}

int create_from_path(struct creation *k, char path[STORE_PATH], enum create_what what,
                     const char *shown, struct err *e) {
    enum layer_kind kind = LAYER_MODEL;
    bool ours = false;
    if (what == CREATE_FOLDER && take_folder(k, path, NULL, &ours, e) != 0) return -1;
    const bool converted = ours;
    if (take_gguf(k, path, &kind, &ours, e) != 0) return judged(converted, shown, e);
    if (kind == LAYER_ADAPTER)
        return err_set(e, ERR_FORMAT, "%s: an adapter; it stands behind ADAPTER, not FROM", path);
    if (kind == LAYER_MODEL && create_layer(k, LAYER_MODEL))
        return err_set(e, ERR_FORMAT, "%s: a second model; a second FROM may add a projector",
                       path);
    if (kind == LAYER_MODEL && k->o->quantize && quantize_file(k, path, &ours, e) != 0) return -1;
    return add_file(k, path, kind, ours, e);
}

static int from_look(struct creation *k, char path[STORE_PATH], enum create_what what,
                     struct err *e) {
    char given[STORE_PATH];
    memcpy(given, path, sizeof given);
    return create_from_path(k, path, what, given, e);
}

int create_from(struct creation *k, const struct modelfile_line *l, struct err *e) {
    char path[STORE_PATH];
    enum create_what what;
    int rc = create_look(k->o->folder, l->value.p, path, &what, e);
    if (rc == 0 && what != CREATE_NOTHING)
        rc = from_look(k, path, what, e);
    else if (rc == 0 && create_layer(k, LAYER_MODEL))
        rc = err_set(e, ERR_FORMAT, "a second model, '%s'; a second FROM may add a projector",
                     l->value.p);
    else if (rc == 0)
        rc = inherit(k, l->value.p, e);
    return rc == 0 ? 0 : create_at_line(l, e);
}

int create_requantize(struct creation *k, struct err *e) {
    const struct layer *l = create_layer(k, LAYER_MODEL);
    char path[STORE_PATH];
    bool ours = false;
    if (!k->o->quantize || !k->inherited || !l) return 0;
    if (create_layer_path(k, l, path, e) != 0) return -1;
    if (quantize_file(k, path, &ours, e) != 0) return -1;
    create_drop_layers(k, LAYER_MODEL);
    return add_file(k, path, LAYER_MODEL, ours, e);
}

/* An adapter that does not fit would be found out by the first `run`. */
static int check_fit(const char *base, const char *adapter, struct err *e) {
    struct gguf *g = gguf_open(base, e);
    const int rc = g ? engine_check_adapter(g, adapter, e) : -1;
    gguf_close(g);
    return rc;
}

int create_adapter_path(struct creation *k, char path[STORE_PATH], enum create_what what,
                        const char *shown, struct err *e) {
    const struct layer *model = create_layer(k, LAYER_MODEL);
    char base[STORE_PATH];
    enum layer_kind kind = LAYER_ADAPTER;
    bool ours = false;
    if (!model) return err_set(e, ERR_FORMAT, "ADAPTER without a model to adapt");
    if (create_layer_path(k, model, base, e) != 0) return -1;
    if (what == CREATE_FOLDER && take_folder(k, path, base, &ours, e) != 0) return -1;
    if (take_gguf(k, path, &kind, &ours, e) != 0) return -1;
    if (kind != LAYER_ADAPTER)
        return err_set(e, ERR_FORMAT, "%s: no adapter; a GGUF file of type adapter is accepted",
                       path);
    if (check_fit(base, path, e) != 0) return judged(ours, shown, e);
    create_drop_layers(k, LAYER_ADAPTER);
    k->c.training = NULL; /* of the base's adapter */
    return add_file(k, path, LAYER_ADAPTER, ours, e);
}

static int adapter(struct creation *k, const char *value, struct err *e) {
    char path[STORE_PATH];
    enum create_what what;
    if (create_look(k->o->folder, value, path, &what, e) != 0) return -1;
    if (what == CREATE_NOTHING)
        return err_set(e, ERR_NOT_FOUND, "%s: no such file or folder", value);
    return create_adapter_path(k, path, what, value, e);
}

int create_adapter(struct creation *k, const struct modelfile_line *l, struct err *e) {
    return adapter(k, l->value.p, e) == 0 ? 0 : create_at_line(l, e);
}

int create_draft_path(struct creation *k, char path[STORE_PATH], enum create_what what,
                      struct err *e) {
    enum layer_kind kind = LAYER_MODEL;
    bool ours = false;
    if (what == CREATE_FOLDER && take_folder(k, path, NULL, &ours, e) != 0) return -1;
    if (take_gguf(k, path, &kind, &ours, e) != 0) return -1;
    if (kind != LAYER_MODEL)
        return err_set(e, ERR_FORMAT, "%s: no model; DRAFT takes a small model", path);
    create_drop_layers(k, LAYER_DRAFT);
    return add_file(k, path, LAYER_DRAFT, ours, e);
}

/* The file of a model of the store. */
static int draft_model(struct creation *k, const char *value, char path[STORE_PATH],
                       struct err *e) {
    struct manifest m = {0};
    int rc = open_base(k, value, &m, e);
    const struct layer *found = rc == 0 ? manifest_layer(&m, LAYER_MODEL) : NULL;
    if (rc == 0 && !found) rc = err_set(e, ERR_UNSUPPORTED, "model '%s': no GGUF file", value);
    if (rc == 0) rc = store_blob(k->s, &found->digest, path, NULL, e);
    manifest_fini(&m);
    return rc;
}

static int draft(struct creation *k, const char *value, struct err *e) {
    char path[STORE_PATH];
    enum create_what what;
    if (create_look(k->o->folder, value, path, &what, e) != 0) return -1;
    if (what == CREATE_NOTHING && draft_model(k, value, path, e) != 0) return -1;
    return create_draft_path(k, path, what, e);
}

int create_draft(struct creation *k, const struct modelfile_line *l, struct err *e) {
    return draft(k, l->value.p, e) == 0 ? 0 : create_at_line(l, e);
}
