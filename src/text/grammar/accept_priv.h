/* What accept.c and dfa.c share of an acceptor. */
#pragma once

#include "text/grammar/grammar.h"

struct dfa;

struct acceptor {
    struct dfa *dfa;                  /* its grammar's; the rest is under dfa->lock */
    struct acceptor *earlier, *later; /* list of all that use it */
    int32_t state;
};
