/* See params.h. */
#include "store/params.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct param params[] = {
    {"num_ctx", PARAM_INTEGER, PARAM_USED},
    {"num_batch", PARAM_INTEGER, PARAM_USED},
    {"num_thread", PARAM_INTEGER, PARAM_USED},
    {"num_keep", PARAM_INTEGER, PARAM_USED},
    {"num_predict", PARAM_INTEGER, PARAM_USED},
    {"seed", PARAM_INTEGER, PARAM_USED},
    {"num_draft", PARAM_INTEGER, PARAM_USED},
    {"draft_num_predict", PARAM_INTEGER, PARAM_USED},
    {"stop", PARAM_TEXTS, PARAM_USED},
    {"temperature", PARAM_NUMBER, PARAM_USED},
    {"top_k", PARAM_INTEGER, PARAM_USED},
    {"top_p", PARAM_NUMBER, PARAM_USED},
    {"min_p", PARAM_NUMBER, PARAM_USED},
    {"typical_p", PARAM_NUMBER, PARAM_USED},
    {"repeat_last_n", PARAM_INTEGER, PARAM_USED},
    {"repeat_penalty", PARAM_NUMBER, PARAM_USED},
    {"presence_penalty", PARAM_NUMBER, PARAM_USED},
    {"frequency_penalty", PARAM_NUMBER, PARAM_USED},
    {"penalize_newline", PARAM_BOOLEAN, PARAM_USED},
    {"mirostat", PARAM_INTEGER, PARAM_USED},
    {"mirostat_tau", PARAM_NUMBER, PARAM_USED},
    {"mirostat_eta", PARAM_NUMBER, PARAM_USED},
    {"dynatemp_range", PARAM_NUMBER, PARAM_USED},
    {"dynatemp_exponent", PARAM_NUMBER, PARAM_USED},
    {"top_n_sigma", PARAM_NUMBER, PARAM_USED},
    {"xtc_probability", PARAM_NUMBER, PARAM_USED},
    {"xtc_threshold", PARAM_NUMBER, PARAM_USED},
    {"dry_multiplier", PARAM_NUMBER, PARAM_USED},
    {"dry_base", PARAM_NUMBER, PARAM_USED},
    {"dry_allowed_length", PARAM_INTEGER, PARAM_USED},
    {"dry_penalty_last_n", PARAM_INTEGER, PARAM_USED},
    {"dry_sequence_breaker", PARAM_TEXTS, PARAM_USED},
    {"min_keep", PARAM_INTEGER, PARAM_USED},
    {"ignore_eos", PARAM_BOOLEAN, PARAM_USED},
    {"shift", PARAM_BOOLEAN, PARAM_USED},
    {"num_gpu", PARAM_INTEGER, PARAM_IDLE},
    {"main_gpu", PARAM_INTEGER, PARAM_IDLE},
    {"use_mmap", PARAM_BOOLEAN, PARAM_IDLE},
    {"use_mlock", PARAM_BOOLEAN, PARAM_OLD},
    {"numa", PARAM_BOOLEAN, PARAM_OLD},
    {"low_vram", PARAM_BOOLEAN, PARAM_OLD},
    {"f16_kv", PARAM_BOOLEAN, PARAM_OLD},
    {"vocab_only", PARAM_BOOLEAN, PARAM_OLD},
    {"logits_all", PARAM_BOOLEAN, PARAM_OLD},
    {"embedding_only", PARAM_BOOLEAN, PARAM_OLD},
    {"tfs_z", PARAM_NUMBER, PARAM_OLD},
    {"num_gqa", PARAM_INTEGER, PARAM_OLD},
    {"rope_frequency_base", PARAM_NUMBER, PARAM_OLD},
    {"rope_frequency_scale", PARAM_NUMBER, PARAM_OLD},
};
enum { N_PARAM = sizeof params / sizeof *params };

const struct param *param_find(const char *name) {
    for (int i = 0; i < N_PARAM; i++)
        if (strcmp(params[i].name, name) == 0) return &params[i];
    return NULL;
}

void param_list(struct buf *out) {
    for (int i = 0; i < N_PARAM; i++)
        if (params[i].use != PARAM_OLD) buf_printf(out, " %s", params[i].name);
}

/* ---- values ---- */

static json_t *integer(const char *text) {
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    return end == text || *end || errno || v < INT_MIN || v > INT_MAX ? NULL : json_integer(v);
}

/* The double of the shortest decimal that is this float32: 0.7 stays 0.7. */
static json_t *number(const char *text) {
    char *end, z[40];
    const float v = strtof(text, &end);
    if (end == text || *end || !isfinite(v)) return NULL;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(z, sizeof z, "%.*g", digits, (double)v);
        if (strtof(z, NULL) == v) break;
    }
    return json_real(strtod(z, NULL));
}

static json_t *boolean(const char *text) {
    static const char *const yes[] = {"true", "1", "on", "yes", "t"}, *const no[] = {"false", "0",
                                                                                     "off", "no",
                                                                                     "f"};
    for (int i = 0; i < 5; i++) {
        if (strcasecmp(text, yes[i]) == 0) return json_true();
        if (strcasecmp(text, no[i]) == 0) return json_false();
    }
    return NULL;
}

static int add_text(json_t *o, const char *name, const char *value, struct err *e) {
    json_t *list = json_object_get(o, name);
    if (!json_is_array(list)) {
        list = json_array();
        if (json_object_set_new(o, name, list) != 0) return err_nomem(e, name);
    }
    if (*value == 0)
        return err_set(e, ERR_USAGE, "option \"%s\": an empty text; at least one character", name);
    return json_array_append_new(list, json_string(value)) == 0 ? 0 : err_nomem(e, name);
}

int param_set(json_t *o, const char *name, const char *value, struct err *e) {
    static const char *const type[] = {"integer", "number", "boolean"};
    const struct param *p = param_find(name);
    json_t *v = NULL;
    if (!p) {
        struct buf known = {0};
        param_list(&known);
        err_set(e, ERR_USAGE, "unknown parameter '%.40s'; known:%s", name, known.p ? known.p : "");
        buf_fini(&known);
        return -1;
    }
    if (p->use == PARAM_OLD) return 0;
    switch (p->kind) {
    case PARAM_INTEGER: v = integer(value); break;
    case PARAM_NUMBER: v = number(value); break;
    case PARAM_BOOLEAN: v = boolean(value); break;
    case PARAM_TEXTS: return add_text(o, name, value, e);
    }
    if (!v)
        return err_set(e, ERR_USAGE, "option \"%s\" must be of type %s; found \"%.40s\"", name,
                       type[p->kind], value);
    return json_object_set_new(o, name, v) == 0 ? 0 : err_nomem(e, name);
}

/* ---- text ---- */

/* The shortest decimal that reads back as v, without an exponent where Go writes none. */
static void append_real(struct buf *out, double v) {
    char z[64];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(z, sizeof z, "%.*g", digits, v);
        if (strtod(z, NULL) == v) break;
    }
    if (strchr(z, 'e') && fabs(v) >= 1e-6 && fabs(v) < 1e21) {
        for (int decimals = 0; decimals <= 24; decimals++) {
            snprintf(z, sizeof z, "%.*f", decimals, v);
            if (strtod(z, NULL) == v) break;
        }
    }
    buf_str(out, z);
}

bool param_text(const json_t *v, struct buf *out) {
    switch (json_typeof(v)) {
    case JSON_INTEGER: buf_printf(out, "%lld", (long long)json_integer_value(v)); return true;
    case JSON_REAL: append_real(out, json_real_value(v)); return true;
    case JSON_TRUE: buf_str(out, "true"); return true;
    case JSON_FALSE: buf_str(out, "false"); return true;
    case JSON_STRING: buf_append(out, json_string_value(v), json_string_length(v)); return true;
    default: return false;
    }
}

static void append_string(struct buf *out, struct str s) {
    buf_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            buf_str(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (c < 0x20 || c == '<' || c == '>' || c == '&')
            buf_printf(out, "\\u%04x", c);
        else if (c == 0xe2 && i + 2 < s.n && s.p[i + 1] == '\x80' && (s.p[i + 2] | 1) == '\xa9')
            buf_printf(out, "\\u202%d", s.p[i + 2] == '\xa8' ? 8 : 9), i += 2;
        else
            buf_byte(out, (char)c);
    }
    buf_byte(out, '"');
}

static int by_key(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int encode(const json_t *v, bool sorted, int depth, struct buf *out, struct err *e);

static int encode_object(const json_t *o, bool sorted, int depth, struct buf *out, struct err *e) {
    const size_t n = json_object_size(o);
    const char **key = calloc(n + 1, sizeof *key), *k;
    json_t *v;
    size_t i = 0;
    int rc = key ? 0 : err_nomem(e, "JSON");
    if (rc == 0) {
        json_object_foreach((json_t *)(uintptr_t)o, k, v) key[i++] = k;
        if (sorted) qsort(key, n, sizeof *key, by_key);
    }
    buf_byte(out, '{');
    for (i = 0; rc == 0 && i < n; i++) {
        if (i) buf_byte(out, ',');
        append_string(out, str_of(key[i]));
        buf_byte(out, ':');
        rc = encode(json_object_get(o, key[i]), sorted, depth + 1, out, e);
    }
    buf_byte(out, '}');
    free(key);
    return rc;
}

static int encode(const json_t *v, bool sorted, int depth, struct buf *out, struct err *e) {
    if (depth > 32) return err_set(e, ERR_FORMAT, "JSON: deeper than 32; at most 32");
    if (json_is_object(v)) return encode_object(v, sorted, depth, out, e);
    if (json_is_string(v)) {
        append_string(out, (struct str){json_string_value(v), json_string_length(v)});
        return 0;
    }
    if (!json_is_array(v)) {
        if (!param_text(v, out)) buf_str(out, "null");
        return 0;
    }
    int rc = 0;
    buf_byte(out, '[');
    for (size_t i = 0; rc == 0 && i < json_array_size(v); i++) {
        if (i) buf_byte(out, ',');
        rc = encode(json_array_get(v, i), sorted, depth + 1, out, e);
    }
    buf_byte(out, ']');
    return rc;
}

int param_encode(const json_t *o, bool sorted, struct buf *out, struct err *e) {
    if (encode(o, sorted, 0, out, e) != 0) return -1;
    buf_byte(out, '\n');
    return out->failed ? err_nomem(e, "JSON") : 0;
}

/* ---- lines ---- */

enum { MAX_VALUE = 4096 };

/* A value as text; false: none that an option has. */
static bool value_text(const json_t *v, char out[MAX_VALUE]) {
    struct buf b = {0};
    const bool is = param_text(v, &b) && !b.failed && b.n < MAX_VALUE;
    if (is) memcpy(out, buf_view(&b).p, b.n);
    if (is) out[b.n] = 0;
    buf_fini(&b);
    return is;
}

void param_each(const json_t *o, param_fn *fn, void *ctx) {
    const char *name;
    json_t *v, *item;
    size_t i;
    char text[MAX_VALUE];
    json_object_foreach((json_t *)(uintptr_t)o, name, v) {
        if (!json_is_array(v) && value_text(v, text)) fn(ctx, name, text);
        json_array_foreach(v, i, item) if (value_text(item, text)) fn(ctx, name, text);
    }
}

static void print_param(void *ctx, const char *name, const char *value) {
    buf_printf(ctx, "%-30s %s\n", name, value);
}

void param_lines(const json_t *o, struct buf *out) {
    param_each(o, print_param, out);
}
