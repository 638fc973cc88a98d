/* `cria verify isolation`: does the kernel keep an isolated server in?
 *
 *     this process   makes what can be reached: sockets, a file in the home folder, a process;
 * tells |             what came of it
 *      +- front      shuts itself in as `cria serve --isolated` with the same settings, and tries
 *          +- engine, trainer   started by it as a server starts them, shut in as they are, and try
 *
 * No client of a server can make it do this: it is a command, and no server runs.  What came of it
 * is an entry of the audit log, where the settings have one. */
#include "cli/commands.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "base/buf.h"
#include "base/os.h"
#include "cli/audit_file.h"
#include "cli/probe.h"
#include "cli/remote.h"
#include "cli/settings.h"
#include "engine/child_proc.h"
#include "server/isolate.h"
#include "store/store.h"

static bool as_json;
static const char *models, *config;

const struct opt *cmd_verify_isolation_options(void) {
    static const struct opt table[] = {
        {"models", 0, OPT_STR, &models, 0, 0, "FOLDER", "as of serve; default: CRIA_MODELS"},
        {"config", 0, OPT_STR, &config, 0, 0, "FILE", "as of serve; default: CRIA_CONFIG"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one object: walls, tries, succeeded"},
        {0},
    };
    return table;
}

const struct command verify_commands[] = {
    {"isolation", NULL, "", "try to get out of an isolated server, from inside",
     cmd_verify_isolation, .options = cmd_verify_isolation_options},
    {0},
};

/* As a child: not longer than the command, however that ends, and be it just now. */
static void end_with(pid_t parent) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != parent) _exit(1);
}

/* ---- what can be reached ---- */

struct outside {
    struct isolation_targets t;
    int tcp, udp, local; /* sockets */
    char file[4096];
};

static int bound(int type, int *port, struct err *e) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, n) != 0 ||
        (type == SOCK_STREAM && listen(fd, 16) != 0) ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return err_errno(e, "a socket on loopback");
    *port = ntohs(a.sin_port);
    return fd;
}

static int bound_unix(char name[64], struct err *e) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const int n = snprintf(name, 64, "cria-verify-%ld", (long)getpid());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(a.sun_path + 1, name, (size_t)n);
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, size) != 0 || listen(fd, 16) != 0)
        return err_errno(e, "a Unix socket");
    return fd;
}

/* In the home folder; where that is not writable, in that of temporary files. */
static int make_file(struct outside *o, struct err *e) {
    const char *home = getenv("HOME"), *folder[] = {home && *home ? home : "/tmp", "/tmp"};
    for (int i = 0; i < 2; i++) {
        if (snprintf(o->file, sizeof o->file, "%s/cria-verify-XXXXXX", folder[i]) >=
            (int)sizeof o->file)
            continue;
        const int fd = mkstemp(o->file);
        if (fd < 0) continue;
        close(fd);
        snprintf(o->t.file, sizeof o->t.file, "%s", o->file);
        snprintf(o->t.write_file, sizeof o->t.write_file, "%s", o->file);
        return 0;
    }
    o->file[0] = 0;
    return err_errno(e, "a file in the home folder");
}

static int outside_open(struct outside *o, struct err *e) {
    *o = (struct outside){.t = {.listener = -1}, .tcp = -1, .udp = -1, .local = -1};
    if ((o->tcp = bound(SOCK_STREAM, &o->t.tcp_port, e)) < 0 ||
        (o->udp = bound(SOCK_DGRAM, &o->t.udp_port, e)) < 0 ||
        (o->local = bound_unix(o->t.unix_name, e)) < 0 || make_file(o, e) != 0)
        return -1;
    o->t.victim_address = (uint64_t)(uintptr_t)&as_json;
    const pid_t self = getpid();
    o->t.victim = fork();
    if (o->t.victim < 0) return err_errno(e, "a process");
    if (o->t.victim == 0) end_with(self);
    while (o->t.victim == 0) /* until it is killed */
        pause();
    return 0;
}

static void outside_close(struct outside *o) {
    if (o->tcp >= 0) close(o->tcp);
    if (o->udp >= 0) close(o->udp);
    if (o->local >= 0) close(o->local);
    if (o->file[0]) unlink(o->file);
    if (o->t.victim > 0) {
        kill(o->t.victim, SIGKILL);
        waitpid(o->t.victim, NULL, 0);
    }
}

/* ---- the front ---- */

/* Its lines are handed on. */
static int try_in_child(int fd, const char *role, const char *store, const char *cache,
                        const struct isolation_targets *t, struct err *e) {
    int pair[2];
    pid_t pid;
    char piece[4096], how[48];
    ssize_t n;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return err_errno(e, role);
    const int rc = child_spawn("probe", pair[1], &pid, e);
    close(pair[1]);
    if (rc == 0) {
        probe_say(pair[0], probe_order(role, store, cache, t));
        while ((n = read(pair[0], piece, sizeof piece)) > 0)
            if (write(fd, piece, (size_t)n) != n) break;
    }
    close(pair[0]);
    if (rc == 0) child_wait(pid, 5000, how, sizeof how);
    return rc;
}

/* The same steps as server_open, in its order. */
static int front(int fd, const struct settings *set, const struct isolation_targets *outside,
                 struct err *e) {
    struct isolation_targets t = *outside;
    struct isolation_files f = {0};
    struct sandbox_state got;
    enum isolation mode;
    char cache[4096], walls[128];
    int port;
    const struct server_opts o = {.config = config, .store = models};
    if (isolation_parse(set->isolation, &mode, e) != 0) return -1;
    struct store *s = store_open(models, e);
    if (!s || (t.listener = bound(SOCK_STREAM, &port, e)) < 0) return -1;
    isolate_files(&f, &o, set, s);
    child_spawn_prepare();
    if (isolation_enter(mode == ISOLATION_OFF ? ISOLATION_ON : mode, &f, &got, e) != 0) return -1;
    isolation_explain(&got, walls, sizeof walls);
    const char *folder = os_setting("CACHE", cache, sizeof cache);
    int rc = try_in_child(fd, "engine", store_root(s), folder, &t, e);
    if (rc == 0) rc = try_in_child(fd, "trainer", store_root(s), folder, &t, e);
    probe_all(fd, "front", walls, &t);
    return rc;
}

static pid_t start_front(const struct outside *o, const struct settings *set, int *fd,
                         struct err *e) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        err_errno(e, "verify isolation");
        return -1;
    }
    const pid_t self = getpid(), pid = fork();
    if (pid == 0) {
        struct err why = {0};
        end_with(self);
        close(pair[0]), close(o->tcp), close(o->udp), close(o->local);
        const int rc = front(pair[1], set, &o->t, &why);
        if (rc != 0) probe_say_error(pair[1], &why);
        _exit(rc != 0);
    }
    close(pair[1]);
    if (pid < 0) err_errno(e, "verify isolation");
    *fd = pair[0];
    return pid;
}

/* ---- what came of it ---- */

enum { N_PROCESS = 3 };
static const char *const processes[N_PROCESS] = {"front", "engine", "trainer"};

struct report {
    json_t *walls, *tries; /* owned */
    int n_ended, n_through;
};

/* One attempt and its answer: the one place that all of them pass. */
static void isolation_report(struct report *r, json_t *attempt) {
    r->n_through += !json_is_true(json_object_get(attempt, "refused"));
    json_array_append(r->tries, attempt);
}

static int take_line(struct report *r, json_t *line, struct err *e) {
    const char *error = json_string_value(json_object_get(line, "error"));
    const json_int_t code = json_integer_value(json_object_get(line, "code"));
    if (error)
        return err_set(e, code > 0 && code <= ERR_FORBIDDEN ? (enum err_code)code : ERR_IO, "%s",
                       error);
    const char *process = json_string_value(json_object_get(line, "process"));
    json_t *walls = json_object_get(line, "walls");
    if (walls && process) json_object_set(r->walls, process, walls);
    if (json_object_get(line, "try")) isolation_report(r, line);
    r->n_ended += json_is_true(json_object_get(line, "end"));
    return 0;
}

static int take_lines(struct report *r, int fd, struct err *e) {
    struct buf b = {0};
    char piece[4096];
    ssize_t n;
    int rc = 0;
    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) buf_append(&b, piece, (size_t)n);
    buf_byte(&b, 0);
    if (b.failed) rc = err_nomem(e, "verify isolation");
    for (char *rest = b.p, *line; rc == 0 && (line = strsep(&rest, "\n"));) {
        json_t *j = *line ? json_loads(line, 0, NULL) : NULL;
        if (j) rc = take_line(r, j, e);
        json_decref(j);
    }
    buf_fini(&b);
    return rc;
}

static const char *answer_of(const struct report *r, const char *process, const char *name) {
    json_t *o;
    size_t i;
    json_array_foreach(r->tries, i, o) {
        if (strcmp(json_string_value(json_object_get(o, "process")), process) == 0 &&
            strcmp(json_string_value(json_object_get(o, "try")), name) == 0)
            return json_string_value(json_object_get(o, "answer"));
    }
    return "(none)";
}

static void print_table(const struct report *r) {
    printf("%-37s%-14s%-14s%s\n", "", processes[0], processes[1], processes[2]);
    for (const struct isolation_try *a = isolation_tries; a->name; a++) {
        printf("%-37s", a->name);
        for (int i = 0; i < N_PROCESS; i++)
            printf(i + 1 < N_PROCESS ? "%-14s" : "%s\n", answer_of(r, processes[i], a->name));
    }
    puts("");
    for (int i = 0; i < N_PROCESS; i++) {
        const char *walls = json_string_value(json_object_get(r->walls, processes[i]));
        printf("%-10s%s\n", processes[i], walls ? walls : "none");
    }
    const int n = (int)json_array_size(r->tries);
    printf("%d attempts, %d refused by the kernel, %d not\n", n, n - r->n_through, r->n_through);
}

static json_t *report_json(const struct report *r) {
    return json_pack("{s:O, s:O, s:i}", "walls", r->walls, "tries", r->tries, "succeeded",
                     r->n_through);
}

/* ---- the audit log ---- */

static int tell_server(const json_t *report, struct err *e) {
    struct remote *r;
    int rc = remote_need(&r, e);
    if (rc == 0) rc = remote_ask(r, NET_POST, "/api/audit/isolation", report, NULL, e);
    remote_close(r);
    return rc;
}

/* By whoever may write it: a server that has it open is asked to. */
static int tell_log(const struct settings *set, const json_t *report, struct err *e) {
    struct audit *log;
    int rc = audit_file_begin(set, "isolation", &log, e);
    if (rc == 0)
        rc = audit_file_end(log, "isolation", "report", report, e);
    else if (e->code == ERR_BUSY)
        rc = tell_server(report, e);
    return rc < 0 ? err_prefix(e, "the attempts are not in the audit log") : rc;
}

/* ---- all of it ---- */

static int try_all(const struct settings *set, struct report *r, struct err *e) {
    struct outside o;
    int fd = -1, rc = outside_open(&o, e);
    const pid_t pid = rc == 0 ? start_front(&o, set, &fd, e) : -1;
    if (pid < 0) rc = -1;
    if (rc == 0) rc = take_lines(r, fd, e);
    if (fd >= 0) close(fd);
    if (pid > 0) waitpid(pid, NULL, 0);
    outside_close(&o);
    if (rc == 0 && r->n_ended != N_PROCESS)
        rc = err_set(e, ERR_IO, "verify isolation: %d of %d processes did not come to their end",
                     N_PROCESS - r->n_ended, N_PROCESS);
    return rc;
}

int cmd_verify_isolation(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    struct settings set;
    int n_args;
    if (cli_parse(argc, argv, cmd_verify_isolation_options(), args, &n_args, e) != 0 ||
        cli_check_args("verify isolation", n_args, 0, 0, "no arguments", e) != 0)
        return -1;
    struct report r = {.walls = json_object(), .tries = json_array()};
    int rc = cli_settings(config, &set, e);
    if (rc == 0) rc = try_all(&set, &r, e);
    if (rc == 0 && as_json)
        cli_print_json(report_json(&r));
    else if (rc == 0)
        print_table(&r);
    if (rc == 0) {
        json_t *report = report_json(&r);
        rc = tell_log(&set, report, e);
        json_decref(report);
    }
    json_decref(r.walls);
    json_decref(r.tries);
    return rc != 0 ? rc : r.n_through > 0;
}
