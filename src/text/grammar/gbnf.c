/* GBNF (llama.cpp's grammars/README.md) to a graph of nodes: `name ::= a b | c`, literals, classes,
 * `.`, groups, `* + ? {m,n}`, `#` comments.  A group, and a literal that repeats, become a rule of
 * their own, so that what repeats is always one node. */
#include "text/grammar/grammar.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "text/grammar/dfa.h"

enum { N_BUCKET = 1 << 14 };

struct parser {
    struct grammar *g;
    const char *p, *end, *start;
    int32_t bucket[N_BUCKET]; /* name -> rule, chained by link */
    int rule, depth;
    struct err *e;
};

static int fail(struct parser *x, const char *what) {
    int line = 1;
    for (const char *p = x->start; p < x->p; p++)
        line += *p == '\n';
    return err_set(x->e, ERR_FORMAT, "grammar, line %d: %s", line, what);
}

static int grow(void **p, int n, int *cap, size_t size, struct err *e) {
    if (n < *cap) return 0;
    const int to = *cap ? *cap * 2 : 64;
    void *q = realloc(*p, (size_t)to * size);
    if (!q) return err_nomem(e, "grammar");
    *p = q, *cap = to;
    return 0;
}

static int add_node(struct parser *x, enum grammar_kind kind, int32_t arg) {
    struct grammar *g = x->g;
    if (g->n_node >= GRAMMAR_MAX_NODES)
        return err_set(x->e, ERR_LIMIT, "grammar: too large; accepted: %d nodes",
                       GRAMMAR_MAX_NODES);
    if (grow((void **)&g->node, g->n_node, &g->cap_node, sizeof *g->node, x->e) != 0) return -1;
    g->node[g->n_node] =
        (struct grammar_node){.kind = kind, .rule = x->rule, .next = -1, .arg = arg};
    return g->n_node++;
}

static int add_rule(struct parser *x, struct str name) {
    struct grammar *g = x->g;
    if (g->n_rule >= GRAMMAR_MAX_NODES)
        return err_set(x->e, ERR_LIMIT, "grammar: more than %d rules", GRAMMAR_MAX_NODES);
    if (grow((void **)&g->rule, g->n_rule, &g->cap_rule, sizeof *g->rule, x->e) != 0) return -1;
    g->rule[g->n_rule] = (struct grammar_rule){.name = name, .start = -1, .link = -1};
    return g->n_rule++;
}

static int named_rule(struct parser *x, struct str name) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (uint8_t)name.p[i]) * 16777619u;
    int32_t *b = &x->bucket[h % N_BUCKET];
    for (int32_t r = *b; r >= 0; r = x->g->rule[r].link)
        if (str_eq(x->g->rule[r].name, name)) return r;
    const int r = add_rule(x, name);
    if (r < 0) return -1;
    x->g->rule[r].link = *b;
    return *b = r;
}

static int peek(const struct parser *x) {
    return x->p < x->end ? (uint8_t)*x->p : -1;
}

/* Blanks and comments; newlines only where a rule cannot end. */
static void blanks(struct parser *x, bool newlines) {
    for (; x->p < x->end; x->p++) {
        if (*x->p == '#')
            while (x->p + 1 < x->end && x->p[1] != '\n')
                x->p++;
        else if (*x->p != ' ' && *x->p != '\t' && !(newlines && (*x->p == '\n' || *x->p == '\r')))
            return;
    }
}

static struct str word(struct parser *x) {
    const char *from = x->p;
    for (; x->p < x->end; x->p++) {
        const char c = *x->p, l = (char)(c | 32);
        if (!((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) break;
    }
    return (struct str){from, (size_t)(x->p - from)};
}

static int hex(struct parser *x, int n, uint32_t *cp) {
    for (*cp = 0; n > 0; n--, x->p++) {
        const int c = peek(x), l = c | 32;
        if (c >= '0' && c <= '9')
            *cp = *cp * 16 + (uint32_t)(c - '0');
        else if (l >= 'a' && l <= 'f')
            *cp = *cp * 16 + (uint32_t)(l - 'a') + 10;
        else
            return fail(x, "a hexadecimal escape is too short");
    }
    return *cp > GRAMMAR_MAX_CP ? fail(x, "an escape is above 10FFFF") : 0;
}

/* One character of a literal or class. */
static int character(struct parser *x, uint32_t *cp) {
    if (x->p >= x->end) return fail(x, "the text ends inside quotes or brackets");
    if (*x->p != '\\') {
        const int n = utf8_decode_strict(x->p, (size_t)(x->end - x->p), cp);
        if (n < 1) return fail(x, "not UTF-8");
        x->p += n;
        return 0;
    }
    x->p++;
    const int c = peek(x);
    x->p += c >= 0;
    switch (c) {
    case 'x': return hex(x, 2, cp);
    case 'u': return hex(x, 4, cp);
    case 'U': return hex(x, 8, cp);
    case 'n': *cp = '\n'; return 0;
    case 'r': *cp = '\r'; return 0;
    case 't': *cp = '\t'; return 0;
    case '"':
    case '\\':
    case '[':
    case ']':
    case '-':
    case '^': *cp = (uint32_t)c; return 0;
    default:
        return fail(x, "unknown escape; known: \\n \\r \\t \\\" \\\\ \\[ \\] \\- \\^ \\x \\u \\U");
    }
}

static int add_range(struct parser *x, uint32_t lo, uint32_t hi) {
    struct grammar *g = x->g;
    if (g->set[g->n_set - 1].n >= GRAMMAR_MAX_CLASS)
        return err_set(x->e, ERR_LIMIT, "grammar: a class of more than %d ranges",
                       GRAMMAR_MAX_CLASS);
    if (g->n_range >= GRAMMAR_MAX_NODES)
        return err_set(x->e, ERR_LIMIT, "grammar: more than %d ranges", GRAMMAR_MAX_NODES);
    if (grow((void **)&g->range, g->n_range, &g->cap_range, sizeof *g->range, x->e) != 0) return -1;
    g->range[g->n_range++] = (struct grammar_range){lo, hi};
    g->set[g->n_set - 1].n++;
    return 0;
}

static int add_set(struct parser *x, bool negated) {
    struct grammar *g = x->g;
    if (grow((void **)&g->set, g->n_set, &g->cap_set, sizeof *g->set, x->e) != 0) return -1;
    g->set[g->n_set] = (struct grammar_set){.first = g->n_range, .negated = negated};
    return g->n_set++;
}

/* [a-z] behind its bracket. */
static int class(struct parser *x) {
    const bool negated = peek(x) == '^';
    x->p += negated;
    const int s = add_set(x, negated);
    if (s < 0) return -1;
    while (peek(x) != ']') {
        uint32_t lo, hi;
        if (character(x, &lo) != 0) return -1;
        hi = lo;
        if (peek(x) == '-' && x->p + 1 < x->end && x->p[1] != ']') {
            x->p++;
            if (character(x, &hi) != 0) return -1;
        }
        if (hi < lo) return fail(x, "a range that ends before it begins");
        if (add_range(x, lo, hi) != 0) return -1;
    }
    x->p++;
    return add_node(x, NODE_SET, s);
}

static int alternatives(struct parser *x, int rule, bool group);

/* A literal behind its quote: a node for each character, in a rule of its own. */
static int literal(struct parser *x) {
    const int outer = x->rule, r = add_rule(x, STR(""));
    if (r < 0) return -1;
    x->rule = r;
    int tail = add_node(x, NODE_EMPTY, 0);
    if (tail < 0) return -1;
    x->g->rule[r].start = tail;
    while (peek(x) != '"') {
        uint32_t cp;
        if (character(x, &cp) != 0) return -1;
        const int n = add_node(x, NODE_CHAR, (int32_t)cp);
        if (n < 0) return -1;
        x->g->node[tail].next = n;
        tail = n;
    }
    x->p++;
    const int end = add_node(x, NODE_END, 0);
    if (end < 0) return -1;
    x->g->node[tail].next = end;
    x->rule = outer;
    return add_node(x, NODE_CALL, r);
}

static int group(struct parser *x) {
    const int outer = x->rule, r = add_rule(x, STR(""));
    if (r < 0) return -1;
    if (++x->depth > GRAMMAR_MAX_DEPTH)
        return err_set(x->e, ERR_LIMIT, "grammar: groups nested deeper than %d", GRAMMAR_MAX_DEPTH);
    if (alternatives(x, r, true) != 0) return -1;
    x->depth--;
    if (peek(x) != ')') return fail(x, "a group without its )");
    x->p++;
    x->rule = outer;
    return add_node(x, NODE_CALL, r);
}

/* One thing that may repeat; its node, or -1. */
static int atom(struct parser *x) {
    const int c = peek(x);
    if (c == '"' || c == '[' || c == '(' || c == '.') x->p++;
    if (c == '"') return literal(x);
    if (c == '[') return class(x);
    if (c == '(') return group(x);
    if (c == '.') {
        const int s = add_set(x, true);
        return s < 0 ? -1 : add_node(x, NODE_SET, s);
    }
    const struct str name = word(x);
    if (!name.n)
        return fail(x, "unexpected character; accepted: a name, \"text\", [class], . or (");
    const int r = named_rule(x, name);
    return r < 0 ? -1 : add_node(x, NODE_CALL, r);
}

static int number(struct parser *x, int *out) {
    long n = 0;
    const char *from = x->p;
    for (int c; (c = peek(x)) >= '0' && c <= '9'; x->p++)
        n = n > GRAMMAR_MAX_REPEAT ? n : n * 10 + (c - '0');
    if (x->p == from) return fail(x, "{ without a number");
    if (n > GRAMMAR_MAX_REPEAT)
        return err_set(x->e, ERR_LIMIT, "grammar: a repetition above %d", GRAMMAR_MAX_REPEAT);
    *out = (int)n;
    return 0;
}

/* How often the atom just read comes: lo..hi, hi -1 for any number. */
static int repeats(struct parser *x, int *lo, int *hi) {
    const int c = peek(x);
    *lo = *hi = 1;
    if (c != '*' && c != '+' && c != '?' && c != '{') return 0;
    x->p++;
    if (c != '{') {
        *lo = c == '+';
        *hi = c == '?' ? 1 : -1;
        return 0;
    }
    blanks(x, true);
    if (peek(x) == ',')
        *lo = 0;
    else if (number(x, lo) != 0)
        return -1;
    *hi = *lo;
    blanks(x, true);
    if (peek(x) == ',') {
        x->p++;
        blanks(x, true);
        *hi = -1;
        if (peek(x) != '}' && number(x, hi) != 0) return -1;
        blanks(x, true);
    }
    if (peek(x) != '}') return fail(x, "a repetition without its }");
    x->p++;
    return *hi >= 0 && *hi < *lo ? fail(x, "a repetition that ends before it begins") : 0;
}

/* Node a, lo..hi times, behind *tail. */
static int repeat(struct parser *x, int *tail, int a, int lo, int hi) {
    const struct grammar_node one = x->g->node[a];
    int end = -1;
    if (hi > lo && (end = add_node(x, NODE_EMPTY, 0)) < 0) return -1;
    for (int i = 0; i < (hi < 0 ? lo + 1 : hi); i++) {
        const int n = i == 0 ? a : add_node(x, one.kind, one.arg);
        int split = -1;
        if (n < 0 || (i >= lo && (split = add_node(x, NODE_SPLIT, n)) < 0)) return -1;
        struct grammar_node *nd = x->g->node;
        nd[*tail].next = split < 0 ? n : split;
        *tail = n;
        if (split < 0) continue;
        if (hi < 0) { /* the loop: leave by next */
            nd[n].next = split;
            *tail = split;
        } else
            nd[split].next = end;
    }
    if (end < 0) return 0;
    x->g->node[*tail].next = end;
    *tail = end;
    return 0;
}

/* Atoms up to |, ) or the end of the rule; sets where they begin and end. */
static int sequence(struct parser *x, bool in_group, int *first, int *tail) {
    *first = *tail = add_node(x, NODE_EMPTY, 0);
    if (*first < 0) return -1;
    for (;;) {
        blanks(x, in_group);
        const int c = peek(x);
        if (c < 0 || c == '|' || c == ')' || c == '\n' || c == '\r') return 0;
        const int a = atom(x);
        int lo, hi;
        if (a < 0) return -1;
        blanks(x, in_group);
        do { /* a** is (a*)*, the same */
            if (repeats(x, &lo, &hi) != 0) return -1;
        } while (lo == 0 && hi < 0 && (peek(x) == '*' || peek(x) == '+'));
        if (repeat(x, tail, a, lo, hi) != 0) return -1;
    }
}

static int alternatives(struct parser *x, int rule, bool in_group) {
    x->rule = rule;
    const int end = add_node(x, NODE_END, 0);
    int last = -1;
    if (end < 0) return -1;
    for (;;) {
        int first, tail;
        blanks(x, true);
        if (sequence(x, in_group, &first, &tail) != 0) return -1;
        x->rule = rule;
        const bool more = peek(x) == '|';
        const int at = more ? add_node(x, NODE_SPLIT, first) : first;
        if (at < 0) return -1;
        x->g->node[tail].next = end;
        if (last < 0)
            x->g->rule[rule].start = at;
        else
            x->g->node[last].next = at;
        last = at;
        if (!more) return 0;
        x->p++;
    }
}

static int rule(struct parser *x) {
    const struct str name = word(x);
    if (!name.n) return fail(x, "a rule begins with its name");
    const int r = named_rule(x, name);
    if (r < 0) return -1;
    if (x->g->rule[r].start >= 0) return fail(x, "a rule that is there already");
    blanks(x, false);
    if (x->end - x->p < 3 || memcmp(x->p, "::=", 3) != 0) return fail(x, "a rule without ::=");
    x->p += 3;
    if (alternatives(x, r, false) != 0) return -1;
    return peek(x) == ')' ? fail(x, "a ) without its (") : 0;
}

static int parse(struct parser *x) {
    for (int i = 0; i < N_BUCKET; i++)
        x->bucket[i] = -1;
    for (blanks(x, true); x->p < x->end; blanks(x, true))
        if (rule(x) != 0) return -1;
    x->g->root = named_rule(x, STR("root"));
    if (x->g->root < 0) return -1;
    for (int i = 0; i < x->g->n_rule; i++) {
        const struct grammar_rule *r = &x->g->rule[i];
        if (r->start < 0)
            return err_set(x->e, ERR_FORMAT, "grammar: no rule \"%.*s\"",
                           (int)(r->name.n < 80 ? r->name.n : 80), r->name.p);
    }
    return grammar_finish(x->g, x->e);
}

struct grammar *grammar_parse(struct str text, struct err *e) {
    if (text.n > GRAMMAR_MAX_BYTES) {
        err_set(e, ERR_LIMIT, "grammar: %zu bytes; accepted: %d", text.n, GRAMMAR_MAX_BYTES);
        return NULL;
    }
    struct parser *x = calloc(1, sizeof *x);
    struct grammar *g = calloc(1, sizeof *g);
    bool ok = false;
    if (!x || !g)
        err_nomem(e, "grammar");
    else {
        x->g = g, x->e = e;
        x->p = x->start = text.p, x->end = text.p + text.n;
        ok = parse(x) == 0 && (g->dfa = dfa_new(g, e)) != NULL;
    }
    free(x);
    if (ok) return g;
    grammar_free(g);
    return NULL;
}

void grammar_free(struct grammar *g) {
    if (!g) return;
    dfa_free(g->dfa);
    free(g->node), free(g->set), free(g->range), free(g->rule);
    free(g);
}
