/* Opening a model for the debug doors: cache in F32, context 512, unless told otherwise. */
#include "cli/debug_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

struct debug_model_flags debug_model_flags;

enum { DEFAULT_CTX = 512 };

/* "1 2,3" into d->tok. */
static int parse_tokens(struct debug_model *d, const char *text, struct err *e) {
    if (!text) return err_set(e, ERR_USAGE, "--tokens is missing; ids such as \"1 2 3\"");
    d->tok = calloc(strlen(text) / 2 + 1, sizeof *d->tok); /* a digit and a separator each */
    if (!d->tok) return err_nomem(e, "--tokens");
    for (const char *p = text + strspn(text, " ,\t\n"); *p; p += strspn(p, " ,\t\n")) {
        char *end;
        errno = 0;
        const long v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v > INT32_MAX || (*end && !strchr(" ,\t\n", *end)))
            return err_set(e, ERR_USAGE, "--tokens: \"%.20s\"; whole numbers from 0 are accepted",
                           p);
        d->tok[d->n_tok++] = (int32_t)v;
        p = end;
    }
    return d->n_tok ? 0 : err_set(e, ERR_USAGE, "--tokens: no ids; such as \"1 2 3\"");
}

static int parse_kv(const char *name, enum qtype *t, struct err *e) {
    *t = QT_F32;
    if (!name) return 0;
    const int id = kv_type_by_name(name);
    if (id < 0)
        return err_set(e, ERR_USAGE, "--kv: found \"%s\"; one of " KV_TYPE_NAMES " is accepted",
                       name);
    *t = (enum qtype)id;
    return 0;
}

int debug_model_open(struct debug_model *d, int argc, char **argv, const struct opt *table,
                     struct err *e) {
    const struct debug_model_flags *f = &debug_model_flags;
    const char *args[CLI_MAX_ARGS];
    char *lora = NULL, name[64];
    float scale = 1;
    int n_args;
    enum qtype kv;
    *d = (struct debug_model){0};
    if (cli_parse(argc, argv, table, args, &n_args, e) != 0) return -1;
    snprintf(name, sizeof name, "debug %s", argv[0]);
    if (cli_check_args(name, n_args, 1, 1, "FILE", e) != 0) return -1;
    if (parse_tokens(d, f->tokens, e) != 0 || parse_kv(f->kv, &kv, e) != 0) goto fail;
    if (f->lora && cli_parse_lora(f->lora, &lora, &scale, e) != 0) goto fail;
    const char *const files[] = {lora};
    const struct engine_opts o = {
        .n_ctx = f->ctx ? f->ctx : DEFAULT_CTX,
        .n_batch = f->batch,
        .n_threads = f->threads,
        .k_type = kv,
        .v_type = kv,
        .lora = lora ? files : NULL,
        .lora_scale = &scale,
        .n_lora = lora ? 1 : 0,
    };
    d->engine = engine_open(args[0], &o, e);
    d->session = d->engine ? session_new(d->engine, e) : NULL;
    if (!d->session) goto fail;
    free(lora);
    return 0;
fail:
    free(lora);
    debug_model_close(d);
    return -1;
}

void debug_model_close(struct debug_model *d) {
    session_free(d->session);
    engine_close(d->engine);
    free(d->tok);
    *d = (struct debug_model){0};
}
