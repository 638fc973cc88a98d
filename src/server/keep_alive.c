/* Times as clients say them, as how long a model stays: Go durations ("1h30m", "-1m") and, as users
 * of Ollama do, a number of seconds, also as text. */
#include <math.h>

#include "server/models.h"
#include "server/settings.h"

int models_duration(const char *field, const json_t *v, int64_t usual_ns, int64_t *ns,
                    struct err *e) {
    struct err unused;
    *ns = usual_ns;
    if (!v || json_is_null(v)) return 0;
    const char *text = json_string_value(v);
    if (text ? settings_time(text, ns, &unused) != 0 : !json_is_number(v)) {
        err_set(e, ERR_USAGE,
                "%s: found %s%.60s%s; accepted: a number of seconds, or a duration "
                "as \"5m\" or \"1h30m\"; negative: for ever",
                field, text ? "\"" : "", text ? text : "no number", text ? "\"" : "");
        return err_field(e, "%s", field);
    }
    if (!text) {
        /* What no machine will live to see is for ever, too. */
        const double d = json_number_value(v) * 1e9;
        *ns = isnan(d) || d < 0 || d >= 9.2e18 ? -1 : (int64_t)d;
    }
    if (*ns < 0) *ns = -1;
    return 0;
}

int models_keep_alive(const json_t *v, int64_t usual_ns, int64_t *ns, struct err *e) {
    return models_duration("keep_alive", v, usual_ns, ns, e);
}
