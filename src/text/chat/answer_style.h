/* The marks by which families of models tell thinking, text and tool calls apart: a table.  Inside
 * answer*.c and template.c. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* How a call is written between its marks. */
enum call_body {
    BODY_NONE,
    BODY_JSON,   /* an object, or a list of them: {"name": n, "arguments": {...}} */
    BODY_NAMED,  /* name, sep, an object of arguments */
    BODY_XML,    /* <function=name><parameter=key>value</parameter></function> */
    BODY_KEYS,   /* name<arg_key>key</arg_key><arg_value>value</arg_value> */
    BODY_PYTHON, /* name(key=value, ...), one or more, maybe as a list */
    BODY_BRACES, /* call:name{key:value}, texts between quote marks */
    BODY_INVOKE, /* <invoke name="n"><parameter name="k">value</parameter></invoke> */
};

struct call_form {
    const char *open, *close; /* close NULL: JSON ends by itself */
    enum call_body body;
    const char *sep;   /* BODY_NAMED: between name and arguments; BODY_BRACES: the quote mark */
    const char *title; /* BODY_NAMED: what stands before the name, NULL: nothing */
    bool named_json;   /* BODY_JSON: or a name, sep or nothing, and an object of arguments */
    bool line_start;   /* the mark counts only at the beginning of the answer or of a line */
};

enum { STYLE_FORMS = 4, STYLE_NOISE = 8 };

struct answer_style {
    const char *name;                     /* of the style; built-in PARSER names map to it */
    const char *think_open, *think_close; /* NULL: it does not think */
    struct call_form form[STYLE_FORMS];   /* body BODY_NONE ends it */
    const char *noise[STYLE_NOISE];       /* marks without meaning of their own: left out */
    const char *starts; /* the prompt ends with this part of the answer's first mark, or NULL */
    bool bare;          /* a call may be plain JSON at the beginning of the answer */
    bool harmony;       /* channels: answer_harmony.c */
    bool keyed;         /* a call may be {name: arguments} */
    const char *args;   /* the key of arguments that the family writes; NULL: "arguments" */
    const char *title;  /* the key of the name; NULL: "name" */
};

/* Calls of this style can be read. */
static inline bool answer_style_calls(const struct answer_style *s) {
    return s->bare || s->harmony || s->form[0].body != BODY_NONE;
}

/* By the words of a template; the last style knows no marks. */
struct answer_style answer_style_of(struct str source);
/* For a Go template whose words are unknown: the text before its calls, or in front of each, is the
 * mark, and *mark (owned by the caller, who keeps it as long as the style) holds it. */
void answer_style_infer(struct str source, struct answer_style *s, char **mark);
/* By a PARSER's name.  ERR_UNSUPPORTED lists those that are known. */
int answer_style_named(const char *parser, struct answer_style *out, struct err *e);
