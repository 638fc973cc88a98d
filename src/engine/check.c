/* See check.h. */
#include "engine/check.h"

#include "cpu/cpu.h"
#include "model/model.h"
#include "text/vocab.h"

/* Adapters, importance values, projectors say what they are; a model need not. */
static int is_model(const struct gguf *g, bool *yes, struct err *e) {
    struct str type = STR("model"), arch = STR("");
    if (gguf_get_str(g, "general.type", &type, e) < 0) return -1;
    if (gguf_get_str(g, "general.architecture", &arch, e) < 0) return -1;
    *yes = str_is(type, "model");
    if (*yes && arch.n == 0)
        return err_set(e, ERR_FORMAT, "%s: key 'general.architecture' is missing or empty",
                       gguf_path(g));
    return 0;
}

/* What is not supported is not wrong. */
static int verdict(const struct err *e) {
    return e->code == ERR_UNSUPPORTED ? 0 : -1;
}

static int check_vocab(const struct gguf *g, struct err *e) {
    struct vocab *v = vocab_load(g, e);
    if (!v) return verdict(e);
    vocab_free(v);
    return 0;
}

int engine_check_model(const struct gguf *g, struct err *e) {
    bool yes;
    if (is_model(g, &yes, e) != 0) return -1;
    if (!yes) return 0;
    if (gguf_n_tensor(g) == 0) return check_vocab(g, e); /* a vocabulary alone */
    struct model *m = model_open(g, cpu_ops(), e);
    if (!m) return verdict(e);
    model_free(m);
    if (!gguf_find(g, "tokenizer.ggml.model"))
        return err_set(e, ERR_FORMAT, "%s: key 'tokenizer.ggml.model' is missing", gguf_path(g));
    return check_vocab(g, e);
}

int engine_check_adapter(const struct gguf *g, const char *path, struct err *e) {
    struct model *m = model_open(g, cpu_ops(), e);
    if (!m) return verdict(e);
    struct model_adapter *a = model_adapter_open(m, path, 1, e);
    const int rc = a ? 0 : -1;
    model_adapter_free(a);
    model_free(m);
    return rc;
}

int engine_check_file(const char *path, struct err *e) {
    struct gguf *g = gguf_open(path, e);
    const int rc = g ? engine_check_model(g, e) : -1;
    gguf_close(g);
    return rc;
}
