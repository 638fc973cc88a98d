/* `cria recommend`: models of the catalogue that suit this machine, the best one first. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cores.h"
#include "base/os.h"
#include "base/ram.h"
#include "cli/human.h"
#include "create/recommend.h"
#include "engine/limits.h"

static const char *task_name, *memory;
static int n_ctx;
static bool as_json;

const struct opt *cmd_recommend_options(void) {
    static const struct opt table[] = {
        {"task", 0, OPT_STR, &task_name, 0, 0, "TASK",
         "what it is for: " CATALOGUE_TASKS "; default: chat"},
        {"memory", 0, OPT_STR, &memory, 0, 0, "BYTES",
         "that it may need, such as 4g; default: what is available here"},
        {"ctx", 0, OPT_INT, &n_ctx, 4, 1 << 24, "N",
         "tokens of context; default: CRIA_CONTEXT_LENGTH, at most 4096"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static int read_options(struct recommend_opts *o, struct err *e) {
    *o = (struct recommend_opts){.engine.n_ctx = n_ctx};
    if (task_name && !(o->task = catalogue_task_by_name(task_name)))
        return err_set(e, ERR_USAGE, "--task: found \"%s\"; one of " CATALOGUE_TASKS " is accepted",
                       task_name);
    if (memory && !os_parse_bytes(memory, &o->memory_bytes))
        return err_set(e, ERR_USAGE,
                       "--memory: found \"%s\"; a number of bytes, such as 512m or 4g, is accepted",
                       memory);
    if (!memory) o->memory_bytes = ram_available_bytes("");
    if (!memory && !o->memory_bytes) o->memory_bytes = os_memory_bytes();
    if (engine_user_opts(&o->engine, e) != 0) return -1;
    o->engine.n_threads = cores_default_threads(e);
    return o->engine.n_threads > 0 ? 0 : -1;
}

static int measure(struct recommend_opts *o, struct err *e) {
    struct team *t = team_new(o->engine.n_threads, e);
    if (!t) return -1;
    const int rc = limits_measure_read(t, &o->read_bps, e);
    team_free(t);
    return rc;
}

static json_t *tasks_json(unsigned tasks) {
    json_t *a = json_array();
    for (unsigned t = 1; t < 1u << N_TASK; t *= 2)
        if (tasks & t) json_array_append_new(a, json_string(catalogue_task_name(t)));
    return a;
}

static json_t *model_json(const struct recommendation *r) {
    char name[CATALOGUE_NAME], pull[CATALOGUE_NAME];
    catalogue_name(r->m, name);
    catalogue_pull_name(r->m, r->mix, pull);
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:i, s:b, s:o, s:i, s:o, s:s}",
        "name", name, "pull", pull, "quantization", gguf_file_type_name((uint32_t)r->mix),
        "parameters", (json_int_t)r->size.n_param, "size", (json_int_t)r->size.file_bytes, "memory",
        "total", (json_int_t)memory_total(&r->need), "weights", (json_int_t)r->need.weights,
        "vocabulary", (json_int_t)r->need.vocab, "kv", (json_int_t)r->need.kv, "compute",
        (json_int_t)r->need.compute, "context", r->n_ctx, "fits", (int)r->fits, "tokens_per_second",
        r->decode_tps > 0 ? json_real(r->decode_tps) : json_null(), "context_trained", r->m->n_ctx,
        "tasks", tasks_json(r->m->tasks), "licence", r->m->licence);
}

static void print_json(const struct recommend_opts *o, const struct recommendation *r, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, model_json(&r[i]));
    cli_print_json(json_pack("{s:I, s:i, s:f, s:f, s:o}", "memory_bytes",
                             (json_int_t)o->memory_bytes, "threads", o->engine.n_threads,
                             "bandwidth_gbs", o->read_bps * 1e-9, "efficiency",
                             RECOMMEND_EFFICIENCY, "models", list));
}

static void print_table(const struct recommendation *r, int n) {
    int width = 4;
    char name[CATALOGUE_NAME], size[HUMAN_TEXT], need[HUMAN_TEXT], tps[32];
    for (int i = 0; i < n; i++) {
        catalogue_pull_name(r[i].m, r[i].mix, name);
        if ((int)strlen(name) > width) width = (int)strlen(name);
    }
    printf("%-*s    %-8s  %-8s  %-8s  %-8s  %-4s  %s\n", width, "NAME", "SIZE", "MEMORY",
           "TOKENS/S", "CONTEXT", "FITS", "LICENCE");
    for (int i = 0; i < n; i++) {
        catalogue_pull_name(r[i].m, r[i].mix, name);
        human_bytes(r[i].size.file_bytes, size);
        human_bytes(memory_total(&r[i].need), need);
        snprintf(tps, sizeof tps, r[i].decode_tps > 0 ? "%.1f" : "-", r[i].decode_tps);
        printf("%-*s    %-8s  %-8s  %-8s  %-8d  %-4s  %s\n", width, name, size, need, tps,
               r[i].n_ctx, r[i].fits ? "yes" : "no", r[i].m->licence);
    }
}

static int nothing_fits(const struct recommend_opts *o, const struct recommendation *nearest,
                        struct err *e) {
    char name[CATALOGUE_NAME];
    catalogue_pull_name(nearest->m, nearest->mix, name);
    return err_set(
        e, ERR_LIMIT,
        "recommend: nothing fits %.0f MB; the smallest, %s, needs %.0f MB with %d tokens "
        "of context",
        (double)o->memory_bytes * 1e-6, name, (double)memory_total(&nearest->need) * 1e-6,
        nearest->n_ctx);
}

int cmd_recommend(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args, n;
    struct recommend_opts o;
    struct recommendation *r = NULL;
    if (cli_parse(argc, argv, cmd_recommend_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("recommend", n_args, 0, 0, "", e) != 0) return -1;
    if (read_options(&o, e) != 0 || measure(&o, e) != 0) return -1;
    int rc = recommend(&o, &r, &n, e);
    if (rc == 0 && !r[0].fits)
        rc = nothing_fits(&o, &r[0], e);
    else if (rc == 0 && as_json)
        print_json(&o, r, n);
    else if (rc == 0)
        print_table(r, n);
    free(r);
    return rc;
}
