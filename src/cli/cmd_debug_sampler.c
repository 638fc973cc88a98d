/* `cria debug sampler`: each line of standard input is a chain of sampler stages over given logits,
 * or steps of mirostat with forced choices; each line of output what the stages leave.  The format
 * is that of the reference data's sampler.jsonl.  With --time N nothing is read. */
#include "cli/commands.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample/penalty.h"
#include "sample/stage.h"
#include "cli/sampler_time.h"

enum { MAX_LOGITS = 1 << 20 };

/* What the stages of one line work on. */
struct chain {
    struct cands k;
    float *logits; /* [n_vocab]: what the stages that look at history change */
    int n_vocab;
    const json_t *history;
    struct err *e;
};

static double number(const json_t *v, double absent) {
    if (json_is_string(v) && strcmp(json_string_value(v), "-inf") == 0) return -INFINITY;
    return json_is_number(v) ? json_number_value(v) : absent;
}

static double field(const json_t *o, const char *key, double absent) {
    return number(json_object_get(o, key), absent);
}

static float fieldf(const json_t *o, const char *key, double absent) {
    return (float)field(o, key, absent);
}

/* A whole number, clamped to what an int and a sane input hold. */
static int fieldi(const json_t *o, const char *key, int absent) {
    const double v = field(o, key, absent);
    return v >= -1e9 && v <= 1e9 ? (int)v : absent;
}

/* The list's logits, in place of the stages' order, by id; banned where the list lacks one. */
static void to_logits(struct chain *c) {
    for (int i = 0; i < c->n_vocab; i++)
        c->logits[i] = -INFINITY;
    for (int i = 0; i < c->k.n; i++)
        c->logits[c->k.c[i].id] = c->k.c[i].logit;
}

static void from_logits(struct chain *c) {
    for (int i = 0; i < c->k.n; i++)
        c->k.c[i].logit = c->logits[c->k.c[i].id];
}

static int run_bias(struct chain *c, const json_t *st) {
    const json_t *list = json_object_get(st, "bias"), *pair;
    size_t i;
    to_logits(c);
    json_array_foreach(list, i, pair) {
        const double id = number(json_array_get(pair, 0), -1);
        if (!(id >= 0 && id < c->n_vocab))
            return err_set(c->e, ERR_FORMAT, "bias: token %g; accepted: 0 to %d", id,
                           c->n_vocab - 1);
        const struct logit_bias b = {(int32_t)id, (float)number(json_array_get(pair, 1), 0)};
        penalty_bias(c->logits, &b, 1);
    }
    from_logits(c);
    return 0;
}

/* penalties and dry: both over a history of last_n tokens. */
static int run_history(struct chain *c, const json_t *st, bool dry) {
    const int n_all = (int)json_array_size(c->history);
    int last_n = fieldi(st, "last_n", -1);
    if (last_n < 0 || last_n > n_all) last_n = n_all;
    struct recent h;
    if (recent_init(&h, c->n_vocab, dry ? 0 : last_n, dry ? last_n : 0, c->e) != 0) return -1;
    const json_t *id;
    size_t i;
    json_array_foreach(c->history, i, id) recent_push(&h, (int32_t)json_integer_value(id));
    to_logits(c);
    const struct sampler_opts o = {
        .dry_multiplier = fieldf(st, "multiplier", 0),
        .dry_base = fieldf(st, "base", 1.75),
        .dry_allowed_length = fieldi(st, "allowed_length", 2),
        .dry_penalty_last_n = last_n,
    };
    if (dry)
        penalty_dry(&h, c->logits, &o);
    else
        penalty_repeat(&h, c->logits, fieldf(st, "repeat", 1), fieldf(st, "presence", 0),
                       fieldf(st, "frequency", 0));
    from_logits(c);
    recent_fini(&h);
    return 0;
}

static int run_stage(struct chain *c, const json_t *st) {
    struct cands *k = &c->k;
    const char *type = json_string_value(json_object_get(st, "type"));
    const int min_keep = fieldi(st, "min_keep", 0);
    if (!type) return err_set(c->e, ERR_FORMAT, "chain: a stage has no type");
    if (strcmp(type, "logit_bias") == 0) return run_bias(c, st);
    if (strcmp(type, "penalties") == 0) return run_history(c, st, false);
    if (strcmp(type, "dry") == 0) return run_history(c, st, true);
    if (strcmp(type, "top_n_sigma") == 0)
        stage_top_n_sigma(k, fieldf(st, "n", 0));
    else if (strcmp(type, "top_k") == 0)
        stage_top_k(k, fieldi(st, "k", 0));
    else if (strcmp(type, "typical") == 0)
        stage_typical(k, fieldf(st, "p", 1), min_keep);
    else if (strcmp(type, "top_p") == 0)
        stage_top_p(k, fieldf(st, "p", 1), min_keep);
    else if (strcmp(type, "min_p") == 0)
        stage_min_p(k, fieldf(st, "p", 0), min_keep);
    else if (strcmp(type, "xtc") == 0) {
        /* The dice are not part of the door: the stage is on or off. */
        if (field(st, "p", 1) > 0) stage_xtc(k, fieldf(st, "threshold", 0.1), min_keep);
    } else if (strcmp(type, "temp") == 0)
        stage_temp(k, fieldf(st, "t", 1));
    else if (strcmp(type, "temp_ext") == 0)
        stage_temp_dynamic(k, fieldf(st, "t", 1), fieldf(st, "delta", 0),
                           fieldf(st, "exponent", 1));
    else
        return err_set(c->e, ERR_FORMAT,
                       "chain: stage \"%s\"; known: logit_bias penalties dry top_n_sigma top_k "
                       "typical top_p min_p xtc temp temp_ext",
                       type);
    return 0;
}

static json_t *real(float x) {
    return isinf(x) ? json_string(x < 0 ? "-inf" : "inf") : json_real((double)x);
}

static json_t *result(struct cands *k) {
    json_t *ids = json_array(), *logits = json_array(), *probs = json_array();
    cands_softmax(k);
    cands_sort(k);
    for (int i = 0; i < k->n; i++) {
        json_array_append_new(ids, json_integer(k->c[i].id));
        json_array_append_new(logits, real(k->c[i].logit));
        json_array_append_new(probs, real(k->c[i].p));
    }
    return json_pack("{s:o, s:o, s:o}", "ids", ids, "logits", logits, "probs", probs);
}

/* Fill c's buffers from an array of numbers. */
static int chain_init(struct chain *c, const json_t *logits, struct err *e) {
    const size_t n = json_array_size(logits);
    *c = (struct chain){.e = e, .n_vocab = (int)n};
    if (n < 1 || n > MAX_LOGITS)
        return err_set(e, ERR_FORMAT, "logits: %zu numbers; accepted: 1 to %d", n, MAX_LOGITS);
    c->logits = calloc(n, sizeof *c->logits);
    c->k.c = calloc(n, sizeof *c->k.c);
    c->k.tmp = calloc(n, sizeof *c->k.tmp);
    if (!c->logits || !c->k.c || !c->k.tmp) return err_nomem(e, "debug sampler");
    for (size_t i = 0; i < n; i++)
        c->logits[i] = (float)number(json_array_get(logits, i), NAN);
    cands_fill(&c->k, c->logits, c->n_vocab);
    return 0;
}

static void chain_fini(struct chain *c) {
    free(c->logits), free(c->k.c), free(c->k.tmp);
}

static json_t *run_chain(const json_t *line, struct err *e) {
    const json_t *stages = json_object_get(line, "chain"), *st;
    json_t *out = NULL;
    struct chain c;
    size_t i;
    if (chain_init(&c, json_object_get(line, "logits"), e) != 0) goto done;
    c.history = json_object_get(line, "history");
    json_array_foreach(stages, i, st) {
        if (run_stage(&c, st) != 0) goto done;
    }
    out = result(&c.k);
done:
    chain_fini(&c);
    return out;
}

/* One step: cut with mu, then take the token that the line forces. */
static json_t *mirostat_step(const json_t *line, const json_t *step, float *mu, struct err *e) {
    const int version = fieldi(line, "mirostat", 2), selected = fieldi(step, "selected", -1);
    json_t *out = NULL;
    struct chain c;
    if (chain_init(&c, json_object_get(step, "logits"), e) != 0) goto done;
    stage_mirostat(&c.k, version, *mu, fieldi(line, "m", 100), c.n_vocab);
    const struct candidate *chosen = NULL;
    for (int i = 0; i < c.k.n; i++)
        if (c.k.c[i].id == selected) chosen = &c.k.c[i];
    if (!chosen) {
        err_set(e, ERR_FORMAT, "selected: token %d is not among the %d kept", selected, c.k.n);
        goto done;
    }
    *mu = mirostat_update(*mu, fieldf(line, "tau", 5), fieldf(line, "eta", 0.1), chosen->p);
    out = json_pack("{s:i, s:f}", "kept", c.k.n, "mu_after", (double)*mu);
done:
    chain_fini(&c);
    return out;
}

static json_t *run_mirostat(const json_t *line, struct err *e) {
    const json_t *steps = json_object_get(line, "steps"), *step;
    float mu = 2.0f * fieldf(line, "tau", 5);
    json_t *list = json_array();
    size_t i;
    json_array_foreach(steps, i, step) {
        json_t *out = mirostat_step(line, step, &mu, e);
        if (!out) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, out);
    }
    return json_pack("{s:o}", "steps", list);
}

static json_t *run_line(const char *text, size_t n) {
    json_error_t je;
    struct err e = {0};
    json_t *line = json_loadb(text, n, 0, &je), *out = NULL;
    if (!json_is_object(line))
        err_set(&e, ERR_FORMAT, "line: %s; accepted: a JSON object", line ? "no object" : je.text);
    else if (json_object_get(line, "mirostat"))
        out = run_mirostat(line, &e);
    else
        out = run_chain(line, &e);
    json_decref(line);
    return out ? out : json_pack("{s:s}", "error", e.msg);
}

static int time_n; /* a command line option; one command per process */

const struct opt *debug_sampler_options(void) {
    static const struct opt table[] = {
        {"time", 0, OPT_INT, &time_n, 1, MAX_LOGITS, "N", "time the usual chains on N logits"},
        {0},
    };
    return table;
}

int debug_sampler(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, debug_sampler_options(), args, &n_args, e) != 0) return -1;
    if (n_args)
        return err_set(e, ERR_USAGE, "debug sampler: found \"%s\"; it reads standard input",
                       args[0]);
    if (time_n > 0) return sampler_time(time_n, e);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        cli_print_json(run_line(line, (size_t)n));
        fflush(stdout);
    }
    free(line);
    return 0;
}
