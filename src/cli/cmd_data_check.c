/* `cria data check FILE`: what training would make of a file, before anything is trained.  What
 * training would refuse ends it with exit code 1; what it leaves out is counted. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/data_watch.h"
#include "cli/model.h"
#include "cli/text.h"
#include "cli/train_model.h"
#include "create/tune.h"
#include "engine/engine.h"
#include "train/pack.h"

enum { DEFAULT_CTX = 1024, ISSUES_SHOWN = 20 };

static struct {
    const char *valid, *model, *system;
    int ctx;
    bool last_only, cut, all, json;
} flags;

const struct opt *cmd_data_check_options(void) {
    static const struct opt table[] = {
        {"valid", 0, OPT_STR, &flags.valid, 0, 0, "FILE",
         "also this file of validation data, and whether the first gives it away"},
        {"model", 'm', OPT_STR, &flags.model, 0, 0, "MODEL",
         "count tokens, as this model's chat template and vocabulary make them"},
        {"ctx", 0, OPT_INT, &flags.ctx, 2, 1 << 20, "N",
         "longest example in tokens (default: 1024)"},
        {"cut", 0, OPT_FLAG, &flags.cut, 0, 0, NULL,
         "longer examples lose their end instead of being left out"},
        {"last-only", 0, OPT_FLAG, &flags.last_only, 0, 0, NULL,
         "learn the last answer of a conversation only"},
        {"system", 0, OPT_STR, &flags.system, 0, 0, "TEXT",
         "system message of examples without one (default: the model's)"},
        {"all", 0, OPT_FLAG, &flags.all, 0, 0, NULL, "every line that is not simply taken"},
        {"json", 0, OPT_FLAG, &flags.json, 0, 0, NULL,
         "one object: ok, train, valid, leaks; lines by number"},
        {0},
    };
    return table;
}

/* A file, read. */
struct checked {
    const char *path;
    struct data_watch watch;
    struct dataset data;
    struct data_part all;
    struct data_stats stats;
    int n_pack;      /* of an epoch; 0: not known */
    struct err fail; /* why no example is left */
};

struct checking {
    struct cli_model model;
    struct engine *engine; /* or NULL: no model was named */
    struct buf system, template;
    struct data_opts o;
    struct checked train, valid;
    struct data_leaks leaks;
};

/* ---- the model ---- */

/* As a fine-tune: where nothing was said no example is longer than the model's context. */
static int cap_ctx(struct checking *c, struct err *e) {
    struct gguf *g = gguf_open(c->model.r.path, e);
    if (!g) return -1;
    const int own = tune_model_ctx(g);
    if (!flags.ctx && own >= 8 && own < c->o.max_tokens) c->o.max_tokens = own;
    gguf_close(g);
    return 0;
}

static int open_model(struct checking *c, struct err *e) {
    struct cli_model *m = &c->model;
    struct engine_opts o = {.vocab_only = true};
    if (cli_model_open(m, flags.model, e) != 0) return -1;
    if (m->store && (recipe_config(&m->r, &m->config, e) != 0 ||
                     cli_model_text(m, LAYER_TEMPLATE, &c->template, e) != 0 ||
                     cli_model_text(m, LAYER_SYSTEM, &c->system, e) != 0))
        return -1;
    o.chat_template = buf_view(&c->template);
    o.renderer = m->config.renderer;
    c->engine = engine_open(m->r.path, &o, e);
    if (!c->engine || cap_ctx(c, e) != 0) return -1;
    c->o.vocab = engine_vocab(c->engine);
    c->o.chat = engine_template(c->engine, e);
    if (!c->o.chat && engine_has_template(c->engine)) return err_prefix(e, flags.model);
    return 0;
}

/* ---- reading ---- */

/* As full as a trainer's micro-batches can be. */
static int count_packs(struct checked *f, int max, struct err *e) {
    const struct dataset *d = &f->data;
    const size_t n = (size_t)d->n_seq + 1;
    int *len = malloc(n * sizeof *len), *start = malloc(n * sizeof *start);
    int32_t *order = malloc(n * sizeof *order);
    int rc = len && start && order ? 0 : err_nomem(e, f->path);
    for (int i = 0; rc == 0 && i < d->n_seq; i++)
        len[i] = d->seq[i].n;
    if (rc == 0) f->n_pack = pack_best_fit(len, d->n_seq, max, order, start, e);
    free(len);
    free(start);
    free(order);
    return rc == 0 && f->n_pack >= 0 ? 0 : -1;
}

/* A file in which nothing is left is a finding, no failure of this command. */
static int read_file(struct checking *c, struct checked *f, const char *path, struct err *e) {
    struct data_opts o = c->o;
    f->path = path;
    o.on_issue = data_watch_issue;
    o.on_progress = data_watch_progress;
    o.ctx = &f->watch;
    if (dataset_read(&f->data, path, &o, &f->fail) != 0) {
        if (f->fail.code == ERR_FORMAT && f->data.n_example == 0) return 0;
        *e = f->fail;
        return -1;
    }
    if (data_part_all(&f->data, &f->all, e) != 0) return -1;
    if (data_part_stats(&f->all, &f->stats, e) != 0) return -1;
    return c->engine ? count_packs(f, o.max_tokens, e) : 0;
}

static bool is_fine(const struct checked *f) {
    return !f->path || (f->fail.code == ERR_NONE && data_counts_errors(&f->data.count) == 0);
}

/* ---- for people ---- */

static void print_formats(const struct checked *f) {
    const struct data_counts *c = &f->data.count;
    const char *between = "";
    printf("  examples    %d", f->data.n_example);
    if (f->data.pairs) printf(" pairs");
    printf(" of %d lines (", c->n_line);
    for (int k = 0; k < EXAMPLE_N_FORMAT; k++) {
        if (c->n_format[k] == 0) continue;
        printf("%s%s %d", between, example_format_name((enum example_format)k), c->n_format[k]);
        between = ", ";
    }
    puts(*between ? ")" : "no format found)");
}

static void print_list(const char *label, const struct data_counts *c, enum example_fault from,
                       enum example_fault to) {
    struct buf b = {0};
    if (data_counts_list(c, from, to, &b)) printf("  %-11s %s\n", label, b.p);
    buf_fini(&b);
}

static void print_lengths(const struct checked *f, int ctx, bool tokens) {
    const struct data_stats *s = &f->stats;
    if (s->n == 0) return;
    printf("  lengths     %d to %d %s, median %d, 95 %% up to %d; %llu in all\n", s->min, s->max,
           tokens ? "tokens" : "bytes", s->median, s->p95, (unsigned long long)s->total);
    if (!tokens) return;
    printf("  learned     %llu tokens, %.1f %%\n", (unsigned long long)s->n_label,
           100.0 * (double)s->n_label / (double)s->total);
    printf("  packs       %d of %d tokens an epoch, %.1f %% full\n", f->n_pack, ctx,
           100.0 * (double)s->total / ((double)f->n_pack * ctx));
}

static void print_file(const struct checking *c, const struct checked *f) {
    struct buf b = {0};
    if (f->data.count.n_line == 0) return; /* the error says all there is */
    text_escape(&b, str_of(f->path), false);
    printf("%s\n", b.p ? b.p : "");
    buf_fini(&b);
    print_formats(f);
    print_list("wrong", &f->data.count, EXAMPLE_BROKEN, EXAMPLE_REFUSED);
    print_list("left out", &f->data.count, EXAMPLE_EMPTY, EXAMPLE_DUPLICATE_ID);
    print_list("changed", &f->data.count, EXAMPLE_CUT, EXAMPLE_LAST_ONLY);
    print_lengths(f, c->o.max_tokens, c->engine != NULL);
    data_watch_print(stdout, f->path, &f->watch, flags.all ? DATA_WATCH_KEPT : ISSUES_SHOWN);
}

static void print_leaks(const struct checking *c) {
    const struct data_leaks *l = &c->leaks;
    struct buf b = {0};
    if (l->n_same + l->n_prompt == 0) return;
    text_escape(&b, str_of(c->valid.path), false);
    buf_str(&b, ": warning: ");
    if (l->n_same && l->n_prompt)
        buf_printf(&b,
                   "%d of its examples are in the training data, too, and of %d more the "
                   "question, with another answer",
                   l->n_same, l->n_prompt);
    else if (l->n_same)
        buf_printf(&b, "%d of its examples are in the training data, too", l->n_same);
    else
        buf_printf(&b,
                   "of %d of its examples the question is in the training data, with another "
                   "answer",
                   l->n_prompt);
    buf_printf(&b, "; the first is in line %d. Validation will look better than it is", l->line);
    if (!b.failed) puts(b.p);
    buf_fini(&b);
}

/* ---- for programs ---- */

static json_t *lengths_json(const struct checked *f, bool tokens) {
    const struct data_stats *s = &f->stats;
    json_t *o = json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:I}", "unit",
                          tokens ? "tokens" : "bytes", "min", s->min, "median", s->median, "p95",
                          s->p95, "max", s->max, "mean", s->mean, "total", (json_int_t)s->total);
    if (tokens) {
        json_object_set_new(o, "learned", json_integer((json_int_t)s->n_label));
        json_object_set_new(o, "packs", json_integer(f->n_pack));
    }
    return o;
}

static json_t *file_json(const struct checking *c, const struct checked *f) {
    char hex[2 * SHA256_BYTES + 1] = "";
    json_t *o = data_counts_json(&f->data.count);
    json_object_set_new(o, "file", json_string(f->path));
    json_object_set_new(o, "ok", json_boolean(is_fine(f)));
    json_object_set_new(o, "examples", json_integer(f->data.n_example));
    json_object_set_new(o, "pairs", json_boolean(f->data.pairs));
    json_object_set_new(o, "errors", json_integer(data_counts_errors(&f->data.count)));
    if (f->stats.n > 0) json_object_set_new(o, "lengths", lengths_json(f, c->engine != NULL));
    if (f->fail.code != ERR_NONE) json_object_set_new(o, "error", json_string(f->fail.msg));
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", f->data.count.file_digest[i]);
    json_object_set_new(o, "sha256", json_string(hex));
    json_object_set_new(o, "issues", f->watch.issues ? json_incref(f->watch.issues) : json_array());
    json_object_set_new(
        o, "issues_left_out",
        json_integer(f->watch.n_issue - (json_int_t)json_array_size(f->watch.issues)));
    return o;
}

static void print_json(const struct checking *c) {
    json_t *o = json_pack("{s:b, s:o}", "ok", is_fine(&c->train) && is_fine(&c->valid), "train",
                          file_json(c, &c->train));
    if (c->valid.path) {
        json_object_set_new(o, "valid", file_json(c, &c->valid));
        json_object_set_new(o, "leaks",
                            json_pack("{s:i, s:i, s:i}", "same", c->leaks.n_same, "prompt",
                                      c->leaks.n_prompt, "line", c->leaks.line));
    }
    cli_print_json(o);
}

/* ---- both ---- */

static void print_all(const struct checking *c) {
    if (flags.json) {
        print_json(c);
        return;
    }
    print_file(c, &c->train);
    if (!c->valid.path) return;
    print_file(c, &c->valid);
    print_leaks(c);
}

/* A folder has train.jsonl, and perhaps valid.jsonl; valid: empty, none. */
static void find_files(const char *path, char train[STORE_PATH], char valid[STORE_PATH]) {
    const bool folder = !train_data_path(path, "train.jsonl", train);
    train_data_path(path, "valid.jsonl", valid);
    if (!folder || access(valid, F_OK) != 0) valid[0] = 0;
    if (flags.valid) train_data_path(flags.valid, "valid.jsonl", valid);
}

static int check(struct checking *c, const char *path, char train[STORE_PATH],
                 char valid[STORE_PATH], struct err *e) {
    c->o = (struct data_opts){.max_tokens = flags.ctx ? flags.ctx : DEFAULT_CTX,
                              .cut = flags.cut,
                              .last_only = flags.last_only,
                              .skip_bad = true,
                              .stop = &cli_interrupted};
    if (flags.model && open_model(c, e) != 0) return -1;
    c->o.system = flags.system ? str_of(flags.system) : buf_view(&c->system);
    find_files(path, train, valid);
    if (read_file(c, &c->train, train, e) != 0) return -1;
    if (*valid && read_file(c, &c->valid, valid, e) != 0) return -1;
    if (*valid && data_leaks_find(&c->train.data, &c->valid.data, &c->leaks, e) != 0) return -1;
    print_all(c);
    if (is_fine(&c->train) && is_fine(&c->valid)) return 0;
    const struct err *why = c->train.fail.code ? &c->train.fail : &c->valid.fail;
    if (why->code) return err_set(e, why->code, "%s", why->msg);
    const int n =
        data_counts_errors(&c->train.data.count) + data_counts_errors(&c->valid.data.count);
    return err_set(e, ERR_FORMAT,
                   "%s: found %d wrong line%s; training would stop at the first "
                   "(`cria data prepare` leaves them out)",
                   path, n, n == 1 ? "" : "s");
}

static void close_file(struct checked *f) {
    data_watch_fini(&f->watch);
    data_part_fini(&f->all);
    dataset_fini(&f->data);
}

int cmd_data_check(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct checking c = {.engine = NULL};
    if (cli_parse(argc, argv, cmd_data_check_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("data check", n_args, 1, 1, "FILE", e) != 0) return -1;
    char train[STORE_PATH], valid[STORE_PATH];
    const int rc = check(&c, args[0], train, valid, e);
    close_file(&c.train);
    close_file(&c.valid);
    engine_close(c.engine);
    buf_fini(&c.system);
    buf_fini(&c.template);
    if (flags.model) cli_model_close(&c.model);
    return rc;
}
