/* `cria show --json`. */
#include "cli/cli.h"
#include "cli/show.h"

static void set_string(json_t *o, const char *key, struct str s) {
    if (s.n) json_object_set_new(o, key, show_string(s));
}

static void set_count(json_t *o, const char *key, double n) {
    if (n > 0) json_object_set_new(o, key, json_integer((json_int_t)n));
}

/* What stands before the metadata; all of it but the file's own figures comes from a server, too.
 */
static void set_info(json_t *o, const struct show_info *s) {
    json_t *can = json_array();
    set_string(o, "architecture", s->architecture);
    set_count(o, "parameters", s->n_param);
    set_count(o, "context_length", s->context_length);
    set_count(o, "embedding_length", s->embedding_length);
    if (s->quantization) set_string(o, "quantization", str_of(s->quantization));
    for (int i = 0; i < s->n_capability; i++)
        json_array_append_new(can, json_string(s->capability[i]));
    json_object_set_new(o, "capabilities", can);
    set_string(o, "license", s->license);
    set_string(o, "license_link", s->license_link);
    if (!s->name) return;
    set_string(o, "requires", s->requires_version);
    set_string(o, "system", s->system);
    set_string(o, "template", s->chat_template);
    struct str lines = s->parameters; /* a server leaves out the last line's end */
    while (lines.n && lines.p[lines.n - 1] == '\n')
        lines.n--;
    set_string(o, "parameter_lines", lines);
    set_string(o, "modelfile", s->modelfile);
    if (s->training) json_object_set(o, "training", (json_t *)(uintptr_t)s->training);
}

void show_json(const struct show_info *s, const struct gguf *g, bool verbose) {
    json_t *o = json_object();
    if (s->name) {
        set_string(o, "name", str_of(s->name));
        set_string(o, "id", str_of(s->id));
    }
    set_string(o, "path", str_of(gguf_path(g)));
    set_count(o, "gguf_version", gguf_version(g));
    set_count(o, "files", gguf_n_split(g));
    set_count(o, "bytes", (double)gguf_file_bytes(g));
    set_info(o, s);
    json_object_set_new(o, "metadata", show_metadata_json(g, verbose, json_null()));
    json_object_set_new(o, "tensors", show_tensors_json(g));
    cli_print_json(o);
}

/* As show_metadata_json does it: the answer is verbose, so that it has the tensors. */
static json_t *shortened(const json_t *info, bool verbose) {
    enum { SHORT_ARRAY = 64 };
    json_t *out = json_copy((json_t *)(uintptr_t)info), *v;
    const char *key;
    void *next;
    json_object_del(out, "general.parameter_count");
    json_object_foreach_safe(out, next, key, v) if (!verbose && json_array_size(v) > SHORT_ARRAY)
        json_object_set_new(out, key, json_null());
    return out;
}

void show_json_remote(const struct show_info *s, const json_t *answer, bool verbose) {
    json_t *o = json_object();
    set_string(o, "name", str_of(s->name));
    set_info(o, s);
    json_object_set_new(o, "metadata", shortened(json_object_get(answer, "model_info"), verbose));
    json_object_set(o, "tensors", json_object_get(answer, "tensors"));
    cli_print_json(o);
}
