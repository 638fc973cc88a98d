/* The settings this build reads from the environment.  A value that does not parse is an error:
 * a limit or a thread count that was quietly ignored would surprise later. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>

#include "base/os.h"
#include "cpu/cpu.h"

/* Those that are whole numbers. */
static const struct {
    const char *name;
    long min, max;
} settings[] = {
    {"THREADS", 1, 512},
    {"NUM_THREADS", 1, 512},
    {"DEBUG", 0, 2},
};

static int check(const char *name, long min, long max, struct err *e) {
    char v[4096], *end;
    if (!os_setting(name, v, sizeof v)) return 0;
    errno = 0;
    const long n = strtol(v, &end, 10);
    if (*end == 0 && errno == 0 && n >= min && n <= max) return 0;
    return err_set(e, ERR_USAGE,
                   "setting CRIA_%s: found \"%s\"; a whole number from %ld to %ld is accepted",
                   name, v, min, max);
}

int cli_check_settings(struct err *e) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (check(settings[i].name, settings[i].min, settings[i].max, e) != 0) return -1;
    return cpu_check_setting(e);
}
