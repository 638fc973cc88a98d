/* See editor.h. */
#include "cli/editor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

enum { MAX_ARGS = 16, MAX_TEXT_BYTES = 16 << 20 };

/* The editor's program and arguments in argv, NULL-terminated, with room for one more. */
static int editor_command(char *words, size_t n_words, char *argv[MAX_ARGS + 2], struct err *e) {
    const char *from_env[] = {getenv("VISUAL"), getenv("EDITOR"), "vi"};
    const char *set = os_setting("EDITOR", words, n_words);
    int n = 0;
    for (int i = 0; !set && i < 3; i++)
        if (from_env[i] && from_env[i][strspn(from_env[i], " \t")]) {
            set = from_env[i];
            snprintf(words, n_words, "%s", set);
        }
    for (char *next = words, *w; (w = strsep(&next, " \t"));) {
        if (!*w) continue;
        if (n == MAX_ARGS)
            return err_set(e, ERR_USAGE, "editor \"%s\": at most %d words are accepted", argv[0],
                           MAX_ARGS);
        argv[n++] = w;
    }
    argv[n] = NULL;
    return 0;
}

/* mkostemps makes the file with mode 0600. */
static int write_file(char *path, size_t n_path, struct str text, struct err *e) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, n_path, "%s/cria-XXXXXX.txt", folder && *folder == '/' ? folder : "/tmp");
    const int fd = mkostemps(path, 4, O_CLOEXEC);
    if (fd < 0) return err_errno(e, path);
    FILE *f = fdopen(fd, "w");
    const bool written = f && fwrite(text.p, 1, text.n, f) == text.n;
    if ((f ? fclose(f) : close(fd)) == 0 && written) return 0;
    err_errno(e, path);
    unlink(path);
    return -1;
}

/* Run argv[0] in this terminal and wait for it. */
static int run(char *const *argv, struct err *e) {
    pid_t pid;
    int status = 0;
    sigset_t keys;
    posix_spawnattr_t a;
    sigemptyset(&keys);
    sigaddset(&keys, SIGINT);
    sigaddset(&keys, SIGQUIT);
    if (posix_spawnattr_init(&a) != 0) return err_nomem(e, "editor");
    posix_spawnattr_setsigdefault(&a, &keys);
    posix_spawnattr_setflags(&a, POSIX_SPAWN_SETSIGDEF);
    const int rc = posix_spawnp(&pid, argv[0], NULL, &a, argv, environ);
    posix_spawnattr_destroy(&a);
    if (rc != 0)
        return err_set(e, rc == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                       "editor \"%s\": %s; CRIA_EDITOR, VISUAL or EDITOR may name another", argv[0],
                       strerror(rc));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    return err_set(e, ERR_IO, "editor \"%s\": it ended with code %d", argv[0],
                   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* The keys that would end a program are the editor's while it runs. */
static int run_alone(char *const *argv, struct err *e) {
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction interrupt, quit;
    sigaction(SIGINT, &ignore, &interrupt);
    sigaction(SIGQUIT, &ignore, &quit);
    const int rc = run(argv, e);
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
    return rc;
}

int editor_edit(struct str text, struct buf *out, struct err *e) {
    char words[4096], path[4096], *argv[MAX_ARGS + 2];
    if (editor_command(words, sizeof words, argv, e) != 0) return -1;
    if (write_file(path, sizeof path, text, e) != 0) return -1;
    int n = 0;
    while (argv[n])
        n++;
    argv[n] = path;
    argv[n + 1] = NULL;
    int rc = run_alone(argv, e);
    if (rc == 0) rc = os_read_file(path, MAX_TEXT_BYTES, out, e);
    unlink(path);
    return rc;
}
