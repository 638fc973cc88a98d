/* See repl.h.  Ctrl-C at the prompt clears the line and says how to leave; while an answer is
 * written it ends the answer. */
#include "cli/repl.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/input.h"
#include "cli/repl_model.h"

static void help(void) {
    fputs("Available Commands:\n"
          "  /set            Set session variables\n"
          "  /show           Show model information\n"
          "  /load MODEL     Chat with another model\n"
          "  /save NAME      Save this chat as a model\n"
          "  /list           List models\n"
          "  /clear          Clear session context\n"
          "  /bye            Exit\n"
          "  /?, /help       Help for a command\n"
          "  /? shortcuts    Help for keyboard shortcuts\n\n"
          "Use \"\"\" to begin a multi-line message.\n\n",
          stderr);
}

static void help_set(void) {
    fputs("Available Commands:\n"
          "  /set parameter NAME VALUE...  Set a parameter\n"
          "  /set system TEXT              Set system message\n"
          "  /set history                  Enable history\n"
          "  /set nohistory                Disable history\n"
          "  /set wordwrap                 Enable wordwrap\n"
          "  /set nowordwrap               Disable wordwrap\n"
          "  /set format json              Answers are JSON\n"
          "  /set noformat                 Answers are any text\n"
          "  /set think [LEVEL]            The model thinks before it answers\n"
          "  /set nothink                  It does not\n"
          "  /set verbose                  Show timings after each answer\n"
          "  /set quiet                    Do not\n\n",
          stderr);
}

static void help_show(void) {
    fputs("Available Commands:\n"
          "  /show info         Show details for this model\n"
          "  /show license      Show model license\n"
          "  /show modelfile    Show Modelfile for this model\n"
          "  /show parameters   Show parameters that were set\n"
          "  /show system       Show system message\n"
          "  /show template     Show prompt template\n\n",
          stderr);
}

static void help_shortcuts(void) {
    fputs("Available keyboard shortcuts:\n"
          "  Ctrl + a            Move to the beginning of the line (Home)\n"
          "  Ctrl + e            Move to the end of the line (End)\n"
          "   Alt + b            Move back (left) one word\n"
          "   Alt + f            Move forward (right) one word\n"
          "  Ctrl + k            Delete the sentence after the cursor\n"
          "  Ctrl + u            Delete the sentence before the cursor\n"
          "  Ctrl + w            Delete the word before the cursor\n\n"
          "  Ctrl + l            Clear the screen\n"
          "  Ctrl + g            Open an editor to compose a message\n"
          "  Ctrl + c            Stop the model from responding\n"
          "  Ctrl + d            Exit (/bye)\n\n",
          stderr);
}

/* The first word of *rest, terminated, and *rest after it; "" when there is none. */
static char *word(char **rest) {
    char *w = *rest + strspn(*rest, " \t");
    char *end = w + strcspn(w, " \t");
    *rest = end;
    if (*end) *end = 0, (*rest)++;
    return w;
}

/* /set parameter NAME VALUE...: several values for `stop`. */
static void set_parameter(struct chat *c, char *rest) {
    struct err e = {0};
    const char *name = word(&rest), *value = word(&rest);
    if (!*name || !*value) {
        fputs("Usage:\n  /set parameter NAME VALUE...\n", stderr);
        return;
    }
    struct run_options before = c->options; /* a shallow copy serves to compare and to undo */
    json_t *given = json_copy(c->given);
    if (strcmp(name, "stop") == 0) c->options.n_stop = 0;
    int rc = 0;
    for (const char *v = value; rc == 0 && *v; v = word(&rest)) {
        rc = chat_set_option(c, name, v, &e);
        if (rc == 0) fprintf(stderr, "Set parameter '%s' to '%s'\n", name, v);
    }
    if (rc == 0 && run_options_reopen(&c->options, &before)) rc = chat_open(c, &e);
    json_t *drop = given;
    if (rc != 0) {
        before.keep = c->options.keep; /* the arena has grown meanwhile */
        c->options = before;
        drop = c->given, c->given = given;
    }
    json_decref(drop);
    if (rc == 0) return;
    fprintf(stderr, "Couldn't set parameter: %s\n", e.msg);
}

/* Take away a pair of """ around a text. */
static struct str unquoted(const char *text) {
    struct str s = str_of(text);
    for (int n = 3; n >= 1; n -= 2) { /* """text""" or "text" */
        if (s.n < (size_t)(2 * n) || strncmp(s.p, "\"\"\"", (size_t)n) != 0 ||
            strncmp(s.p + s.n - n, "\"\"\"", (size_t)n) != 0)
            continue;
        return (struct str){s.p + n, s.n - (size_t)(2 * n)};
    }
    return s;
}

static void set_system(struct chat *c, const char *text) {
    const struct str s = unquoted(text + strspn(text, " \t"));
    buf_reset(&c->system);
    buf_append(&c->system, s.p, s.n);
    fputs("Set system message.\n", stderr);
}

/* json, or the text of a schema; NULL: any text again. */
static void set_format(struct chat *c, const char *text) {
    struct err e = {0};
    if (text) text += strspn(text, " \t");
    if (text && !*text)
        fputs("Usage:\n  /set format json\n", stderr);
    else if (chat_set_format(c, text, &e) != 0)
        fprintf(stderr, "Error: %s\n", e.msg);
    else if (text)
        fprintf(stderr, "Set format to '%s' mode.\n", text);
    else
        fputs("Disabled format.\n", stderr);
}

static void set_think(struct chat *c, const char *level) {
    struct err e = {0};
    if (chat_set_think(c, *level ? level : "true", &e) != 0)
        fprintf(stderr, "Error: %s\n", e.msg);
    else if (strcmp(level, "false") == 0)
        fputs("Set 'nothink' mode.\n", stderr);
    else if (*level)
        fprintf(stderr, "Set 'think' mode to '%s'.\n", level);
    else
        fputs("Set 'think' mode.\n", stderr);
}

static void set(struct chat *c, char *rest) {
    const char *what = word(&rest);
    if (strcmp(what, "parameter") == 0)
        set_parameter(c, rest);
    else if (strcmp(what, "system") == 0 && rest[strspn(rest, " \t")])
        set_system(c, rest);
    else if (strcmp(what, "history") == 0)
        input_keep_history(true);
    else if (strcmp(what, "nohistory") == 0)
        input_keep_history(false);
    else if (strcmp(what, "wordwrap") == 0 || strcmp(what, "nowordwrap") == 0) {
        c->display.wrap = *what == 'w';
        fprintf(stderr, "Set '%s' mode.\n", what);
    } else if (strcmp(what, "verbose") == 0 || strcmp(what, "quiet") == 0) {
        c->verbose = *what == 'v';
        fprintf(stderr, "Set '%s' mode.\n", what);
    } else if (strcmp(what, "format") == 0 || strcmp(what, "noformat") == 0) {
        set_format(c, *what == 'f' ? rest : NULL);
    } else if (strcmp(what, "think") == 0 || strcmp(what, "nothink") == 0) {
        set_think(c, *what == 'n' ? "false" : word(&rest));
    } else if (*what == 0)
        help_set();
    else
        fprintf(stderr, "Unknown command '/set %s'. Type /? for help\n", what);
}

static void show_info(const struct chat *c) {
    const struct gen_info *i = talk_info(c->talk);
    if (!i) {
        repl_show_server(c);
        return;
    }
    fprintf(stderr, "  %-20s %s\n", "architecture", i->arch);
    fprintf(stderr, "  %-20s %d\n", "embedding length", i->n_embd);
    fprintf(stderr, "  %-20s %d\n", "vocabulary", i->n_vocab);
    fprintf(stderr, "  %-20s %d\n", "trained context", i->n_ctx_train);
    fprintf(stderr, "  %-20s %d\n", "context", i->n_ctx);
    fprintf(stderr, "  %-20s %.1f MB\n\n", "weights", (double)i->weight_bytes * 1e-6);
}

/* Text from the file: without what a terminal would obey. */
static void show_text(struct str s, const char *none) {
    struct buf safe = {0};
    display_escape(s, &safe);
    fprintf(stderr, "%s\n\n", safe.n ? safe.p : none);
    buf_fini(&safe);
}

/* A text of the model's: template, license or Modelfile. */
static void show_of_model(const struct chat *c, const char *what) {
    struct err e = {0};
    struct buf text = {0};
    const char *none = strcmp(what, "template") == 0
                           ? "No prompt template was specified for this model."
                           : "No license was specified for this model.";
    if (repl_text(c, what, &text, &e) != 0)
        fprintf(stderr, "Error: %s\n\n", e.msg);
    else
        show_text(buf_view(&text), none);
    buf_fini(&text);
}

static void show(const struct chat *c, char *rest) {
    const char *what = word(&rest);
    struct buf text = {0};
    if (strcmp(what, "info") == 0)
        show_info(c);
    else if (strcmp(what, "parameters") == 0) {
        run_options_print(&c->options, &text);
        show_text(buf_view(&text), "No parameters were specified for this model.");
    } else if (strcmp(what, "system") == 0)
        show_text(buf_view(&c->system), "No system message was specified for this model.");
    else if (strcmp(what, "template") == 0 || strcmp(what, "license") == 0 ||
             strcmp(what, "modelfile") == 0)
        show_of_model(c, what);
    else if (*what == 0)
        help_show();
    else
        fprintf(stderr, "Unknown command '/show %s'. Type /? for help\n", what);
    buf_fini(&text);
}

static void help_topic(const char *topic) {
    while (*topic == '/')
        topic++;
    if (strcmp(topic, "set") == 0)
        help_set();
    else if (strcmp(topic, "show") == 0)
        help_show();
    else if (strcmp(topic, "shortcuts") == 0)
        help_shortcuts();
    else
        help();
}

static bool is_one_of(const char *w, const char *a, const char *b) {
    return strcmp(w, a) == 0 || strcmp(w, b) == 0;
}

/* /load NAME, /save NAME, /list: with the store. */
static void with_store(struct chat *c, const char *cmd, const char *name) {
    struct err e = {0};
    int rc = 0;
    if (!*name)
        fprintf(stderr, "Usage:\n  %s NAME\n", cmd);
    else if (cmd[2] == 'o')
        rc = repl_load(c, name, &e);
    else
        rc = cmd[1] == 's' ? repl_save(c, name, &e) : repl_list(c, &e);
    if (rc != 0) fprintf(stderr, "Error: %s\n", e.msg);
}

/* One line that begins with '/'.  1: leave; 0: go on. */
static int command(struct chat *c, char *line) {
    char *rest = line;
    const char *cmd = word(&rest);
    if (is_one_of(cmd, "/bye", "/exit")) return 1;
    if (is_one_of(cmd, "/?", "/help"))
        help_topic(word(&rest));
    else if (strcmp(cmd, "/clear") == 0) {
        chat_clear(c);
        fputs("Cleared session context\n", stderr);
    } else if (strcmp(cmd, "/set") == 0)
        set(c, rest);
    else if (strcmp(cmd, "/show") == 0)
        show(c, rest);
    else if (is_one_of(cmd, "/load", "/save"))
        with_store(c, cmd, word(&rest));
    else if (is_one_of(cmd, "/list", "/ls"))
        with_store(c, "/list", "-");
    else
        fprintf(stderr, "Unknown command '%s'. Type /? for help\n", cmd);
    return 0;
}

static void ask(struct chat *c, const struct buf *text) {
    struct err e = {0};
    cli_interrupted = 0;
    if (chat_ask(c, buf_view(text), &e) != 0 && e.code != ERR_CANCELLED)
        fprintf(stderr, "Error: %s\n", e.msg);
    if (cli_interrupted) clearerr(stdout); /* a write that Ctrl-C cut short, not a lost terminal */
    cli_interrupted = 0;
    fputs("\n", stdout);
}

int repl_run(struct chat *c, struct err *e) {
    struct buf text = {0};
    bool typed;
    if (input_open(e) != 0) return -1;
    if (c->display.terminal) fputs("Send a message (/? for help)\n", stderr);
    while (input_message(&text, &typed)) {
        if (text.n == 0) continue;
        if (typed && text.p[0] == '/') { /* in a longer text it is no command */
            if (command(c, text.p)) break;
            continue;
        }
        ask(c, &text);
    }
    input_close();
    buf_fini(&text);
    return 0;
}
