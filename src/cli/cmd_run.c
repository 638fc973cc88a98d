/* `cria run [MODEL] [PROMPT...]`: one answer to a prompt, or without one on a terminal a chat.
 * Without a model the guide answers. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/guide.h"
#include "cli/model.h"
#include "cli/remote_store.h"
#include "cli/repl.h"
#include "cli/repl_model.h"

enum { MAX_STDIN_BYTES = 64 << 20 };

static struct {
    struct opt_list options;
    const char *system, *lora, *format, *think, *keep_alive, *truncate;
    int threads, ctx, dimensions;
    bool raw, json, verbose, no_wrap, hide_thinking, insecure;
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
        {"format", 0, OPT_STR, &flags.format, 0, 0, "json",
         "the answer is JSON, or of a JSON schema"},
        {"think", 0, OPT_MAYBE, &flags.think, 0, 0, "true|false|low|medium|high|max",
         "whether, and how much, the model thinks before it answers"},
        {"hidethinking", 0, OPT_FLAG, &flags.hide_thinking, 0, 0, NULL, "do not show it"},
        {"keepalive", 0, OPT_STR, &flags.keep_alive, 0, 0, "TIME",
         "how long the server keeps the model: 5m, -1 (for ever)"},
        {"dimensions", 0, OPT_INT, &flags.dimensions, 1, 1 << 20, "N",
         "of an embedding: the first N numbers"},
        {"truncate", 0, OPT_MAYBE, &flags.truncate, 0, 0, "true|false",
         "an embedding of the beginning, where the text is longer than the context (the default)"},
        {"insecure", 0, OPT_FLAG, &flags.insecure, 0, 0, NULL,
         "of a pull: any certificate, or plain http"},
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
    char number[16];
    snprintf(number, sizeof number, "%d", flags.threads);
    if (flags.threads && chat_set_option(c, "num_thread", number, e) != 0) return -1;
    snprintf(number, sizeof number, "%d", flags.ctx);
    if (flags.ctx && chat_set_option(c, "num_ctx", number, e) != 0) return -1;
    if (chat_set_format(c, flags.format, e) != 0 || chat_set_think(c, flags.think, e) != 0)
        return -1;
    if (flags.raw && flags.system)
        return err_set(e, ERR_USAGE, "--system: a raw prompt has no system message");
    if (flags.system) buf_reset(&c->system), buf_str(&c->system, flags.system);
    c->raw = flags.raw;
    c->json = flags.json;
    c->hide_thinking = flags.hide_thinking;
    c->keep_alive = flags.keep_alive;
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
    json_t *vector;
    int n_cut;
    const bool cut = !flags.truncate || strcmp(flags.truncate, "true") == 0;
    if (!cut && strcmp(flags.truncate, "false") != 0)
        return err_set(e, ERR_USAGE, "--truncate: found \"%.40s\"; accepted: true, false",
                       flags.truncate);
    if (talk_embed(c->talk, text, flags.dimensions, cut, &vector, &n_cut, e) != 0) return -1;
    if (n_cut > 0)
        fprintf(stderr,
                "warning: the text is longer than the context: its last %d tokens are cut\n",
                n_cut);
    cli_print_json(vector);
    return 0;
}

/* Say at once what every question would run into. */
static int check_can_chat(const struct chat *c, struct err *e) {
    if (!talk_embeds(c->talk)) return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: an embedding model does not chat; give it a text to embed",
                   c->name ? c->name : c->path);
}

static int run(struct chat *c, const char *const *words, int n_word, struct err *e) {
    const bool interactive = n_word == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    struct buf prompt = {0};
    int rc = 0;
    if (!interactive) rc = read_prompt(words, n_word, &prompt, e);
    if (rc == 0 && !c->talk) rc = chat_open(c, e);
    if (rc == 0 && interactive)
        rc = check_can_chat(c, e) == 0 ? repl_run(c, e) : -1;
    else if (rc == 0 && prompt.n == 0)
        rc = talk_load(c->talk, c->given, c->keep_alive, e);
    else if (rc == 0)
        rc = talk_embeds(c->talk) ? print_embedding(c, buf_view(&prompt), e)
                                  : chat_ask(c, buf_view(&prompt), e);
    buf_fini(&prompt);
    return rc;
}

/* What names a file of ours, which no server opens; or NULL. */
static const char *only_here(void) {
    for (int i = 0; i < flags.options.n; i++)
        if (strncmp(flags.options.v[i], "draft=", 6) == 0) return "-o draft";
    return flags.lora ? "--lora" : NULL;
}

/* The server's model, fetched when it is not there. */
static int run_there(struct chat *c, const char *const *args, int n_args, struct err *e) {
    char *lora = NULL;
    c->name = args[0];
    if (set_options(c, &lora, e) != 0) return -1;
    if (chat_open(c, e) != 0) {
        struct remote *r = e->code == ERR_NOT_FOUND ? remote_open(e) : NULL;
        const int rc = r ? remote_transfer(r, "pull", c->name, flags.insecure, false, e) : -1;
        remote_close(r);
        if (rc != 0) return -1;
    }
    return run(c, args + 1, n_args - 1, e);
}

static int run_here(struct chat *c, const char *const *args, int n_args, struct err *e) {
    struct cli_model m;
    char *lora = NULL;
    int rc = cli_model_fetch(&m, args[0], flags.insecure, e);
    if (rc == 0) rc = cli_model_apply(&m, c, e);
    if (rc == 0) rc = set_options(c, &lora, e);
    if (rc == 0) rc = run(c, args + 1, n_args - 1, e);
    chat_fini(c); /* before what it borrows from */
    cli_model_close(&m);
    free(lora);
    return rc;
}

/* No model is named: the guide's file comes before the prompt.  It knows one answer to a question,
 * so nothing is left to chance, unless the user wants that. */
static int put_guide(const char **args, int *n_args, struct chat *c, struct err *e) {
    static char path[4096 + 64];
    if (*n_args > 0 && guide_is_model(args[0])) return 0;
    if (guide_path(path, sizeof path, e) != 0) return -1;
    memmove(args + 1, args, (size_t)*n_args * sizeof *args);
    args[0] = path;
    ++*n_args;
    return chat_set_option(c, "temperature", "0", e);
}

int cmd_run(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS + 1];
    int n_args;
    struct chat c = {0};
    if (cli_parse(argc, argv, cmd_run_options(), args, &n_args, e) != 0) return -1;
    chat_init(&c);
    if (put_guide(args, &n_args, &c, e) != 0) {
        chat_fini(&c);
        return -1;
    }
    struct remote *r = NULL;
    int rc = cli_is_file(args[0]) ? 0 : remote_find(only_here(), &r, e);
    if (rc != 0) {
        chat_fini(&c);
        return rc;
    }
    c.verbose = flags.verbose;
    remote_close(r);
    if (r) {
        rc = run_there(&c, args, n_args, e);
        chat_fini(&c);
    } else {
        rc = run_here(&c, args, n_args, e);
    }
    repl_models_fini();
    return rc;
}
