/* See term.h. */
#include "term.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/os.h"

void term_open(struct term *t, const char *const *args, int columns) {
    const char *argv[32] = {getenv("CRIA") ? getenv("CRIA") : "build/cria"};
    struct winsize w = {.ws_row = 24, .ws_col = (unsigned short)columns};
    for (int i = 0; i < 30 && args[i]; i++)
        argv[i + 1] = args[i];
    *t = (struct term){0};
    t->pid = forkpty(&t->fd, NULL, NULL, &w);
    if (t->pid == 0) {
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(t->pid > 0);
}

/* libedit shows the prompt before it takes the terminal from the kernel's editing. */
static bool takes_keys(const struct term *t, int64_t deadline) {
    struct termios mode;
    do
        assert_int_equal(tcgetattr(t->fd, &mode), 0);
    while ((mode.c_lflag & ICANON) && os_now_ns() < deadline);
    return !(mode.c_lflag & ICANON);
}

bool term_wait(struct term *t, size_t from, const char *text) {
    const int64_t deadline = os_now_ns() + 30 * (int64_t)1000000000;
    char chunk[4096];
    while (os_now_ns() < deadline) {
        if (text && t->out.n > from && strstr(t->out.p + from, text))
            return strcmp(text, ">>> ") != 0 || takes_keys(t, deadline);
        struct pollfd p = {t->fd, POLLIN, 0};
        if (poll(&p, 1, 200) <= 0) continue;
        const ssize_t n = read(t->fd, chunk, sizeof chunk);
        if (n <= 0) return text == NULL;
        for (ssize_t i = 0; i < n; i++)
            buf_byte(&t->out, chunk[i] ? chunk[i] : '?');
    }
    return false;
}

void term_send(struct term *t, const char *keys) {
    assert_int_equal(write(t->fd, keys, strlen(keys)), strlen(keys));
}

void term_expect(struct term *t, const char *keys, const char *text) {
    const size_t from = t->out.n;
    term_send(t, keys);
    if (!term_wait(t, from, text))
        fail_msg("after \"%s\" no \"%s\" in: %s", keys, text, t->out.p ? t->out.p + from : "");
    usleep(20000); /* what belongs to the same answer arrives */
}

int term_close(struct term *t) {
    int status = 0;
    term_wait(t, 0, NULL);
    while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(t->fd);
    buf_fini(&t->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
