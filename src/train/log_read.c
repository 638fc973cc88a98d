/* See log.h: reading.  A later line of a step overrules earlier ones of that step and of all behind
 * it, so a list stays ascending by cutting its end off. */
#include "train/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/os.h"

enum { MAX_BYTES = 256 << 20, MAX_VALUES = 10000, MAX_WHERE = 300 };

struct reader {
    const char *where;
    int line;
    struct run_record *r;
    struct err torn; /* of a broken line that may turn out to be an unfinished one */
    struct err *e;
};

/* "where:line" for messages. */
static const char *here(const struct reader *x, char out[MAX_WHERE]) {
    snprintf(out, MAX_WHERE, "%.*s:%d", MAX_WHERE - 20, x->where, x->line);
    return out;
}

/* Room for one more element of `size`; lists grow by doubling. */
static void *grow(void *list, int n, size_t size) {
    if (n & (n - 1)) return list; /* full only when n is 0 or a power of two */
    return realloc(list, (n ? 2 * (size_t)n : 1) * size);
}

static int get_step(const struct reader *x, const json_t *j, int64_t *out) {
    char w[MAX_WHERE];
    const json_t *v = json_object_get(j, "step");
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *out = (int64_t)json_integer_value(v);
        return 0;
    }
    return err_set(x->e, ERR_FORMAT, "%s: \"step\": %s; a whole number from 0 on is needed",
                   here(x, w), v ? "found something else" : "there is none");
}

/* A member that is a number, else NaN. */
static double get_number(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static int get_loss(const struct reader *x, const json_t *j, double *out) {
    char w[MAX_WHERE];
    const json_t *v = json_object_get(j, "loss");
    *out = get_number(j, "loss");
    if (json_is_number(v) || json_is_null(v)) return 0;
    return err_set(x->e, ERR_FORMAT, "%s: \"loss\": %s; a number or null is needed", here(x, w),
                   v ? "found something else" : "there is none");
}

/* ---- lines ---- */

static int on_step(struct reader *x, const json_t *j) {
    struct run_record *r = x->r;
    const json_t *n_tok = json_object_get(j, "tokens");
    struct run_step s = {
        .epoch = get_number(j, "epoch"),
        .lr = get_number(j, "lr"),
        .grad_norm = get_number(j, "grad_norm"),
        .clip = get_number(j, "clip"),
        .n_tok = json_is_integer(n_tok) ? (int64_t)json_integer_value(n_tok) : 0,
        .tps = get_number(j, "tokens_per_s"),
        .seconds = get_number(j, "elapsed_s"),
    };
    if (get_step(x, j, &s.step) != 0 || get_loss(x, j, &s.loss) != 0) return -1;
    while (r->n_step && r->step[r->n_step - 1].step >= s.step)
        r->n_step--;
    struct run_step *more = grow(r->step, r->n_step, sizeof *more);
    if (!more) return err_nomem(x->e, x->where);
    r->step = more;
    r->step[r->n_step++] = s;
    return 0;
}

static int on_validation(struct reader *x, const json_t *j) {
    struct run_record *r = x->r;
    struct run_point p;
    if (get_step(x, j, &p.step) != 0 || get_loss(x, j, &p.loss) != 0) return -1;
    while (r->n_valid && r->valid[r->n_valid - 1].step >= p.step)
        r->n_valid--;
    struct run_point *more = grow(r->valid, r->n_valid, sizeof *more);
    if (!more) return err_nomem(x->e, x->where);
    r->valid = more;
    r->valid[r->n_valid++] = p;
    return 0;
}

static int on_skip(struct reader *x, const json_t *j) {
    struct run_record *r = x->r;
    int64_t step;
    if (get_step(x, j, &step) != 0) return -1;
    while (r->n_skip && r->skip[r->n_skip - 1] >= step)
        r->n_skip--;
    int64_t *more = grow(r->skip, r->n_skip, sizeof *more);
    if (!more) return err_nomem(x->e, x->where);
    r->skip = more;
    r->skip[r->n_skip++] = step;
    return 0;
}

static int on_start(struct reader *x, const json_t *j) {
    struct run_record *r = x->r;
    const char *name = json_string_value(json_object_get(j, "name"));
    int64_t step;
    if (get_step(x, j, &step) != 0) return -1;
    while (r->n_step && r->step[r->n_step - 1].step > step)
        r->n_step--;
    while (r->n_valid && r->valid[r->n_valid - 1].step > step)
        r->n_valid--;
    while (r->n_skip && r->skip[r->n_skip - 1] > step)
        r->n_skip--;
    r->n_start++;
    r->ended = false;
    free(r->name);
    r->name = name ? strdup(name) : NULL;
    return name && !r->name ? err_nomem(x->e, x->where) : 0;
}

static int on_end(struct reader *x, const json_t *j) {
    (void)j;
    x->r->ended = true;
    return 0;
}

static const struct {
    const char *event;
    int (*take)(struct reader *x, const json_t *j);
} handlers[] = {
    {"start", on_start}, {"step", on_step}, {"validation", on_validation},
    {"skip", on_skip},   {"end", on_end},
};

static int take_object(struct reader *x, const json_t *j) {
    char w[MAX_WHERE];
    const char *event = json_string_value(json_object_get(j, "event"));
    if (!event)
        return err_set(x->e, ERR_FORMAT,
                       "%s: found no \"event\"; every line of a run's log has one", here(x, w));
    if (x->torn.code && strcmp(event, "start") != 0) {
        if (x->e) *x->e = x->torn;
        return -1;
    }
    x->torn.code = ERR_NONE;
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (strcmp(event, handlers[i].event) == 0) return handlers[i].take(x, j);
    return 0; /* of a later version */
}

/* As json_read_object, but without a line number of its own within the one line. */
static json_t *read_object(const char *where, struct str line, struct err *e) {
    json_error_t je;
    if (json_check(where, line, MAX_VALUES, e) != 0) return NULL;
    json_t *j = json_read(line, JSON_REJECT_DUPLICATES, &je);
    if (j && json_is_object(j)) return j;
    err_set(e, ERR_FORMAT, "%s: no JSON object: %s", where, j ? "another value" : je.text);
    json_decref(j);
    return NULL;
}

static int take_line(struct reader *x, struct str line) {
    char w[MAX_WHERE];
    struct err why = {0};
    while (line.n && strchr(" \t\r", line.p[line.n - 1]))
        line.n--;
    if (line.n == 0) return 0;
    json_t *j = read_object(here(x, w), line, &why);
    if (!j && (x->torn.code || why.code != ERR_FORMAT)) { /* one may be torn, not two in a row */
        if (x->e) *x->e = x->torn.code ? x->torn : why;
        return -1;
    }
    if (!j) {
        x->torn = why;
        return 0;
    }
    const int rc = take_object(x, j);
    json_decref(j);
    return rc;
}

int run_record_parse(const char *where, struct str bytes, struct run_record *r, struct err *e) {
    struct reader x = {.where = where, .r = r, .e = e};
    bool ended = true; /* the last line has its end */
    *r = (struct run_record){0};
    while (bytes.n) {
        const char *nl = memchr(bytes.p, '\n', bytes.n);
        const size_t n = nl ? (size_t)(nl - bytes.p) : bytes.n, used = nl ? n + 1 : n;
        x.line++;
        ended = nl != NULL;
        if (take_line(&x, (struct str){bytes.p, n}) != 0) goto fail;
        bytes = (struct str){bytes.p + used, bytes.n - used};
    }
    if (!x.torn.code || !ended) return 0;
    if (e) *e = x.torn;
fail:
    run_record_fini(r);
    return -1;
}

int run_record_read(const char *path, struct run_record *r, struct err *e) {
    struct buf b = {0};
    *r = (struct run_record){0};
    int rc = os_read_file(path, MAX_BYTES, &b, e);
    if (rc == 0) rc = run_record_parse(path, buf_view(&b), r, e);
    buf_fini(&b);
    return rc;
}

void run_record_fini(struct run_record *r) {
    free(r->step);
    free(r->valid);
    free(r->skip);
    free(r->name);
    *r = (struct run_record){0};
}
