/* See tune_order.h:
 *
 *     {"name": "x:latest", "lines": [[0, null, "base"], ...], "data": "sha256:...", "valid": "",
 *      "options": {"lr": "1e-4"}, "merge": null, "restart": false, "threads": 1, "memory": 0,
 *      "store": "/..."}
 *
 * Lines are those of struct modelfile: command, name, value. */
#include "create/tune_order.h"

#include <string.h>

#include "base/json.h"

enum { MAX_VALUES = 4 * MODELFILE_MAX_LINES };

/* ---- writing ---- */

static json_t *lines_json(const struct modelfile *m) {
    json_t *list = json_array();
    for (int i = 0; i < m->n; i++) {
        const struct modelfile_line *l = &m->line[i];
        json_t *one = json_pack("[i, s?, s%]", (int)l->command, l->name, l->value.p, l->value.n);
        if (json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static void digest_text(const struct digest *d, char out[DIGEST_TEXT]) {
    out[0] = 0;
    if (d->hex[0]) digest_format(d, out);
}

int tune_order_write(const struct tune_order *o, struct buf *out, struct err *e) {
    char name[NAME_TEXT], data[DIGEST_TEXT], valid[DIGEST_TEXT];
    name_full(&o->name, name);
    digest_text(&o->data, data);
    digest_text(&o->valid, valid);
    json_t *lines = lines_json(&o->m);
    if (!lines) return err_set(e, ERR_FORMAT, "training: a text that is no UTF-8");
    json_t *j = json_pack("{s:s, s:o, s:s, s:s, s:O, s:s?, s:b, s:i, s:I, s:s?}", "name", name,
                          "lines", lines, "data", data, "valid", valid, "options", o->options,
                          "merge", o->merge, "restart", (int)o->restart, "threads", o->n_threads,
                          "memory", (json_int_t)o->memory_bytes, "store", o->store);
    const int rc = j ? json_append("training", j, out, e) : err_nomem(e, "training");
    buf_byte(out, '\n');
    json_decref(j);
    return rc == 0 && out->failed ? err_nomem(e, "training") : rc;
}

/* ---- reading ---- */

static const char *keep(struct tune_order *o, const json_t *text) {
    return json_is_string(text)
               ? arena_strndup(&o->m.a, json_string_value(text), json_string_length(text))
               : NULL;
}

static int read_line(struct tune_order *o, const json_t *v, struct err *e) {
    const json_t *command = json_array_get(v, 0), *name = json_array_get(v, 1);
    struct modelfile_line *l = &o->m.line[o->m.n++];
    *l = (struct modelfile_line){.command = (enum modelfile_command)json_integer_value(command),
                                 .name = keep(o, name)};
    const char *value = keep(o, json_array_get(v, 2));
    if (!json_is_integer(command) || !value)
        return err_set(e, ERR_FORMAT, "training: an order with a line that is none");
    l->value = (struct str){value, json_string_length(json_array_get(v, 2))};
    return 0;
}

static int read_digest(const json_t *j, const char *key, struct digest *d, struct err *e) {
    const char *text = json_string_value(json_object_get(j, key));
    return text && *text ? digest_parse(str_of(text), d, e) : 0;
}

static int read_all(struct tune_order *o, const json_t *j, struct err *e) {
    const json_t *lines = json_object_get(j, "lines");
    const char *name = json_string_value(json_object_get(j, "name"));
    const size_t n = json_array_size(lines);
    o->m.line = arena_calloc(&o->m.a, n + 1, sizeof *o->m.line);
    o->options = json_incref(json_object_get(j, "options"));
    o->merge = keep(o, json_object_get(j, "merge"));
    o->store = keep(o, json_object_get(j, "store"));
    o->restart = json_is_true(json_object_get(j, "restart"));
    o->n_threads = (int)json_integer_value(json_object_get(j, "threads"));
    o->memory_bytes = (uint64_t)json_integer_value(json_object_get(j, "memory"));
    if (!o->m.line) return err_nomem(e, "training");
    if (!name || !json_is_object(o->options))
        return err_set(e, ERR_FORMAT, "training: an order without name or options");
    for (size_t i = 0; i < n; i++)
        if (read_line(o, json_array_get(lines, i), e) != 0) return -1;
    if (name_parse(name, &o->name, e) != 0 || read_digest(j, "data", &o->data, e) != 0) return -1;
    return read_digest(j, "valid", &o->valid, e);
}

int tune_order_read(struct str line, struct tune_order *o, struct err *e) {
    *o = (struct tune_order){.restart = false};
    json_t *j = json_read_object("training", line, MAX_VALUES, e);
    const int rc = j ? read_all(o, j, e) : -1;
    json_decref(j);
    return rc;
}

void tune_order_fini(struct tune_order *o) {
    json_decref(o->options);
    modelfile_fini(&o->m);
    *o = (struct tune_order){.restart = false};
}
