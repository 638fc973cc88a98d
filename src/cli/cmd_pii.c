/* `cria pii FILE|-`: personal data and secrets in a text, or the text without them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/pii_model.h"
#include "cli/text.h"
#include "cli/text_json.h"
#include "policy/pii_vault.h"

enum { FILE_MAX = 1 << 30, EXIT_FOUND = 5 };

static struct {
    const char *entities, *model;
    bool json, redact, mask, replace, check;
} flags;

const struct opt *cmd_pii_options(void) {
    static const struct opt table[] = {
        {"redact", 0, OPT_FLAG, &flags.redact, 0, 0, NULL,
         "print the text with [EMAIL] and the like in it"},
        {"mask", 0, OPT_FLAG, &flags.mask, 0, 0, NULL, "print it with j***@e***.com"},
        {"replace", 0, OPT_FLAG, &flags.replace, 0, 0, NULL,
         "print it with <EMAIL_1>, the same for the same value; --json tells what stands for what"},
        {"entities", 0, OPT_STR, &flags.entities, 0, 0, "LIST",
         "what to look for: email,phone,card... or all, with an action of its own as in "
         "all,email=mask"},
        {"model", 'm', OPT_STR, &flags.model, 0, 0, "MODEL",
         "let this model look for names and addresses, too"},
        {"json", 0, OPT_FLAG, &flags.json, 0, 0, NULL,
         "one object: text, found (entity, start, end in bytes, line, column), placeholders"},
        {"check", 0, OPT_FLAG, &flags.check, 0, 0, NULL, "exit code 5 when something is found"},
        {0},
    };
    return table;
}

struct work {
    struct buf text, out;
    struct pii_policy policy;
    struct pii_hits hits;
    struct pii_vault *vault;
};

/* ---- what is printed ---- */

/* A place in the text: from hit to hit, which are in order, so that nothing is counted twice in a
 * line of megabytes. */
struct place {
    size_t at;
    int line, column; /* in characters; from 1 */
};

static void move_to(struct place *p, const struct buf *text, size_t to) {
    while (p->at < to) {
        const char *from = text->p + p->at, *feed = memchr(from, '\n', to - p->at);
        const size_t n = feed ? (size_t)(feed - from) + 1 : to - p->at;
        p->line += feed != NULL;
        p->column = feed ? 1 : p->column + (int)pii_count_chars(from, n);
        p->at += n;
    }
}

static json_t *found_json(const struct work *w) {
    json_t *list = json_array();
    struct place at = {.line = 1, .column = 1};
    for (size_t i = 0; i < w->hits.n; i++) {
        const struct pii_hit *h = &w->hits.v[i];
        move_to(&at, &w->text, h->start);
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I, s:i, s:i, s:s}", "entity", pii_name(h->kind), "start",
                            (json_int_t)h->start, "end", (json_int_t)h->end, "line", at.line,
                            "column", at.column, "action",
                            pii_action_name((enum pii_action)w->policy.action[h->kind])));
    }
    return list;
}

static void print_json(const struct work *w) {
    json_t *o = json_object(), *map = w->vault ? json_object() : NULL;
    struct str value;
    char name[40];
    text_json_set(o, "text", buf_view(&w->out));
    json_object_set_new(o, "found", found_json(w));
    for (size_t i = 0; pii_vault_at(w->vault, i, name, &value); i++)
        text_json_set(map, name, value);
    if (map) json_object_set_new(o, "placeholders", map);
    cli_print_json(o);
}

static void print_table(const struct work *w) {
    struct buf shown = {0};
    struct place at = {.line = 1, .column = 1};
    for (size_t i = 0; i < w->hits.n && !cli_interrupted; i++) {
        const struct pii_hit *h = &w->hits.v[i];
        move_to(&at, &w->text, h->start);
        buf_reset(&shown);
        text_escape(&shown, (struct str){w->text.p + h->start, h->end - h->start}, false);
        printf("%d:%d\t%s\t%s\n", at.line, at.column, pii_name(h->kind), buf_view(&shown).p);
    }
    buf_fini(&shown);
}

/* ---- work ---- */

static int read_policy(struct work *w, struct err *e) {
    const char *mode = flags.redact    ? "redact"
                       : flags.mask    ? "mask"
                       : flags.replace ? "replace"
                                       : "report";
    if (flags.redact + flags.mask + flags.replace > 1)
        return err_set(e, ERR_USAGE, "pii: one of --redact, --mask and --replace is accepted");
    if (pii_policy_parse(&w->policy, mode, flags.entities, e) != 0)
        return err_prefix(e, "--entities");
    for (int k = 0; k < N_PII; k++) {
        if (!pii_by_model((enum pii_kind)k)) continue;
        if (!flags.model && w->policy.action[k] != PII_OFF)
            return err_set(e, ERR_USAGE,
                           "--entities: \"%s\" is found by a model; --model MODEL is needed",
                           pii_name((enum pii_kind)k));
        struct pii_policy usual;
        if (flags.model && !flags.entities && pii_policy_parse(&usual, mode, "name", e) == 0)
            w->policy.action[k] = usual.action[PII_NAME];
    }
    return 0;
}

static int find(struct work *w, struct err *e) {
    const struct str text = buf_view(&w->text);
    int rc = pii_find(text, &w->policy, &w->hits, e);
    if (rc == 0 && flags.model) {
        rc = pii_model_find(flags.model, text, &w->policy, &w->hits, e);
        pii_hits_sort(&w->hits);
    }
    if (rc == 0 && flags.replace && !(w->vault = pii_vault_new(e))) rc = -1;
    if (rc == 0 && w->vault) pii_vault_reserve(w->vault, text);
    if (rc == 0) rc = pii_apply(&w->out, text, &w->hits, &w->policy, w->vault, e);
    return rc;
}

int cmd_pii(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct work w = {0};
    if (cli_parse(argc, argv, cmd_pii_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("pii", n_args, 1, 1, "FILE or -", e) != 0) return -1;
    int rc = read_policy(&w, e);
    if (rc == 0) rc = os_read_file(args[0], FILE_MAX, &w.text, e);
    if (rc == 0) rc = find(&w, e);
    if (rc == 0 && flags.json)
        print_json(&w);
    else if (rc == 0 && pii_policy_has(&w.policy, PII_REPLACE))
        fwrite(buf_view(&w.out).p, 1, w.out.n, stdout);
    else if (rc == 0)
        print_table(&w);
    if (rc == 0 && flags.check && w.hits.n) rc = EXIT_FOUND;
    pii_vault_free(w.vault);
    pii_hits_fini(&w.hits);
    buf_fini(&w.text);
    buf_fini(&w.out);
    return rc;
}
