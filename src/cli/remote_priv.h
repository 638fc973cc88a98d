/* What remote.c and remote_ask.c share. */
#pragma once

#include "cli/remote.h"
#include "server/settings.h"

enum { REMOTE_URL = 2 * SETTING_TEXT + 32 };

struct remote {
    char url[REMOTE_URL];       /* what paths are put behind */
    char shown[REMOTE_URL];     /* for messages */
    char key[SETTING_TEXT + 8]; /* "Bearer ...", or empty; never shown */
    bool here;                  /* on this machine, as far as its address says */
    struct net_client *client;
};

/* An answer that is a redirect: ERR_UNSUPPORTED with where it leads.  Keys and prompts go to whom
 * the user named and to nobody else. */
int remote_redirected(const struct remote *r, const struct net_answer *a, struct err *e);
/* Put what helps behind an error of the network. */
int remote_explain(const struct remote *r, struct err *e);
