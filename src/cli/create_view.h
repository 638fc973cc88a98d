/* What the commands that make models show while they do: statuses, bars, and of a fine-tune its
 * losses. */
#pragma once

#include "cli/cli.h"
#include "create/create.h"
#include "train/log.h"

/* All-zero is ready; create_view_end. */
struct create_view {
    bool as_json; /* an object a line on stdout instead of words on stderr */
    struct progress bar;
    char label[64];
    bool on; /* a bar is shown */
    /* Of a fine-tune. */
    struct run_record run; /* owned */
    int cap_step, cap_valid;
    bool on_line;      /* a line that the next one writes over */
    bool checkpointed; /* there is one to go on from */
    long long shown_ns;
    int shown_step;
};

/* create_event_fn, and create_opts.on_train.  ctx: the view. */
void create_view_status(void *view, const char *status, const char *digest, uint64_t completed,
                        uint64_t total);
void create_view_train(void *view, const struct train_plan *p, const struct train_event *ev);

/* The last line goes; rc: 0, the loss curve of a fine-tune as a line; otherwise, and with a
 * checkpoint, the command line to go on with. */
void create_view_end(struct create_view *v, int rc, int argc, char **argv);
