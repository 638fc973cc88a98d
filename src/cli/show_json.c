/* `cria show --json`. */
#include "cli/cli.h"
#include "cli/show.h"

static void set_string(json_t *o, const char *key, struct str s) {
    if (s.n) json_object_set_new(o, key, show_string(s));
}

static void set_count(json_t *o, const char *key, double n) {
    if (n > 0) json_object_set_new(o, key, json_integer((json_int_t)n));
}

void show_json(const struct show_info *s, const struct gguf *g, bool verbose) {
    json_t *o = json_object(), *can = json_array();
    if (s->name) {
        set_string(o, "name", str_of(s->name));
        set_string(o, "id", str_of(s->id));
    }
    set_string(o, "path", str_of(gguf_path(g)));
    set_count(o, "gguf_version", gguf_version(g));
    set_count(o, "files", gguf_n_split(g));
    set_count(o, "bytes", (double)gguf_file_bytes(g));
    set_string(o, "architecture", s->architecture);
    set_count(o, "parameters", s->n_param);
    set_count(o, "context_length", s->context_length);
    set_count(o, "embedding_length", s->embedding_length);
    if (s->quantization) json_object_set_new(o, "quantization", json_string(s->quantization));
    for (int i = 0; i < s->n_capability; i++)
        json_array_append_new(can, json_string(s->capability[i]));
    json_object_set_new(o, "capabilities", can);
    set_string(o, "license", s->license);
    set_string(o, "license_link", s->license_link);
    if (s->name) {
        set_string(o, "requires", s->requires_version);
        set_string(o, "system", s->system);
        set_string(o, "template", s->chat_template);
        set_string(o, "parameter_lines", s->parameters);
        set_string(o, "modelfile", s->modelfile);
    }
    json_object_set_new(o, "metadata", show_metadata_json(g, verbose, json_null()));
    json_object_set_new(o, "tensors", show_tensors_json(g));
    cli_print_json(o);
}
