/* Counting first, then jansson. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/work.h"

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

/* The next bytes of a text; none when the work is given up. */
static size_t next_bytes(void *to, size_t room, void *from) {
    struct str *s = from;
    if (work_stopped()) return (size_t)-1;
    const size_t n = s->n < room ? s->n : room;
    memcpy(to, s->p, n);
    *s = (struct str){s->p + n, s->n - n};
    return n;
}

json_t *json_read(struct str bytes, size_t flags, json_error_t *je) {
    if (bytes.n == 0) bytes.p = "";
    return json_load_callback(next_bytes, &bytes, flags, je);
}

json_t *json_read_object(const char *where, struct str bytes, size_t max_values, struct err *e) {
    json_error_t je;
    if (json_check(where, bytes, max_values, e) != 0) return NULL;
    json_t *j = json_read(bytes, JSON_REJECT_DUPLICATES, &je);
    if (!j && work_stopped()) {
        work_given_up(e);
        return NULL;
    }
    if (!j) {
        err_set(e, ERR_FORMAT, "%s: no JSON: %s (line %d)", where, je.text, je.line);
        return NULL;
    }
    if (json_is_object(j)) return j;
    json_decref(j);
    err_set(e, ERR_FORMAT, "%s: found JSON that is no object; an object is needed", where);
    return NULL;
}

/* What stands for c behind a backslash; 0: c itself; 'u': four digits. */
static char escape(unsigned char c) {
    switch (c) {
    case '"':
    case '\\': return (char)c;
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return c < ' ' ? 'u' : 0;
    }
}

void json_append_text(struct buf *out, struct str text) {
    size_t from = 0; /* what was not appended yet */
    buf_byte(out, '"');
    for (size_t i = 0; i < text.n; i++) {
        const unsigned char c = (unsigned char)text.p[i];
        const char code[] = {'\\', escape(c)};
        if (!code[1]) continue;
        buf_append(out, text.p + from, i - from);
        if (code[1] == 'u')
            buf_printf(out, "\\u%04X", c);
        else
            buf_append(out, code, 2);
        from = i + 1;
    }
    buf_append(out, text.p + from, text.n - from);
    buf_byte(out, '"');
}

static int append(const char *p, size_t n, void *to) {
    buf_append(to, p, n);
    return work_stopped() ? -1 : 0;
}

static int dump(const char *where, const json_t *j, size_t flags, struct buf *out, struct err *e) {
    const int rc = json_dump_callback(j, append, out, JSON_COMPACT | flags);
    if (rc != 0 && work_stopped()) return work_given_up(e);
    return rc != 0 || out->failed ? err_nomem(e, where) : 0;
}

int json_append(const char *where, const json_t *j, struct buf *out, struct err *e) {
    return dump(where, j, 0, out, e);
}

int json_append_figures(const char *where, const json_t *j, struct buf *out, struct err *e) {
    return dump(where, j, JSON_REAL_PRECISION(9), out, e);
}
