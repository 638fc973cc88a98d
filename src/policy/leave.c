/* See leave.h. */
#include "policy/leave.h"

#include "net/address.h"
#include "net/client.h"

/* Written before there are threads. */
static bool stays, stays_local;

bool policy_may_leave(void) {
    return !stays;
}

int policy_check_leaving(const char *what, struct err *e) {
    if (policy_may_leave()) return 0;
    return err_set(e, ERR_FORBIDDEN,
                   "%s: refused: isolation is on, nothing may leave this machine (CRIA_ISOLATION)",
                   what);
}

static int gate(const char *host, bool to_unix, struct err *e) {
    if (stays_local && (to_unix || net_is_loopback_name(host))) return 0;
    return policy_check_leaving(host, e);
}

void policy_stay(bool local) {
    stays = true;
    stays_local = local;
    net_client_gate(gate);
}
