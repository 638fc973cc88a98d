/* `cria replay RECEIPT`: the request of a receipt (server/receipt.h) again, in this process, and
 * whether the same comes out. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/os.h"
#include "cli/commands.h"
#include "cli/model.h"
#include "server/receipt.h"

enum { RECEIPT_MAX_BYTES = 64 << 20, RECEIPT_MAX_VALUES = 1 << 19 };

static bool as_json;
static const char *other_model;

const struct opt *cmd_replay_options(void) {
    static const struct opt table[] = {
        {"model", 'm', OPT_STR, &other_model, 0, 0, "NAME", "instead of the receipt's model"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "the new receipt, and what differs"},
        {0},
    };
    return table;
}

/* A receipt, or an answer that has one; json_decref. */
static json_t *read_receipt(const char *path, struct err *e) {
    struct buf b = {0};
    json_t *j = NULL, *receipt;
    if (os_read_file(path, RECEIPT_MAX_BYTES, &b, e) == 0)
        j = json_read_object(path, buf_view(&b), RECEIPT_MAX_VALUES, e);
    buf_fini(&b);
    if (!j) return NULL;
    receipt = json_object_get(j, "receipt");
    receipt = json_incref(json_is_object(receipt) ? receipt : j);
    json_decref(j);
    if (json_integer_value(json_object_get(receipt, "version")) == 1 &&
        json_is_object(json_object_get(receipt, "request")) &&
        json_is_string(json_object_get(receipt, "model")))
        return receipt;
    err_set(
        e, ERR_FORMAT,
        "%s: no receipt; an object with \"version\": 1, \"model\" and \"request\", or an answer "
        "with such a \"receipt\", is accepted",
        path);
    json_decref(receipt);
    return NULL;
}

/* ---- again ---- */

static void watch(void *ctx, const struct gen_event *ev) {
    receipt_add(ctx, ev);
}

/* What of the request's options decides how a model is opened. */
static int open_as_then(struct chat *c, const json_t *request, struct err *e) {
    static const char *const name[] = {"num_ctx", "num_batch"};
    const json_t *options = json_object_get(request, "options");
    char value[32];
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        const json_t *v = json_object_get(options, name[i]);
        if (!json_is_integer(v)) continue;
        snprintf(value, sizeof value, "%lld", (long long)json_integer_value(v));
        if (chat_set_option(c, name[i], value, e) != 0) return -1;
    }
    return chat_open(c, e);
}

static int ask_again(struct chat *c, json_t *request, struct receipt *receipt, struct err *e) {
    struct talk_end end = {0};
    if (!receipt) return -1;
    json_object_del(request, "tenant"), json_object_del(request, "user");
    talk_watch(c->talk, watch, receipt);
    if (talk_ask(c->talk, request, NULL, NULL, NULL, &end, e) != 0) return -1;
    return end.why == GEN_CANCELLED ? err_set(e, ERR_CANCELLED, "interrupted") : 0;
}

/* The new receipt; json_decref. */
static json_t *replay(const char *name, const json_t *then, struct err *e) {
    json_t *request = json_deep_copy(json_object_get(then, "request")), *now = NULL;
    struct receipt *receipt = NULL;
    struct cli_model m;
    struct chat c = {.name = name};
    chat_init(&c);
    int rc = cli_model_open(&m, name, e);
    if (rc == 0) rc = cli_model_apply(&m, &c, e);
    if (rc == 0) rc = request ? open_as_then(&c, request, e) : err_nomem(e, "receipt");
    if (rc == 0) receipt = receipt_new(name, m.r.manifest.id.hex, request, e);
    if (rc == 0) rc = ask_again(&c, request, receipt, e);
    if (rc == 0 && !(now = receipt_json(receipt))) err_nomem(e, "receipt");
    receipt_free(receipt);
    chat_fini(&c);
    cli_model_close(&m);
    json_decref(request);
    return now;
}

int cmd_replay(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct buf different = {0};
    bool same = false;
    if (cli_parse(argc, argv, cmd_replay_options(), args, &n_args, e) != 0 ||
        cli_check_args("replay", n_args, 1, 1, "RECEIPT", e) != 0)
        return -1;
    json_t *then = read_receipt(args[0], e), *now;
    if (!then) return -1;
    const char *model = json_string_value(json_object_get(then, "model"));
    now = replay(other_model ? other_model : model, then, e);
    if (now) {
        receipt_compare(then, now, &different, &same);
        if (as_json)
            cli_print_json(json_pack("{s:b, s:s, s:O}", "same", same, "differs",
                                     different.p ? different.p : "", "receipt", now));
        else
            printf("%s%s\n", different.p ? different.p : "",
                   same ? "the same answer" : "another answer");
        if (!same) err_set(e, ERR_IO, "the answer is not the receipt's");
    }
    const int rc = now && same ? 0 : -1;
    buf_fini(&different);
    json_decref(then);
    json_decref(now);
    return rc;
}
