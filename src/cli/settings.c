/* The settings this build reads from the environment.  A value that does not parse is an error:
 * a limit or a thread count that was quietly ignored would surprise later. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

struct setting {
    const char *name;
    long min, max;       /* of a whole number, when choices is NULL */
    const char *choices; /* "|a|b|": the words that are accepted */
};

static const struct setting settings[] = {
    {"THREADS", 1, 512, NULL},
    {"NUM_THREADS", 1, 512, NULL},
    {"CPU", 0, 0, "|ref|avx2|avx512|neon|"},
    {"DEBUG", 0, 2, NULL},
    {"CONTEXT_LENGTH", 0, 1 << 24, NULL},
    {"KV_CACHE_TYPE", 0, 0, "|f32|f16|bf16|q8_0|q4_0|"},
};

static bool is_choice(const char *choices, const char *v) {
    const size_t n = strlen(v);
    for (const char *at = choices; (at = strstr(at, v)) != NULL; at++)
        if (at > choices && at[-1] == '|' && at[n] == '|') return true;
    return false;
}

static int check(const struct setting *s, struct err *e) {
    char v[128], *end;
    if (!os_setting(s->name, v, sizeof v)) return 0;
    if (s->choices) {
        if (is_choice(s->choices, v)) return 0;
        return err_set(e, ERR_USAGE, "setting CRIA_%s: found \"%s\"; one of %.*s is accepted",
                       s->name, v, (int)strlen(s->choices) - 2, s->choices + 1);
    }
    errno = 0;
    const long n = strtol(v, &end, 10);
    if (end != v && *end == 0 && errno == 0 && n >= s->min && n <= s->max) return 0;
    return err_set(e, ERR_USAGE,
                   "setting CRIA_%s: found \"%s\"; a whole number from %ld to %ld is accepted",
                   s->name, v, s->min, s->max);
}

int cli_check_settings(struct err *e) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (check(&settings[i], e) != 0) return -1;
    return 0;
}
