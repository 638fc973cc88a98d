/* Regular expressions from strangers, as a format and as a pattern of a schema: the pattern up to a
 * NUL, then what is read with it. */
#include <stdint.h>
#include <string.h>

#include "text/grammar/grammar.h"
#include "text/grammar/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_with(struct str gbnf, const uint8_t *text, size_t n) {
    struct err e = {0};
    struct grammar *g = grammar_parse(gbnf, &e);
    if (!g && e.code == ERR_FORMAT && !strstr(e.msg, "no text") && !strstr(e.msg, "nested") &&
        !strstr(e.msg, "ends before"))
        __builtin_trap(); /* what was translated is a grammar */
    struct acceptor *a = g ? accept_new(g, &e) : NULL;
    for (size_t i = 0; a && i < n && i < 256; i++)
        if (accept_byte(a, text[i], &e) != 1) break;
    accept_free(a);
    grammar_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : size, left = size - n - (nul != NULL);
    struct buf whole = {0}, pattern = {0};
    struct err e = {0};
    if (regex_to_gbnf((struct str){(const char *)data, n}, &whole, &e) == 0)
        read_with(buf_view(&whole), data + size - left, left);
    json_t *schema = json_pack("{s:s%}", "pattern", (const char *)data, n);
    if (schema && schema_to_gbnf(schema, &pattern, &e) == 0)
        read_with(buf_view(&pattern), data + size - left, left);
    json_decref(schema);
    buf_fini(&whole), buf_fini(&pattern);
    return 0;
}
