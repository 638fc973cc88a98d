/* Pulling and pushing from a command, and what they say while they go: bars on a terminal, lines
 * elsewhere, JSON if asked. */
#pragma once

#include "cli/cli.h"
#include "store/registry.h"

#define CLI_INSECURE_HELP "any certificate, or plain http, for this one host"

struct pull_progress {
    bool json;
    char status[64]; /* that is shown */
    struct progress bar;
};

/* For registry_pull's say, with a struct pull_progress, which begins as zeros but json. */
void pull_progress_say(void *ctx, const struct registry_event *ev);
void pull_progress_end(struct pull_progress *p);

/* --insecure is for one host (SECURITY.md R15): ERR_USAGE, with the hosts, when the n names lie on
 * more than one. */
int cli_check_one_host(const char *command, const struct name *names, int n, struct err *e);

/* Fetch a model into the store, saying how far it is, and whether a longer tag was taken. */
int cli_pull(struct store *s, const struct name *n, bool insecure, bool json, struct err *e);
