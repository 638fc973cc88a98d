/* The layout of what `cria show` shows as text. */
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cli/text.h"

/* ---- Tables -----------------------------------------------------------------------------------
 */

/* A section: a title and rows of cells separated by tabs, columns aligned when it is printed. */
enum { MAX_COLUMNS = 3 };

static size_t shown_width(const char *p, size_t n) {
    size_t w = 0;
    for (size_t i = 0; i < n; i++)
        w += ((unsigned char)p[i] & 0xc0) != 0x80; /* characters, not bytes */
    return w;
}

static size_t cell_length(const char *cell, const char *end) {
    size_t n = 0;
    while (cell + n < end && cell[n] != '\t' && cell[n] != '\n')
        n++;
    return n;
}

static void measure(const char *p, const char *end, size_t width[MAX_COLUMNS]) {
    for (int c = 0; p < end;) {
        const size_t n = cell_length(p, end), w = shown_width(p, n);
        if (w > width[c]) width[c] = w;
        c = p + n < end && p[n] == '\t' && c + 1 < MAX_COLUMNS ? c + 1 : 0;
        p += n + 1;
    }
}

/* Empty sections are left out. */
static void print_section(const char *title, struct buf *rows) {
    size_t width[MAX_COLUMNS] = {0};
    const char *p = rows->p, *end = p + rows->n;
    if (rows->failed || rows->n == 0) {
        buf_fini(rows);
        return;
    }
    measure(p, end, width);
    printf("  %s\n", title);
    for (int c = 0; p < end;) {
        const size_t n = cell_length(p, end);
        const bool more = p + n < end && p[n] == '\t';
        printf("%s%.*s", c == 0 ? "    " : "", (int)n, p);
        if (more)
            printf("%*s", (int)(width[c] - shown_width(p, n) + 4), "");
        else
            putchar('\n');
        c = more && c + 1 < MAX_COLUMNS ? c + 1 : 0;
        p += n + 1;
    }
    putchar('\n');
    buf_fini(rows);
}

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
    if (s->quantization) buf_printf(&b, "quantization\t%s\n", s->quantization);
    if (s->requires_version.n) {
        buf_str(&b, "requires\t");
        text_escape(&b, s->requires_version, false);
        buf_str(&b, "\n");
    }
    print_section("Model", &b);
}

static void projector_section(const struct gguf *g) {
    static const char *const key[][2] = {{"clip.vision.embedding_length", "embedding length"},
                                         {"clip.vision.projection_dim", "dimensions"}};
    struct buf b = {0};
    struct str arch = STR("");
    uint32_t v;
    if (gguf_get_str(g, "general.architecture", &arch, NULL) == 1) {
        buf_str(&b, "architecture\t");
        text_escape(&b, arch, false);
        buf_str(&b, "\n");
    }
    buf_str(&b, "parameters\t");
    buf_count(&b, show_count_values(g));
    buf_str(&b, "\n");
    for (int i = 0; i < 2; i++)
        if (gguf_get_u32(g, key[i][0], &v, NULL) == 1) buf_printf(&b, "%s\t%u\n", key[i][1], v);
    print_section("Projector", &b);
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
    print_section("Parameters", &b);
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

void show_text(const struct show_info *s, const struct gguf *g) {
    struct buf b = {0};
    (void)g;
    model_section(s);
    for (int i = 0; i < s->n_capability; i++)
        buf_printf(&b, "%s\n", s->capability[i]);
    print_section("Capabilities", &b);
    if (s->projector) projector_section(s->projector);
    parameters_section(s->parameters);
    first_lines(&b, s->system, 2);
    print_section("System", &b);
    first_lines(&b, s->license, 2);
    first_lines(&b, s->license_link, 1);
    print_section("License", &b);
}

/* The shortest decimal that reads back as the same float32. */
static void append_float(struct buf *b, double v, bool single) {
    char z[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(z, sizeof z, "%.*g", digits, v);
        if (single ? strtof(z, NULL) == (float)v : strtod(z, NULL) == v) break;
    }
    buf_str(b, z);
}

/* A string on one line of at most 60 bytes. */
static void append_string(struct buf *b, struct str s) {
    const size_t n = s.n <= 60 ? s.n : utf8_complete(s.p, 60);
    text_escape(b, (struct str){s.p, n}, false);
    if (n < s.n) buf_str(b, "...");
}

/* Element i; the elements of an array of strings are asked for in order. */
static void append_element(struct buf *b, const struct gguf_kv *kv, uint64_t i, uint64_t *cursor) {
    switch (kv->elem_type) {
    case GGUF_STR: append_string(b, gguf_next_str(kv, cursor)); break;
    case GGUF_F32:
    case GGUF_F64: append_float(b, gguf_float_at(kv, i), kv->elem_type == GGUF_F32); break;
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
    print_section("Metadata", &b);
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
    print_section("Tensors", &b);
}
