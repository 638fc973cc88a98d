/* `cria help`: made from the command and option tables, so that it cannot fall behind them. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 26 };

static void row(const char *left, const char *right) {
    if (strlen(left) < HELP_COLUMN - 3)
        printf("  %-*s %s\n", HELP_COLUMN - 3, left, right);
    else
        printf("  %s\n%*s%s\n", left, HELP_COLUMN, "", right);
}

static void command_rows(const struct command *table) {
    for (const struct command *c = table; c->name; c++) {
        char left[128];
        if (!c->brief) continue;
        snprintf(left, sizeof left, "%s %s", c->name, c->args);
        row(left, c->brief);
    }
}

void cli_help_list(const struct command *table, const char *prefix) {
    printf("Usage: %s COMMAND [ARGUMENTS]\n\nCommands:\n", prefix);
    command_rows(table);
    if (table == cli_commands) {
        row("help [COMMAND]", "this list, or one command with its options");
        puts("\nOptions:");
        row("-h, --help", "help for the program or for a command");
        row("-v, --version", "print the version");
        cli_help_settings();
    }
    printf("\n`%s COMMAND --help` tells more about a command.\n", prefix);
}

static void option_row(const struct opt *o) {
    char left[96], right[320], letter[8] = "    ";
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s%s", letter, o->name,
             o->kind == OPT_MAYBE ? "[="
             : o->arg             ? " "
                                  : "",
             o->arg ? o->arg : "", o->kind == OPT_MAYBE ? "]" : "");
    snprintf(right, sizeof right, "%s", o->help ? o->help : "");
    row(left, right);
}

void cli_help_command(const struct command *c, const char *prefix) {
    const struct opt *o = c->options ? c->options() : NULL;
    printf("%s %s: %s\n\nUsage: %s %s%s%s%s\n", prefix, c->name, c->brief, prefix, c->name,
           o && o->name ? " [OPTIONS]" : "", *c->args ? " " : "", c->args);
    if (c->alias) printf("Also:  %s %s\n", prefix, c->alias);
    if (o && o->name) puts("\nOptions:");
    for (; o && o->name; o++)
        option_row(o);
    if (c->sub) {
        puts("\nCommands:");
        command_rows(c->sub);
        printf("\n`%s %s COMMAND --help` tells more about a command.\n", prefix, c->name);
    }
    if (c->more_help) c->more_help();
}
