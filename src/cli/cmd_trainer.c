/* `cria trainer PID`: a training job of `cria serve` (create/tune_child.h), started by it with a
 * socket as its descriptor 3.  Not in the help: people have `cria tune`. */
#include "cli/commands.h"

#include <sys/socket.h>
#include <unistd.h>

#include "create/tune_child.h"
#include "engine/child_proc.h"

int cmd_trainer(int argc, char **argv, struct err *e) {
    int type = 0;
    socklen_t n = sizeof type;
    (void)argv;
    if (argc != 2 || getsockopt(CHILD_FD, SOL_SOCKET, SO_TYPE, &type, &n) != 0)
        return err_set(e, ERR_USAGE, "trainer: it is started by `cria serve`, not by hand");
    const int rc = tune_child_run(CHILD_FD, e);
    /* As in cmd_engine.c: what is done at a program's end is refused here. */
    _exit(rc == 0 ? 0 : err_exit_code(e));
}
