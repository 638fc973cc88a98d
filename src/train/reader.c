/* See reader.h. */
#include "train/reader.h"

#include <stdio.h>

#include "base/hash.h"
#include "train/example_priv.h"

int reader_open(struct reader *r, const char *path, const struct data_opts *o,
                struct data_counts *count, struct err *e) {
    *r = (struct reader){.o = o, .count = count};
    *count = (struct data_counts){0};
    return lines_open(&r->lines, path, e);
}

void reader_close(struct reader *r) {
    lines_close(&r->lines);
    seen_fini(&r->whole);
    seen_fini(&r->ids);
}

/* ---- what is wrong ---- */

static int fail_at(const struct reader *r, int column, const struct err *why, struct err *e) {
    char at[40] = "";
    if (column > 0) snprintf(at, sizeof at, ", column %d", column);
    const enum err_code code = why->code == ERR_USAGE ? ERR_FORMAT : why->code; /* a template's */
    return err_set(e, code, "%s: line %d%s: %s", r->lines.path, r->lines.number, at, why->msg);
}

int reader_fault(struct reader *r, enum example_fault f, int column, int other,
                 const struct err *why, struct err *e) {
    const struct data_issue issue = {.path = r->lines.path,
                                     .line = r->lines.number,
                                     .column = column,
                                     .fault = f,
                                     .other = other,
                                     .says = why->msg};
    if (why->code == ERR_NOMEM || why->code == ERR_CANCELLED || why->code == ERR_IO)
        return fail_at(r, 0, why, e);
    r->count->n_fault[f]++;
    if (r->o->on_issue) r->o->on_issue(r->o->ctx, &issue);
    return example_fault_is_error(f) && !r->o->skip_bad ? fail_at(r, column, why, e) : 0;
}

/* ---- what comes twice ---- */

static uint64_t id_hash(const json_t *id) {
    struct buf b = {0};
    const struct str s = example_str(id);
    if (json_is_integer(id)) buf_printf(&b, "%lld", (long long)json_integer_value(id));
    if (json_is_real(id)) buf_printf(&b, "%.17g", json_real_value(id));
    buf_append(&b, s.p, s.n); /* 7 and "7" are the same */
    const uint64_t h = hash64(b.p, b.n, 0);
    buf_fini(&b);
    return h;
}

static enum example_fault twice(struct reader *r, const struct example *x, int *other,
                                struct err *e) {
    const int line = r->lines.number;
    r->hash = example_hash(x);
    r->prompt_hash = example_prompt_hash(x);
    *other = seen_find(&r->whole, r->hash);
    if (*other > 0) {
        err_set(e, ERR_FORMAT, "the same as line %d", *other);
        return EXAMPLE_DUPLICATE;
    }
    if (x->id) *other = seen_add(&r->ids, id_hash(x->id), line);
    if (*other > 0) {
        err_set(e, ERR_FORMAT, "line %d has the same id", *other);
        return EXAMPLE_DUPLICATE_ID;
    }
    if (*other == 0 && seen_add(&r->whole, r->hash, line) == 0) return EXAMPLE_FINE;
    err_nomem(e, "examples");
    return EXAMPLE_BROKEN;
}

/* ---- examples ---- */

static enum example_fault check_kind(struct reader *r, const struct example *x, struct err *e) {
    const bool pair = x->chosen != NULL;
    if (r->n_given == 0) {
        r->count->first = x->format;
        r->pairs = pair;
    }
    if (pair == r->pairs) return EXAMPLE_FINE;
    err_set(e, ERR_FORMAT, "found %s example among %s; a file of one kind is accepted",
            pair ? "a preference (chosen, rejected)" : "an ordinary",
            r->pairs ? "preferences (chosen, rejected)" : "others");
    return EXAMPLE_UNKNOWN;
}

static enum example_fault read_one(struct reader *r, struct str line, struct example *x,
                                   int *column, int *other, struct err *e) {
    enum example_fault f = example_read(line, r->o->system, x, column, e);
    if (f == EXAMPLE_FINE) f = check_kind(r, x, e);
    if (f == EXAMPLE_FINE) f = twice(r, x, other, e);
    if (f != EXAMPLE_FINE) return f;
    r->count->n_format[x->format]++;
    r->n_given++;
    return f;
}

static void tell_progress(struct reader *r) {
    if (!r->o->on_progress || r->lines.n_bytes == r->told_bytes) return;
    r->told_bytes = r->lines.n_bytes;
    r->o->on_progress(r->o->ctx, r->lines.n_bytes, r->lines.size);
}

int reader_next(struct reader *r, struct example *x, struct err *e) {
    for (;;) {
        struct str line;
        struct err why = {0};
        int column = 0, other = 0;
        *x = (struct example){0};
        if (r->o->stop && *r->o->stop) return err_set(e, ERR_CANCELLED, "interrupted");
        const enum lines_got got = lines_next(&r->lines, &line, e);
        if (got == LINES_FAILED) return -1;
        if (got == LINES_END) return 0;
        if (got == LINES_LINE && example_is_blank(line)) continue;
        tell_progress(r);
        r->count->n_line++;
        enum example_fault f = EXAMPLE_HUGE;
        if (got == LINES_LONG)
            err_set(&why, ERR_FORMAT, "found a line of more than %d MiB; shorter ones are accepted",
                    LINES_MAX_BYTES >> 20);
        else
            f = read_one(r, line, x, &column, &other, &why);
        if (f == EXAMPLE_FINE) return 1;
        example_fini(x);
        if (reader_fault(r, f, column, other, &why, e) != 0) return -1;
    }
}

/* "3 duplicate, 2 too long" */
static void list_faults(const struct data_counts *c, struct buf *out) {
    for (int f = EXAMPLE_BROKEN; f < EXAMPLE_CUT; f++)
        if (c->n_fault[f] > 0)
            buf_printf(out, "%s%d %s", out->n ? ", " : "", c->n_fault[f],
                       example_fault_name((enum example_fault)f));
}

int reader_end(struct reader *r, int n_left, struct err *e) {
    struct buf why = {0};
    if (lines_digest(&r->lines, r->count->file_digest, e) != 0) return -1;
    if (n_left > 0) return 0;
    list_faults(r->count, &why);
    if (r->lines.n_bytes == 0)
        err_set(e, ERR_FORMAT, "%s: the file is empty; JSON objects, one a line, are needed",
                r->lines.path);
    else if (r->count->n_line == 0)
        err_set(e, ERR_FORMAT, "%s: only blank lines; JSON objects, one a line, are needed",
                r->lines.path);
    else
        err_set(e, ERR_FORMAT, "%s: no example is left of %d lines (%s); at least one is needed",
                r->lines.path, r->count->n_line, why.p ? why.p : "");
    buf_fini(&why);
    return -1;
}
