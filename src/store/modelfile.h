/* Modelfiles (COMPAT.md 4.6): parsed into commands in their order, printed back. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum modelfile_command {
    MF_FROM,
    MF_ADAPTER,
    MF_DRAFT,
    MF_TEMPLATE,
    MF_SYSTEM,
    MF_PARAMETER, /* name and value */
    MF_MESSAGE,   /* role and text */
    MF_LICENSE,
    MF_REQUIRES,
    MF_RENDERER,
    MF_PARSER,
    MF_TRAINFILE, /* fine-tuning (create/tune.h): examples, and those it is judged by */
    MF_VALIDFILE,
    MF_EXTENSION, /* a command of our own, listed in modelfile.c; name is its upper-case name */
};

struct modelfile_line {
    enum modelfile_command command;
    int line;         /* 1, 2, ... where it begins */
    const char *name; /* of a parameter, a role, an extension; else NULL */
    struct str value; /* may hold line feeds; terminated */
};

enum { MODELFILE_MAX_BYTES = 16 << 20, MODELFILE_MAX_LINES = 100000 };

struct modelfile {
    struct modelfile_line *line; /* [n] */
    int n;
    struct arena a; /* owns all of it */
};

/* Text in UTF-8 or, with a byte order mark, UTF-16.  ERR_FORMAT "(line N): ..."; an unknown command
 * lists the known ones; "no FROM line".  modelfile_fini also after a failure. */
int modelfile_parse(struct str text, struct modelfile *m, struct err *e);
void modelfile_fini(struct modelfile *m);

/* Append one command so that parsing gives it back: bare, "quoted" or """quoted""" as the value
 * needs.  ERR_FORMAT when it cannot be written (it holds """). */
int modelfile_print(const struct modelfile_line *l, struct buf *out, struct err *e);

/* The commands of our own; ended by NULL. */
extern const char *const modelfile_extensions[];
