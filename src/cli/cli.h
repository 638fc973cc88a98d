/* The command line: a table of commands, each in cmd_<name>.c.  Only this folder prints and only
 * main() exits.  Data goes to stdout; progress and messages to stderr; exit codes: DESIGN.md 6. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/err.h"

/* Options are declared in a table and parsed by cli_parse: "--name VALUE", "--name=VALUE", "-n
 * VALUE", "-nVALUE", "--" ends them; options may stand after arguments. */
enum opt_kind {
    OPT_FLAG,
    OPT_INT,
    OPT_FLOAT,
    OPT_STR,
    OPT_LIST,
    OPT_MAYBE, /* "--name" is "true", "--name=VALUE" its value */
};

struct opt_list {
    const char **v; /* owned by the parser's arena: valid until the program ends */
    int n;
};

struct opt {
    const char *name; /* long name without dashes; NULL ends the table */
    char letter;      /* 0: none */
    enum opt_kind kind;
    void *out;       /* bool, int, double, const char * (STR, MAYBE), struct opt_list */
    double min, max; /* for numbers, inclusive; min == max: no bounds */
    const char *arg; /* "N", "FILE"; NULL for flags */
    const char *help;
};

/* main() refuses longer command lines, so that `const char *args[CLI_MAX_ARGS]` always suffices. */
enum { CLI_MAX_ARGS = 4096 };

/* Parse argv[1..argc) against table.  Arguments that are no options go to args (room for argc),
 * *n_args counts them.  Unknown option, missing or malformed value: ERR_USAGE that names it and
 * what is accepted, with a suggestion when one is near. */
int cli_parse(int argc, char **argv, const struct opt *table, const char **args, int *n_args,
              struct err *e);

/* "FILE" or "FILE:SCALE" of --lora; a file whose name ends like a scale wins.  free(*path), also
 * after an error. */
int cli_parse_lora(const char *spec, char **path, float *scale, struct err *e);

/* Are there MIN to MAX arguments?  If not, ERR_USAGE that shows `usage`, as in the command table.
 */
int cli_check_args(const char *command, int n_args, int min, int max, const char *usage,
                   struct err *e);

struct command {
    const char *name, *alias; /* alias may be NULL */
    const char *args;         /* "FILE [PROMPT]" */
    const char *brief;        /* one line for `cria help`; NULL: not for people, not shown */
    int (*run)(int argc, char **argv,
               struct err *e);          /* argv[0] is the command's name.  0, or -1
                                         * with e set, or a positive exit code for which it has spoken */
    const struct opt *(*options)(void); /* for help; NULL for none */
    const struct command
        *sub;                /* a group (`cria debug X`): its table.  With run: that is what a word
                              * not in the table gets (`cria train tokenizer`, `cria train`) */
    void (*more_help)(void); /* printed behind the options; or NULL */
    bool any_settings;       /* runs although a CRIA_ setting does not parse: doctor */
};

extern const struct command cli_commands[]; /* ends with a NULL name; sorted by use */

/* Find argv[0] in table and run it; prints help when asked for.  `prefix` is what the user typed
 * before ("cria", "cria debug").  Returns like command.run. */
int cli_dispatch(const struct command *table, const char *prefix, int argc, char **argv,
                 struct err *e);

/* Help to stdout: the list of a table, or one command with its options. */
void cli_help_list(const struct command *table, const char *prefix);
void cli_help_command(const struct command *c, const char *prefix);

/* Every CRIA_ / OLLAMA_ setting that this build reads must parse: ERR_USAGE naming the first that
 * does not and what is accepted. */
int cli_check_settings(struct err *e);
void cli_help_settings(void);

/* The nearest of several names to a word that was mistyped.  Start with .word set; offer each name;
 * .best is NULL when none is near enough to suggest. */
struct suggest {
    const char *word, *best;
    size_t distance;
};
void suggest_offer(struct suggest *s, const char *name);

/* Print a JSON value as one line on stdout and release it: `--json`. */
void cli_print_json(json_t *take);

/* Turn on when a signal asks to stop: commands poll it.  A second Ctrl-C ends the program. */
extern volatile int cli_interrupted;

/* From now on SIGTERM asks to stop, too (exit code 143): for commands that keep what they have
 * done. */
void cli_catch_term(void);

/* Is stderr a terminal that can write over a line? */
bool cli_is_screen(void);
int cli_columns(void); /* of that terminal */
/* Write over its line: what does not fit is cut. */
void cli_draw_line(const char *text);

/* A progress bar on stderr; silent when stderr is no terminal or total is 0. */
struct progress {
    const char *label;
    double total; /* in `unit`s; scaled to k, M, G in the display */
    const char *unit;
    long long start_ns, shown_ns; /* set by progress_start */
    bool on;
};
void progress_start(struct progress *p, const char *label, double total, const char *unit);
void progress_update(struct progress *p, double done);
void progress_end(struct progress *p); /* clears the line */
