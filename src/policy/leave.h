/* May this process open connections to other hosts?  Whoever is about to asks; isolation says no,
 * for good.  The one HTTP client asks before every hop, so that nobody can forget to. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* The single place that says so.  Any thread. */
bool policy_may_leave(void);
/* ERR_FORBIDDEN "WHAT: refused: ..." when it may not. */
int policy_check_leaving(const char *what, struct err *e);
/* From now on nothing leaves, and the HTTP client refuses.  local: but to other processes of this
 * machine, over loopback and Unix sockets: for commands that ask a server.  Cannot be taken back;
 * while there are no other threads. */
void policy_stay(bool local);
