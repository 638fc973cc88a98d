/* The settings of fine-tuning by name: PARAMETER train_NAME of Modelfiles, --NAME of `cria tune`,
 * fields of /api/train. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "create/tune.h"
#include "engine/mix.h"

enum kind { INT, NUMBER, FLOAT, FLAG, SEED, METHOD, TARGETS, SCHEDULE, PRECISION, RECOMPUTE, TYPE };

#define AT(field) offsetof(struct tune_opts, field)

/* What can be set. */
static const struct setting {
    const char *name;
    enum kind kind;
    size_t at;
    double min, max;
    bool zero_is_none; /* a zero is a value, kept as -1 (train.h) */
} settings[] = {
    {"method", METHOD, AT(train.method), 0, 0, false},
    {"epochs", NUMBER, AT(train.epochs), 1e-3, 1e5, false},
    {"steps", INT, AT(train.max_steps), 1, 1e9, false},
    {"lr", NUMBER, AT(train.lr), 1e-9, 10, false},
    {"rank", INT, AT(train.lora.rank), 1, 512, false},
    {"alpha", FLOAT, AT(train.lora.alpha), 1e-3, 1e6, false},
    {"dropout", FLOAT, AT(train.lora.dropout), 0, 0.9, false},
    {"rslora", FLAG, AT(train.lora.stabilized), 0, 0, false},
    {"targets", TARGETS, AT(train.lora.targets), 0, 0, false},
    {"layers", INT, AT(train.lora.last_layers), 1, 512, false},
    {"ctx", INT, AT(train.ctx), 8, 131072, false},
    {"batch", INT, AT(train.batch), 1, 4096, false},
    {"rows", INT, AT(train.micro_rows), 8, 8388608, false},
    {"warmup", NUMBER, AT(train.warmup), 0, 1, true},
    {"schedule", SCHEDULE, AT(train.schedule), 0, 0, false},
    {"min_lr", NUMBER, AT(train.min_ratio), 0, 1, true},
    {"clip", NUMBER, AT(train.clip), 0, 1e6, true},
    {"weight_decay", NUMBER, AT(train.weight_decay), 0, 10, true},
    {"val", NUMBER, AT(val), 0, 0.9, true},
    {"val_every", INT, AT(train.valid_every), 1, 1e9, false},
    {"save_every", INT, AT(train.checkpoint_every), 1, 1e9, false},
    {"patience", INT, AT(train.patience), 0, 1e6, true},
    {"seed", SEED, AT(train.seed), 0, 0, false},
    {"precision", PRECISION, AT(train.precision), 0, 0, false},
    {"recompute", RECOMPUTE, AT(train.recompute), 0, 0, false},
    {"beta", NUMBER, AT(train.dpo_beta), 1e-4, 100, false},
    {"type", TYPE, AT(type), 0, 0, false},
    {"last_only", FLAG, AT(last_only), 0, 0, false},
    {"cut", FLAG, AT(cut), 0, 0, false},
    {"skip_bad", FLAG, AT(skip_bad), 0, 0, false},
};
enum { N_SETTING = sizeof settings / sizeof *settings };

void tune_list(struct buf *out) {
    for (int i = 0; i < N_SETTING; i++)
        buf_printf(out, " %s", settings[i].name);
}

static int wrong(const char *shown, const char *value, const char *accepted, struct err *e) {
    return err_set(e, ERR_USAGE, "%s: found \"%.60s\"; %s is accepted", shown, value, accepted);
}

static int set_number(const struct setting *s, const char *shown, const char *value, void *out,
                      struct err *e) {
    char *end;
    errno = 0;
    double v = s->kind == INT ? (double)strtol(value, &end, 10) : strtod(value, &end);
    if (end == value || *end || errno || !isfinite(v) || v < s->min || v > s->max)
        return err_set(e, ERR_USAGE, "%s: found \"%.60s\"; %s from %.9g to %.9g is accepted", shown,
                       value, s->kind == INT ? "a whole number" : "a number", s->min, s->max);
    if (s->zero_is_none && v == 0) v = -1;
    if (s->kind == INT)
        *(int *)out = (int)v;
    else if (s->kind == FLOAT)
        *(float *)out = (float)v;
    else
        *(double *)out = v;
    return 0;
}

static int set_flag(const char *shown, const char *value, bool *out, struct err *e) {
    static const char *const yes[] = {"true", "1", "on", "yes"}, *const no[] = {"false", "0", "off",
                                                                                "no"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(value, yes[i]) == 0) *out = true;
        if (strcasecmp(value, no[i]) == 0) *out = false;
        if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0) return 0;
    }
    return wrong(shown, value, "true or false", e);
}

static int set_seed(const char *shown, const char *value, uint64_t *out, struct err *e) {
    char *end;
    errno = 0;
    *out = strtoull(value, &end, 10);
    return end == value || *end || errno || value[0] == '-'
               ? wrong(shown, value, "a whole number from 0 to 2^64 - 1", e)
               : 0;
}

/* One of several words, which stand for 0, 1, ...; i < 0: none of them. */
static int set_choice(const char *shown, const char *value, int i, const char *accepted, void *out,
                      struct err *e) {
    if (i < 0) return wrong(shown, value, accepted, e);
    memcpy(out, &i, sizeof i);
    return 0;
}

static int find_word(const char *value, const char *const *word, int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(value, word[i]) == 0) return i;
    return -1;
}

static int set_type(const char *shown, const char *value, const char **out, struct err *e) {
    char known[400];
    const int mix = mix_by_name(value);
    *out = value;
    if (mix >= 0 && mix_base_type(mix) >= 0) return 0;
    mix_list(known, sizeof known);
    return err_set(e, ERR_USAGE, "%s: found \"%.60s\"; one of %s is accepted", shown, value, known);
}

static int set(const struct setting *s, const char *shown, const char *value, void *out,
               struct err *e) {
    static const char *const precision[] = {"auto", "f32", "bf16"};
    static const char *const recompute[] = {"auto", "none", "all"};
    switch (s->kind) {
    case INT:
    case NUMBER:
    case FLOAT: return set_number(s, shown, value, out, e);
    case FLAG: return set_flag(shown, value, out, e);
    case SEED: return set_seed(shown, value, out, e);
    case TYPE: return set_type(shown, value, out, e);
    case METHOD:
        return set_choice(shown, value, train_method_by_name(value), "lora, full, dpo or qat", out,
                          e);
    case SCHEDULE:
        return set_choice(shown, value, schedule_by_name(value), "cosine, linear or constant", out,
                          e);
    case PRECISION:
        return set_choice(shown, value, find_word(value, precision, 3), "auto, f32 or bf16", out,
                          e);
    case RECOMPUTE:
        return set_choice(shown, value, find_word(value, recompute, 3), "auto, none or all", out,
                          e);
    case TARGETS: break;
    }
    return lora_parse_targets(value, out, e) == 0 ? 0 : err_prefix(e, shown);
}

/* "val-every", as the options of `cria tune` have it. */
static bool is_dashed(const char *name) {
    for (int i = 0; i < N_SETTING; i++) {
        const char *a = name, *b = settings[i].name;
        while (*a && (*a == *b || (*a == '-' && *b == '_')))
            a++, b++;
        if (!*a && !*b) return true;
    }
    return false;
}

int tune_set(struct tune_opts *o, const char *name, const char *shown, const char *value,
             struct err *e) {
    for (int i = 0; i < N_SETTING; i++)
        if (strcmp(settings[i].name, name) == 0)
            return set(&settings[i], shown, value, (char *)o + settings[i].at, e);
    if (is_dashed(name))
        return err_set(e, ERR_USAGE, "unknown setting of training '%.40s'; write _ for -", shown);
    struct buf known = {0};
    tune_list(&known);
    err_set(e, ERR_USAGE, "unknown setting of training '%.40s'; known:%s", shown,
            known.p ? known.p : "");
    buf_fini(&known);
    return -1;
}

int tune_memory(const char *text, struct tune_opts *o, struct err *e) {
    char setting[64];
    const char *v = text ? text : os_setting("MEMORY", setting, sizeof setting);
    if (!v || os_parse_bytes(v, &o->train.memory_bytes)) return 0;
    return err_set(e, ERR_USAGE,
                   "%s: found \"%.40s\"; a number of bytes, as 4g or 512m, is accepted",
                   text ? "--memory" : "the setting MEMORY", v);
}
