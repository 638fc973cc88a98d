/* GBNF from strangers: the grammar up to a NUL, then what is read with it. */
#include <stdint.h>
#include <string.h>

#include "text/grammar/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A second acceptor behind what the first has read; NULL where there is no room for it. */
static struct acceptor *at(const struct grammar *g, const uint8_t *text, size_t n) {
    struct err e = {0};
    struct acceptor *a = accept_new(g, &e);
    for (size_t i = 0; a && i < n; i++) {
        const int rc = accept_byte(a, text[i], &e);
        if (rc == 0) __builtin_trap();
        if (rc < 0) accept_free(a), a = NULL;
    }
    return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : size;
    struct err e = {0};
    struct grammar *g = grammar_parse((struct str){(const char *)data, n}, &e);
    struct acceptor *a = g ? accept_new(g, &e) : NULL, *other = NULL;
    for (size_t i = n + 1; a && i < size && i < n + 512; i++) {
        const int rc = accept_byte(a, data[i], &e);
        /* One that came later says the same. */
        if (other && accept_byte(other, data[i], &e) != rc) __builtin_trap();
        if (rc != 1) break;
        if (i % 16 == 0 && !other) other = at(g, data + n + 1, i - n);
        if (other && accept_done(other) != accept_done(a)) __builtin_trap();
    }
    accept_free(a), accept_free(other);
    grammar_free(g);
    return 0;
}
