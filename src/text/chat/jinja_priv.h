/* Inside the Jinja interpreter: values, tree, the state of one rendering.
 *
 * Errors are sticky: what fails calls jr_fail once and returns an undefined value; loops look at
 * r->failed.  Values are immutable but for namespaces, so they are shared, never copied. */
#pragma once

#include <time.h>

#include "base/arena.h"
#include "text/chat/jinja.h"

typedef __int128 jint; /* Python's integers have no end; these end with an error */

enum jkind {
    J_UNDEF,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_SPACE, /* namespace(), loop */
    J_FUNC,
    J_MACRO,
};

/* Text that remembers byte by byte whether it is quoted, from a variable that is not trusted. */
struct jstr {
    const char *p;
    const unsigned char *mark; /* [n], or NULL: all bytes are as `quoted` says */
    size_t n;
    bool quoted;
    bool safe; /* Python's Markup: "+" escapes what is added to it */
};

struct jv {
    enum jkind kind;
    union {
        bool b;
        jint i;
        double f;
        const struct jstr *s;
        struct jlist *l; /* lists and tuples */
        struct jdict *d; /* dicts and spaces */
        const struct jfunc *fn;
        const struct jmacro *m;
        const char *name; /* of what is undefined, or NULL */
    };
};

struct jlist {
    struct jv *v;
    size_t n, cap;
    bool lazy;  /* a generator in Python: not JSON */
    bool group; /* of groupby: its two items are grouper and list */
};

struct jdict {
    struct jv *k, *v;
    size_t n, cap;
};

struct jargs {
    struct jv *v;
    struct str *kw; /* names of v[n], v[n + 1]... */
    int n, n_kw;
};

struct jrun;
typedef struct jv jcall_fn(struct jrun *r, struct jv self, const struct jargs *a);

struct jfunc {
    jcall_fn *fn;
    struct jv self;
    const char *name;
};

/* What a macro takes beside its parameters: what its body asks for. */
enum { JM_VARARGS = 1, JM_KWARGS = 2, JM_CALLER = 4 };

struct jmacro {
    const struct jnode *def;
    struct jscope *scope;
};

enum jnode_kind {
    N_CONST,
    N_NAME,
    N_TUPLE,
    N_LIST,
    N_DICT,
    N_PAIR,
    N_COND,
    N_OR,
    N_AND,
    N_NOT,
    N_COMPARE,
    N_OPERAND,
    N_BINARY,
    N_NEG,
    N_POS,
    N_CONCAT,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_ARG,
    N_FILTER,
    N_TEST,
    N_INPUT, /* what a filter block or a filtered set block filters */
    N_TEXT,
    N_PRINT,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_MACRO,
    N_CALL_BLOCK,
    N_FILTER_BLOCK,
    N_WITH,
    N_GROUP, /* block, generation: its body */
    N_BREAK,
    N_CONTINUE,
};

/* One form for all: a, b, c are what the kind's comment in the parser says. */
struct jnode {
    enum jnode_kind kind;
    int line, height;
    int op;          /* token kind of an operator; 1: negated, recursive */
    struct str text; /* names */
    struct jv value;
    struct jnode *a, *b, *c;
    struct jnode *list, *body, *orelse;
    struct jnode *next; /* in the list that it is in */
};

enum jtok_kind {
    T_END,
    T_TEXT,
    T_BLOCK,
    T_BLOCK_END,
    T_VAR,
    T_VAR_END,
    T_NAME,
    T_STR,
    T_INT,
    T_FLOAT,
    T_OP
};
enum jop { OP_EQ = 256, OP_NE, OP_LE, OP_GE, OP_DIV, OP_POW, OP_IN, OP_NOT_IN };

struct jtok {
    enum jtok_kind kind;
    int op; /* a character or an enum jop */
    int line;
    struct str text; /* T_STR: unescaped */
};

struct jlex {
    const char *name;
    struct arena *arena;
    struct str src;
    size_t pos;
    int line, depth; /* depth: open brackets in a tag */
    int in;          /* 0 text, T_BLOCK, T_VAR */
    bool line_start; /* what was read last ended a line */
    struct err *e;
    struct jtok *tok;
    size_t n, cap;
};

/* All tokens of src, T_END last, in the arena; NULL with e set. */
struct jtok *jinja_lex(const char *name, struct arena *a, struct str src, struct err *e);

struct jparse {
    const char *name;
    struct arena *arena;
    const struct jtok *tok;
    struct err *e;
    bool failed;
    int depth, n_loop; /* n_loop: for blocks around, inside of the macro */
};

struct jnode *jp_node(struct jparse *p, enum jnode_kind kind, struct jnode *a, struct jnode *b);
struct jnode *jp_fail(struct jparse *p, const char *what);
bool jp_enter(struct jparse *p);
bool jp_is(const struct jparse *p, int op);
bool jp_is_name(const struct jparse *p, const char *name);
bool jp_take(struct jparse *p, int op);
bool jp_take_name(struct jparse *p, const char *name);
void jp_need(struct jparse *p, int op);
struct jnode *jp_expr(struct jparse *p, bool cond);
struct jnode *jp_tuple(struct jparse *p, bool cond);
struct jnode *jp_postfix(struct jparse *p, struct jnode *n);
struct jnode *jp_primary(struct jparse *p);
struct jnode *jp_unary(struct jparse *p, bool filters);
struct jnode *jp_filters(struct jparse *p, struct jnode *n, bool bare);
struct jnode *jinja_parse(struct jparse *p);

/* Variables, innermost first. */
struct jscope {
    struct jscope *parent;
    struct str *name;
    struct jv *value;
    size_t n, cap;
    bool captured; /* a macro refers to it */
};

struct jbuild {
    struct buf text, mark;
};

enum jflow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

struct jrun {
    const struct jinja *t;
    struct jinja_opts o;
    struct arena arena;
    char *block; /* the rest of what was taken from the arena */
    size_t n_block;
    size_t live_bytes; /* in builders */
    struct err *e;
    bool failed;
    int line, depth, n_macro;
    long steps;
    long long end_ns;
    struct jscope *scope;
    struct jbuild *out;
    struct jv input;
    enum jflow flow;
};

struct jinja {
    char *name;
    struct arena arena;
    struct jnode *body;
};

/* jinja_run.c */
__attribute__((format(printf, 3, 4))) struct jv jr_fail(struct jrun *r, enum err_code code,
                                                        const char *fmt, ...);
bool jr_step(struct jrun *r, size_t n);
void *jr_alloc(struct jrun *r, size_t n, size_t size);

/* jinja_value.c */
struct jv jv_undef(const char *name);
struct jv jv_none(void);
struct jv jv_bool(bool b);
struct jv jv_int(jint i);
struct jv jv_float(double f);
struct jv jv_text(struct jrun *r, const char *p, size_t n, bool quoted);
struct jv jv_z(struct jrun *r, const char *z);
struct jv jv_sub(struct jrun *r, const struct jstr *s, size_t at, size_t n);
struct jv jv_list(struct jrun *r, size_t cap);
void jv_push(struct jrun *r, struct jv list, struct jv v);
struct jv jv_dict(struct jrun *r);
void jv_set(struct jrun *r, struct jdict *d, struct jv k, struct jv v);
const struct jv *jv_get(struct jrun *r, const struct jdict *d, struct str key);
const struct jv *jv_find(struct jrun *r, const struct jdict *d, struct jv key);
struct jv jv_of_json(struct jrun *r, const json_t *j, bool quoted);
bool jv_truth(struct jv v);
bool jv_equal(struct jrun *r, struct jv a, struct jv b);
int jv_compare(struct jrun *r, struct jv a, struct jv b);
bool jv_hashable(struct jrun *r, struct jv v);
bool jv_is_num(struct jv v);
double jv_num(struct jv v);
jint jv_whole(struct jv v);
const char *jv_kind(struct jv v);
struct jlist *jv_items(struct jrun *r, struct jv v);
struct jv jv_func(struct jrun *r, const char *name, jcall_fn *fn, struct jv self);
static inline struct str jv_str(struct jv v) {
    return (struct str){v.s->p, v.s->n};
}

/* jinja_text.c */
void jb_put(struct jrun *r, struct jbuild *b, const char *p, size_t n, bool quoted);
void jb_z(struct jrun *r, struct jbuild *b, const char *z);
void jb_sub(struct jrun *r, struct jbuild *b, const struct jstr *s, size_t at, size_t n);
void jb_str(struct jrun *r, struct jbuild *b, struct jv v);  /* Python's str(v) */
void jb_repr(struct jrun *r, struct jbuild *b, struct jv v); /* Python's repr(v) */
struct jv jb_take(struct jrun *r, struct jbuild *b);
void jb_fini(struct jrun *r, struct jbuild *b);
struct jv jv_to_str(struct jrun *r, struct jv v);
size_t jv_print_int(jint i, int base, char out[160]);
void jv_print_float(double f, char out[32]);
size_t jv_chars(const struct jstr *s);
size_t jv_char_at(const struct jstr *s, size_t i);
struct jv jf_tojson(struct jrun *r, struct jv self, const struct jargs *a);

/* jinja_format.c */
struct jv jv_percent(struct jrun *r, struct jv fmt, struct jv args);
struct jv jm_format(struct jrun *r, struct jv self, const struct jargs *a);

/* jinja_eval.c */
struct jv jr_eval(struct jrun *r, const struct jnode *n);
struct jv jr_attr(struct jrun *r, struct jv v, struct str name);
struct jv jr_item(struct jrun *r, struct jv v, struct jv key);
struct jv jr_call(struct jrun *r, struct jv f, const struct jargs *a);
struct jv jr_binary(struct jrun *r, int op, struct jv a, struct jv b);
bool jr_contains(struct jrun *r, struct jv box, struct jv v);
struct jv jr_args(struct jrun *r, const struct jnode *list, struct jargs *a);
const struct jv *jr_look(const struct jrun *r, struct str name);

/* jinja_exec.c */
void jr_exec(struct jrun *r, const struct jnode *list);
struct jv jr_macro(struct jrun *r, const struct jmacro *m, const struct jargs *a);
void jr_assign(struct jrun *r, struct str name, struct jv v);
struct jscope *jr_push(struct jrun *r, struct jscope *parent);

struct jv jf_escape(struct jrun *r, struct jv v, const struct jargs *a);

/* jinja_filter.c, jinja_list.c, jinja_test.c, jinja_method.c, jinja_global.c */
struct jentry {
    const char *name;
    jcall_fn *fn;
};
extern const struct jentry jinja_filters[], jinja_list_filters[], jinja_tests[], jinja_globals[];
extern const struct jentry jinja_str_methods[], jinja_dict_methods[], jinja_list_methods[],
    jinja_tuple_methods[], jinja_number_methods[];
jcall_fn *jentry_find(const struct jentry *table, struct str name);
const struct jv *ja_get(const struct jargs *a, int i, const char *name);
jint ja_int(struct jrun *r, const struct jargs *a, int i, const char *name, jint otherwise);
bool ja_flag(const struct jargs *a, int i, const char *name, bool otherwise);
struct jv jr_filter(struct jrun *r, struct str name, struct jv v, const struct jargs *a);
bool jr_test(struct jrun *r, struct str name, struct jv v, const struct jargs *a);
struct jv jm_trim(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_upper(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_lower(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_title(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_words(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_capitalize(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_replace(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_items(struct jrun *r, struct jv self, const struct jargs *a);
size_t jv_blank(const struct jstr *s, size_t at);

/* jinja_word.c */
struct jv jm_isdigit(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isnumeric(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isalpha(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isalnum(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isspace(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isupper(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_islower(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_istitle(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isascii(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_isidentifier(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_swapcase(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jm_expandtabs(struct jrun *r, struct jv self, const struct jargs *a);
struct jv jf_wordcount(struct jrun *r, struct jv v, const struct jargs *a);
