/* Log lines on stderr. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/os.h"

static enum log_level threshold(void) {
    char v[16];
    const char *s = os_setting("DEBUG", v, sizeof v);
    const int n = s ? atoi(s) : 0;
    return n <= 0 ? LOG_WARN : n == 1 ? LOG_INFO : LOG_DEBUG;
}

void log_msg(enum log_level level, const char *fmt, ...) {
    static const char *const name[] = {"error", "warning", "info", "debug"};
    if (level > LOG_WARN && level > threshold()) return;
    struct err line; /* borrowed for its escaping of control bytes */
    va_list ap;
    va_start(ap, fmt);
    err_vset(&line, ERR_NONE, fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s: %s\n", name[level], line.msg);
}
