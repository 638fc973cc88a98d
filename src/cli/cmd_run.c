/* `cria run MODEL [PROMPT...]`: one answer to a prompt, or without one on a terminal a chat. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/model.h"
#include "cli/repl.h"
#include "cli/repl_model.h"
#include "engine/embed.h"

enum { MAX_STDIN_BYTES = 64 << 20 };

static struct {
    struct opt_list options;
    const char *system, *lora, *format;
    int threads, ctx;
    bool raw, json, verbose, no_wrap;
} flags;

const struct opt *cmd_run_options(void) {
    static const struct opt table[] = {
        {"option", 'o', OPT_LIST, &flags.options, 0, 0, "NAME=VALUE",
         "set an option of the run: temperature=0, num_ctx=8192, stop=END, draft=SMALL.gguf..."},
        {"system", 0, OPT_STR, &flags.system, 0, 0, "TEXT", "the system message"},
        {"raw", 0, OPT_FLAG, &flags.raw, 0, 0, NULL,
         "continue the prompt as it is, without the model's chat template"},
        {"json", 0, OPT_FLAG, &flags.json, 0, 0, NULL,
         "a JSON object per piece, the last one with done, done_reason, counts and times in ns"},
        {"verbose", 0, OPT_FLAG, &flags.verbose, 0, 0, NULL, "show timings after the answer"},
        {"nowordwrap", 0, OPT_FLAG, &flags.no_wrap, 0, 0, NULL, "do not break lines between words"},
        {"lora", 0, OPT_STR, &flags.lora, 0, 0, "FILE[:SCALE]", "apply a LoRA adapter"},
        {"threads", 0, OPT_INT, &flags.threads, 1, 512, "N", "threads (default: cores)"},
        {"ctx", 0, OPT_INT, &flags.ctx, 4, 1 << 24, "N", "tokens of context, as -o num_ctx=N"},
        {"format", 0, OPT_STR, &flags.format, 0, 0, "json", "not in this version"},
        {0},
    };
    return table;
}

/* The user's own options, over those that the model brings. */
static int set_options(struct chat *c, char **lora, struct err *e) {
    for (int i = 0; i < flags.options.n; i++)
        if (strncmp(flags.options.v[i], "stop=", 5) == 0) c->options.n_stop = 0;
    for (int i = 0; i < flags.options.n; i++)
        if (chat_assign_option(c, flags.options.v[i], e) != 0) return -1;
    if (flags.threads) c->options.num_thread = flags.threads;
    if (flags.ctx) c->options.num_ctx = flags.ctx;
    if (flags.format)
        return err_set(e, ERR_UNSUPPORTED, "--format: this version does not constrain answers");
    if (flags.raw && flags.system)
        return err_set(e, ERR_USAGE, "--system: a raw prompt has no system message");
    if (flags.system) buf_reset(&c->system), buf_str(&c->system, flags.system);
    c->raw = flags.raw;
    c->json = flags.json;
    c->display.wrap = !flags.no_wrap;
    if (!flags.lora) return 0;
    if (c->lora)
        return err_set(e, ERR_UNSUPPORTED, "--lora: model '%s' has an adapter; one is used",
                       c->name);
    const int rc = cli_parse_lora(flags.lora, lora, &c->lora_scale, e);
    c->lora = *lora;
    return rc;
}

/* Standard input when it is no terminal, then the arguments, joined by blanks. */
static int read_prompt(const char *const *words, int n_word, struct buf *out, struct err *e) {
    if (!isatty(STDIN_FILENO) && os_read_file("-", MAX_STDIN_BYTES, out, e) != 0) return -1;
    /* `echo text |` adds a line feed that nobody meant; a raw prompt is taken to the byte. */
    while (!flags.raw && out->n > 0 && strchr("\r\n", out->p[out->n - 1]))
        out->p[--out->n] = 0;
    for (int i = 0; i < n_word; i++) {
        if (out->n > 0) buf_byte(out, ' ');
        buf_str(out, words[i]);
    }
    return out->failed ? err_nomem(e, "prompt") : 0;
}

/* An embedding model answers with its vector, as in Ollama. */
static int print_embedding(struct chat *c, struct str text, struct err *e) {
    const int n = model_n_embd(engine_model(c->engine));
    float *v = calloc((size_t)n, sizeof *v);
    struct ids ids = {0};
    int rc = v ? 0 : err_nomem(e, "embed");
    if (rc == 0)
        rc = tok_encode(engine_vocab(c->engine), text, (struct tok_opts){.add_special = true}, &ids,
                        e);
    const int cut = rc == 0 ? embed_truncate(c->engine, 0, &ids) : 0;
    if (cut > 0)
        fprintf(stderr,
                "warning: the text is longer than the context: its last %d tokens are cut\n", cut);
    if (rc == 0) rc = embed_tokens(c->session, ids.v, (int)ids.n, POOL_MODEL, true, v, e);
    json_t *list = json_array();
    for (int i = 0; rc == 0 && i < n; i++)
        json_array_append_new(list, json_real((double)v[i]));
    if (rc == 0)
        cli_print_json(list);
    else
        json_decref(list);
    ids_fini(&ids);
    free(v);
    return rc;
}

/* Say at once what every question would run into. */
static int check_can_chat(const struct chat *c, struct err *e) {
    if (model_is_embedding(engine_model(c->engine)))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: an embedding model does not chat; give it a text to embed", c->path);
    return c->raw || engine_template(c->engine, e) ? 0 : -1;
}

static int run(struct chat *c, const char *const *words, int n_word, struct err *e) {
    const bool interactive = n_word == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    struct buf prompt = {0};
    int rc = 0;
    if (!interactive) rc = read_prompt(words, n_word, &prompt, e);
    if (rc == 0) rc = chat_open(c, e);
    if (rc == 0 && interactive)
        rc = check_can_chat(c, e) == 0 ? repl_run(c, e) : -1;
    else if (rc == 0 && prompt.n > 0) /* an empty prompt only loads the model */
        rc = model_is_embedding(engine_model(c->engine)) ? print_embedding(c, buf_view(&prompt), e)
                                                         : chat_ask(c, buf_view(&prompt), e);
    buf_fini(&prompt);
    return rc;
}

int cmd_run(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct chat c = {0};
    struct cli_model m;
    if (cli_parse(argc, argv, cmd_run_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("run", n_args, 1, CLI_MAX_ARGS, "MODEL [PROMPT...]", e) != 0) return -1;
    char *lora = NULL;
    run_options_init(&c.options);
    display_init(&c.display, true);
    c.verbose = flags.verbose;
    int rc = cli_model_fetch(&m, args[0], e);
    if (rc == 0) rc = cli_model_apply(&m, &c, e);
    if (rc == 0) rc = set_options(&c, &lora, e);
    if (rc == 0) rc = run(&c, args + 1, n_args - 1, e);
    chat_fini(&c);
    repl_models_fini();
    cli_model_close(&m);
    free(lora);
    return rc;
}
