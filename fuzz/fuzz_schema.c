/* JSON schemas from strangers: the schema up to a NUL, then what is read with it.  What was
 * translated must be a grammar, and a grammar that begins must be able to go on. */
#include <stdint.h>
#include <string.h>

#include "text/grammar/grammar.h"
#include "text/grammar/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Goes on by the first byte that may follow. */
static bool can_go_on(struct acceptor *a) {
    struct err e = {0};
    bool some = accept_done(a);
    for (int b = 0; b < 256 && !some; b++)
        some = accept_byte(a, (uint8_t)b, &e) != 0;
    return some;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : size;
    struct buf gbnf = {0};
    struct err e = {0};
    json_t *schema =
        json_loadb((const char *)data, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    struct grammar *g = NULL;
    if (schema && schema_to_gbnf(schema, &gbnf, &e) == 0) {
        g = grammar_parse(buf_view(&gbnf), &e);
        /* Left recursion is left to the grammar: choices among themselves. */
        if (!g && e.code == ERR_FORMAT && !strstr(e.msg, "left recursion") &&
            !strstr(e.msg, "no text"))
            __builtin_trap();
    }
    struct acceptor *a = g ? accept_new(g, &e) : NULL;
    for (size_t i = n + 1; a && i < size && i < n + 256; i++)
        if (accept_byte(a, data[i], &e) != 1) break;
    if (a && !can_go_on(a)) __builtin_trap();
    accept_free(a);
    grammar_free(g);
    json_decref(schema);
    buf_fini(&gbnf);
    return 0;
}
