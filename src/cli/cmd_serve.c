/* `cria serve`: the server, until a signal asks it to stop.  TERM and INT let answers under way end
 * (a second one cuts them), HUP reads the settings again. */
#include "cli/commands.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

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

/* ---- signals: no thread but one takes them ---- */

static atomic_bool over;

static sigset_t signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

static void *await_signals(void *arg) {
    struct server *s = arg;
    const sigset_t set = signals();
    for (int sig; sigwait(&set, &sig) == 0 && !atomic_load(&over);) {
        if (sig == SIGHUP)
            server_reload(s);
        else
            server_drain(s);
    }
    return NULL;
}

/* What came since they are held waits. */
static int serve(struct server *s, struct err *e) {
    pthread_t t;
    if (pthread_create(&t, NULL, await_signals, s) != 0) return err_nomem(e, "thread");
    const int rc = server_run(s, e);
    atomic_store(&over, true);
    pthread_kill(t, SIGHUP);
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
    /* Of all threads to come, and before it listens: whoever sees it there may end it at once. */
    const sigset_t set = signals();
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &set, &before);
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
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server_close(s);
    return rc;
}
