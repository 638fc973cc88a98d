/* `cria probe PID`: an engine or trainer child that reads no model but tries to get out, started by
 * `cria verify isolation` with a socket as its descriptor 3.  Not in the help. */
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/probe.h"
#include "create/tune_child.h"
#include "engine/child_proc.h"
#include "engine/child_self.h"

enum { ORDER_MAX = 64 << 10 };

static json_t *read_order(void) {
    struct buf b = {0};
    char piece[4096];
    ssize_t n;
    while (b.n < ORDER_MAX && (n = read(CHILD_FD, piece, sizeof piece)) > 0) {
        buf_append(&b, piece, (size_t)n);
        if (piece[n - 1] == '\n') break;
    }
    json_t *order = b.n && !b.failed ? json_loadb(b.p, b.n, 0, NULL) : NULL;
    buf_fini(&b);
    return order;
}

/* As the child of that name does. */
static int shut(const json_t *order, const char *role, struct sandbox_state *got, struct err *e) {
    const char *store = json_string_value(json_object_get(order, "store"));
    if (strcmp(role, "trainer") == 0) return tune_child_shut(store, NULL, 0, 0, got, e);
    return child_shut(json_string_value(json_object_get(order, "cache")), CHILD_FD, 0, got, e);
}

int cmd_probe(int argc, char **argv, struct err *e) {
    int type = 0;
    socklen_t n = sizeof type;
    struct isolation_targets t;
    struct sandbox_state got;
    char walls[64];
    (void)argv;
    if (argc != 2 || getsockopt(CHILD_FD, SOL_SOCKET, SO_TYPE, &type, &n) != 0)
        return err_set(e, ERR_USAGE,
                       "probe: it is started by `cria verify isolation`, not by hand");
    json_t *order = read_order();
    const char *role = json_string_value(json_object_get(order, "role"));
    if (!role) return err_set(e, ERR_FORMAT, "probe: no order came");
    probe_targets(order, &t);
    child_ignore_signals();
    if (shut(order, role, &got, e) != 0) {
        probe_say_error(CHILD_FD, e);
        _exit(1);
    }
    sandbox_explain(&got, walls, sizeof walls);
    probe_all(CHILD_FD, role, walls, &t);
    _exit(0); /* not through exit(), as in cmd_engine.c */
}
