/* See input.h.  libedit edits a line; it knows no pasted texts, so the keys pass through here:
 *
 *     terminal -> read_key -> libedit -> a line -> input_message
 *                   ^
 *        pasted text, edited text: fed as if typed, but a line feed in it does not end the message
 *
 * Between the two marks of a pasted text (bracketed paste, xterm's mode 2004) everything is read at
 * once, while the terminal is in raw mode: between two lines libedit gives it back to the kernel's
 * editing, which would echo the text and cut long lines.  Its last line waits for Enter. */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "base/os.h"
#include "policy/leave.h"
#include "cli/cli.h"
#include "cli/editor.h"

enum { HISTORY_LINES = 100, CTRL_C = 3, CTRL_G = 7 };

static const char paste_begin[] = "\033[200~", paste_end[] = "\033[201~";

static struct {
    EditLine *el;
    History *history;
    char path[512]; /* of the history file; "" when there is none */
    bool keep_history;
    bool more;        /* inside a message: the continuation prompt */
    bool interrupted; /* Ctrl-C at the prompt */
    bool to_editor;   /* Ctrl-G */
    bool goes_on;     /* the line ended inside a text that was fed */
    int n_begin;      /* bytes of paste_begin that were just read */
    struct buf feed;  /* owned: what read_key returns before it reads on */
    size_t n_fed;     /* bytes of it */
} input;

static const char *prompt(EditLine *el) {
    (void)el;
    return input.more ? "... " : ">>> ";
}

/* ---- being told to end ---- */

/* While a line is edited the terminal is in raw mode, and a shell would find it so.  The first
 * signal puts it back at once, and lets the chat end as at the end of input, with its history kept;
 * the second is the system's. */
static const int end_signals[] = {SIGTERM, SIGHUP, SIGQUIT};
enum { N_END_SIGNAL = sizeof end_signals / sizeof *end_signals };

static struct termios usual_mode; /* set before the handlers */
static bool has_usual_mode;
static volatile sig_atomic_t ended_by; /* the signal; 0: none */

static void on_end(int sig) {
    const int kept = errno;
    ended_by = sig;
    cli_interrupted = 1; /* an answer under way ends, too */
    /* In the background the terminal is another's, who would stop us for touching it. */
    if (has_usual_mode && tcgetpgrp(STDIN_FILENO) == getpgrp())
        tcsetattr(STDIN_FILENO, TCSANOW, &usual_mode);
    errno = kept;
}

/* What is ignored (nohup) stays so.  No SA_RESTART: a read of a key must return. */
static void catch_end_signals(void) {
    has_usual_mode = tcgetattr(STDIN_FILENO, &usual_mode) == 0;
    for (int i = 0; i < N_END_SIGNAL; i++) {
        struct sigaction old;
        if (sigaction(end_signals[i], NULL, &old) != 0 || old.sa_handler != SIG_DFL) continue;
        sigaction(end_signals[i],
                  &(struct sigaction){.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND}, NULL);
    }
}

/* The signal's own way to end, when all is put away; or none of them came. */
static void end_by_signal(void) {
    for (int i = 0; i < N_END_SIGNAL; i++) {
        struct sigaction now;
        if (sigaction(end_signals[i], NULL, &now) == 0 && now.sa_handler == on_end)
            signal(end_signals[i], SIG_DFL);
    }
    if (ended_by) raise(ended_by);
}

/* ---- keys ---- */

/* Follow a mark through the bytes; true when c completes it.  Its first byte is in it once. */
static bool completes(const char *mark, int *n_seen, char c) {
    *n_seen = c == mark[*n_seen] ? *n_seen + 1 : c == mark[0];
    if (mark[*n_seen]) return false;
    *n_seen = 0;
    return true;
}

/* Without control characters except tabs, nor line feeds at the end; all line ends alike. */
static void feed(struct str text) {
    buf_reset(&input.feed);
    input.n_fed = 0;
    while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
        text.n--;
    for (size_t i = 0; i < text.n; i++) {
        const unsigned char c = (unsigned char)text.p[i];
        if (c == '\r' && i + 1 < text.n && text.p[i + 1] == '\n') continue;
        if (c == '\r' || c == '\n')
            buf_byte(&input.feed, '\n');
        else if (c == '\t' || (c >= ' ' && c != 127))
            buf_byte(&input.feed, (char)c);
    }
    if (input.feed.failed) buf_reset(&input.feed);
}

/* Read what is pasted up to the mark at its end.  False when Ctrl-C gave it up. */
static bool read_paste(void) {
    struct buf text = {0};
    int n_end = 0;
    for (;;) {
        char c;
        const ssize_t n = read(STDIN_FILENO, &c, 1);
        if ((n < 0 && errno == EINTR) || (n > 0 && c == CTRL_C)) {
            buf_fini(&text);
            return false;
        }
        if (n <= 0 || ended_by) break;
        buf_byte(&text, c);
        if (!completes(paste_end, &n_end, c)) continue;
        if (!text.failed) text.n -= sizeof paste_end - 1;
        break;
    }
    feed(buf_view(&text));
    buf_fini(&text);
    return true;
}

/* The line ends here although the user did not say so; read_line() knows why. */
static int end_line(wchar_t *out, bool *why) {
    *why = true;
    *out = L'\n';
    return 1;
}

/* One character for the editor.  Ctrl-C and Ctrl-G become the end of a line that is then treated
 * apart: with a key function of libedit's own (EL_ADDFN) it would leak that function's name. */
static int read_key(EditLine *el, wchar_t *out) {
    mbstate_t partial = {0};
    (void)el;
    if (ended_by) return 0;
    if (input.interrupted || cli_interrupted) /* in read_paste(), or before libedit took over */
        return end_line(out, &input.interrupted);
    for (;;) {
        char c;
        const bool fed = input.n_fed < input.feed.n;
        const ssize_t n = fed ? 1 : read(STDIN_FILENO, &c, 1);
        if (n == 0) return 0;
        if (ended_by) return 0;
        if (n < 0 && errno != EINTR) return -1;
        if (n < 0) return end_line(out, &input.interrupted); /* somebody sent SIGINT */
        if (fed) c = input.feed.p[input.n_fed++];
        if (c == CTRL_C) return end_line(out, &input.interrupted);
        if (c == CTRL_G) return end_line(out, &input.to_editor);
        if (!fed && completes(paste_begin, &input.n_begin, c)) input.interrupted = !read_paste();
        input.goes_on = fed && c == '\n';
        const size_t len = mbrtowc(out, &c, 1, &partial);
        if (len == (size_t)-2) continue; /* the character goes on */
        if (len == (size_t)-1) *out = L'?';
        return 1;
    }
}

/* ---- history ---- */

static bool history_wanted(void) {
    char v[16];
    if (!policy_may_leave()) return false; /* isolated: nothing of a chat is kept */
    if (!os_setting("NOHISTORY", v, sizeof v)) return true;
    return !strcmp(v, "0") || !strcmp(v, "false") || !strcmp(v, "no") || !strcmp(v, "off");
}

static void history_open(void) {
    HistEvent ev;
    const char *home = getenv("HOME");
    input.history = history_init();
    if (!input.history) return;
    history(input.history, &ev, H_SETSIZE, HISTORY_LINES);
    history(input.history, &ev, H_SETUNIQUE, 1);
    el_set(input.el, EL_HIST, history, input.history);
    input.keep_history = history_wanted();
    input.path[0] = 0;
    if (!home || *home != '/' || strlen(home) > sizeof input.path - 32) return;
    snprintf(input.path, sizeof input.path, "%s/.cria/history", home);
    if (input.keep_history) history(input.history, &ev, H_LOAD, input.path);
}

/* Prompts are nobody else's business: the file is made with mode 0600 before anything is in it. */
static void history_save(void) {
    HistEvent ev;
    if (!input.history || !input.keep_history || !input.path[0]) return;
    char *slash = strrchr(input.path, '/');
    *slash = 0;
    mkdir(input.path, 0700);
    *slash = '/';
    const int fd = open(input.path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    fchmod(fd, 0600);
    close(fd);
    history(input.history, &ev, H_SAVE, input.path);
}

static void history_add(const char *line) {
    HistEvent ev;
    if (input.history && input.keep_history && line[strspn(line, " \n")])
        history(input.history, &ev, H_ENTER, line);
}

void input_keep_history(bool keep) {
    input.keep_history = keep;
}

/* ---- lines ---- */

/* Ask the terminal to mark what is pasted: only while a message is read, so that it is off however
 * the program ends. */
static void mark_pastes(bool on) {
    const char *term = getenv("TERM");
    if (!term || strcmp(term, "dumb") == 0) return;
    fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    fflush(stdout);
}

int input_open(struct err *e) {
    /* Editing counts characters, so it needs a UTF-8 locale; containers often have none set. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    input.el = el_init("cria", stdin, stdout, stderr);
    if (!input.el) return err_set(e, ERR_IO, "terminal: line editing does not start");
    el_set(input.el, EL_PROMPT, prompt);
    el_set(input.el, EL_EDITOR, "emacs");
    /* While editing Ctrl-C comes as a key, and the line ends of a pasted text as they are. */
    el_set(input.el, EL_SETTY, "-d", "-isig", "-icrnl", "-inlcr", NULL);
    el_set(input.el, EL_GETCFN, read_key);
    el_set(input.el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(input.el, EL_BIND, "^W", "ed-delete-prev-word", NULL);
    el_set(input.el, EL_BIND, "^U", "vi-kill-line-prev", NULL);
    el_set(input.el, EL_BIND, "^I", "ed-insert", NULL);
    el_set(input.el, EL_BIND, paste_begin, "ed-ignore", NULL); /* read_key has seen it */
    history_open();
    catch_end_signals();
    return 0;
}

void input_close(void) {
    history_save();
    el_end(input.el);
    if (input.history) history_end(input.history);
    buf_fini(&input.feed);
    end_by_signal();
}

/* The next line with its line feed, valid until the next call; NULL at the end of input. */
static const char *read_line(void) {
    int n = 0;
    input.interrupted = input.to_editor = input.goes_on = false;
    input.n_begin = 0;
    const char *line = el_gets(input.el, &n);
    if (input.interrupted) {
        input.n_fed = input.feed.n;
        cli_interrupted = 0;
        fputs("^C\nUse Ctrl + d or /bye to exit.\n", stdout);
        fflush(stdout);
        return "";
    }
    return line && n > 0 ? line : NULL;
}

/* Let the user edit what the message is so far, then feed the result: it is sent with Enter. */
static void compose(struct buf *so_far) {
    struct buf edited = {0};
    struct err e = {0};
    mark_pastes(false);
    if (editor_edit(buf_view(so_far), &edited, &e) == 0)
        feed(buf_view(&edited));
    else {
        fprintf(stderr, "Error: %s\n", e.msg);
        feed(buf_view(so_far));
    }
    mark_pastes(true);
    buf_reset(so_far);
    buf_fini(&edited);
}

/* Add a line; true when it ends the message.  *quoted: from """ to """, which is not *typed. */
static bool add_line(struct buf *out, const char *line, bool *quoted, bool *typed) {
    if (out->n == 0 && !*quoted && strncmp(line, "\"\"\"", 3) == 0) {
        *quoted = true;
        *typed = false;
        line += 3;
    }
    buf_str(out, line);
    const char *end = *quoted && out->p ? strstr(out->p, "\"\"\"") : NULL;
    if (end) {
        out->n = (size_t)(end - out->p);
        *quoted = false;
    }
    return !*quoted && !input.goes_on;
}

static bool read_message(struct buf *out, bool *typed) {
    bool quoted = false;
    *typed = true;
    input.more = false;
    for (;;) {
        const char *line = read_line();
        if (!line) return false;
        if (input.interrupted) {
            buf_reset(out);
            return true;
        }
        if (input.to_editor) {
            buf_append(out, line, strcspn(line, "\n"));
            compose(out);
            quoted = input.more = false;
            continue;
        }
        history_add(line);
        if (add_line(out, line, &quoted, typed)) return true;
        *typed = false;
        input.more = true;
    }
}

bool input_message(struct buf *out, bool *typed) {
    buf_reset(out);
    mark_pastes(true);
    const bool got = read_message(out, typed);
    mark_pastes(false);
    while (out->n > 0 && strchr("\r\n", out->p[out->n - 1]))
        out->n--;
    if (out->p) out->p[out->n] = 0;
    return got;
}
