/* See run_options.h: one table row per option. */
#include "engine/run_options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/speculate.h"

enum kind { INTEGER, NUMBER, BOOLEAN, PATH, TEXTS, BIAS };

struct row {
    const char *name;
    enum kind kind;
    size_t at;       /* offset in struct run_options */
    double min, max; /* of INTEGER; sampler_check knows the numbers' ranges */
};

#define AT(field) offsetof(struct run_options, field)
#define SAMPLER(name, kind)                                                                        \
    { #name, kind, AT(sampler.name), INT_MIN, INT_MAX }

static const struct row rows[] = {
    {"num_ctx", INTEGER, AT(num_ctx), 4, 1 << 24},
    {"num_batch", INTEGER, AT(num_batch), 1, 1 << 16},
    {"num_thread", INTEGER, AT(num_thread), 0, 512},
    {"num_keep", INTEGER, AT(num_keep), -1, INT_MAX},
    {"num_predict", INTEGER, AT(num_predict), -2, INT_MAX},
    {"seed", INTEGER, AT(seed), INT_MIN, INT_MAX},
    {"num_draft", INTEGER, AT(num_draft), 0, SPECULATE_MAX},
    {"draft", PATH, AT(draft), 0, 0},
    {"stop", TEXTS, AT(stop), 0, 0},
    SAMPLER(temperature, NUMBER),
    SAMPLER(top_k, INTEGER),
    SAMPLER(top_p, NUMBER),
    SAMPLER(min_p, NUMBER),
    SAMPLER(typical_p, NUMBER),
    SAMPLER(repeat_last_n, INTEGER),
    SAMPLER(repeat_penalty, NUMBER),
    SAMPLER(presence_penalty, NUMBER),
    SAMPLER(frequency_penalty, NUMBER),
    {"penalize_newline", BOOLEAN, AT(penalize_newline), 0, 0},
    SAMPLER(mirostat, INTEGER),
    SAMPLER(mirostat_tau, NUMBER),
    SAMPLER(mirostat_eta, NUMBER),
    SAMPLER(dynatemp_range, NUMBER),
    SAMPLER(dynatemp_exponent, NUMBER),
    SAMPLER(top_n_sigma, NUMBER),
    SAMPLER(xtc_probability, NUMBER),
    SAMPLER(xtc_threshold, NUMBER),
    SAMPLER(dry_multiplier, NUMBER),
    SAMPLER(dry_base, NUMBER),
    SAMPLER(dry_allowed_length, INTEGER),
    SAMPLER(dry_penalty_last_n, INTEGER),
    {"dry_sequence_breaker", TEXTS, AT(breaker), 0, 0},
    SAMPLER(min_keep, INTEGER),
    {"logit_bias", BIAS, AT(bias), 0, 0},
    {"ignore_eos", BOOLEAN, AT(ignore_eos), 0, 0},
    {"shift", BOOLEAN, AT(shift), 0, 0},
};
enum { N_ROW = sizeof rows / sizeof *rows };

static const struct str default_breaker[] = {{"\n", 1}, {":", 1}, {"\"", 1}, {"*", 1}};

void run_options_init(struct run_options *o) {
    *o = (struct run_options){.num_keep = 4,
                              .num_predict = -1,
                              .seed = -1,
                              .penalize_newline = true,
                              .shift = true,
                              .num_draft = SPECULATE_MAX};
    o->sampler = sampler_defaults();
}

void run_options_fini(struct run_options *o) {
    arena_fini(&o->keep);
}

static int wrong_type(const char *name, const char *type, const char *value, struct err *e) {
    return err_set(e, ERR_USAGE, "option \"%s\" must be of type %s; found \"%s\"", name, type,
                   value);
}

static int set_integer(struct run_options *o, const struct row *r, const char *value,
                       struct err *e) {
    char *end;
    errno = 0;
    const long v = strtol(value, &end, 10);
    if (end == value || *end) return wrong_type(r->name, "integer", value, e);
    if (errno != 0 || (double)v < r->min || (double)v > r->max)
        return err_set(e, ERR_USAGE, "option \"%s\": %s; accepted: %.0f to %.0f", r->name, value,
                       r->min, r->max);
    *(int *)((char *)o + r->at) = (int)v;
    return 0;
}

static int set_number(struct run_options *o, const struct row *r, const char *value,
                      struct err *e) {
    char *end;
    const double v = strtod(value, &end);
    if (end == value || *end || !isfinite(v)) return wrong_type(r->name, "number", value, e);
    *(float *)((char *)o + r->at) = (float)v;
    return 0;
}

static int set_boolean(struct run_options *o, const struct row *r, const char *value,
                       struct err *e) {
    static const char *const yes[] = {"true", "1", "on", "yes"}, *const no[] = {"false", "0", "off",
                                                                                "no"};
    for (int i = 0; i < 4; i++) {
        const bool is_yes = strcasecmp(value, yes[i]) == 0;
        if (!is_yes && strcasecmp(value, no[i]) != 0) continue;
        *(bool *)((char *)o + r->at) = is_yes;
        return 0;
    }
    return wrong_type(r->name, "boolean", value, e);
}

/* An empty one takes the option back. */
static int set_path(struct run_options *o, const struct row *r, const char *value, struct err *e) {
    const char *copy = *value ? arena_strndup(&o->keep, value, strlen(value)) : NULL;
    if (*value && !copy) return err_nomem(e, r->name);
    *(const char **)(void *)((char *)o + r->at) = copy;
    return 0;
}

/* Lists grow: each mention adds one. */
static int add_text(struct run_options *o, const struct row *r, const char *value, struct err *e) {
    int *n = r->at == AT(stop) ? &o->n_stop : &o->n_breaker;
    struct str *list = (struct str *)(void *)((char *)o + r->at);
    if (*value == 0)
        return err_set(e, ERR_USAGE, "option \"%s\": an empty text; at least one character",
                       r->name);
    if (*n == RUN_MAX_STOP)
        return err_set(e, ERR_USAGE, "option \"%s\": more than %d texts", r->name, RUN_MAX_STOP);
    const char *copy = arena_strndup(&o->keep, value, strlen(value));
    if (!copy) return err_nomem(e, r->name);
    list[(*n)++] = str_of(copy);
    return 0;
}

/* "ID:BIAS", "ID:-inf". */
static int add_bias(struct run_options *o, const char *value, struct err *e) {
    char *end;
    const long id = strtol(value, &end, 10);
    const char *number = *end == ':' ? end + 1 : "";
    const double bias = strtod(number, &end);
    if (end == number || *end || isnan(bias) || bias == INFINITY || id < 0 || id > INT_MAX)
        return err_set(e, ERR_USAGE,
                       "option \"logit_bias\": found \"%s\"; accepted: TOKEN_ID:NUMBER or "
                       "TOKEN_ID:-inf",
                       value);
    if (o->n_bias == RUN_MAX_BIAS)
        return err_set(e, ERR_USAGE, "option \"logit_bias\": more than %d tokens", RUN_MAX_BIAS);
    o->bias[o->n_bias++] = (struct logit_bias){(int32_t)id, (float)bias};
    return 0;
}

static int unknown(const char *name, struct err *e) {
    struct buf list = {0};
    for (int i = 0; i < N_ROW; i++)
        buf_printf(&list, " %s", rows[i].name);
    err_set(e, ERR_NOT_FOUND, "unknown option \"%.40s\"; known:%s", name, list.p);
    buf_fini(&list);
    return -1;
}

static int set_row(struct run_options *o, const struct row *r, const char *value, struct err *e) {
    switch (r->kind) {
    case INTEGER: return set_integer(o, r, value, e);
    case NUMBER: return set_number(o, r, value, e);
    case BOOLEAN: return set_boolean(o, r, value, e);
    case PATH: return set_path(o, r, value, e);
    case TEXTS: return add_text(o, r, value, e);
    case BIAS: break;
    }
    return add_bias(o, value, e);
}

static const struct row *find_row(const char *name) {
    if (strcmp(name, "draft_num_predict") == 0) name = "num_draft"; /* Ollama's */
    for (int i = 0; i < N_ROW; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

/* A value that is out of range leaves the option as it was. */
static int set_checked(struct run_options *o, const struct row *r, const char *value,
                       struct err *e) {
    const struct sampler_opts before = o->sampler;
    if (set_row(o, r, value, e) == 0 && sampler_check(&o->sampler, e) == 0) return 0;
    o->sampler = before;
    return -1;
}

int run_options_set(struct run_options *o, const char *name, const char *value, struct err *e) {
    const struct row *r = find_row(name);
    return r ? set_checked(o, r, value, e) : unknown(name, e);
}

/* ---- values of JSON ---- */

static const char *type_name(enum kind kind) {
    switch (kind) {
    case INTEGER: return "integer";
    case NUMBER: return "number";
    case BOOLEAN: return "boolean";
    case PATH: return "string";
    case TEXTS: return "array of strings";
    case BIAS: break;
    }
    return "object of token ids and numbers";
}

/* A value's text when it is of the row's type; false when not. */
static bool value_text(const struct row *r, const json_t *v, char *out, size_t n) {
    const double x = json_number_value(v);
    switch (r->kind) {
    case INTEGER:
        if (json_is_integer(v))
            snprintf(out, n, "%lld", (long long)json_integer_value(v));
        else if (json_is_real(v) && x == floor(x) && fabs(x) < 1e15)
            snprintf(out, n, "%.0f", x); /* JavaScript's 4096.0 */
        else
            return false;
        return true;
    case NUMBER: snprintf(out, n, "%.17g", x); return json_is_number(v);
    case BOOLEAN:
        snprintf(out, n, "%s", json_is_true(v) ? "true" : "false");
        return json_is_boolean(v);
    default: return false;
    }
}

/* One text, or several; what was there is replaced. */
static int set_texts(struct run_options *o, const struct row *r, const json_t *v, struct err *e) {
    const json_t *item = v;
    size_t i = 0;
    *(r->at == AT(stop) ? &o->n_stop : &o->n_breaker) = 0;
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (; i < n; i++) {
        if (json_is_array(v)) item = json_array_get(v, i);
        const char *text = json_string_value(item);
        if (!text || strlen(text) != json_string_length(item))
            return err_set(e, ERR_USAGE, "option \"%s\" must be of type %s", r->name,
                           type_name(r->kind));
        if (add_text(o, r, text, e) != 0) return -1;
    }
    return 0;
}

/* {"ID": BIAS}: a number, or false for a ban. */
static int set_biases(struct run_options *o, json_t *v, struct err *e) {
    const char *id;
    json_t *bias;
    char text[80];
    o->n_bias = 0;
    json_object_foreach(v, id, bias) {
        if (json_is_number(bias))
            snprintf(text, sizeof text, "%.20s:%.17g", id, json_number_value(bias));
        else
            snprintf(text, sizeof text, "%.20s:%s", id, json_is_false(bias) ? "-inf" : "?");
        if (add_bias(o, text, e) != 0) return -1;
    }
    return 0;
}

int run_options_set_json(struct run_options *o, const char *name, json_t *v, struct err *e) {
    const struct row *r = find_row(name);
    char text[64];
    if (!r || r->kind == PATH) return unknown(name, e); /* nobody outside names files here */
    if (json_is_null(v)) return 0;
    if (r->kind == TEXTS) return set_texts(o, r, v, e);
    if (r->kind == BIAS && json_is_object(v)) return set_biases(o, v, e);
    if (!value_text(r, v, text, sizeof text))
        return err_set(e, ERR_USAGE, "option \"%s\" must be of type %s", r->name,
                       type_name(r->kind));
    return set_checked(o, r, text, e);
}

json_t *run_options_get_json(const struct run_options *o, const char *name) {
    const struct row *r = find_row(name);
    if (!r || r->kind == PATH) return NULL;
    const char *at = (const char *)o + r->at;
    json_t *list;
    switch (r->kind) {
    case INTEGER: return json_integer(*(const int *)at);
    case NUMBER: return json_real((double)*(const float *)at);
    case BOOLEAN: return json_boolean(*(const bool *)at);
    case BIAS:
        list = json_object();
        for (int i = 0; i < o->n_bias; i++) {
            char id[16];
            snprintf(id, sizeof id, "%d", (int)o->bias[i].id);
            const float b = o->bias[i].bias;
            json_object_set_new(list, id, b == -INFINITY ? json_false() : json_real((double)b));
        }
        return list;
    default: break;
    }
    const int n = r->at == AT(stop) ? o->n_stop : o->n_breaker;
    list = json_array();
    for (int i = 0; i < n; i++) {
        const struct str text = ((const struct str *)(const void *)at)[i];
        json_array_append_new(list, json_stringn(text.p, text.n));
    }
    return list;
}

bool run_options_reopen(const struct run_options *o, const struct run_options *before) {
    return o->num_ctx != before->num_ctx || o->num_batch != before->num_batch ||
           o->num_thread != before->num_thread ||
           strcmp(o->draft ? o->draft : "", before->draft ? before->draft : "") != 0;
}

static void print_row(const struct run_options *o, const struct run_options *usual,
                      const struct row *r, struct buf *out) {
    const char *a = (const char *)o + r->at, *b = (const char *)usual + r->at;
    const int n_text = r->at == AT(stop) ? o->n_stop : o->n_breaker;
    switch (r->kind) {
    case INTEGER:
        if (*(const int *)a != *(const int *)b)
            buf_printf(out, "%-30s %d\n", r->name, *(const int *)a);
        break;
    case NUMBER:
        if (*(const float *)a != *(const float *)b)
            buf_printf(out, "%-30s %g\n", r->name, (double)*(const float *)a);
        break;
    case BOOLEAN:
        if (*(const bool *)a != *(const bool *)b)
            buf_printf(out, "%-30s %s\n", r->name, *(const bool *)a ? "true" : "false");
        break;
    case PATH:
        if (*(const char *const *)(const void *)a)
            buf_printf(out, "%-30s %s\n", r->name, *(const char *const *)(const void *)a);
        break;
    case TEXTS:
        for (int i = 0; i < n_text; i++)
            buf_printf(out, "%-30s %s\n", r->name, ((const struct str *)(const void *)a)[i].p);
        break;
    case BIAS:
        for (int i = 0; i < o->n_bias; i++)
            buf_printf(out, "%-30s %d:%g\n", r->name, (int)o->bias[i].id, (double)o->bias[i].bias);
        break;
    }
}

void run_options_print(const struct run_options *o, struct buf *out) {
    struct run_options usual;
    run_options_init(&usual);
    for (int i = 0; i < N_ROW; i++)
        print_row(o, &usual, &rows[i], out);
    run_options_fini(&usual);
}

void run_options_engine(const struct run_options *o, struct engine_opts *out) {
    out->n_ctx = o->num_ctx;
    out->n_batch = o->num_batch;
    out->n_threads = o->num_thread;
}

/* DRY's breakers as tokens. */
static int add_breakers(struct run_options *o, const struct vocab *v, struct err *e) {
    const struct str *text = o->n_breaker ? o->breaker : default_breaker;
    const int n = o->n_breaker ? o->n_breaker : (int)(sizeof default_breaker / sizeof *text);
    const int32_t **seq = arena_calloc(&o->keep, (size_t)n, sizeof *seq);
    int *len = arena_calloc(&o->keep, (size_t)n, sizeof *len);
    if (!seq || !len) return err_nomem(e, "dry_sequence_breaker");
    for (int i = 0; i < n; i++) {
        struct ids ids = {0};
        if (tok_encode(v, text[i], (struct tok_opts){0}, &ids, e) != 0) return -1;
        int32_t *copy = arena_calloc(&o->keep, ids.n + 1, sizeof *copy);
        if (copy && ids.n) memcpy(copy, ids.v, ids.n * sizeof *copy);
        len[i] = (int)ids.n;
        seq[i] = copy;
        ids_fini(&ids);
        if (!copy) return err_nomem(e, "dry_sequence_breaker");
    }
    o->sampler.dry_breaker = (const int32_t *const *)seq;
    o->sampler.dry_breaker_n = len;
    o->sampler.n_dry_breaker = n;
    return 0;
}

int run_options_request(struct run_options *o, const struct vocab *v, struct decode_request *r,
                        struct err *e) {
    o->sampler.seed = o->seed;
    o->sampler.bias = o->bias;
    o->sampler.n_bias = o->n_bias;
    if (o->sampler.dry_multiplier > 0.0f && add_breakers(o, v, e) != 0) return -1;
    r->sampler = o->sampler;
    r->n_ctx = o->num_ctx;
    r->n_predict = o->num_predict < 0 ? -1 : o->num_predict; /* Ollama's -2 fills the context */
    r->n_keep = o->num_keep;
    r->no_shift = !o->shift || o->num_predict == -2;
    r->stop = o->stop;
    r->n_stop = o->n_stop;
    r->ignore_eos = o->ignore_eos;
    r->spare_newline = !o->penalize_newline;
    r->n_draft = o->num_draft > 0 ? o->num_draft : -1;
    return 0;
}
