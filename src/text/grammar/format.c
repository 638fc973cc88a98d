/* What a client asks of an answer's form, as a grammar. */
#include "text/grammar/grammar.h"

#include "text/grammar/schema.h"

/* Of {"gbnf": text} and {"regex": text} the text; *other: no such object. */
static struct str only_text(const json_t *format, const char *key) {
    const json_t *v = json_object_size(format) == 1 ? json_object_get(format, key) : NULL;
    return (struct str){json_string_value(v), json_string_length(v)};
}

struct grammar *grammar_of_format(const json_t *format, struct err *e) {
    const struct str gbnf = only_text(format, "gbnf"), regex = only_text(format, "regex");
    struct buf b = {0};
    struct grammar *g = NULL;
    int rc = 0;
    if (gbnf.p) return grammar_parse(gbnf, e);
    if (json_is_string(format) && strcmp(json_string_value(format), "json") == 0)
        json_to_gbnf(&b);
    else if (regex.p)
        rc = regex_to_gbnf(regex, &b, e);
    else if (json_is_object(format))
        rc = schema_to_gbnf(format, &b, e);
    else
        rc = err_set(e, ERR_USAGE,
                     "format: accepted: \"json\", a JSON schema, {\"gbnf\": text} or {\"regex\": "
                     "text}");
    if (rc == 0 && b.failed) rc = err_nomem(e, "grammar");
    if (rc == 0) g = grammar_parse(buf_view(&b), e);
    buf_fini(&b);
    return g;
}
