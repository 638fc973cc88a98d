/* Durations as Go writes them ("1h30m", "-1m", "300ms"), and as users of Ollama do: a number of
 * seconds, also as text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/models.h"

static const struct {
    const char *name;
    double ns;
} units[] = {
    {"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
    {"ms", 1e6}, {"s", 1e9},  {"m", 6e10},        {"h", 3.6e12},
};
enum { N_UNIT = sizeof units / sizeof *units };

/* A number without sign or exponent; false: none. */
static bool read_number(const char **p, double *out) {
    const size_t whole = strspn(*p, "0123456789");
    const size_t dot = (*p)[whole] == '.';
    const size_t frac = dot ? strspn(*p + whole + 1, "0123456789") : 0;
    if (whole + frac == 0 || whole + frac > 40) return false;
    char text[48];
    memcpy(text, *p, whole + dot + frac);
    text[whole + dot + frac] = 0;
    *out = strtod(text, NULL);
    *p += whole + dot + frac;
    return true;
}

/* The longest unit that p begins with. */
static bool read_unit(const char **p, double *out) {
    size_t longest = 0;
    for (int i = 0; i < N_UNIT; i++) {
        const size_t n = strlen(units[i].name);
        if (n > longest && strncmp(*p, units[i].name, n) == 0) longest = n, *out = units[i].ns;
    }
    *p += longest;
    return longest > 0;
}

static bool read_duration(const char *p, double *ns) {
    const bool negative = *p == '-';
    double n, unit;
    *ns = 0;
    p += negative || *p == '+';
    do {
        if (!read_number(&p, &n)) return false;
        if (!read_unit(&p, &unit)) {
            if (*p || *ns > 0) return false;
            unit = 1e9; /* a bare number: seconds */
        }
        *ns += n * unit;
    } while (*p);
    if (negative) *ns = -*ns;
    return true;
}

int models_keep_alive(const json_t *v, int64_t usual_ns, int64_t *ns, struct err *e) {
    double d = json_number_value(v) * 1e9;
    *ns = usual_ns;
    if (!v || json_is_null(v)) return 0;
    const char *text = json_string_value(v);
    if (text ? !read_duration(text, &d) : !json_is_number(v))
        return err_set(e, ERR_USAGE,
                       "keep_alive: found %s%.60s%s; accepted: a number of seconds, or a duration "
                       "as \"5m\" or \"1h30m\"; negative: for ever",
                       text ? "\"" : "", text ? text : "no number", text ? "\"" : "");
    if (isnan(d)) d = -1;
    /* What no machine will live to see is for ever, too. */
    *ns = d < 0 || d >= 9.2e18 ? -1 : (int64_t)d;
    return 0;
}
