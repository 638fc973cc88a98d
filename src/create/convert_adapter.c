/* PEFT adapters (LoRA, arXiv:2106.09685) to GGUF: base_model.model.NAME.lora_A.weight [rank][n_in]
 * and lora_B.weight [n_out][rank], with r, lora_alpha and use_rslora in adapter_config.json.
 * Readers scale by alpha / rank; rsLoRA (arXiv:2312.03732) means alpha / sqrt(rank). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "create/convert_priv.h"
#include "train/adapter_file.h"

static int bad(const struct conversion *c, const char *what, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED, "%s/adapter_config.json: %s", c->folder, what);
}

static int read_adapter_config(struct conversion *c, struct err *e) {
    if (convert_read_json(c->folder, "adapter_config.json", &c->root, e) != 0) return -1;
    if (!c->root) return err_set(e, ERR_NOT_FOUND, "%s: no adapter_config.json", c->folder);
    c->config = c->root;
    const char *type = json_string_value(convert_config(c, "peft_type"));
    const json_t *alphas = convert_config(c, "alpha_pattern");
    if (type && strcmp(type, "LORA") != 0) return bad(c, "peft_type is not \"LORA\"", e);
    if (json_is_true(convert_config(c, "use_dora"))) return bad(c, "use_dora is true", e);
    if (json_is_true(convert_config(c, "fan_in_fan_out")))
        return bad(c, "fan_in_fan_out is true", e);
    if (json_object_size(alphas)) return bad(c, "alpha_pattern is not empty", e);
    return 0;
}

/* Heads and layers of the base, which the names and the order of rows depend on. */
static int read_base(struct conversion *c, const struct gguf *g, struct err *e) {
    struct str arch = STR("");
    const char *const names[] = {"block_count", "attention.head_count", "attention.head_count_kv"};
    int *const out[] = {&c->n_layer, &c->n_head, &c->n_kv_head};
    if (gguf_get_str(g, "general.architecture", &arch, e) < 0) return -1;
    c->family = family_of_arch(arch);
    if (!c->family)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: adapters for architecture \"%.*s\" are not converted", c->folder,
                       arch.n < 40 ? (int)arch.n : 40, arch.p);
    for (int i = 0; i < 3; i++) {
        char key[CONVERT_NAME];
        uint32_t v = i == 2 ? (uint32_t)c->n_head : 0;
        snprintf(key, sizeof key, "%s.%s", c->family->arch, names[i]);
        if (gguf_get_u32(g, key, &v, e) < 0) return -1;
        if (v < 1 || v > 65536)
            return err_set(e, ERR_FORMAT, "%s: key '%s' is %u", gguf_path(g), key, v);
        *out[i] = (int)v;
    }
    return 0;
}

/* lora_alpha, r, use_rslora and lora_dropout. */
static int read_scale(const struct conversion *c, struct lora_opts *o, struct err *e) {
    const json_t *alpha = convert_config(c, "lora_alpha"), *rank = convert_config(c, "r");
    const double r = json_number_value(rank), a = alpha ? json_number_value(alpha) : r;
    const double dropout = json_number_value(convert_config(c, "lora_dropout"));
    if (!json_is_integer(rank) || r < 1 || r > LORA_MAX_RANK)
        return err_set(e, ERR_FORMAT, "%s/adapter_config.json: \"r\" is no rank of 1 to %d",
                       c->folder, LORA_MAX_RANK);
    if (!json_is_number(alpha ? alpha : rank) || !(a > 0 && a < 1e6))
        return err_set(e, ERR_FORMAT,
                       "%s/adapter_config.json: \"lora_alpha\" is no number over 0, below 1e6",
                       c->folder);
    *o = (struct lora_opts){.rank = (int)r, .alpha = (float)a};
    o->stabilized = json_is_true(convert_config(c, "use_rslora"));
    o->dropout = dropout >= 0 && dropout <= 0.9 ? (float)dropout : 0; /* of no effect here */
    if (o->stabilized && json_object_size(convert_config(c, "rank_pattern")))
        return bad(c, "use_rslora with a rank_pattern", e);
    return 0;
}

/* "base_model.model.X.lora_A.weight" (or lora_A.default.weight) to "X.weight" and which half. */
static bool split_name(const char *name, char base[CONVERT_NAME * 2], char *half) {
    static const char prefix[] = "base_model.model.";
    static const struct {
        const char *end;
        char half;
    } ends[] = {{".lora_A.weight", 'a'},
                {".lora_B.weight", 'b'},
                {".lora_A.default.weight", 'a'},
                {".lora_B.default.weight", 'b'}};
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t k = strlen(ends[i].end);
        if (n <= k || strcmp(name + n - k, ends[i].end) != 0) continue;
        *half = ends[i].half;
        return snprintf(base, CONVERT_NAME * 2, "%.*s.weight", (int)(n - k), name) <
               CONVERT_NAME * 2;
    }
    return false;
}

static int plan_one(struct tensor_plan *p, const struct conversion *c, const struct st_tensor *t,
                    struct err *e) {
    char base[CONVERT_NAME * 2], half;
    struct tensor_name n;
    if (!split_name(t->name, base, &half))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: tensor '%s' is no half of a LoRA pair of a linear layer", c->folder,
                       t->name);
    if (tensor_name(c->family, base, &n) != 1 || n.expert >= 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: tensor '%s' adapts no weight of %s that is known here", c->folder,
                       t->name, c->family->arch);
    if (half == 'a') n.op = OP_COPY; /* its rows are the rank's */
    const size_t at = strlen(n.name);
    snprintf(n.name + at, sizeof n.name - at, ".lora_%c", half);
    if (t->n_dim != 2)
        return err_set(e, ERR_FORMAT, "%s: tensor '%s' is no matrix", c->folder, t->name);
    const json_t *r = convert_config(c, "r");
    const int64_t rank = half == 'a' ? (int64_t)t->shape[0] : (int64_t)t->shape[1];
    if (rank != json_integer_value(r) && !json_object_size(convert_config(c, "rank_pattern")))
        return err_set(e, ERR_FORMAT,
                       "%s: tensor '%s' is of rank %lld, but adapter_config.json has \"r\" %lld",
                       c->folder, t->name, (long long)rank, (long long)json_integer_value(r));
    return tensor_plan_add(p, &n, t, e);
}

static int write_adapter(struct conversion *c, const struct gguf *base, struct err *e) {
    struct lora_opts o;
    const char *of = json_string_value(convert_config(c, "base_model_name_or_path"));
    if (read_scale(c, &o, e) != 0 || adapter_file_keys(c->w, base, &o, e) != 0) return -1;
    if (of && (gguf_set_u32(c->w, "general.base_model.count", 1, e) != 0 ||
               gguf_set_str(c->w, "general.base_model.0.name", str_of(of), e) != 0))
        return -1;
    struct tensor_plan *p = tensor_plan_empty(c, e);
    int rc = p ? 0 : -1;
    for (int i = 0; rc == 0 && i < safetensors_n(c->st); i++)
        rc = plan_one(p, c, safetensors_at(c->st, i), e);
    if (rc == 0) rc = tensor_plan_declare(p, e);
    if (rc == 0) rc = tensor_plan_write(p, e);
    tensor_plan_free(p);
    return rc;
}

int convert_adapter(const char *folder, const char *base, const char *out,
                    const struct convert_opts *o, struct err *e) {
    struct conversion c = {.folder = folder, .o = o};
    struct gguf *g = gguf_open(base, e);
    int rc = g ? read_adapter_config(&c, e) : -1;
    if (rc == 0) rc = read_base(&c, g, e);
    if (rc == 0) c.st = safetensors_open(folder, e);
    if (rc == 0 && c.st) c.w = gguf_writer_new(out, 0, e);
    rc = rc == 0 && c.w ? write_adapter(&c, g, e) : -1;
    if (rc == 0) {
        rc = gguf_writer_finish(c.w, e);
        c.w = NULL;
    }
    convert_fini(&c);
    gguf_close(g);
    return rc;
}
