/* See repl.h.  libedit reads the lines.  Ctrl-C at the prompt clears the line and says how to
 * leave; while an answer is written it ends the answer. */
#include "cli/repl.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/os.h"
#include "cli/cli.h"

enum { HISTORY_LINES = 100, CTRL_C = 3 };

static struct {
    EditLine *el;
    History *history;
    char path[512]; /* of the history file; "" when there is none */
    bool keep_history;
    bool more;        /* this message is inside """: the continuation prompt */
    bool interrupted; /* Ctrl-C at the prompt */
} repl;

static const char *prompt(EditLine *el) {
    (void)el;
    return repl.more ? "... " : ">>> ";
}

/* One character for the editor.  Ctrl-C becomes the end of a line that read_line() then drops: with
 * a key function of libedit's own (EL_ADDFN) it would leak that function's name. */
static int read_key(EditLine *el, wchar_t *out) {
    mbstate_t partial = {0};
    (void)el;
    for (;;) {
        char c;
        const ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n == 0) return 0;
        if (n < 0 && errno != EINTR) return -1;
        if (n < 0 || c == CTRL_C) { /* EINTR: somebody sent SIGINT */
            repl.interrupted = true;
            *out = L'\n';
            return 1;
        }
        const size_t len = mbrtowc(out, &c, 1, &partial);
        if (len == (size_t)-2) continue; /* the character goes on */
        if (len == (size_t)-1) *out = L'?';
        return 1;
    }
}

/* ---- history ---- */

static bool history_wanted(void) {
    char v[16];
    if (!os_setting("NOHISTORY", v, sizeof v)) return true;
    return !strcmp(v, "0") || !strcmp(v, "false") || !strcmp(v, "no") || !strcmp(v, "off");
}

static void history_open(void) {
    HistEvent ev;
    const char *home = getenv("HOME");
    repl.history = history_init();
    if (!repl.history) return;
    history(repl.history, &ev, H_SETSIZE, HISTORY_LINES);
    history(repl.history, &ev, H_SETUNIQUE, 1);
    el_set(repl.el, EL_HIST, history, repl.history);
    repl.keep_history = history_wanted();
    repl.path[0] = 0;
    if (!home || *home != '/' || strlen(home) > sizeof repl.path - 32) return;
    snprintf(repl.path, sizeof repl.path, "%s/.cria/history", home);
    if (repl.keep_history) history(repl.history, &ev, H_LOAD, repl.path);
}

/* Prompts are nobody else's business: the file is made with mode 0600 before anything is in it. */
static void history_save(void) {
    HistEvent ev;
    if (!repl.history || !repl.keep_history || !repl.path[0]) return;
    char *slash = strrchr(repl.path, '/');
    *slash = 0;
    mkdir(repl.path, 0700);
    *slash = '/';
    const int fd = open(repl.path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    fchmod(fd, 0600);
    close(fd);
    history(repl.history, &ev, H_SAVE, repl.path);
}

static void history_add(const char *line) {
    HistEvent ev;
    if (repl.history && repl.keep_history && line[strspn(line, " \n")])
        history(repl.history, &ev, H_ENTER, line);
}

/* ---- slash commands ---- */

static void help(void) {
    fputs("Available Commands:\n"
          "  /set            Set session variables\n"
          "  /show           Show model information\n"
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
          "  /set verbose                  Show timings after each answer\n"
          "  /set quiet                    Do not\n\n",
          stderr);
}

static void help_show(void) {
    fputs("Available Commands:\n"
          "  /show info         Show details for this model\n"
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
    if (strcmp(name, "stop") == 0) c->options.n_stop = 0;
    int rc = 0;
    for (const char *v = value; rc == 0 && *v; v = word(&rest)) {
        rc = run_options_set(&c->options, name, v, &e);
        if (rc == 0) fprintf(stderr, "Set parameter '%s' to '%s'\n", name, v);
    }
    if (rc == 0 && run_options_reopen(&c->options, &before)) rc = chat_open(c, &e);
    if (rc == 0) return;
    before.keep = c->options.keep; /* the arena has grown meanwhile */
    c->options = before;
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

static void set(struct chat *c, char *rest) {
    const char *what = word(&rest);
    if (strcmp(what, "parameter") == 0)
        set_parameter(c, rest);
    else if (strcmp(what, "system") == 0 && rest[strspn(rest, " \t")])
        set_system(c, rest);
    else if (strcmp(what, "history") == 0)
        repl.keep_history = true;
    else if (strcmp(what, "nohistory") == 0)
        repl.keep_history = false;
    else if (strcmp(what, "wordwrap") == 0 || strcmp(what, "nowordwrap") == 0) {
        c->display.wrap = *what == 'w';
        fprintf(stderr, "Set '%s' mode.\n", what);
    } else if (strcmp(what, "verbose") == 0 || strcmp(what, "quiet") == 0) {
        c->verbose = *what == 'v';
        fprintf(stderr, "Set '%s' mode.\n", what);
    } else if (strcmp(what, "format") == 0 || strcmp(what, "noformat") == 0 ||
               strcmp(what, "think") == 0 || strcmp(what, "nothink") == 0)
        fprintf(stderr, "'/set %s' is not supported by this version\n", what);
    else if (*what == 0)
        help_set();
    else
        fprintf(stderr, "Unknown command '/set %s'. Type /? for help\n", what);
}

static void show_info(const struct chat *c) {
    const struct model *m = engine_model(c->engine);
    fprintf(stderr, "  %-20s %s\n", "architecture", model_arch(m));
    fprintf(stderr, "  %-20s %d\n", "layers", model_n_layer(m));
    fprintf(stderr, "  %-20s %d\n", "embedding length", model_n_embd(m));
    fprintf(stderr, "  %-20s %d\n", "vocabulary", engine_n_vocab(c->engine));
    fprintf(stderr, "  %-20s %d\n", "trained context", model_n_ctx_train(m));
    fprintf(stderr, "  %-20s %d\n", "context", engine_n_ctx(c->engine));
    fprintf(stderr, "  %-20s %.1f MB\n\n", "file",
            (double)gguf_file_bytes(engine_gguf(c->engine)) * 1e-6);
}

/* Text from the file: without what a terminal would obey. */
static void show_text(struct str s, const char *none) {
    struct buf safe = {0};
    display_escape(s, &safe);
    fprintf(stderr, "%s\n\n", safe.n ? safe.p : none);
    buf_fini(&safe);
}

static void show(const struct chat *c, char *rest) {
    const char *what = word(&rest);
    struct err e;
    struct str s = {"", 0};
    struct buf text = {0};
    if (strcmp(what, "info") == 0)
        show_info(c);
    else if (strcmp(what, "parameters") == 0) {
        run_options_print(&c->options, &text);
        show_text(buf_view(&text), "No parameters were specified for this model.");
    } else if (strcmp(what, "system") == 0)
        show_text(buf_view(&c->system), "No system message was specified for this model.");
    else if (strcmp(what, "template") == 0) {
        gguf_get_str(engine_gguf(c->engine), "tokenizer.chat_template", &s, &e);
        show_text(s, "No prompt template was specified for this model.");
    } else if (strcmp(what, "license") == 0 || strcmp(what, "modelfile") == 0)
        fprintf(stderr, "'/show %s' needs a model of the store; this one is a file\n", what);
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
    else if (is_one_of(cmd, "/load", "/save") || is_one_of(cmd, "/list", "/ls"))
        fprintf(stderr, "'%s' needs a store of models, which this version does not have yet\n",
                cmd);
    else
        fprintf(stderr, "Unknown command '%s'. Type /? for help\n", cmd);
    return 0;
}

/* ---- the loop ---- */

static int editor_open(struct err *e) {
    /* Editing counts characters, so it needs a UTF-8 locale; containers often have none set. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    repl.el = el_init("cria", stdin, stdout, stderr);
    if (!repl.el) return err_set(e, ERR_IO, "terminal: line editing does not start");
    el_set(repl.el, EL_PROMPT, prompt);
    el_set(repl.el, EL_EDITOR, "emacs");
    el_set(repl.el, EL_SETTY, "-d", "-isig", NULL); /* Ctrl-C comes as a key while editing */
    el_set(repl.el, EL_GETCFN, read_key);
    el_set(repl.el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(repl.el, EL_BIND, "^W", "ed-delete-prev-word", NULL);
    el_set(repl.el, EL_BIND, "^U", "vi-kill-line-prev", NULL);
    history_open();
    return 0;
}

static void editor_close(void) {
    history_save();
    el_end(repl.el);
    if (repl.history) history_end(repl.history);
}

/* The next line without its line feed, valid until the next call; NULL at the end of input. */
static const char *read_line(void) {
    int n = 0;
    repl.interrupted = false;
    const char *line = el_gets(repl.el, &n);
    if (repl.interrupted) {
        fputs("^C\nUse Ctrl + d or /bye to exit.\n", stdout);
        fflush(stdout);
        return "";
    }
    return line && n > 0 ? line : NULL;
}

/* Collect a message: one line, or from """ to """.  False at the end of input. */
static bool read_message(struct buf *out) {
    buf_reset(out);
    repl.more = false;
    const char *line = read_line();
    if (!line) return false;
    history_add(line);
    buf_str(out, line);
    if (strncmp(line, "\"\"\"", 3) == 0) {
        buf_drop(out, 3);
        repl.more = true;
        const char *end;
        while (!(end = out->p ? strstr(out->p, "\"\"\"") : NULL)) {
            if (!(line = read_line()) || repl.interrupted) {
                buf_reset(out); /* given up */
                return line != NULL;
            }
            history_add(line);
            buf_str(out, line);
        }
        out->n = (size_t)(end - out->p);
    }
    while (out->n > 0 && strchr("\r\n", out->p[out->n - 1]))
        out->n--;
    if (out->p) out->p[out->n] = 0;
    return true;
}

static void ask(struct chat *c, const struct buf *text) {
    struct err e = {0};
    cli_interrupted = 0;
    if (chat_ask(c, buf_view(text), &e) != 0 && e.code != ERR_CANCELLED)
        fprintf(stderr, "Error: %s\n", e.msg);
    cli_interrupted = 0;
    fputs("\n", stdout);
}

int repl_run(struct chat *c, struct err *e) {
    struct buf text = {0};
    if (editor_open(e) != 0) return -1;
    if (c->display.terminal) fputs("Send a message (/? for help)\n", stderr);
    while (read_message(&text)) {
        if (text.n == 0) continue;
        if (text.p[0] == '/' && !repl.more) { /* inside """ it is text */
            if (command(c, text.p)) break;
            continue;
        }
        ask(c, &text);
    }
    editor_close();
    buf_fini(&text);
    return 0;
}
