/* `cria verify [NAME...]`: read the blobs of models, or of all there are, and compare them with
 * the digests they are named by. */
#include "cli/commands.h"

#include <stdio.h>

#include "cli/model.h"

static bool all, as_json;

const struct opt *cmd_verify_options(void) {
    static const struct opt table[] = {
        {"all", 0, OPT_FLAG, &all, 0, 0, NULL, "all models; also without a name"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: models, blobs, missing, wrong, damaged, findings"},
        {0},
    };
    return table;
}

struct check {
    struct progress bar;
    bool started;
    json_t *findings; /* with --json */
    struct store_check sum;
};

/* Each finding is one line: MODEL: sha256:...: WHAT. */
static void on_finding(void *ctx, const char *model, const struct digest *d, const char *what) {
    struct check *c = ctx;
    struct err line; /* makes a stranger's text safe to print */
    err_set(&line, ERR_NONE, "%s%s%s%s%s", model ? model : "(no model)", d ? ": sha256:" : "",
            d ? d->hex : "", *what ? ": " : "", what);
    if (!c->findings) {
        if (c->started) progress_end(&c->bar), c->started = false;
        puts(line.msg);
        return;
    }
    json_t *o = json_pack("{s:s*, s:s}", "model", model, "problem", what);
    char text[DIGEST_TEXT];
    if (d) digest_format(d, text);
    if (d) json_object_set_new(o, "digest", json_string(text));
    json_array_append_new(c->findings, o);
}

static int on_bytes(void *ctx, uint64_t done, uint64_t n) {
    struct check *c = ctx;
    if (!c->started) progress_start(&c->bar, "verifying", (double)n, "B");
    c->started = true;
    progress_update(&c->bar, (double)done);
    return cli_interrupted;
}

static int check_models(struct check *c, struct store *s, const char *const *args, int n,
                        struct err *e) {
    for (int i = 0; i < (n ? n : 1); i++) {
        struct name name;
        struct store_check one;
        if (n && name_parse(args[i], &name, e) != 0) return -1;
        if (store_verify(s, n ? &name : NULL, &one, on_finding, on_bytes, c, e) != 0) return -1;
        c->sum.n_models += one.n_models;
        c->sum.n_blobs += one.n_blobs;
        c->sum.n_missing += one.n_missing;
        c->sum.n_wrong += one.n_wrong;
        c->sum.n_damaged += one.n_damaged;
    }
    return 0;
}

static void report(struct check *c) {
    const struct store_check *r = &c->sum;
    if (c->findings) {
        cli_print_json(json_pack("{s:i, s:i, s:i, s:i, s:i, s:O}", "models", r->n_models, "blobs",
                                 r->n_blobs, "missing", r->n_missing, "wrong", r->n_wrong,
                                 "damaged", r->n_damaged, "findings", c->findings));
        return;
    }
    printf("%d models, %d blobs", r->n_models, r->n_blobs);
    if (r->n_missing + r->n_wrong + r->n_damaged == 0)
        puts(": all as they should be");
    else
        printf(": %d missing, %d wrong, %d damaged manifests\n", r->n_missing, r->n_wrong,
               r->n_damaged);
}

int cmd_verify(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct check c = {0};
    if (cli_parse(argc, argv, cmd_verify_options(), args, &n_args, e) != 0) return -1;
    if (all && n_args)
        return err_set(e, ERR_USAGE, "verify: --all and a model; one of them is accepted");
    struct store *s = cli_store(e);
    if (!s) return -1;
    if (as_json) c.findings = json_array();
    int rc = check_models(&c, s, args, n_args, e);
    if (c.started) progress_end(&c.bar);
    if (rc == 0) report(&c);
    json_decref(c.findings);
    store_close(s);
    /* What is wrong has been said. */
    return rc != 0 ? -1 : c.sum.n_missing + c.sum.n_wrong + c.sum.n_damaged > 0;
}
