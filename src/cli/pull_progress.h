/* What a pull or a push says while it goes: bars on a terminal, lines elsewhere, JSON if asked. */
#pragma once

#include "cli/cli.h"
#include "store/registry.h"

struct pull_progress {
    bool json;
    char status[64]; /* that is shown */
    struct progress bar;
};

/* For registry_pull's say, with a struct pull_progress, which begins as zeros but json. */
void pull_progress_say(void *ctx, const struct registry_event *ev);
void pull_progress_end(struct pull_progress *p);
