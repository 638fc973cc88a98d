/* See tune_flags.h. */
#include "cli/tune_flags.h"

#include <stdio.h>
#include <string.h>

#include "cli/create_view.h"
#include "engine/mix.h"

/* What a command says of a setting; NULL: it does not have it. */
static const struct {
    const char *name, *arg, *adapts, *from_nothing;
} setting[] = {
    {"method", "NAME", "lora (default), full, dpo (preferences), qat (all weights, rounded)", NULL},
    {"epochs", "X", "passes over the data (3)", "passes over the data (10)"},
#define BOTH(name, arg, help)                                                                      \
    { name, arg, help, help }
    BOTH("steps", "N", "no more than that many"),
    {"lr", "RATE", "learning rate (2e-4; full, qat 5e-4; dpo 5e-5)", "learning rate (1e-3)"},
    {"rank", "N", "of adapters (16)", NULL},
    {"alpha", "X", "their scale is alpha / rank (2 rank)", NULL},
    {"targets", "LIST", "which linears: q,k,v,o,gate,up,down (all)", NULL},
    {"layers", "N", "the last n layers only (all)", NULL},
    {"dropout", "P", "of an adapter's input (0)", NULL},
    {"rslora", "BOOL", "scale alpha / sqrt(rank)", NULL},
    {"ctx", "N", "longest example in tokens (1024); longer ones are left out", NULL},
    {"cut", "BOOL", "longer ones lose their end instead",
     "examples longer than the context lose their end, else they are left out"},
    BOTH("batch", "N", "examples a step (8)"),
    BOTH("rows", "N", "tokens at a time (ctx): more are faster and need more memory"),
    BOTH("schedule", "NAME", "cosine (default), linear, constant"),
    BOTH("warmup", "SHARE", "of the steps (0.03)"),
    BOTH("min_lr", "SHARE", "of the rate that is left in the end (0.1)"),
    BOTH("clip", "X", "largest gradient (1)"),
    {"weight_decay", "X", "(0; full, qat 0.1)", "(0.1)"},
    BOTH("val", "SHARE", "of the examples, to judge by (0.05 of 20 and more)"),
    BOTH("val_every", "N", "steps between validations (a quarter of an epoch)"),
    {"save_every", "N", "steps between checkpoints (every minute)", NULL},
    BOTH("patience", "N", "validations without a better one that end it (3; 0: never)"),
    {"seed", "N", "of order and beginning (0)", "of weights and order (0)"},
    {"beta", "X", "of dpo (0.1)", NULL},
    {"type", "TYPE", "of qat: what the weights will be, as Q4_K_M", NULL},
    BOTH("last_only", "BOOL", "learn a conversation's last answer only"),
    {"skip_bad", "BOOL", "count lines that are no examples instead of stopping there", NULL},
    BOTH("precision", "NAME", "auto, f32, bf16"),
    BOTH("recompute", "NAME", "auto (as little as memory allows), none, all"),
#undef BOTH
};
enum { N_SETTING = sizeof setting / sizeof *setting, NAME_MAX_LEN = 16 };
_Static_assert(N_SETTING <= (int)TUNE_MAX_SETTINGS, "room for each");

static const char *help_of(enum tune_command c, int i) {
    return c == TUNE_ADAPTS ? setting[i].adapts : setting[i].from_nothing;
}

/* "min_lr" as an option: "min-lr". */
static const char *option_name(int i) {
    static char name[N_SETTING][NAME_MAX_LEN];
    snprintf(name[i], NAME_MAX_LEN, "%s", setting[i].name);
    for (char *c = name[i]; *c; c++)
        if (*c == '_') *c = '-';
    return name[i];
}

static struct opt *append(struct opt *at, const struct opt *from, size_t n) {
    memcpy(at, from, n * sizeof *from);
    return at + n;
}

void tune_flags_table(enum tune_command c, struct tune_flags *f, const struct opt *own, int n_own,
                      struct opt *table) {
    const struct opt data[] = {
        {"data", 'd', OPT_STR, &f->data, 0, 0, "FILE",
         "examples, a JSON object a line; or a folder with train.jsonl and valid.jsonl"},
        {"valid", 0, OPT_STR, &f->valid, 0, 0, "FILE", "examples to judge by"},
    };
    const struct opt run[] = {
        {"log", 0, OPT_STR, &f->log, 0, 0, "FILE", "what happens, as JSON lines (tune plot)"},
        {"memory", 0, OPT_STR, &f->memory, 0, 0, "BYTES",
         "at most, as 4g (default: the setting MEMORY)"},
        {"dry-run", 0, OPT_FLAG, &f->dry_run, 0, 0, NULL, "only the plan: steps, memory, time"},
        {"resume", 0, OPT_FLAG, &f->resume, 0, 0, NULL,
         "only if there is a checkpoint (one is used anyway)"},
        {"restart", 0, OPT_FLAG, &f->restart, 0, 0, NULL, "not from a checkpoint"},
        {"threads", 't', OPT_INT, &f->n_threads, 1, 512, "N", "threads (default: cores)"},
        {"json", 0, OPT_FLAG, &f->as_json, 0, 0, NULL, "a JSON object per line: statuses, events"},
    };
    _Static_assert((sizeof data + sizeof run) / sizeof *run == TUNE_COMMON, "count them");
    table = append(table, data, sizeof data / sizeof *data);
    table = append(table, own, (size_t)n_own);
    table = append(table, run, sizeof run / sizeof *run);
    for (int i = 0; i < N_SETTING; i++)
        if (help_of(c, i))
            *table++ = (struct opt){option_name(i), 0, OPT_STR, &f->value[i], 0, 0, setting[i].arg,
                                    help_of(c, i)};
    *table = (struct opt){0};
}

int tune_flags_set(enum tune_command c, const struct tune_flags *f, struct tune_opts *t,
                   struct err *e) {
    char shown[NAME_MAX_LEN + 2];
    for (int i = 0; i < N_SETTING; i++) {
        if (!help_of(c, i) || !f->value[i]) continue;
        snprintf(shown, sizeof shown, "--%s", option_name(i));
        if (tune_set(t, setting[i].name, shown, f->value[i], e) != 0) return -1;
    }
    return tune_memory(f->memory, t, e);
}

int tune_flags_check(enum tune_command c, const struct tune_flags *f, struct err *e) {
    const char *command = c == TUNE_ADAPTS ? "tune" : "train";
    if (!f->data)
        return err_set(e, ERR_USAGE,
                       "%s: --data is missing; a JSONL file, or a folder with train.jsonl, is "
                       "needed",
                       command);
    if (f->resume && f->restart)
        return err_set(e, ERR_USAGE, "%s: --resume and --restart; at most one", command);
    return 0;
}

int tune_flags_merge(const char *typed, const char *const *args, int n_args, const char **merge,
                     struct err *e) {
    const bool bare = typed && strcmp(typed, "true") == 0;
    *merge = bare ? "" : typed;
    for (int i = 0; bare && n_args > 1 && i < n_args; i++)
        if (mix_by_name(args[i]) >= 0)
            return err_set(e, ERR_USAGE, "--merge %s: write --merge=%s", args[i], args[i]);
    return 0;
}

static void add(struct modelfile *m, enum modelfile_command command, const char *text) {
    if (text) m->line[m->n++] = (struct modelfile_line){.command = command, .value = str_of(text)};
}

void tune_flags_modelfile(const struct tune_flags *f, const char *base, struct modelfile *m) {
    add(m, MF_FROM, base);
    add(m, MF_TRAINFILE, f->data);
    add(m, MF_VALIDFILE, f->valid);
}

struct create_opts tune_flags_create(const struct tune_flags *f, const struct tune_opts *t) {
    return (struct create_opts){.folder = ".",
                                .n_threads = f->n_threads,
                                .stop = &cli_interrupted,
                                .tune = t,
                                .log = f->log,
                                .plan_only = f->dry_run,
                                .resume = f->resume    ? CREATE_RESUME_MUST
                                          : f->restart ? CREATE_RESTART
                                                       : CREATE_RESUME,
                                .on_train = create_view_train};
}
