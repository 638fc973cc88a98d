/* `cria embed MODEL TEXT...`: the vector of each text as one JSON array per line. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/model.h"
#include "engine/embed.h"

static struct {
    const char *pooling;
    int threads, ctx;
    bool json, as_is, whole;
} flags;

const struct opt *cmd_embed_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &flags.json, 0, 0, NULL,
         "one object for all texts: model, embeddings, prompt_eval_count"},
        {"no-truncate", 0, OPT_FLAG, &flags.whole, 0, 0, NULL,
         "a text longer than the context is an error; default: its end is cut, with a warning"},
        {"no-normalize", 0, OPT_FLAG, &flags.as_is, 0, 0, NULL, "do not scale to length 1"},
        {"pooling", 0, OPT_STR, &flags.pooling, 0, 0, "mean|cls|last",
         "how tokens become one vector (default: as the model says)"},
        {"threads", 0, OPT_INT, &flags.threads, 1, 512, "N", "threads (default: cores)"},
        {"ctx", 0, OPT_INT, &flags.ctx, 4, 1 << 24, "N", "tokens of context"},
        {0},
    };
    return table;
}

/* What one call needs. */
struct work {
    struct engine *engine;
    struct session *session;
    float *vector; /* [n_embd] */
    enum pooling pooling;
    json_t *all; /* with --json: the vectors so far */
    long n_tok;
};

static int set_pooling(enum pooling *p, struct err *e) {
    static const char *const name[] = {"mean", "cls", "last"};
    *p = POOL_MODEL;
    if (!flags.pooling) return 0;
    for (int i = 0; i < 3; i++) {
        if (strcmp(flags.pooling, name[i]) != 0) continue;
        *p = (enum pooling)(POOL_MEAN + i);
        return 0;
    }
    return err_set(e, ERR_USAGE, "--pooling: found \"%s\"; mean, cls or last is accepted",
                   flags.pooling);
}

static int fit(const struct engine *g, struct ids *ids, struct err *e) {
    const size_t n = ids->n;
    const int n_ctx = engine_n_ctx(g);
    if (n <= (size_t)n_ctx) return 0;
    if (flags.whole)
        return err_set(e, ERR_LIMIT,
                       "embed: the input length exceeds the context length: %zu tokens; it holds "
                       "%d (--ctx; without --no-truncate the end is cut)",
                       n, n_ctx);
    fprintf(stderr, "warning: the text is longer than the context: its last %d tokens are cut\n",
            embed_truncate(g, 0, ids));
    return 0;
}

static int embed_text(struct work *w, struct str text, struct err *e) {
    struct ids ids = {0};
    const struct tok_opts opts = {.add_special = true};
    if (cli_interrupted) return err_set(e, ERR_CANCELLED, "interrupted");
    int rc = tok_encode(engine_vocab(w->engine), text, opts, &ids, e);
    if (rc == 0) rc = fit(w->engine, &ids, e);
    if (rc == 0)
        rc = embed_tokens(w->session, ids.v, (int)ids.n, w->pooling, !flags.as_is, w->vector, e);
    w->n_tok += (long)ids.n;
    ids_fini(&ids);
    if (rc != 0) return -1;
    json_t *list = json_array();
    for (int i = 0; i < model_n_embd(engine_model(w->engine)); i++)
        json_array_append_new(list, json_real((double)w->vector[i]));
    if (w->all)
        json_array_append_new(w->all, list);
    else {
        cli_print_json(list);
        fflush(stdout);
    }
    return 0;
}

/* Each line of standard input is a text. */
static int embed_lines(struct work *w, struct err *e) {
    char *line = NULL;
    size_t cap = 0;
    int rc = 0;
    for (ssize_t n; rc == 0 && (n = getline(&line, &cap, stdin)) > 0;) {
        if (line[n - 1] == '\n') n--;
        rc = embed_text(w, (struct str){line, (size_t)n}, e);
    }
    free(line);
    return rc;
}

static int work_open(struct work *w, const char *path, struct err *e) {
    struct engine_opts o = {.n_threads = flags.threads, .n_ctx = flags.ctx};
    if (set_pooling(&w->pooling, e) != 0 || engine_user_opts(&o, e) != 0) return -1;
    w->engine = engine_open(path, &o, e);
    w->session = w->engine ? session_new(w->engine, e) : NULL;
    if (!w->session) return -1;
    w->vector = calloc((size_t)model_n_embd(engine_model(w->engine)), sizeof *w->vector);
    return w->vector ? 0 : err_nomem(e, "embed");
}

static void work_close(struct work *w) {
    session_free(w->session);
    engine_close(w->engine);
    free(w->vector);
    json_decref(w->all);
}

int cmd_embed(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct work w = {0};
    if (cli_parse(argc, argv, cmd_embed_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("embed", n_args, 1, CLI_MAX_ARGS, "MODEL [TEXT...]", e) != 0) return -1;
    struct cli_model m;
    int rc = cli_model_open(&m, args[0], e);
    if (rc == 0) rc = work_open(&w, m.r.path, e);
    if (rc == 0 && flags.json) w.all = json_array();
    for (int i = 1; rc == 0 && i < n_args; i++)
        rc = embed_text(&w, str_of(args[i]), e);
    if (rc == 0 && n_args == 1) rc = embed_lines(&w, e);
    if (rc == 0 && w.all) {
        cli_print_json(json_pack("{s:s, s:O, s:I}", "model", args[0], "embeddings", w.all,
                                 "prompt_eval_count", (json_int_t)w.n_tok));
    }
    work_close(&w);
    cli_model_close(&m);
    return rc;
}
