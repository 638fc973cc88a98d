/* What a server says of a model (/api/show, COMPAT.md 2.5), in the form that a file's own texts and
 * figures have here, so that both are shown alike. */
#include <stdio.h>
#include <string.h>

#include "cli/show.h"
#include "cli/text.h"

static struct str text_of(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v)) return STR("");
    return (struct str){json_string_value(v), json_string_length(v)};
}

/* ARCHITECTURE.key */
static uint32_t figure(const json_t *info, struct str arch, const char *key) {
    char name[200];
    snprintf(name, sizeof name, "%.*s.%s", arch.n < 100 ? (int)arch.n : 100, arch.p, key);
    const json_int_t n = json_integer_value(json_object_get(info, name));
    return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

int show_read_remote(struct show_info *s, const json_t *answer, struct err *e) {
    const json_t *info = json_object_get(answer, "model_info"), *one;
    size_t i;
    if (!json_is_object(info))
        return err_set(e, ERR_FORMAT, "server: an answer without \"model_info\"");
    *s = (struct show_info){.architecture = text_of(info, "general.architecture"),
                            .license = text_of(answer, "license"),
                            .license_link = text_of(info, "general.license.link"),
                            .chat_template = text_of(answer, "template"),
                            .requires_version = text_of(answer, "requires"),
                            .system = text_of(answer, "system"),
                            .parameters = text_of(answer, "parameters"),
                            .modelfile = text_of(answer, "modelfile"),
                            .training = json_object_get(answer, "training")};
    s->n_param = json_number_value(json_object_get(info, "general.parameter_count"));
    s->context_length = figure(info, s->architecture, "context_length");
    s->embedding_length = figure(info, s->architecture, "embedding_length");
    const json_t *details = json_object_get(answer, "details");
    s->quantization = json_string_value(json_object_get(details, "quantization_level"));
    json_array_foreach(json_object_get(answer, "capabilities"), i,
                       one) if (json_is_string(one) && s->n_capability < SHOW_MAX_CAPABILITIES)
        s->capability[s->n_capability++] = json_string_value(one);
    return 0;
}

static void append_value(struct buf *b, const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_STRING:
        show_cell(b, (struct str){json_string_value(v), json_string_length(v)});
        break;
    case JSON_INTEGER: buf_printf(b, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: show_float(b, json_real_value(v), true); break; /* nearly all are float32 */
    case JSON_TRUE: buf_str(b, "true"); break;
    case JSON_FALSE: buf_str(b, "false"); break;
    default: buf_str(b, "-");
    }
}

void show_metadata_remote(const json_t *answer) {
    enum { SHOWN = 3 }; /* elements of an array, as in show.c */
    json_t *info = json_object_get(answer, "model_info"), *v;
    struct buf b = {0};
    const char *key;
    json_object_foreach(info, key, v) {
        const size_t n = json_array_size(v);
        if (strcmp(key, "general.parameter_count") == 0)
            continue; /* the server's, not the file's */
        text_escape(&b, str_of(key), false);
        buf_str(&b, json_is_array(v) ? "\t[" : "\t");
        if (!json_is_array(v)) append_value(&b, v);
        for (size_t k = 0; k < n && k < SHOWN; k++) {
            if (k) buf_str(&b, ", ");
            append_value(&b, json_array_get(v, k));
        }
        if (n > SHOWN) buf_printf(&b, ", ...+%zu more", n - SHOWN);
        buf_str(&b, json_is_array(v) ? "]\n" : "\n");
    }
    show_section("Metadata", &b);
}

void show_tensors_remote(const json_t *answer) {
    struct buf b = {0};
    const json_t *t, *d;
    size_t i, k;
    json_array_foreach(json_object_get(answer, "tensors"), i, t) {
        text_escape(&b, text_of(t, "name"), false);
        buf_byte(&b, '\t');
        text_escape(&b, text_of(t, "type"), false);
        buf_str(&b, "\t[");
        json_array_foreach(json_object_get(t, "shape"), k, d)
            buf_printf(&b, "%s%lld", k ? ", " : "", (long long)json_integer_value(d));
        buf_str(&b, "]\n");
    }
    show_section("Tensors", &b);
}
