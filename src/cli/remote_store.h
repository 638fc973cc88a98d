/* The store of a server, for the commands that work on whichever store there is: a server's when
 * one answers (it may run elsewhere, and knows which models it has loaded), else the one here. */
#pragma once

#include "cli/remote.h"
#include "store/store.h"

/* "pull" or "push", with its progress as pull.h shows it. */
int remote_transfer(struct remote *r, const char *what, const char *name, bool insecure, bool json,
                    struct err *e);
/* As store_list: free(*list). */
int remote_list(struct remote *r, const char *prefix, struct store_entry **list, int *n,
                struct err *e);
int remote_copy(struct remote *r, const char *from, const char *to, struct err *e);
int remote_remove(struct remote *r, const char *name, struct err *e);
