/* A Go template's text to its tree.  Follows text/template/parse/parse.go: what it refuses is
 * refused here, before anything runs. */
#include <stdlib.h>
#include <strings.h>

#include "base/utf8.h"

#include "text/chat/gotmpl_priv.h"

struct parse {
    struct gotmpl *t;
    struct gt_lex lex;
    struct gt_tok tok; /* the one being looked at */
    struct err *e;
    int depth, n_range, n_var;
    bool shown_response;
    struct str var[GT_MAX_VARS]; /* names in scope */
};

/* What ended a list. */
enum stop { STOP_EOF, STOP_END, STOP_ELSE };

static int next(struct parse *p) {
    return gt_lex_next(&p->lex, &p->tok, p->e);
}

#define refuse(p, ...) gt_fail((p)->e, ERR_FORMAT, (p)->tok.line, __VA_ARGS__)

static int unexpected(struct parse *p, const char *where) {
    const struct gt_tok *t = &p->tok;
    if (t->type == GT_EOF) return refuse(p, "unexpected end in %s", where);
    return refuse(p, "unexpected \"%.*s\" in %s", (int)(t->text.n < 40 ? t->text.n : 40), t->text.p,
                  where);
}

static void *make(struct parse *p, size_t n) {
    void *x = arena_alloc(&p->t->arena, n);
    if (!x) err_nomem(p->e, "template");
    return x;
}

static int deeper(struct parse *p) {
    if (p->depth++ < GT_MAX_DEPTH) return 0;
    return gt_fail(p->e, ERR_LIMIT, p->tok.line, "nested deeper than %d; that much is accepted",
                   GT_MAX_DEPTH);
}

static bool at_word(const struct parse *p, const char *word) {
    return p->tok.type == GT_IDENT && str_is(p->tok.text, word);
}

/* ---- Pipelines ---------------------------------------------------------------------------------
 */

static int parse_pipe(struct parse *p, const char *where, int max_decl, struct gt_pipe **out);

/* Notes names that say what form the template has. */
static void note_field(struct parse *p, struct str name) {
    static const char messages[] = "messages", response[] = "response";
    if (name.n == 8 && strncasecmp(name.p, messages, 8) == 0) p->t->messages = true;
    if (name.n == 8 && strncasecmp(name.p, response, 8) == 0) p->t->response = true;
}

/* .A.B that stick to what stands before. */
static int parse_fields(struct parse *p, struct gt_name **at) {
    while (p->tok.type == GT_FIELD && !p->tok.spaced) {
        struct gt_name *n = make(p, sizeof *n);
        if (!n) return -1;
        n->name = p->tok.text;
        note_field(p, n->name);
        *at = n;
        at = &n->next;
        if (next(p) != 0) return -1;
    }
    return 0;
}

static int parse_var(struct parse *p, struct gt_arg *a) {
    a->type = GA_VAR;
    a->text = p->tok.text;
    for (int i = p->n_var - 1; i >= 0; i--)
        if (str_eq(p->var[i], a->text)) return 0;
    return refuse(p, "undefined variable \"%.*s\"", (int)(a->text.n < 40 ? a->text.n : 40),
                  a->text.p);
}

static int parse_word(struct parse *p, struct gt_arg *a) {
    if (at_word(p, "true") || at_word(p, "false")) {
        a->type = GA_BOOL;
        a->i = at_word(p, "true");
        return 0;
    }
    a->type = at_word(p, "nil") ? GA_NIL : GA_FUNC;
    if (a->type == GA_NIL) return 0;
    a->func = gt_func_find(p->tok.text);
    if (a->func) return 0;
    return refuse(p, "function \"%.*s\" is not defined",
                  (int)(p->tok.text.n < 40 ? p->tok.text.n : 40), p->tok.text.p);
}

static int parse_number(struct parse *p, struct gt_arg *a) {
    bool is_float = false;
    if (gt_number(&p->tok, &is_float, &a->i, &a->f, p->e) != 0) return -1;
    a->type = is_float ? GA_FLOAT : GA_INT;
    return 0;
}

/* 'a': its code. */
static int parse_char(struct parse *p, struct gt_arg *a) {
    struct str s;
    uint32_t cp = 0;
    if (gt_unquote(&p->tok, &p->t->arena, &s, p->e) != 0) return -1;
    if (s.n == 0 || (size_t)utf8_decode(s.p, s.n, &cp) != s.n)
        return refuse(p, "a malformed character constant");
    a->type = GA_INT;
    a->i = cp;
    return 0;
}

static int parse_term(struct parse *p, struct gt_arg *a) {
    switch (p->tok.type) {
    case GT_FIELD:
        a->type = GA_FIELD;
        p->tok.spaced = false; /* itself the first of its fields */
        return parse_fields(p, &a->fields);
    case GT_DOT: a->type = GA_DOT; break;
    case GT_VAR:
        if (parse_var(p, a) != 0) return -1;
        break;
    case GT_IDENT:
        if (parse_word(p, a) != 0) return -1;
        break;
    case GT_NUM:
        if (parse_number(p, a) != 0) return -1;
        break;
    case GT_CHAR:
        if (parse_char(p, a) != 0) return -1;
        break;
    case GT_STRING:
    case GT_RAW:
        a->type = GA_STR;
        if (gt_unquote(&p->tok, &p->t->arena, &a->text, p->e) != 0) return -1;
        break;
    case GT_OPEN:
        a->type = GA_PIPE;
        if (deeper(p) != 0 || next(p) != 0) return -1;
        if (parse_pipe(p, "parentheses", 0, &a->pipe) != 0) return -1;
        p->depth--;
        if (p->tok.type != GT_CLOSE) return unexpected(p, "parentheses");
        break;
    default: return unexpected(p, "an operand");
    }
    return next(p);
}

static int parse_arg(struct parse *p, struct gt_arg *a) {
    a->line = p->tok.line;
    if (parse_term(p, a) != 0) return -1;
    if (a->type == GA_FIELD) return 0;
    if (p->tok.type == GT_FIELD && !p->tok.spaced && a->type != GA_VAR && a->type != GA_PIPE &&
        a->type != GA_FUNC)
        return unexpected(p, "what follows a constant");
    return parse_fields(p, &a->fields);
}

/* One command: operands with blanks between, up to "|", ")" or the end. */
static int parse_cmd(struct parse *p, struct gt_cmd *c) {
    for (struct gt_arg **at = &c->arg;; at = &(*at)->next) {
        if (++c->n_arg > GT_MAX_ARGS)
            return gt_fail(p->e, ERR_LIMIT, p->tok.line, "more than %d arguments", GT_MAX_ARGS);
        if (!(*at = make(p, sizeof **at)) || parse_arg(p, *at) != 0) return -1;
        const enum gt_tok_type type = p->tok.type;
        if (type == GT_PIPE || type == GT_CLOSE || type == GT_RIGHT) return 0;
        if (!p->tok.spaced || type == GT_COMMA || type == GT_DECLARE || type == GT_ASSIGN)
            return unexpected(p, "an operand");
    }
}

static int declare(struct parse *p, struct str name) {
    if (p->n_var == GT_MAX_VARS)
        return gt_fail(p->e, ERR_LIMIT, p->tok.line, "more than %d variables", GT_MAX_VARS);
    p->var[p->n_var++] = name;
    return 0;
}

/* "$x :=", "$i, $x =" and their like, if they are there. */
static int parse_decl(struct parse *p, int max_decl, struct gt_pipe *pipe) {
    const struct gt_lex lex = p->lex;
    const struct gt_tok tok = p->tok;
    struct gt_arg known;
    int n = 0;
    for (; p->tok.type == GT_VAR && n < 2; n++) {
        pipe->decl[n] = p->tok.text;
        if (next(p) != 0) return -1;
        if (p->tok.type == GT_DECLARE || p->tok.type == GT_ASSIGN) {
            pipe->n_decl = n + 1;
            pipe->assign = p->tok.type == GT_ASSIGN;
            break;
        }
        if (p->tok.type != GT_COMMA) break;
        if (next(p) != 0) return -1;
    }
    if (pipe->n_decl == 0 && n > 0 && p->tok.type == GT_COMMA)
        return unexpected(p, "a declaration");
    if (pipe->n_decl == 0) {
        p->lex = lex;
        p->tok = tok;
        return 0;
    }
    if (pipe->n_decl > max_decl) return refuse(p, "too many declarations");
    for (int i = 0; i < pipe->n_decl; i++) {
        p->tok.text = pipe->decl[i];
        if ((pipe->assign ? parse_var(p, &known) : declare(p, pipe->decl[i])) != 0) return -1;
    }
    return next(p);
}

/* Up to the ")" or "}}" behind it, which stays the token looked at. */
static int parse_pipe(struct parse *p, const char *where, int max_decl, struct gt_pipe **out) {
    struct gt_pipe *pipe = *out = make(p, sizeof *pipe);
    if (!pipe) return -1;
    pipe->line = p->tok.line;
    if (max_decl > 0 && parse_decl(p, max_decl, pipe) != 0) return -1;
    if (p->tok.type == GT_RIGHT || p->tok.type == GT_CLOSE)
        return refuse(p, "missing value for %s", where);
    for (struct gt_cmd **at = &pipe->cmd;; at = &(*at)->next) {
        if (!(*at = make(p, sizeof **at)) || parse_cmd(p, *at) != 0) return -1;
        const enum gt_arg_type first = (*at)->arg->type;
        if (*at != pipe->cmd && first != GA_FIELD && first != GA_VAR && first != GA_FUNC &&
            first != GA_PIPE)
            return refuse(p, "what stands behind \"|\" in %s cannot be called", where);
        if (p->tok.type != GT_PIPE) return 0;
        if (next(p) != 0) return -1;
    }
}

/* ---- Actions -----------------------------------------------------------------------------------
 */

static int parse_list(struct parse *p, struct gt_node **out, enum stop *stop);

static int expect_right(struct parse *p, const char *where) {
    return p->tok.type == GT_RIGHT ? 0 : unexpected(p, where);
}

/* A list that must end with "end"; for {{define}} and {{block}}: own variables. */
static int parse_definition(struct parse *p, struct str name) {
    struct gt_def *d = make(p, sizeof *d), **at = &p->t->def;
    const int n_var = p->n_var, n_range = p->n_range, depth = p->depth;
    const bool shown = p->shown_response;
    struct str first = p->var[0];
    enum stop stop;
    if (!d || deeper(p) != 0) return -1;
    int n_def = 0;
    for (; *at; at = &(*at)->next, n_def++)
        if (str_eq((*at)->name, name) && (*at)->body)
            return refuse(p, "multiple definition of template \"%.*s\"",
                          (int)(name.n < 40 ? name.n : 40), name.p);
    if (n_def >= GT_MAX_DEFS)
        return gt_fail(p->e, ERR_LIMIT, p->tok.line, "more than %d definitions", GT_MAX_DEFS);
    d->name = name;
    /* Names of outer variables are hidden: the new scope begins behind them. */
    struct str *hidden = make(p, sizeof *hidden * (size_t)n_var);
    if (!hidden) return -1;
    memcpy(hidden, p->var, sizeof *hidden * (size_t)n_var);
    p->n_var = 1;
    p->n_range = 0;
    p->shown_response = false;
    if (parse_list(p, &d->body, &stop) != 0) return -1;
    if (stop != STOP_END) return refuse(p, "a template definition without {{end}}");
    memcpy(p->var, hidden, sizeof *hidden * (size_t)n_var);
    p->var[0] = first;
    p->n_var = n_var;
    p->n_range = n_range;
    p->depth = depth;
    p->shown_response = shown;
    for (at = &p->t->def; *at; at = &(*at)->next)
        ;
    *at = d;
    return 0;
}

static int parse_name(struct parse *p, const char *where, struct str *name) {
    if (next(p) != 0) return -1;
    if (p->tok.type != GT_STRING && p->tok.type != GT_RAW) return unexpected(p, where);
    if (gt_unquote(&p->tok, &p->t->arena, name, p->e) != 0) return -1;
    return next(p);
}

/* {{template "name" pipe}}, {{block "name" pipe}} */
static int parse_template(struct parse *p, struct gt_node *n, bool block) {
    const char *where = block ? "block" : "template";
    n->type = GN_TEMPLATE;
    if (parse_name(p, where, &n->text) != 0) return -1;
    if (block || p->tok.type != GT_RIGHT)
        if (parse_pipe(p, where, 1, &n->pipe) != 0) return -1;
    if (expect_right(p, where) != 0) return -1;
    return block ? parse_definition(p, n->text) : 0;
}

static int parse_branch(struct parse *p, struct gt_node *n, enum gt_node_type type,
                        const char *where);

/* Behind "{{else": "}}" or, for an if, "if ...", for a with, "with ...".  1: such a chain goes on.
 */
static int parse_else(struct parse *p, struct gt_node *n, const char *where) {
    enum stop stop;
    if (next(p) != 0) return -1;
    if ((n->type == GN_IF && at_word(p, "if")) || (n->type == GN_WITH && at_word(p, "with"))) {
        struct gt_node *chained = n->otherwise = make(p, sizeof *chained);
        if (!chained) return -1;
        chained->line = p->tok.line;
        chained->chained = true;
        chained->after = p->shown_response;
        /* Its {{end}} is ours, too; the loop of parse_branch goes on with it. */
        return 1;
    }
    if (expect_right(p, "else") != 0 || parse_list(p, &n->otherwise, &stop) != 0) return -1;
    if (stop == STOP_END) return 0;
    return refuse(p, "%s: found %s where {{end}} is needed", where,
                  stop == STOP_EOF ? "the template's end" : "a second {{else}}");
}

static int parse_branch(struct parse *p, struct gt_node *n, enum gt_node_type type,
                        const char *where) {
    const int n_var = p->n_var;
    enum stop stop;
    if (deeper(p) != 0) return -1;
    /* "else if" is a loop, not a recursion: long chains are not deep. */
    for (;; n = n->otherwise) {
        n->type = type;
        if (next(p) != 0) return -1;
        if (parse_pipe(p, where, type == GN_RANGE ? 2 : 1, &n->pipe) != 0) return -1;
        if (expect_right(p, where) != 0) return -1;
        p->n_range += type == GN_RANGE;
        if (parse_list(p, &n->body, &stop) != 0) return -1;
        p->n_range -= type == GN_RANGE;
        if (stop == STOP_EOF)
            return gt_fail(p->e, ERR_FORMAT, n->line, "%s without {{end}}", where);
        const int more = stop == STOP_ELSE ? parse_else(p, n, where) : 0;
        if (more < 0) return -1;
        if (more == 0) break;
    }
    p->n_var = n_var;
    p->depth--;
    return 0;
}

static int parse_jump(struct parse *p, struct gt_node *n, enum gt_node_type type) {
    n->type = type;
    if (p->n_range == 0)
        return refuse(p, "{{%s}} outside {{range}}", type == GN_BREAK ? "break" : "continue");
    return next(p) != 0 ? -1 : expect_right(p, "break or continue");
}

static bool shows_response(const struct gt_pipe *pipe) {
    for (const struct gt_cmd *c = pipe->cmd; c; c = c->next)
        for (const struct gt_arg *a = c->arg; a; a = a->next)
            for (const struct gt_name *f = a->type == GA_FIELD ? a->fields : NULL; f; f = f->next)
                if (str_is(f->name, "Response")) return true;
    return false;
}

/* Behind "{{".  Sets *stop, or fills n; returns 1 for a definition, which leaves nothing. */
static int parse_action(struct parse *p, struct gt_node *n, enum stop *stop) {
    struct str name;
    *stop = at_word(p, "end") ? STOP_END : at_word(p, "else") ? STOP_ELSE : STOP_EOF;
    if (*stop == STOP_ELSE) return 0;
    if (*stop == STOP_END) return next(p) != 0 ? -1 : expect_right(p, "end");
    if (at_word(p, "if")) return parse_branch(p, n, GN_IF, "if");
    if (at_word(p, "with")) return parse_branch(p, n, GN_WITH, "with");
    if (at_word(p, "range")) return parse_branch(p, n, GN_RANGE, "range");
    if (at_word(p, "template")) return parse_template(p, n, false);
    if (at_word(p, "block")) return parse_template(p, n, true);
    if (at_word(p, "break")) return parse_jump(p, n, GN_BREAK);
    if (at_word(p, "continue")) return parse_jump(p, n, GN_CONTINUE);
    if (at_word(p, "define")) {
        if (p->depth > 0) return refuse(p, "{{define}} inside another action");
        if (parse_name(p, "define", &name) != 0 || expect_right(p, "define") != 0) return -1;
        return parse_definition(p, name) != 0 ? -1 : 1;
    }
    n->type = GN_ACTION;
    if (parse_pipe(p, "command", 1, &n->pipe) != 0 || expect_right(p, "command") != 0) return -1;
    p->shown_response |= shows_response(n->pipe);
    return 0;
}

/* Nodes up to {{end}}, {{else (whose rest is not read) or the template's end. */
static int parse_list(struct parse *p, struct gt_node **out, enum stop *stop) {
    for (;;) {
        if (next(p) != 0) return -1;
        *stop = STOP_EOF;
        if (p->tok.type == GT_EOF) return 0;
        struct gt_node *n = make(p, sizeof *n);
        if (!n) return -1;
        n->line = p->tok.line;
        n->after = p->shown_response;
        int gone = 0;
        if (p->tok.type == GT_TEXT) {
            n->type = GN_TEXT;
            n->text = p->tok.text;
        } else {
            if (next(p) != 0) return -1;
            gone = parse_action(p, n, stop);
        }
        if (gone < 0) return -1;
        if (*stop != STOP_EOF) return 0;
        if (gone) continue;
        *out = n;
        out = &n->next;
    }
}

int gt_parse(struct gotmpl *t, struct str source, struct err *e) {
    struct parse *p = calloc(1, sizeof *p);
    enum stop stop = STOP_EOF;
    if (!p) return err_nomem(e, "template");
    *p = (struct parse){.t = t, .lex = {.src = source, .line = 1}, .e = e, .n_var = 1};
    p->var[0] = STR("$");
    int rc = parse_list(p, &t->body, &stop);
    if (rc == 0 && stop != STOP_EOF)
        rc = refuse(p, "{{%s}} that closes nothing", stop == STOP_END ? "end" : "else");
    free(p);
    return rc;
}
