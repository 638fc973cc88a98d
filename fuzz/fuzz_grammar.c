/* Grammars and schemas from strangers.  The first byte says which: 'g' GBNF, 's' a JSON schema;
 * a NUL ends it, what follows is read with it. */
#include <stdint.h>
#include <string.h>

#include "text/grammar/grammar.h"
#include "text/grammar/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_with(struct str grammar, const uint8_t *text, size_t n) {
    struct err e = {0};
    struct grammar *g = grammar_parse(grammar, &e);
    struct acceptor *a = g ? accept_new(g, &e) : NULL;
    for (size_t i = 0; a && i < n && i < 512; i++)
        if (accept_byte(a, text[i], &e) != 1) break;
    accept_free(a);
    grammar_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    const char *p = (const char *)data + 1;
    const char *nul = memchr(p, 0, size - 1);
    const size_t n = nul ? (size_t)(nul - p) : size - 1, left = size - 1 - n;
    const uint8_t *text = data + 1 + n + (nul ? 1 : 0);
    struct buf gbnf = {0};
    struct err e = {0};
    if (data[0] == 'g') {
        read_with((struct str){p, n}, text, left ? left - 1 : 0);
    } else if (data[0] == 's') {
        json_t *schema = json_loadb(p, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        if (schema && schema_to_gbnf(schema, &gbnf, &e) == 0)
            read_with(buf_view(&gbnf), text, left ? left - 1 : 0);
        json_decref(schema);
    }
    buf_fini(&gbnf);
    return 0;
}
