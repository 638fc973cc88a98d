/* `cria engine PID`: an engine child (engine/child.h), started by `cria serve` with a socket as its
 * descriptor 3.  Not in the help: people have no use for it. */
#include "cli/commands.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/child.h"
#include "engine/child_proc.h"

int cmd_engine(int argc, char **argv, struct err *e) {
    int type = 0;
    socklen_t n = sizeof type;
    if (argc != 2 || getsockopt(CHILD_FD, SOL_SOCKET, SO_TYPE, &type, &n) != 0)
        return err_set(e, ERR_USAGE, "engine: it is started by `cria serve`, not by hand");
    const struct child_opts o = {.open = gen_open_local, .parent = atol(argv[1])};
    os_give_memory_back(1 << 20); /* what comes and goes at each token stays */
    const int rc = child_run(CHILD_FD, &o, e);
    /* Not through exit(): what libraries and sanitizers do at the end is refused here.  The front
     * has been told what went wrong. */
    _exit(rc == 0 ? 0 : err_exit_code(e));
}
