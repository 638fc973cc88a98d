/* Counting first, then jansson. */
#include "base/json.h"

#include <stdlib.h>

enum { MAX_DEPTH = 128 };

/* Every value but the first stands behind a "[", "{" or ",": what is counted is at least the number
 * of values.  Broken JSON is left to the parser. */
int json_check(const char *where, struct str s, size_t max_values, struct err *e) {
    size_t n = 1, depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        const char c = s.p[i];
        if (quoted && c == '\\') i++;
        if (c == '"') quoted = !quoted;
        if (quoted) continue;
        if (c == '[' || c == '{') depth++;
        if ((c == ']' || c == '}') && depth > 0) depth--;
        if (c == '[' || c == '{' || c == ',') n++;
        if (depth > MAX_DEPTH)
            return err_set(e, ERR_FORMAT, "%s: JSON deeper than %d; that much is accepted", where,
                           MAX_DEPTH);
        if (n > max_values)
            return err_set(e, ERR_LIMIT, "%s: JSON of more than the %zu values that are accepted",
                           where, max_values);
    }
    return 0;
}

json_t *json_read_object(const char *where, struct str bytes, size_t max_values, struct err *e) {
    json_error_t je;
    if (json_check(where, bytes, max_values, e) != 0) return NULL;
    json_t *j = json_loadb(bytes.n ? bytes.p : "", bytes.n, JSON_REJECT_DUPLICATES, &je);
    if (!j) {
        err_set(e, ERR_FORMAT, "%s: no JSON: %s (line %d)", where, je.text, je.line);
        return NULL;
    }
    if (json_is_object(j)) return j;
    json_decref(j);
    err_set(e, ERR_FORMAT, "%s: found JSON that is no object; an object is needed", where);
    return NULL;
}

int json_append(const char *where, const json_t *j, struct buf *out, struct err *e) {
    char *text = json_dumps(j, JSON_COMPACT);
    if (!text) return err_nomem(e, where);
    buf_str(out, text);
    free(text);
    return out->failed ? err_nomem(e, where) : 0;
}
