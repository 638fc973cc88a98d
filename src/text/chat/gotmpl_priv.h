/* Inside the Go template interpreter: tokens, tree, values and the bounds of a run.
 *
 *   gotmpl_lex.c -> gotmpl_parse.c -> tree -> gotmpl_eval.c, with gotmpl_value.c (types of the
 *   data), gotmpl_func.c (functions), gotmpl_print.c (fmt and json.Marshal) */
#pragma once

#include "base/arena.h"
#include "text/chat/gotmpl.h"

enum {
    GT_MAX_SOURCE = 256 << 10, /* bytes; real ones have a few thousand, a tree a hundredfold */
    GT_MAX_DEPTH = 100,        /* nested blocks, parentheses and templates */
    GT_MAX_STEPS = 1000000,
    GT_MAX_OUTPUT = 16 << 20, /* bytes */
    GT_MAX_TEMP = 32 << 20,   /* bytes of all strings made on the way */
    GT_MAX_CPU_MS = 250,
    GT_MAX_VARS = 1024,
    GT_MAX_ARGS = 64,
    GT_MAX_DEFS = 256,
    GT_MAX_WIDTH = 10000, /* of one printf verb */
};

/* "template: line N: ..." into e; returns -1. */
__attribute__((format(printf, 4, 5))) int gt_fail(struct err *e, enum err_code code, int line,
                                                  const char *fmt, ...);

/* ---- Tokens ------------------------------------------------------------------------------------
 */

enum gt_tok_type {
    GT_EOF,
    GT_TEXT,
    GT_LEFT,  /* {{ */
    GT_RIGHT, /* }} */
    GT_FIELD, /* .Name; text without the dot */
    GT_VAR,   /* $ or $name; text with the $ */
    GT_IDENT,
    GT_DOT,
    GT_NUM,
    GT_CHAR,   /* 'a', with its quotes */
    GT_STRING, /* "a", with its quotes */
    GT_RAW,    /* `a`, without */
    GT_PIPE,
    GT_OPEN,
    GT_CLOSE,
    GT_COMMA,
    GT_DECLARE, /* := */
    GT_ASSIGN,  /* = */
};

struct gt_tok {
    enum gt_tok_type type;
    struct str text; /* borrowed from the source */
    int line;
    bool spaced; /* blanks stand before it, inside an action */
};

struct gt_lex {
    struct str src;
    size_t at;
    int line;
    bool action, trim; /* inside {{ }}; the next text loses leading blanks */
    int parens;
};

/* The next token.  -1 with e. */
int gt_lex_next(struct gt_lex *l, struct gt_tok *t, struct err *e);

/* The value of a quoted token in an arena. */
int gt_unquote(const struct gt_tok *t, struct arena *a, struct str *out, struct err *e);
int gt_number(const struct gt_tok *t, bool *is_float, int64_t *i, double *f, struct err *e);

/* ---- Tree, in the template's arena -------------------------------------------------------------
 */

struct gt_name {
    struct str name;
    struct gt_name *next;
};

enum gt_arg_type {
    GA_FIELD,
    GA_VAR,
    GA_DOT,
    GA_NIL,
    GA_BOOL,
    GA_INT,
    GA_FLOAT,
    GA_STR,
    GA_FUNC,
    GA_PIPE
};

struct gt_arg {
    enum gt_arg_type type;
    int line;
    struct str text; /* of GA_STR; name of GA_VAR */
    int64_t i;       /* GA_INT, GA_BOOL */
    double f;
    const struct gt_func *func;
    struct gt_pipe *pipe;
    struct gt_name *fields; /* .A.B behind it, or of GA_FIELD itself */
    struct gt_arg *next;
};

struct gt_cmd {
    struct gt_arg *arg; /* at least one */
    int n_arg;
    struct gt_cmd *next;
};

struct gt_pipe {
    int line;
    struct str decl[2];
    int n_decl;
    bool assign; /* = rather than := */
    struct gt_cmd *cmd;
};

enum gt_node_type {
    GN_TEXT,
    GN_ACTION,
    GN_IF,
    GN_WITH,
    GN_RANGE,
    GN_TEMPLATE,
    GN_BREAK,
    GN_CONTINUE
};

struct gt_node {
    enum gt_node_type type;
    int line;
    struct str text; /* of GN_TEXT; name of GN_TEMPLATE */
    struct gt_pipe *pipe;
    struct gt_node *body, *otherwise;
    bool chained; /* it is the "else if" of the node before */
    bool after;   /* stands behind the first action that shows .Response */
    struct gt_node *next;
};

struct gt_def {
    struct str name;
    struct gt_node *body;
    struct gt_def *next;
};

struct gotmpl {
    struct arena arena;
    struct gt_node *body;
    struct gt_def *def;
    bool messages, response; /* fields of these names occur */
};

/* Parse t's source into it. */
int gt_parse(struct gotmpl *t, struct str source, struct err *e);

/* ---- Values ------------------------------------------------------------------------------------
 */

enum gt_kind { GV_NIL, GV_BOOL, GV_INT, GV_FLOAT, GV_STR, GV_LIST, GV_MAP, GV_STRUCT };

struct gt_type; /* a Go type of the data: gotmpl_value.c */

struct gt_val {
    enum gt_kind kind;
    bool trusted; /* GV_STR: from the template, or a word that can forge nothing */
    const struct gt_type *type;
    union {
        bool b;
        int64_t i;
        double f;
        struct str s;
        struct {
            const json_t *j; /* NULL: the zero value */
            size_t lo, hi;   /* of a list: the part that it shows */
        };
    };
};

struct gt_run {
    const struct gotmpl *t;
    struct chat_prompt *out;
    size_t out_start;
    struct err *e;
    struct arena arena; /* strings made on the way */
    size_t temp_bytes;
    int64_t now_s, start_ns;
    int steps, depth, line; /* line: of what runs now */
    bool last_turn;         /* nothing behind .Response is shown */
    int n_var;
    struct {
        struct str name;
        struct gt_val v;
    } var[GT_MAX_VARS];
};

/* gt_fail with ERR_FORMAT at the line that runs now. */
__attribute__((format(printf, 2, 3))) int gt_refuse(struct gt_run *r, const char *fmt, ...);
int gt_refuse_limit(struct gt_run *r, const char *what, double limit, const char *unit);

struct gt_val gt_root(const json_t *data);
struct gt_val gt_bool(bool b);
struct gt_val gt_int(int64_t i);
struct gt_val gt_text(struct str s, bool trusted); /* borrows */
/* Moves what b holds into the run's arena; b is released. */
int gt_take(struct gt_run *r, struct buf *b, bool trusted, struct gt_val *out);

bool gt_truth(const struct gt_val *v);
const char *gt_type_name(const struct gt_val *v);
/* Does it print as JSON (a Stringer)? */
bool gt_speaks_json(const struct gt_val *v);
size_t gt_len(const struct gt_val *v); /* of strings, lists, maps */
struct gt_val gt_item(const struct gt_val *list, size_t i);
struct gt_val gt_map_get(const struct gt_val *map, struct str key);
/* .name of a value.  -1 with the run's error. */
int gt_field(struct gt_run *r, const struct gt_val *v, struct str name, struct gt_val *out);
/* Keys of a map, sorted by bytes, in the run's arena; NULL when memory is out. */
struct str *gt_map_keys(struct gt_run *r, const struct gt_val *map, size_t *n);

/* The fields of a struct in Go's order: i = 0, 1...; false behind the last.  json is the name in
 * JSON, shown whether %v shows it, filled whether JSON does. */
struct gt_member {
    const char *json;
    bool shown, filled;
    struct gt_val v;
};
bool gt_struct_member(const struct gt_val *v, int i, struct gt_member *m);

/* TypeScript's name for a tool's property. */
int gt_typescript(struct gt_run *r, const struct gt_val *v, struct gt_val *out);

/* ---- Functions and printing --------------------------------------------------------------------
 */

typedef int gt_fn(struct gt_run *r, const struct gt_val *arg, int n, struct gt_val *out);

struct gt_func {
    const char *name;
    int min, max; /* arguments */
    gt_fn *fn;    /* NULL: and, or, which the evaluator does */
};
const struct gt_func *gt_func_find(struct str name);

/* fmt.Sprint, fmt.Sprintln, fmt.Sprintf, json.Marshal; -1 with the run's error. */
int gt_sprint(struct gt_run *r, const struct gt_val *arg, int n, bool ln, struct buf *out);
int gt_sprintf(struct gt_run *r, const struct gt_val *arg, int n, struct buf *out);
int gt_json(struct gt_run *r, const struct gt_val *v, struct buf *out);
int gt_show(struct gt_run *r, const struct gt_val *v, struct buf *out); /* %v */
/* One value by one verb (gotmpl_print.c for gotmpl_printf.c). */
struct gt_verb {
    char c;
    bool plus, minus, sharp, space, zero;
    int width, prec; /* -1: not given */
};
int gt_format(struct gt_run *r, const struct gt_verb *f, const struct gt_val *v, struct buf *out);
void gt_quote(struct str s, char q, bool ascii, struct buf *out);
/* A float in Go's form: verb e f g G E; prec < 0: the shortest that reads back. */
void gt_float(double f, char verb, int prec, struct buf *out);
/* Evaluate. */
int gt_exec(struct gt_run *r, const json_t *data);
