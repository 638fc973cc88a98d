/* `cria verify [NAME...]`: read the blobs of models, or of all there are, and compare them with
 * the digests they are named by; with --repair fetch again what is wrong, and look again. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/model.h"
#include "cli/pull.h"

static bool all, repair, insecure, as_json;

const struct opt *cmd_verify_options(void) {
    static const struct opt table[] = {
        {"all", 0, OPT_FLAG, &all, 0, 0, NULL, "all models; also without a name"},
        {"repair", 0, OPT_FLAG, &repair, 0, 0, NULL,
         "pull models with something wrong again; wrong blobs are removed first"},
        {"insecure", 0, OPT_FLAG, &insecure, 0, 0, NULL, "with --repair: " CLI_INSECURE_HELP},
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
    json_t *broken;   /* models to be pulled again: name -> list of digests */
    struct store_check sum;
};

static void note_broken(struct check *c, const char *model, const struct digest *d) {
    char text[DIGEST_TEXT];
    if (!json_object_get(c->broken, model)) json_object_set_new(c->broken, model, json_array());
    if (!d) return;
    digest_format(d, text);
    json_array_append_new(json_object_get(c->broken, model), json_string(text));
}

/* Each finding is one line: MODEL: sha256:...: WHAT. */
static void on_finding(void *ctx, const char *model, const struct digest *d, const char *what) {
    struct check *c = ctx;
    if (model && c->broken) note_broken(c, model, d);
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

/* Before anything is asked for or removed. */
static int check_hosts(const struct check *c, struct err *e) {
    const int most = (int)json_object_size(c->broken);
    struct name *names = malloc((size_t)(most + 1) * sizeof *names);
    const char *model;
    json_t *unused;
    int n = 0;
    if (!names) return err_nomem(e, "verify");
    json_object_foreach(c->broken, model, unused) if (name_parse(model, &names[n], NULL) == 0) n++;
    const int rc = cli_check_one_host("verify", names, n, e);
    free(names);
    return rc;
}

/* Put wrong blobs out of the way and pull what had them.  A model that cannot be pulled is said,
 * and the others are tried. */
static int repair_all(const struct check *c, struct store *s, struct err *e) {
    const char *model;
    json_t *list, *digest;
    size_t i;
    int rc = 0;
    json_object_foreach(c->broken, model, list) {
        struct name n;
        struct digest d;
        struct err one = {0};
        int bad = name_parse(model, &n, &one);
        json_array_foreach(list, i, digest) {
            if (digest_parse(str_of(json_string_value(digest)), &d, &one) != 0) continue;
            if (bad == 0) bad = store_discard_blob(s, &d, &one);
        }
        if (bad == 0) bad = cli_pull(s, &n, insecure, false, &one);
        if (bad == 0) continue;
        if (rc == 0)
            *e = one;
        else
            fprintf(stderr, "Error: %s\n", one.msg);
        rc = -1;
        if (one.code == ERR_CANCELLED) break;
    }
    return rc;
}

static bool is_wrong(const struct store_check *r) {
    return r->n_missing + r->n_wrong + r->n_damaged > 0;
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
    if (!is_wrong(r))
        puts(": all as they should be");
    else
        printf(": %d missing, %d wrong, %d damaged manifests\n", r->n_missing, r->n_wrong,
               r->n_damaged);
}

static int verify(struct check *c, struct store *s, const char *const *args, int n, struct err *e) {
    int rc = check_models(c, s, args, n, e);
    if (c->started) progress_end(&c->bar), c->started = false;
    if (rc == 0) report(c);
    return rc;
}

int cmd_verify(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct check c = {0};
    if (cli_parse(argc, argv, cmd_verify_options(), args, &n_args, e) != 0) return -1;
    if (all && n_args)
        return err_set(e, ERR_USAGE, "verify: --all and a model; one of them is accepted");
    if (repair && as_json)
        return err_set(e, ERR_USAGE, "verify: --repair and --json; one of them is accepted");
    struct store *s = cli_store(e);
    if (!s) return -1;
    if (as_json) c.findings = json_array();
    if (repair) c.broken = json_object();
    int rc = verify(&c, s, args, n_args, e);
    if (rc == 0 && repair && is_wrong(&c.sum)) {
        struct check again = {0};
        if (insecure) rc = check_hosts(&c, e);
        if (rc == 0) rc = repair_all(&c, s, e);
        if (rc == 0) rc = verify(&again, s, args, n_args, e);
        c.sum = again.sum;
    }
    json_decref(c.findings);
    json_decref(c.broken);
    store_close(s);
    return rc != 0 ? -1 : is_wrong(&c.sum); /* what is wrong has been said */
}
