/* See chain.h. */
#include "policy/chain.h"

#include <stdio.h>
#include <string.h>

/* ---- names ---- */

bool chain_has(const struct chain *c, const char *name) {
    struct name one, other;
    struct err unused;
    if (name_parse(name, &one, &unused) != 0) return false;
    for (int i = 0; i < c->n; i++)
        if (name_parse(c->link[i], &other, &unused) == 0 && name_eq(&one, &other)) return true;
    return false;
}

int chain_add(struct chain *c, const char *name, struct err *e) {
    struct name parsed;
    if (name_parse(name, &parsed, e) != 0) return -1;
    if (strlen(name) >= sizeof c->link[0])
        return err_set(e, ERR_USAGE, "found a name of %zu bytes; up to %d are accepted",
                       strlen(name), NAME_TEXT - 1);
    if (chain_has(c, name))
        return err_set(e, ERR_USAGE,
                       "found \"%s\" twice in a chain of fallbacks: a loop; each model is accepted "
                       "once, and not behind itself",
                       name);
    if (c->n == CHAIN_MAX)
        return err_set(e, ERR_USAGE,
                       "found \"%s\" behind %d models; up to %d are accepted, the one that is "
                       "asked for among them",
                       name, CHAIN_MAX, CHAIN_MAX);
    strcpy(c->link[c->n++], name);
    return 0;
}

int chain_add_list(struct chain *c, const char *names, struct err *e) {
    static const char between[] = " \t\r\n,";
    for (const char *at = names + strspn(names, between); *at; at += strspn(at, between)) {
        char name[NAME_TEXT];
        const size_t n = strcspn(at, between);
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), at);
        if (chain_add(c, name, e) != 0) return -1;
        at += n;
    }
    return 0;
}

/* ---- reasons ---- */

static enum chain_reason found_reason(enum err_code code) {
    switch (code) {
    case ERR_NOT_FOUND: return CHAIN_MISSING;
    case ERR_BUSY: return CHAIN_QUEUE_FULL;
    case ERR_NOMEM: return CHAIN_MEMORY;
    case ERR_FORMAT:
    case ERR_UNSUPPORTED:
    case ERR_IO: return CHAIN_CORRUPT;
    default: return CHAIN_STAYS;
    }
}

static enum chain_reason load_reason(enum err_code code) {
    switch (code) {
    case ERR_NOT_FOUND: return CHAIN_MISSING;
    case ERR_LIMIT:
    case ERR_NOMEM: return CHAIN_MEMORY;
    case ERR_TIMEOUT: return CHAIN_LOAD_TIMEOUT;
    case ERR_FORMAT:
    case ERR_UNSUPPORTED: return CHAIN_CORRUPT;
    case ERR_IO: return CHAIN_CRASH;
    default: return CHAIN_STAYS; /* busy: the server is shutting down */
    }
}

static enum chain_reason run_reason(enum err_code code) {
    switch (code) {
    case ERR_NOMEM: return CHAIN_MEMORY;
    case ERR_BUSY: return CHAIN_QUEUE_FULL;
    case ERR_FORMAT:
    case ERR_IO: return CHAIN_CRASH;
    default: return CHAIN_STAYS;
    }
}

enum chain_reason chain_reason_of(const struct chain_end *end, const struct err *e,
                                  bool substitute) {
    enum chain_reason why = CHAIN_STAYS;
    if (end->first_late) return CHAIN_FIRST_TOKEN_TIMEOUT;
    if (e->code == ERR_CANCELLED || end->stage == CHAIN_CHECK) return CHAIN_STAYS;
    if (end->stage == CHAIN_FIND) why = found_reason(e->code);
    if (end->stage == CHAIN_LOAD) why = load_reason(e->code);
    if (end->stage == CHAIN_RUN) why = run_reason(e->code);
    if (end->stage == CHAIN_REMOTE) why = CHAIN_UNREACHABLE;
    if (why != CHAIN_STAYS || !substitute) return why;
    const bool lacks = e->code == ERR_UNSUPPORTED || e->code == ERR_LIMIT;
    return end->stage == CHAIN_READY || (end->stage == CHAIN_RUN && lacks) ? CHAIN_UNABLE
                                                                           : CHAIN_STAYS;
}

bool chain_reason_counts(enum chain_reason why) {
    switch (why) {
    case CHAIN_CORRUPT:
    case CHAIN_MEMORY:
    case CHAIN_LOAD_TIMEOUT:
    case CHAIN_FIRST_TOKEN_TIMEOUT:
    case CHAIN_CRASH:
    case CHAIN_UNREACHABLE: return true;
    default: return false; /* missing, full: as soon as that is over it may be asked */
    }
}

const char *chain_reason_name(enum chain_reason why) {
    static const char *const name[CHAIN_N_REASON] = {
        [CHAIN_STAYS] = "none",
        [CHAIN_MISSING] = "missing",
        [CHAIN_CORRUPT] = "corrupt",
        [CHAIN_MEMORY] = "out_of_memory",
        [CHAIN_LOAD_TIMEOUT] = "load_timeout",
        [CHAIN_FIRST_TOKEN_TIMEOUT] = "first_token_timeout",
        [CHAIN_QUEUE_FULL] = "queue_full",
        [CHAIN_CRASH] = "crash",
        [CHAIN_CIRCUIT_OPEN] = "circuit_open",
        [CHAIN_UNABLE] = "unable",
        [CHAIN_UNREACHABLE] = "unreachable",
    };
    return name[why];
}
