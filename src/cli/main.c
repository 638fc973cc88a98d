/* The program's beginning and end: signals, the command table, errors, the exit code. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/version.h"
#include "cli/commands.h"
#include "policy/isolation.h"

volatile int cli_interrupted;
static volatile sig_atomic_t interrupted_by = SIGINT;

static void on_interrupt(int sig) {
    if (cli_interrupted) _exit(128 + sig);
    interrupted_by = sig;
    cli_interrupted = 1;
}

void cli_catch_term(void) {
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_interrupt}, NULL);
}

static void set_signals(void) {
    /* No SA_RESTART: a read from the terminal must return when Ctrl-C is pressed. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt}, NULL);
    /* `cria ... | head` ends quietly when head has seen enough, also under a parent that ignores
     * SIGPIPE and would hand that down. */
    signal(SIGPIPE, SIG_DFL);
    /* A file that meets `ulimit -f` is an error to report and clean up after, as a full disk is. */
    signal(SIGXFSZ, SIG_IGN);
}

/* A closed descriptor 0, 1 or 2 would be given to the next file that is opened, and output would
 * go into it.  Read-only, so that what is written to a closed output fails instead of vanishing. */
static void fill_std_fds(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) close(fd);
}

void cli_print_json(json_t *take) {
    char *text =
        take ? json_dumps(take, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(take);
    if (text) puts(text);
    free(text);
}

static const struct command *find(const struct command *table, const char *name) {
    for (const struct command *c = table; c->name; c++)
        if (strcmp(c->name, name) == 0 || (c->alias && strcmp(c->alias, name) == 0)) return c;
    return NULL;
}

static int unknown(const struct command *table, const char *prefix, const char *word,
                   struct err *e) {
    const char *what = *word == '-' ? "option" : "command";
    struct suggest s = {.word = word};
    for (const struct command *c = table; c->name; c++)
        if (c->brief) suggest_offer(&s, c->name);
    if (table == cli_commands) {
        suggest_offer(&s, "help");
        suggest_offer(&s, "--help");
        suggest_offer(&s, "--version");
    }
    if (s.best)
        return err_set(e, ERR_USAGE, "unknown %s \"%s\"; did you mean `%s %s`?", what, word, prefix,
                       s.best);
    return err_set(e, ERR_USAGE, "unknown %s \"%s\"; `%s --help` lists what there is", what, word,
                   prefix);
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Is --help among the options, that is, before a "--"? */
static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (is_help(argv[i])) return true;
    return false;
}

/* Commands, too, ask nobody but this machine's servers then. */
static int stay_if_isolated(struct err *e) {
    char v[64];
    enum isolation mode;
    if (!os_setting("ISOLATION", v, sizeof v)) return 0;
    if (isolation_parse(v, &mode, e) != 0) return err_prefix(e, "setting CRIA_ISOLATION");
    if (mode != ISOLATION_OFF) policy_stay(true);
    return 0;
}

int cli_dispatch(const struct command *table, const char *prefix, int argc, char **argv,
                 struct err *e) {
    if (argc < 1)
        return err_set(e, ERR_USAGE, "%s: a command is missing; `%s --help` lists them", prefix,
                       prefix);
    if (is_help(argv[0])) {
        cli_help_list(table, prefix);
        return 0;
    }
    const struct command *c = find(table, argv[0]);
    if (!c) return unknown(table, prefix, argv[0], e);
    if (c->sub && (!c->run || (argc > 1 && find(c->sub, argv[1])))) {
        char longer[64];
        snprintf(longer, sizeof longer, "%s %s", prefix, c->name);
        return cli_dispatch(c->sub, longer, argc - 1, argv + 1, e);
    }
    if (c->brief && wants_help(argc, argv)) {
        cli_help_command(c, prefix);
        return 0;
    }
    if (!c->any_settings && cli_check_settings(e) != 0) return -1;
    /* A server has options for it, and its children are what it is. */
    if (!c->any_settings && c->run != cmd_serve && stay_if_isolated(e) != 0) return -1;
    return c->run(argc, argv, e);
}

/* `cria help [COMMAND [COMMAND]]` */
static int help(int argc, char **argv, struct err *e) {
    const struct command *table = cli_commands;
    char prefix[64] = "cria";
    int i = argc > 1 && (strcmp(argv[1], "help") == 0 || is_help(argv[1])) ? 2 : 1;
    for (; i < argc; i++) {
        const struct command *c = find(table, argv[i]);
        if (!c || !c->brief) return unknown(table, prefix, argv[i], e);
        if (!c->sub || (c->run && i + 1 == argc)) {
            cli_help_command(c, prefix);
            return 0;
        }
        table = c->sub;
        const size_t n = strlen(prefix);
        snprintf(prefix + n, sizeof prefix - n, " %s", c->name);
    }
    cli_help_list(table, prefix);
    return 0;
}

static int start(int argc, char **argv, struct err *e) {
    if (argc > CLI_MAX_ARGS)
        return err_set(e, ERR_USAGE, "command line: found %d words; at most %d are accepted", argc,
                       CLI_MAX_ARGS);
    if (argc < 2) {
        cli_help_list(cli_commands, "cria");
        return 0;
    }
    if (strcmp(argv[1], "help") == 0) return help(argc - 1, argv + 1, e);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
        puts("cria version is " CRIA_VERSION);
        return 0;
    }
    return cli_dispatch(cli_commands, "cria", argc - 1, argv + 1, e);
}

/* What was printed must have arrived: a full disk behind `>` is a failure. */
static int flush_output(struct err *e) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return err_errno(e, "standard output");
}

int main(int argc, char **argv) {
    struct err e = {0};
    fill_std_fds();
    set_signals();
    int rc = start(argc, argv, &e);
    const int by_signal = 128 + interrupted_by;
    if (rc == 0 && cli_interrupted) return by_signal; /* a command that Ctrl-C only cut short */
    if (rc == 0) rc = flush_output(&e);
    if (rc >= 0) return rc;
    /* The user knows that they pressed Ctrl-C. */
    if (e.code != ERR_CANCELLED) fprintf(stderr, "Error: %s\n", e.msg);
    return e.code == ERR_CANCELLED && cli_interrupted ? by_signal : err_exit_code(&e);
}
