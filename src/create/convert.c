/* The conversion as a whole; its parts are listed in convert_priv.h. */
#include "create/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/os.h"
#include "create/convert_priv.h"

enum { MAX_JSON = 64 << 20, MAX_VALUES = 8 << 20 };

int convert_read_json(const char *folder, const char *name, json_t **out, struct err *e) {
    char path[CONVERT_PATH];
    struct buf text = {0};
    struct stat st;
    *out = NULL;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return err_set(e, ERR_FORMAT, "%.60s: too long a path", folder);
    if (stat(path, &st) != 0) return 0;
    if (os_read_file(path, MAX_JSON, &text, e) == 0)
        *out = json_read_object(path, buf_view(&text), MAX_VALUES, e);
    buf_fini(&text);
    return *out ? 0 : -1;
}

static bool has_key(const struct conversion *c, const char *names) {
    return json_object_getn(c->config, names, strcspn(names, "|")) != NULL;
}

int convert_key_error(const struct conversion *c, const char *key, struct err *e,
                      const char *what) {
    /* Of several names the one that is there; or all. */
    const char *name = key;
    while (*name && !has_key(c, name))
        name += strcspn(name, "|") + (strchr(name, '|') != NULL);
    const int n = (int)(*name ? strcspn(name, "|") : strlen(key));
    return err_set(e, ERR_FORMAT, "%s/config.json: \"%.*s\" %s", c->folder, n, *name ? name : key,
                   what);
}

/* ---- config.json ---- */

static int find_family(struct conversion *c, struct err *e) {
    const char *type = json_string_value(json_object_get(c->root, "model_type"));
    char list[256];
    c->family = type ? family_of_type(type) : NULL;
    if (c->family) return 0;
    family_list(list, sizeof list);
    return err_set(e, ERR_UNSUPPORTED, "%s/config.json: model_type \"%.40s\"; converted are: %s",
                   c->folder, type ? type : "(missing)", list);
}

static int read_config(struct conversion *c, struct err *e) {
    if (convert_read_json(c->folder, "config.json", &c->root, e) != 0) return -1;
    if (!c->root)
        return err_set(e, ERR_NOT_FOUND, "%s: no config.json beside the safetensors", c->folder);
    const json_t *text = json_object_get(c->root, "text_config");
    c->config = json_is_object(text) ? text : c->root;
    const json_t *q = json_object_get(c->root, "quantization_config");
    if (q && !json_is_null(q))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: its weights are quantized already (quantization_config); the model "
                       "in F32, F16 or BF16 is needed",
                       c->folder);
    return find_family(c, e);
}

/* ---- general.* ---- */

/* Is there a token that swallows the blanks behind it? */
static bool strips(const struct conversion *c) {
    const json_t *added = json_object_get(c->tokenizer, "added_tokens"), *t;
    size_t i;
    json_array_foreach((json_t *)added, i, t) {
        if (json_is_true(json_object_get(t, "rstrip"))) return true;
    }
    return false;
}

/* The model's name: that of its folder.  GGUF has no field for tokens that swallow blanks; readers
 * go by "phi3" in the name of the model, which is put there where it is missing. */
static int set_name(struct conversion *c, struct err *e) {
    const char *path = json_string_value(json_object_get(c->root, "_name_or_path"));
    char real[CONVERT_PATH], name[256];
    if (!path || !*path || path[strlen(path) - 1] == '/')
        path = realpath(c->folder, real) ? real : c->folder;
    const char *slash = strrchr(path, '/');
    const char *base = slash && slash[1] ? slash + 1 : path;
    const bool phi = strcmp(c->family->model_type, "phi3") == 0 && strips(c) &&
                     !strcasestr(base, "phi-3") && !strcasestr(base, "phi3");
    snprintf(name, sizeof name, "%s%.200s", phi ? "phi3 " : "", base);
    return gguf_set_str(c->w, "general.name", str_of(name), e);
}

static int general(struct conversion *c, struct err *e) {
    if (gguf_set_str(c->w, "general.architecture", str_of(c->family->arch), e) != 0 ||
        gguf_set_str(c->w, "general.type", STR("model"), e) != 0)
        return -1;
    return set_name(c, e);
}

/* ---- all ---- */

/* Rows of the embedding: so many tokens there are, used or not. */
static int count_tokens(struct conversion *c, struct err *e) {
    for (int i = 0; i < safetensors_n(c->st); i++) {
        const struct st_tensor *t = safetensors_at(c->st, i);
        struct tensor_name n;
        if (tensor_name(c->family, t->name, &n) != 1 || strcmp(n.name, "token_embd.weight") != 0)
            continue;
        if (t->n_dim == 2 && t->shape[0] > 0 && t->shape[0] <= 1 << 24) {
            c->n_vocab = (int)t->shape[0];
            return 0;
        }
        return err_set(e, ERR_FORMAT, "%s: tensor '%s' is no matrix with a row for each token",
                       c->folder, t->name);
    }
    return err_set(e, ERR_FORMAT, "%s: no embedding among the tensors", c->folder);
}

static int read_all(struct conversion *c, struct err *e) {
    if (read_config(c, e) != 0) return -1;
    c->st = safetensors_open(c->folder, e);
    if (!c->st || count_tokens(c, e) != 0) return -1;
    if (convert_read_json(c->folder, "tokenizer_config.json", &c->tok_config, e) != 0) return -1;
    return convert_read_json(c->folder, "tokenizer.json", &c->tokenizer, e);
}

static int write_all(struct conversion *c, struct err *e) {
    if (general(c, e) != 0 || convert_keys(c, e) != 0 || convert_tokenizer(c, e) != 0) return -1;
    struct tensor_plan *p = tensor_plan_new(c, e);
    int rc = p ? tensor_plan_declare(p, e) : -1;
    if (rc == 0) rc = tensor_plan_write(p, e);
    tensor_plan_free(p);
    return rc;
}

void convert_fini(struct conversion *c) {
    json_decref(c->root);
    json_decref(c->tok_config);
    json_decref(c->tokenizer);
    safetensors_close(c->st);
    gguf_writer_abort(c->w);
    arena_fini(&c->a);
}

int convert_model(const char *folder, const char *out, const struct convert_opts *o,
                  struct err *e) {
    struct conversion c = {.folder = folder, .o = o};
    int rc = read_all(&c, e);
    if (rc == 0) c.w = gguf_writer_new(out, 0, e);
    rc = rc == 0 && c.w ? write_all(&c, e) : -1;
    if (rc == 0) {
        rc = gguf_writer_finish(c.w, e);
        c.w = NULL;
    }
    convert_fini(&c);
    return rc;
}
