/* See remote_train.h. */
#include "cli/remote_train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "create/tune.h"

bool remote_trains(const struct modelfile *m) {
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == MF_TRAINFILE) return true;
    return false;
}

/* ---- what is asked for ---- */

static int in_folder(const char *folder, const char *name, char path[STORE_PATH], struct err *e) {
    return snprintf(path, STORE_PATH, "%.*s/%s", STORE_PATH - 32, folder, name) >= STORE_PATH - 1
               ? err_set(e, ERR_USAGE, "%.200s: too long", folder)
               : 0;
}

int remote_train_file(const char *folder, const struct modelfile_line *l, char path[STORE_PATH],
                      char other[STORE_PATH], struct err *e) {
    char found[STORE_PATH];
    enum create_what what;
    struct stat st;
    if (other) other[0] = 0;
    if (create_look(folder, l->value.p, found, &what, e) != 0) return -1;
    if (what == CREATE_NOTHING)
        return err_set(e, ERR_NOT_FOUND, "%.300s: no such file or folder", l->value.p);
    if (what == CREATE_FILE) {
        memcpy(path, found, STORE_PATH);
        return 0;
    }
    if (!other) return in_folder(found, "valid.jsonl", path, e);
    if (in_folder(found, "train.jsonl", path, e) != 0 ||
        in_folder(found, "valid.jsonl", other, e) != 0)
        return -1;
    if (stat(other, &st) != 0) other[0] = 0; /* parted from the others instead */
    return 0;
}

bool remote_train_option(json_t *body, const struct modelfile_line *l) {
    json_t *options = json_object_get(body, "options");
    if (strncmp(l->name, "train_", 6) != 0) return false;
    if (!options) {
        options = json_object();
        json_object_set_new(body, "options", options);
    }
    json_object_set_new(options, l->name + 6, json_string(l->value.p));
    return true;
}

int remote_train_settings(json_t *body, const struct create_opts *o, struct err *e) {
    static const char *const no[] = {"files", "adapters", "draft_files"}, *const word[] = {
                                                                              "FROM a file",
                                                                              "ADAPTER", "DRAFT"};
    for (int i = 0; i < 3; i++)
        if (json_object_get(body, no[i]))
            return err_set(
                e, ERR_UNSUPPORTED,
                "%s with TRAINFILE: not through a server; it trains a model that it has: "
                "create that first",
                word[i]);
    if (o->quantize)
        return err_set(e, ERR_UNSUPPORTED, "--quantize with TRAINFILE: not through a server");
    if (o->merge)
        json_object_set_new(body, "merge", *o->merge ? json_string(o->merge) : json_true());
    if (o->resume == CREATE_RESTART) json_object_set_new(body, "restart", json_true());
    return 0;
}

/* ---- what is said ---- */

static double real_of(const json_t *line, const char *key) {
    const json_t *v = json_object_get(line, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static int int_of(const json_t *line, const char *key) {
    return (int)json_integer_value(json_object_get(line, key));
}

static bool kind_of(const char *event, enum train_event_kind *kind) {
    static const char *const name[] = {[TRAIN_START] = "start",
                                       [TRAIN_STEP] = "step",
                                       [TRAIN_SKIP] = "skip",
                                       [TRAIN_VALID] = "validation",
                                       [TRAIN_CHECKPOINT] = "checkpoint",
                                       [TRAIN_END] = "end"};
    for (int i = 0; i <= TRAIN_END; i++) {
        if (strcmp(event, name[i]) != 0) continue;
        *kind = (enum train_event_kind)i;
        return true;
    }
    return false;
}

bool remote_train_hear(const json_t *line, const struct create_opts *o, void *ctx, char id[64]) {
    const char *event = json_string_value(json_object_get(line, "event"));
    const char *job = json_string_value(json_object_get(line, "id"));
    struct train_event ev = {.step = int_of(line, "step"),
                             .n_step = int_of(line, "steps"),
                             .epoch = real_of(line, "epoch"),
                             .loss = real_of(line, "loss"),
                             .valid_loss = real_of(line, "loss"),
                             .best_loss = NAN,
                             .lr = real_of(line, "lr"),
                             .grad_norm = real_of(line, "grad_norm"),
                             .clip = real_of(line, "clip"),
                             .n_tok = int_of(line, "tokens"),
                             .tps = real_of(line, "tokens_per_s"),
                             .seconds = real_of(line, "elapsed_s"),
                             .left_s = real_of(line, "left_s"),
                             .best = json_is_true(json_object_get(line, "best"))};
    if (!event) return false;
    if (strcmp(event, "job") == 0 && job && strlen(job) < 64 && !strchr(job, '/'))
        snprintf(id, 64, "%s", job);
    if (!kind_of(event, &ev.kind)) return true;
    if (ev.kind != TRAIN_VALID) ev.valid_loss = NAN;
    if (o->on_train) o->on_train(ctx, NULL, &ev);
    return true;
}

void remote_train_cancel(struct remote *r, const char *id, const struct create_opts *o, void *ctx) {
    char path[96];
    struct err e;
    json_t *job = NULL;
    if (!*id) return;
    snprintf(path, sizeof path, "/api/train/%s", id);
    cli_interrupted = 0; /* a second Ctrl-C ends the waiting */
    const int rc = remote_ask(r, NET_DELETE, path, NULL, &job, &e);
    cli_interrupted = 1;
    const struct train_event ev = {.kind = TRAIN_CHECKPOINT,
                                   .step = int_of(job, "step"),
                                   .n_step = int_of(job, "steps"),
                                   .loss = NAN,
                                   .valid_loss = NAN};
    if (rc == 0 && o->on_train && ev.step > 0) o->on_train(ctx, NULL, &ev);
    json_decref(job);
}
