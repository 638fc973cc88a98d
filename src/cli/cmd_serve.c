/* `cria serve`: the server, until a signal asks it to stop.  TERM and INT let answers under way end
 * (a second one cuts them), HUP reads the settings again. */
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/os.h"
#include "server/server.h"
#include "server/settings.h"

static bool allow_remote, isolated;
static struct opt_list listen_on;
static const char *tls_cert, *tls_key, *key_file, *models, *config, *isolation;

const struct opt *cmd_serve_options(void) {
    static const struct opt table[] = {
        {"listen", 0, OPT_LIST, &listen_on, 0, 0, "ADDRESS",
         "ADDRESS:PORT, [IPv6]:PORT or unix:PATH; may be given again; default: CRIA_HOST"},
        {"models", 0, OPT_STR, &models, 0, 0, "FOLDER", "of the models; default: CRIA_MODELS"},
        {"tls-cert", 0, OPT_STR, &tls_cert, 0, 0, "FILE", "certificate and its chain, PEM"},
        {"tls-key", 0, OPT_STR, &tls_key, 0, 0, "FILE", "its private key, PEM"},
        {"api-key-file", 0, OPT_STR, &key_file, 0, 0, "FILE",
         "who may ask: lines NAME KEY [read|use|admin]"},
        {"config", 0, OPT_STR, &config, 0, 0, "FILE",
         "more settings, and rules of models; default: CRIA_CONFIG, else ~/.cria/cria.conf"},
        {"allow-remote", 0, OPT_FLAG, &allow_remote, 0, 0, NULL,
         "other machines may ask although there are no keys"},
        {"isolated", 0, OPT_FLAG, &isolated, 0, 0, NULL,
         "nothing may leave this machine: enforced by the kernel, or it does not start"},
        {"isolation", 0, OPT_STR, &isolation, 0, 0, "MODE",
         "on (as --isolated), best-effort (as far as the kernel can), off; default: "
         "CRIA_ISOLATION"},
        {0},
    };
    return table;
}

/* ---- signals: a handler may do little, so it hands them to a thread ---- */

static int signal_pipe[2] = {-1, -1};

static void on_signal(int sig) {
    const int kept = errno;
    const char c = (char)sig;
    if (write(signal_pipe[1], &c, 1) != 1) errno = kept; /* full: as many wait already */
    errno = kept;
}

static void *pass_signals(void *arg) {
    struct server *s = arg;
    char c;
    for (;;) {
        const ssize_t n = read(signal_pipe[0], &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n != 1 || c == 0) return NULL;
        if (c == SIGHUP)
            server_reload(s);
        else
            server_drain(s);
    }
}

static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP};
enum { N_SIGNAL = sizeof SIGNALS / sizeof *SIGNALS };

/* Before the server listens: whoever sees it there may end it at once. */
static int catch_signals(struct sigaction old[N_SIGNAL], struct err *e) {
    if (pipe2(signal_pipe, O_CLOEXEC) != 0) return err_errno(e, "pipe");
    fcntl(signal_pipe[1], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < N_SIGNAL; i++)
        sigaction(SIGNALS[i], &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART},
                  &old[i]);
    return 0;
}

static void restore_signals(const struct sigaction old[N_SIGNAL]) {
    for (int i = 0; i < N_SIGNAL; i++)
        sigaction(SIGNALS[i], &old[i], NULL);
    close(signal_pipe[0]), close(signal_pipe[1]);
}

/* What came since catch_signals() waits in the pipe. */
static int serve(struct server *s, struct err *e) {
    pthread_t t;
    if (pthread_create(&t, NULL, pass_signals, s) != 0) return err_nomem(e, "thread");
    const int rc = server_run(s, e);
    if (write(signal_pipe[1], "", 1) != 1) return err_errno(e, "pipe");
    pthread_join(t, NULL);
    return rc;
}

void cmd_serve_help(void) {
    puts("\nSettings (environment; OLLAMA_X is read where CRIA_X is not set):");
    for (const struct setting *t = settings_table; t->name; t++)
        printf("  CRIA_%-21s%s%s%s%s\n", t->name, t->help, *t->usual ? " (" : "", t->usual,
               *t->usual ? ")" : "");
}

int cmd_serve(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_serve_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("serve", n_args, 0, 0, "no arguments", e) != 0) return -1;
    if (isolated && isolation)
        return err_set(e, ERR_USAGE, "serve: --isolated and --isolation; one of them is accepted");
    server_close_inherited();
    os_give_memory_back(128 << 10);
    signal(SIGPIPE, SIG_IGN); /* clients leave, and they may come before this returns */
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of whoever writes it */
    struct sigaction old[N_SIGNAL];
    if (catch_signals(old, e) != 0) return -1;
    struct server *s = server_open(&(struct server_opts){.listen = listen_on.v,
                                                         .n_listen = listen_on.n,
                                                         .tls_cert = tls_cert,
                                                         .tls_key = tls_key,
                                                         .api_key_file = key_file,
                                                         .config = config,
                                                         .wide = allow_remote,
                                                         .store = models,
                                                         .isolation = isolated ? "on" : isolation},
                                   e);
    const int rc = s ? serve(s, e) : -1;
    restore_signals(old);
    server_close(s);
    return rc;
}
