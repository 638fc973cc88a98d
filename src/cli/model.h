/* What a user calls a model: a file, or a name in the store.  The one place that turns it into the
 * files and texts that a command needs. */
#pragma once

#include "cli/chat.h"
#include "store/recipe.h"

struct cli_model {
    const char *arg;            /* as the user wrote it; borrowed */
    struct store *store;        /* owned; NULL: a file */
    struct recipe r;            /* of a file: its path only */
    struct model_config config; /* owned; empty before cli_model_apply */
};

/* Is it a file, by the rule below? */
bool cli_is_file(const char *arg);

/* ARG is a file when such a file exists, when it ends with ".gguf" or begins like a path; else it
 * is a name: ERR_NOT_FOUND "model 'x' not found".  cli_model_close also after a failure. */
int cli_model_open(struct cli_model *m, const char *arg, struct err *e);
/* The same, but a model that is not in the store is pulled; insecure: as of `cria pull`. */
int cli_model_fetch(struct cli_model *m, const char *arg, bool insecure, struct err *e);
void cli_model_close(struct cli_model *m);

/* Append the text of the first layer of a kind: nothing when there is none. */
int cli_model_text(const struct cli_model *m, enum layer_kind kind, struct buf *out, struct err *e);

/* What the model brings for a run, where the user has not said other: path, adapter, draft,
 * parameters, system message, history, template.  Before the user's own options are set.  What has
 * no effect here is said on stderr, part of it only when c->verbose is set.  c borrows from m. */
int cli_model_apply(struct cli_model *m, struct chat *c, struct err *e);

/* Open the store of the settings. */
struct store *cli_store(struct err *e);
