/* See data_watch.h. */
#include "cli/data_watch.h"

#include "cli/text.h"

void data_watch_issue(void *watch, const struct data_issue *i) {
    struct data_watch *w = watch;
    w->n_issue++;
    if (json_array_size(w->issues) >= DATA_WATCH_KEPT) return;
    if (!w->issues) w->issues = json_array();
    json_array_append_new(w->issues,
                          json_pack("{s:i, s:i, s:s, s:s, s:b}", "line", i->line, "column",
                                    i->column, "kind", example_fault_name(i->fault), "message",
                                    i->says, "error", (int)example_fault_is_error(i->fault)));
}

void data_watch_progress(void *watch, uint64_t done, uint64_t all) {
    struct data_watch *w = watch;
    if (!w->bar.label) progress_start(&w->bar, "reading", (double)all, "B");
    progress_update(&w->bar, (double)done);
    if (done == all) progress_end(&w->bar);
}

void data_watch_fini(struct data_watch *w) {
    if (w->bar.label) progress_end(&w->bar);
    json_decref(w->issues);
    *w = (struct data_watch){0};
}

static void print_issue(FILE *to, const char *path, const json_t *i, struct buf *b) {
    const int column = (int)json_integer_value(json_object_get(i, "column"));
    buf_reset(b);
    text_escape(b, str_of(path), false);
    buf_printf(b, ": line %d", (int)json_integer_value(json_object_get(i, "line")));
    if (column > 0) buf_printf(b, ", column %d", column);
    buf_printf(b, ": %s: ", json_string_value(json_object_get(i, "kind")));
    text_escape(b, str_of(json_string_value(json_object_get(i, "message"))), false);
    if (!b->failed) fprintf(to, "%s\n", b->p);
}

void data_watch_print(FILE *to, const char *path, const struct data_watch *w, int most) {
    struct buf b = {0};
    int n = (int)json_array_size(w->issues);
    if (n > most) n = most;
    for (int i = 0; i < n; i++)
        print_issue(to, path, json_array_get(w->issues, (size_t)i), &b);
    if (w->n_issue > n) fprintf(to, "... and %d more\n", w->n_issue - n);
    buf_fini(&b);
}

json_t *data_counts_json(const struct data_counts *c) {
    json_t *formats = json_object(), *faults = json_object();
    for (int f = 0; f < EXAMPLE_N_FORMAT; f++)
        if (c->n_format[f] > 0)
            json_object_set_new(formats, example_format_name((enum example_format)f),
                                json_integer(c->n_format[f]));
    for (int f = EXAMPLE_BROKEN; f < EXAMPLE_N_FAULT; f++)
        if (c->n_fault[f] > 0)
            json_object_set_new(faults, example_fault_name((enum example_fault)f),
                                json_integer(c->n_fault[f]));
    return json_pack("{s:i, s:o, s:o}", "lines", c->n_line, "formats", formats, "faults", faults);
}

bool data_counts_list(const struct data_counts *c, enum example_fault from, enum example_fault to,
                      struct buf *out) {
    const size_t start = out->n;
    for (int f = (int)from; f <= (int)to; f++)
        if (c->n_fault[f] > 0)
            buf_printf(out, "%s%d %s", out->n > start ? ", " : "", c->n_fault[f],
                       example_fault_name((enum example_fault)f));
    return out->n > start;
}

int data_counts_errors(const struct data_counts *c) {
    int n = 0;
    for (int f = EXAMPLE_BROKEN; f <= EXAMPLE_REFUSED; f++)
        n += c->n_fault[f];
    return n;
}
