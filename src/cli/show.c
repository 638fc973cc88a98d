/* The layout of what `cria show` shows as text. */
#include "cli/show.h"

#include <string.h>

#include "cli/text.h"

/* ---- Sections ---------------------------------------------------------------------------------
 */

static void model_section(const struct show_info *s) {
    struct buf b = {0};
    if (s->architecture.n) {
        buf_str(&b, "architecture\t");
        text_escape(&b, s->architecture, false);
        buf_str(&b, "\n");
    }
    buf_str(&b, "parameters\t");
    buf_count(&b, s->n_param);
    buf_str(&b, "\n");
    if (s->context_length) buf_printf(&b, "context length\t%u\n", s->context_length);
    if (s->embedding_length) buf_printf(&b, "embedding length\t%u\n", s->embedding_length);
    if (s->quantization) {
        buf_str(&b, "quantization\t");
        text_escape(&b, str_of(s->quantization), false);
        buf_str(&b, "\n");
    }
    if (s->requires_version.n) {
        buf_str(&b, "requires\t");
        text_escape(&b, s->requires_version, false);
        buf_str(&b, "\n");
    }
    show_section("Model", &b);
}

static void projector_section(const json_t *kv) {
    static const char *const key[][2] = {{"clip.vision.embedding_length", "embedding length"},
                                         {"clip.vision.projection_dim", "dimensions"}};
    struct buf b = {0};
    const json_t *arch = json_object_get(kv, "general.architecture"), *v;
    if (json_string_length(arch)) {
        buf_str(&b, "architecture\t");
        text_escape(&b, (struct str){json_string_value(arch), json_string_length(arch)}, false);
        buf_str(&b, "\n");
    }
    buf_str(&b, "parameters\t");
    buf_count(&b, json_number_value(json_object_get(kv, "general.parameter_count")));
    buf_str(&b, "\n");
    for (int i = 0; i < 2; i++)
        if (json_is_integer(v = json_object_get(kv, key[i][0])))
            buf_printf(&b, "%s\t%lld\n", key[i][1], (long long)json_integer_value(v));
    show_section("Projector", &b);
}

/* "name value" lines as two columns. */
static void parameters_section(struct str lines) {
    struct buf b = {0};
    while (lines.n) {
        const char *nl = memchr(lines.p, '\n', lines.n);
        const size_t n = nl ? (size_t)(nl - lines.p) : lines.n;
        const char *blank = memchr(lines.p, ' ', n);
        size_t at = blank ? (size_t)(blank - lines.p) : n;
        text_escape(&b, (struct str){lines.p, at}, false);
        while (at < n && lines.p[at] == ' ')
            at++;
        buf_byte(&b, '\t');
        text_escape(&b, (struct str){lines.p + at, n - at}, false);
        buf_byte(&b, '\n');
        lines = (struct str){lines.p + n + (nl != NULL), lines.n - n - (nl != NULL)};
    }
    show_section("Parameters", &b);
}

/* A row of what a trained model says of itself; digests are whole. */
static void training_row(struct buf *b, const char *label, const json_t *v) {
    struct str text = {json_string_value(v), json_string_length(v)};
    if (!json_is_string(v) && !json_is_number(v)) return;
    buf_printf(b, "%s\t", label);
    if (json_is_number(v))
        show_float(b, json_number_value(v), false);
    else if (str_starts(text, STR("sha256:")))
        text_escape(b, text, false);
    else
        show_cell(b, text);
    buf_byte(b, '\n');
}

/* Where a trained model comes from, and how it was made. */
static void training_section(const json_t *t) {
    static const char *const key[][2] = {
        {"method", "method"},
        {"type", "type"},
        {"rank", "rank"},
        {"alpha", "alpha"},
        {"targets", "targets"},
        {"layers", "last layers"},
        {"lr", "learning rate"},
        {"schedule", "schedule"},
        {"batch", "batch"},
        {"ctx", "context"},
        {"seed", "seed"},
        {"base", "base"},
        {"base_digest", "base digest"},
        {"from_adapter", "adapter before"},
        {"data", "data"},
        {"data_digest", "data digest"},
        {"valid_digest", "validation digest"},
        {"examples", "examples"},
        {"valid_examples", "validation examples"},
        {"epochs", "epochs"},
        {"steps", "steps"},
        {"best_step", "best step"},
        {"loss_before", "loss before"},
        {"loss_after", "loss after"},
        {"valid_loss_before", "validation before"},
        {"valid_loss_after", "validation after"},
    };
    struct buf b = {0};
    const json_t *recipe = json_object_get(t, "recipe");
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const json_t *done =
            json_object_get(t, key[i][0]); /* of the run, else what was asked for */
        training_row(&b, key[i][1], done ? done : json_object_get(recipe, key[i][0]));
    }
    show_section("Training", &b);
}

static void first_lines(struct buf *b, struct str text, int n_line) {
    while (text.n && n_line > 0) {
        const char *nl = memchr(text.p, '\n', text.n);
        const struct str line = {text.p, nl ? (size_t)(nl - text.p) : text.n};
        const size_t used = line.n + (nl != NULL);
        if (line.n) {
            text_escape(b, line, false);
            buf_str(b, "\n");
            n_line--;
        }
        text = (struct str){text.p + used, text.n - used};
    }
}

void show_text(const struct show_info *s, const json_t *projector) {
    struct buf b = {0};
    model_section(s);
    for (int i = 0; i < s->n_capability; i++) {
        text_escape(&b, str_of(s->capability[i]), false);
        buf_str(&b, "\n");
    }
    show_section("Capabilities", &b);
    if (projector) projector_section(projector);
    if (s->training) training_section(s->training);
    parameters_section(s->parameters);
    first_lines(&b, s->system, 2);
    show_section("System", &b);
    first_lines(&b, s->license, 2);
    first_lines(&b, s->license_link, 1);
    show_section("License", &b);
}

/* Element i; the elements of an array of strings are asked for in order. */
static void append_element(struct buf *b, const struct gguf_kv *kv, uint64_t i, uint64_t *cursor) {
    switch (kv->elem_type) {
    case GGUF_STR: show_cell(b, gguf_next_str(kv, cursor)); break;
    case GGUF_F32:
    case GGUF_F64: show_float(b, gguf_float_at(kv, i), kv->elem_type == GGUF_F32); break;
    case GGUF_BOOL: buf_str(b, gguf_int_at(kv, i) ? "true" : "false"); break;
    case GGUF_U64: buf_printf(b, "%llu", (unsigned long long)gguf_int_at(kv, i)); break;
    default: buf_printf(b, "%lld", (long long)gguf_int_at(kv, i));
    }
}

void show_metadata(const struct gguf *g) {
    enum { SHOWN = 3 }; /* elements of an array */
    struct buf b = {0};
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        const bool array = kv->type == GGUF_ARR;
        uint64_t cursor = 0;
        text_escape(&b, kv->key, false);
        buf_str(&b, array ? "\t[" : "\t");
        for (uint64_t k = 0; k < kv->n && k < SHOWN; k++) {
            if (k) buf_str(&b, ", ");
            append_element(&b, kv, k, &cursor);
        }
        if (kv->n > SHOWN) buf_printf(&b, ", ...+%llu more", (unsigned long long)kv->n - SHOWN);
        buf_str(&b, array ? "]\n" : "\n");
    }
    show_section("Metadata", &b);
}

void show_tensors(const struct gguf *g) {
    struct buf b = {0};
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        text_escape(&b, str_of(t->name), false);
        buf_printf(&b, "\t%s\t[", qtype_name(t->type));
        for (int d = 0; d < t->n_dim; d++)
            buf_printf(&b, "%s%lld", d ? ", " : "", (long long)t->ne[d]);
        buf_str(&b, "]\n");
    }
    show_section("Tensors", &b);
}
