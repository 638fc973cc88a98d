/* `cria serve --isolated` and `cria verify isolation` (SECURITY.md 1.5): the kernel keeps server,
 * engine and trainer children in; what would leave is refused in words; where the kernel lacks
 * something the server does not start.  As root and as a user without rights, with and without user
 * namespaces.
 *
 * Kernels that lack something are this program itself: `test_isolation --without landlock,unshare
 * COMMAND...` starts COMMAND behind a filter that makes these calls unknown. */
#include "models_rig.h"
#include "serve_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox_priv.h"
#include "policy/isolation.h"
#include "policy/isolation_probe.h"

enum { NOBODY = 65534 };

static struct shop shop;
static char self[PATH_MAX], program[PATH_MAX], models_set[700];
static bool walls_here; /* this kernel can enforce it all */

/* ---- other kernels, other users ---- */

static int become_older(char **argv) {
    static const uint16_t landlock[] = {SYS_landlock_create_ruleset, SYS_landlock_add_rule,
                                        SYS_landlock_restrict_self},
                          seccomp[] = {SYS_seccomp}, namespaces[] = {SYS_unshare};
    const uint32_t unknown = SECCOMP_RET_ERRNO | ENOSYS, refused = SECCOMP_RET_ERRNO | EPERM;
    struct filter f;
    struct err e;
    filter_begin(&f);
    if (strstr(argv[2], "landlock")) filter_calls(&f, landlock, N_OF(landlock), unknown);
    if (strstr(argv[2], "unshare")) filter_calls(&f, namespaces, 1, refused);
    if (strstr(argv[2], "seccomp")) filter_calls(&f, seccomp, 1, unknown);
    if (strstr(argv[2], "capset")) filter_call(&f, SYS_capset, refused);
    filter_verdict(&f, SECCOMP_RET_ALLOW);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (filter_install(&f, &e) != 0) return 125;
    execv(argv[3], argv + 3);
    return 127;
}

/* A program in dir that starts the real one as that user (only root can choose) on such a kernel.
 */
static const char *wrapped(bool plain_user, const char *without) {
    static char path[700];
    static int n;
    struct buf b = {0};
    buf_str(&b, "#!/bin/sh\n");
    if (plain_user && geteuid() == 0)
        buf_printf(&b,
                   "chown -R %d:%d \"$HOME\"\nexec setpriv --reuid %d --regid %d "
                   "--clear-groups ",
                   NOBODY, NOBODY, NOBODY, NOBODY);
    else
        buf_str(&b, "exec ");
    if (without) buf_printf(&b, "'%s' --without %s ", self, without);
    buf_printf(&b, "'%s' \"$@\"\n", program);
    snprintf(path, sizeof path, "%s/wrapped%d", shop.dir, n++);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
    buf_fini(&b);
    return path;
}

static void use(bool plain_user, const char *without) {
    setenv("CRIA", wrapped(plain_user, without), 1);
}

static int set_up(void **state) {
    (void)state;
    const char *exe = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    struct sandbox_state offered = sandbox_offered();
    char missing[200];
    if (!realpath("/proc/self/exe", self) || !realpath(exe, program)) return -1;
    use_program();
    shop_open(&shop);
    chmod(shop.dir, 0755);
    snprintf(models_set, sizeof models_set, "CRIA_MODELS=%s", shop.root);
    shop_gguf(&shop, "chat", golden("models/llama32.gguf"), NULL);
    isolation_missing(&offered, missing, sizeof missing);
    walls_here = !*missing;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

static int usual(void **state) {
    (void)state;
    setenv("CRIA", program, 1);
    unsetenv("CRIA_ISOLATION");
    return 0;
}

/* Is there no network here (make isolation-campaign)?  There is then nothing to leave. */
static bool no_network(void) {
    char line[300];
    int n = 0;
    FILE *f = fopen("/proc/self/net/dev", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        n += strchr(line, ':') && !strstr(line, " lo:");
    fclose(f);
    return n == 0;
}

/* ---- attacks from inside ---- */

/* The report of `cria verify isolation` in a home of its own. */
static json_t *verify(int code) {
    struct ran r;
    char *home = temp_folder(), *old = strdup(getenv("HOME") ? getenv("HOME") : "/");
    setenv("HOME", home, 1);
    unsetenv("CRIA_MODELS");
    const int got =
        run_cria(&r, (const char *[]){"verify", "isolation", "--json", NULL}, "", 0, 60);
    if (got != code) fail_msg("code %d, not %d: %s%s", got, code, r.out.p, r.err.p);
    json_t *j = r.out.n ? json_loads(r.out.p, 0, NULL) : NULL;
    assert_non_null(j);
    setenv("HOME", old, 1);
    free(old);
    ran_fini(&r);
    temp_remove(home);
    return j;
}

/* What the attempt came to in the process. */
static const char *answer(json_t *report, const char *process, const char *name) {
    json_t *o;
    size_t i;
    json_array_foreach(json_object_get(report, "tries"), i, o) {
        if (strcmp(json_string_value(json_object_get(o, "process")), process) == 0 &&
            strcmp(json_string_value(json_object_get(o, "try")), name) == 0)
            return json_string_value(json_object_get(o, "answer"));
    }
    fail_msg("%s: nobody tried to %s", process, name);
    return NULL;
}

static int n_tries(void) {
    int n = 0;
    while (isolation_tries[n].name)
        n++;
    return n;
}

/* Everything is refused by the kernel, in each process. */
static void check_all_refused(json_t *report) {
    json_t *o;
    size_t i;
    json_array_foreach(json_object_get(report, "tries"), i, o) {
        const char *got = json_string_value(json_object_get(o, "answer"));
        if (strcmp(got, "EPERM") != 0 && strcmp(got, "EACCES") != 0)
            fail_msg("%s: %s: %s", json_string_value(json_object_get(o, "process")),
                     json_string_value(json_object_get(o, "try")), got);
        assert_true(json_is_true(json_object_get(o, "refused")));
    }
    assert_int_equal(i, 3 * n_tries());
    assert_int_equal(json_integer_value(json_object_get(report, "succeeded")), 0);
}

static const char *front_walls(json_t *report) {
    return json_string_value(json_object_get(json_object_get(report, "walls"), "front"));
}

static void attacks_fail(void **state) {
    (void)state;
    static const struct {
        bool plain_user;
        const char *without, *walls;
    } cases[] = {{false, NULL, "an empty network"},
                 {true, NULL, "an empty network"},
                 {false, "unshare", "the system's network"},
                 {true, "unshare", "the system's network"}};
    if (!walls_here || SANITIZED) skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        use(cases[i].plain_user, cases[i].without);
        json_t *report = verify(0);
        check_all_refused(report);
        const bool sure = cases[i].without ? !no_network() : sandbox_network_offered();
        if (sure && !strstr(front_walls(report), cases[i].walls))
            fail_msg("case %zu: %s", i, front_walls(report));
        json_decref(report);
    }
}

/* On a kernel that refuses nothing the same attempts get through, but for what the system itself
 * does not allow: what they try to reach is there. */
static void attacks_are_real(void **state) {
    (void)state;
    static const char *const sure[] = {"connect TCP",
                                       "connect TCP by the listening socket",
                                       "connect UDP",
                                       "send UDP",
                                       "resolve a name",
                                       "connect to a Unix socket",
                                       "listen on TCP",
                                       "run a program",
                                       "read a file of the home folder",
                                       "write a file of the home folder",
                                       "signal another process",
                                       "make a program in memory"};
    static const char *const process[] = {"front", "engine", "trainer"};
    use(false, "landlock,unshare,seccomp");
    setenv("CRIA_ISOLATION", "best-effort", 1);
    json_t *report = verify(1);
    for (size_t i = 0; i < sizeof sure / sizeof *sure; i++)
        for (int k = 0; k < 3; k++)
            if (strcmp(answer(report, process[k], sure[i]), "done") != 0)
                fail_msg("%s: %s: %s", process[k], sure[i], answer(report, process[k], sure[i]));
    assert_true(json_integer_value(json_object_get(report, "succeeded")) >= 36);
    json_decref(report);
}

/* One wall is gone: the other one holds what is its own. */
static void one_wall(void **state) {
    (void)state;
    if (!walls_here || SANITIZED) skip();
    setenv("CRIA_ISOLATION", "best-effort", 1);
    use(true, "landlock,unshare");
    json_t *report = verify(1); /* files are open, and said to be */
    assert_string_equal(answer(report, "front", "read a file of the home folder"), "done");
    assert_string_equal(answer(report, "front", "run a program"), "done");
    assert_string_equal(answer(report, "front", "connect TCP"), "EPERM");
    assert_string_equal(answer(report, "front", "connect TCP by the listening socket"), "EPERM");
    assert_string_equal(answer(report, "front", "send UDP"), "EPERM");
    assert_string_equal(answer(report, "engine", "read a file of the home folder"), "EPERM");
    json_decref(report);
    use(true, "seccomp,unshare");
    report = verify(1);
    assert_string_equal(answer(report, "front", "read a file of the home folder"), "EACCES");
    assert_string_equal(answer(report, "front", "run a program"), "EACCES");
    assert_string_equal(answer(report, "front", "connect TCP"), "EACCES");
    assert_string_equal(answer(report, "engine", "connect TCP"), "EACCES");
    assert_string_equal(answer(report, "front", "signal another process"), "EPERM");
    json_decref(report);
}

/* ---- the audit log ---- */

/* The newest entry "isolation"; the log is whole. */
static json_t *told(const char *file, int n) {
    struct ran r;
    if (run_cria(&r, (const char *[]){"audit", "verify", file, NULL}, "", 0, 30) != 0)
        fail_msg("%s", r.err.p);
    ran_fini(&r);
    run_cria(&r, (const char *[]){"audit", "log", "--type=isolation", "--json", file, NULL}, "", 0,
             30);
    json_t *last = NULL;
    int found = 0;
    for (char *rest = r.out.p, *line; rest && (line = strsep(&rest, "\n")) && *line; found++) {
        json_decref(last);
        last = json_loads(line, 0, NULL);
    }
    assert_int_equal(found, n);
    ran_fini(&r);
    return last;
}

/* The whole table is an entry, whoever has the log open: the command itself, or a server. */
static void attempts_are_told(void **state) {
    (void)state;
    struct serve s;
    char *dir = temp_folder(), file[600], host[64];
    char *home = strdup(getenv("HOME") ? getenv("HOME") : "/");
    snprintf(file, sizeof file, "%s/audit.db", dir);
    setenv("CRIA_ISOLATION", "best-effort", 1);
    setenv("CRIA_AUDIT_FILE", file, 1);
    setenv("CRIA_HOST", "127.0.0.1:1", 1); /* nobody */
    setenv("HOME", dir, 1);
    for (int served = 0; served < 2; served++) {
        struct ran r;
        setenv("CRIA_AUDIT", "required", 1);
        if (served) {
            serve_start(&s, NULL, NULL);
            snprintf(host, sizeof host, "127.0.0.1:%d", s.port);
            setenv("CRIA_HOST", host, 1);
        }
        const int code =
            run_cria(&r, (const char *[]){"verify", "isolation", "--json", NULL}, "", 0, 60);
        json_t *report = json_loads(r.out.p ? r.out.p : "", 0, NULL);
        if (!report) fail_msg("%d: %s", code, r.err.p);
        assert_int_equal(code, json_integer_value(json_object_get(report, "succeeded")) > 0);
        json_t *entry = told(file, served + 1);
        assert_true(json_equal(json_object_get(entry, "report"), report));
        assert_int_equal(json_array_size(json_object_get(report, "tries")), 3 * n_tries());
        assert_int_equal(json_string_length(json_object_get(entry, "id")), served ? 16 : 0);
        json_decref(entry), json_decref(report);
        ran_fini(&r);
    }
    /* A client's words go in as far as they are of that form. */
    json_decref(ask_json(&s, "POST", "/api/audit/isolation", 400, "{\"walls\":{},\"tries\":[1]}"));
    json_decref(ask_json(&s, "POST", "/api/audit/isolation", 400,
                         "{\"walls\":{},\"tries\":[{\"process\":\"front\",\"try\":\"x\"}]}"));
    json_decref(ask_json(&s, "POST", "/api/audit/isolation", 200,
                         "{\"walls\":{},\"succeeded\":0,\"tries\":[{\"process\":\"front\",\"try\":"
                         "\"x\",\"answer\":\"done\",\"refused\":false,\"more\":1}]}"));
    json_t *entry = told(file, 3), *report = json_object_get(entry, "report");
    assert_int_equal(json_integer_value(json_object_get(report, "succeeded")), 1);
    assert_int_equal(json_object_size(json_array_get(json_object_get(report, "tries"), 0)), 4);
    json_decref(entry);
    assert_int_equal(serve_stop(&s), 0);
    /* Nobody can write it down: the table is there, and the exit code says so. */
    setenv("CRIA_HOST", "127.0.0.1:1", 1);
    setenv("CRIA_AUDIT_FILE", "/nowhere/audit.db", 1);
    struct ran r;
    assert_int_not_equal(run_cria(&r, (const char *[]){"verify", "isolation", NULL}, "", 0, 60), 0);
    assert_non_null(strstr(r.out.p, "attempts, "));
    assert_non_null(strstr(r.err.p, "the attempts are not in the audit log"));
    ran_fini(&r);
    unsetenv("CRIA_AUDIT"), unsetenv("CRIA_AUDIT_FILE"), unsetenv("CRIA_HOST");
    setenv("HOME", home, 1);
    free(home);
    temp_remove(dir);
}

/* ---- starting ---- */

static void not_started(void **state) {
    (void)state;
    static const struct {
        const char *without, *said;
    } cases[] = {{"landlock", "missing: Landlock with rules for TCP (Linux 6.7; here: none)."},
                 {"seccomp", "missing: seccomp filters."},
                 {"landlock,seccomp", "here: none), seccomp filters."}};
    const char *args[] = {"--isolated", NULL}, *also[] = {"--isolation=best-effort", NULL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf said = {0};
        struct serve s;
        if (!walls_here && !strstr(cases[i].without, ",")) continue;
        use(false, cases[i].without);
        assert_int_equal(serve_fails(args, NULL, &said), 5);
        if (!strstr(said.p, cases[i].said) || strstr(said.p, "listening on"))
            fail_msg("%s", said.p);
        buf_reset(&said);
        assert_int_equal(serve_fails(NULL, (const char *[]){"CRIA_ISOLATION=on", NULL}, &said), 5);
        buf_fini(&said);
        serve_start(&s, also, NULL);
        assert_int_equal(serve_lines(&s, "warning", "isolation is not complete", 1), 1);
        assert_int_equal(serve_stop(&s), 0);
    }
}

static void wrong_settings(void **state) {
    (void)state;
    static const struct {
        const char *args[5], *set[3];
        int code;
        const char *said;
    } cases[] = {
        {{"--isolation=maybe"}, {NULL}, 2, "off, on or best-effort is accepted"},
        {{NULL}, {"CRIA_ISOLATION=maybe"}, 2, "setting CRIA_ISOLATION"},
        {{"--isolated", "--isolation=off"}, {NULL}, 2, "one of them is accepted"},
        {{"--isolated", "--listen", "0.0.0.0:0", "--allow-remote"},
         {NULL},
         5,
         "isolated, it listens"},
        {{"--isolation=best-effort", "--listen", "[::]:0"}, {"CRIA_ALLOW_REMOTE=1"}, 5, "isolated"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf said = {0};
        const int code = serve_fails(cases[i].args, cases[i].set, &said);
        if (code != cases[i].code || !strstr(said.p, cases[i].said))
            fail_msg("case %zu: %d: %s", i, code, said.p);
        buf_fini(&said);
    }
}

/* ---- serving ---- */

static void read_status(pid_t pid, const char *name, char *out, size_t n) {
    char path[64], line[300];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    *out = 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            snprintf(out, n, "%s", line + strlen(name) + strspn(line + strlen(name), ": \t"));
    fclose(f);
    out[strcspn(out, "\n")] = 0;
}

static void check_shut(pid_t pid, bool plain_user) {
    char v[300], path[64], line[300];
    read_status(pid, "Seccomp", v, sizeof v);
    assert_string_equal(v, "2");
    read_status(pid, "NoNewPrivs", v, sizeof v);
    assert_string_equal(v, "1");
    read_status(pid, "CapEff", v, sizeof v);
    if (strtoull(v, NULL, 16) & ~(plain_user ? 0ull : 0xbull)) fail_msg("capabilities %s", v);
    snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    bool no_core = false;
    while (fgets(line, sizeof line, f)) {
        long soft = -1, hard = -1;
        if (sscanf(line, "Max core file size %ld %ld", &soft, &hard) == 2)
            no_core = soft == 0 && hard == 0;
    }
    fclose(f);
    assert_true(no_core);
}

/* When memory is short a child goes before the front. */
static int oom_score(pid_t pid) {
    char path[64], v[16] = "";
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    const size_t n = fread(v, 1, sizeof v - 1, f);
    fclose(f);
    assert_true(n > 0);
    return atoi(v);
}

static void network_of(pid_t pid, char out[64]) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    const ssize_t n = readlink(path, out, 63);
    out[n > 0 ? n : 0] = 0;
}

static void make_and_ask(const struct serve *s) {
    size_t n;
    uint8_t *bytes = slurp(golden("models/llama32.gguf"), &n);
    char path[128], hex[65] = "";
    struct ran r;
    struct wire w;
    struct answer a;
    assert_int_equal(run_program(&r, "/usr/bin/sha256sum",
                                 (const char *[]){golden("models/llama32.gguf"), NULL}, "", 0, 20),
                     0);
    snprintf(hex, sizeof hex, "%s", r.out.p);
    ran_fini(&r);
    snprintf(path, sizeof path, "/api/blobs/sha256:%s", hex);
    struct buf head = {0};
    buf_printf(&head, "Content-Length: %zu\r\nConnection: close\r\n", n);
    wire_open(&w, s);
    wire_ask(&w, "POST", path, head.p, NULL);
    wire_send(&w, bytes, n);
    assert_true(wire_head(&w, &a, 20));
    assert_int_equal(a.status, 201);
    answer_fini(&a);
    wire_close(&w);
    buf_fini(&head);
    free(bytes);
    json_decref(
        ask_json(s, "POST", "/api/create", 200,
                 "{\"model\": \"mine\", \"files\": {\"m.gguf\": \"sha256:%s\"}, \"stream\": "
                 "false}",
                 hex));
    json_t *j = ask_json(s, "POST", "/api/generate", 200,
                         "{\"model\": \"mine\", \"prompt\": \"once\", \"raw\": true, \"stream\": "
                         "false, \"options\": {\"num_predict\": 4}}");
    assert_true(json_is_true(json_object_get(j, "done")));
    json_decref(j);
}

/* A model is made, loaded and asked, by whoever the server runs as. */
static void serves(void **state) {
    (void)state;
    const char *args[] = {"--isolated", NULL};
    if (!walls_here) skip();
    for (int i = 0; i < 4; i++) {
        const bool plain_user = i & 1, namespaces = !(i & 2);
        struct serve s;
        pid_t child[4];
        char here[64], there[64];
        use(plain_user, namespaces ? NULL : "unshare");
        serve_start(&s, args, NULL);
        assert_int_equal(serve_lines(&s, "isolated: seccomp (", "Landlock ABI", 1), 1);
        make_and_ask(&s);
        assert_int_equal(serve_children(&s, child, 4, NULL), 1);
        check_shut(s.pid, plain_user);
        check_shut(child[0], plain_user);
        assert_int_equal(oom_score(s.pid), oom_score(getpid()));
        assert_int_equal(oom_score(child[0]), 300);
        network_of(getpid(), here);
        network_of(s.pid, there);
        if (namespaces && !no_network() && sandbox_network_offered() && *there)
            assert_int_not_equal(strcmp(here, there), 0);
        json_t *j = ask_json(&s, "GET", "/version", 200, "%s", "");
        assert_non_null(strstr(json_string_value(json_object_get(j, "isolation")), "Landlock"));
        json_decref(j);
        assert_int_equal(serve_stop(&s), 0);
    }
}

/* As packaging/systemd/isolated.conf has it: the socket, of any address, was passed in; the service
 * is nobody, in a network of its own, behind a filter that refuses privileged calls. */
static void passed_socket(void **state) {
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    struct serve s = {.dir = temp_folder()};
    if (!walls_here || geteuid() != 0) {
        temp_remove(s.dir);
        skip();
    }
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    s.port = ntohs(a.sin_port);
    assert_int_equal(chown(s.dir, NOBODY, NOBODY), 0);
    s.pid = fork();
    if (s.pid == 0) {
        char pid[20];
        snprintf(pid, sizeof pid, "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("CRIA_ISOLATION", "on", 1);
        setenv("CRIA_ALLOW_REMOTE", "1", 1);
        setenv("HOME", s.dir, 1);
        if (!freopen("/dev/null", "we", stderr) || dup2(fd, 3) != 3 || unshare(CLONE_NEWNET) != 0 ||
            setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
            _exit(126);
        execl(self, self, "--without", "unshare,capset", program, "serve", (char *)NULL);
        _exit(127);
    }
    close(fd);
    json_t *j = ask_json(&s, "GET", "/version", 200, "%s", "");
    const char *walls = json_string_value(json_object_get(j, "isolation"));
    if (!walls || !strstr(walls, "an empty network")) fail_msg("%s", walls);
    json_decref(j);
    json_decref(ask_json(&s, "POST", "/api/pull", 403, "{\"model\": \"qwen2.5\"}"));
    check_shut(s.pid, true);
    make_and_ask(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* A crash of the front leaves no memory behind. */
static void no_core(void **state) {
    (void)state;
    struct serve s;
    char path[800];
    if (!walls_here || SANITIZED) skip();
    serve_start(&s, (const char *[]){"--isolated", NULL}, NULL);
    serve_signal(&s, SIGSEGV);
    assert_true(serve_ended(&s, 20));
    assert_int_equal(s.code, 128 + SIGSEGV);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, i ? "core" : "%s/core", s.dir);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    serve_kill(&s);
}

/* A socket that whoever starts the server left open would be a way out. */
static void nothing_is_inherited(void **state) {
    (void)state;
    struct serve s;
    char path[64], link[64], ours[64], theirs[64];
    int pair[2];
    if (!walls_here) skip();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    snprintf(link, sizeof link, "/proc/self/fd/%d", pair[0]);
    const ssize_t n_ours = readlink(link, ours, sizeof ours);
    serve_start(&s, (const char *[]){"--isolated", NULL}, NULL);
    for (int fd = 3; fd < 100; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)s.pid, fd);
        const ssize_t n = readlink(path, theirs, sizeof theirs);
        if (n == n_ours && memcmp(ours, theirs, (size_t)n) == 0)
            fail_msg("descriptor %d is %.*s", fd, (int)n, ours);
    }
    assert_true(n_ours > 0);
    close(pair[0]), close(pair[1]);
    assert_int_equal(serve_stop(&s), 0);
}

/* `cria verify isolation` that is killed leaves no process behind. */
static void killed_leaves_nobody(void **state) {
    (void)state;
    const char *exe = getenv("CRIA");
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* who is left behind is ours */
    for (int us = 200; us < 200000; us += us / 5) {
        int n = 0;
        const pid_t pid = fork();
        if (pid == 0) {
            const int null = open("/dev/null", O_WRONLY);
            dup2(null, 1), dup2(null, 2);
            execl(exe, exe, "verify", "isolation", (char *)NULL);
            _exit(127);
        }
        usleep((useconds_t)us);
        kill(pid, SIGKILL);
        for (int i = 0; i < 1000; i++, usleep(10000)) {
            const pid_t ended = waitpid(-1, NULL, WNOHANG);
            if (ended < 0) break; /* there is nobody any more */
            n += ended > 0;
            if (i == 999) fail_msg("after %d us: %d have ended, one lives on", us, n);
        }
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* A file that stays where it is (create --link), outside of the store. */
static void linked_model(void **state) {
    (void)state;
    struct serve s;
    struct ran r;
    char *dir = temp_folder(), modelfile[600], store[700], file[600];
    if (!walls_here) skip();
    snprintf(file, sizeof file, "%s/linked.gguf", dir);
    snprintf(modelfile, sizeof modelfile, "%s/Modelfile", dir);
    snprintf(store, sizeof store, "%s/store", dir);
    size_t n;
    uint8_t *bytes = slurp(golden("models/llama32.gguf"), &n);
    FILE *f = fopen(file, "w");
    fwrite(bytes, 1, n, f);
    fclose(f);
    free(bytes);
    f = fopen(modelfile, "w");
    fprintf(f, "FROM %s\n", file);
    fclose(f);
    setenv("CRIA_MODELS", store, 1);
    if (run_cria(&r, (const char *[]){"create", "linked", "--link", "-f", modelfile, NULL}, "", 0,
                 60) != 0)
        fail_msg("%s", r.err.p);
    ran_fini(&r);
    char set[720];
    snprintf(set, sizeof set, "CRIA_MODELS=%s", store);
    serve_start(&s, (const char *[]){"--isolated", NULL}, (const char *[]){set, NULL});
    json_decref(ask_json(&s, "POST", "/api/generate", 200,
                         "{\"model\": \"linked\", \"prompt\": \"once\", \"raw\": true, \"stream\": "
                         "false, \"options\": {\"num_predict\": 2}}"));
    assert_int_equal(serve_stop(&s), 0);
    unsetenv("CRIA_MODELS");
    temp_remove(dir);
}

/* ---- what would leave ---- */

/* Somebody who listens and is never called. */
static int listen_here(int *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    *port = ntohs(a.sin_port);
    return fd;
}

static void check_uncalled(int fd) {
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd);
}

static void check_refused(json_t *j) {
    const char *error = json_string_value(json_object_get(j, "error"));
    if (!error || !strstr(error, "isolation is on, nothing may leave")) fail_msg("%s", error);
    json_decref(j);
}

static void nothing_leaves(void **state) {
    (void)state;
    struct serve s;
    int port;
    char preload[64], far[64];
    const int fd = listen_here(&port);
    snprintf(far, sizeof far, "CRIA_FALLBACK_URL=http://127.0.0.1:%d/v1", port);
    snprintf(preload, sizeof preload, "CRIA_MODEL=127.0.0.1:%d/me/there:tiny", port);
    serve_start(&s, (const char *[]){"--isolation=best-effort", NULL},
                (const char *[]){models_set, preload, far, "CRIA_FALLBACK_MODEL=far", NULL});
    check_refused(ask_json(&s, "POST", "/api/pull", 403,
                           "{\"model\": \"127.0.0.1:%d/me/m\", \"insecure\": true}", port));
    check_refused(
        ask_json(&s, "POST", "/api/pull", 403, "{\"model\": \"qwen2.5\", \"stream\": false}"));
    check_refused(ask_json(&s, "POST", "/api/push", 403, "{\"model\": \"chat\"}"));
    check_refused(ask_json(&s, "POST", "/api/create", 403,
                           "{\"model\": \"n\", \"from\": \"127.0.0.1:%d/me/m\", \"stream\": false}",
                           port));
    assert_int_equal(serve_lines(&s, "warning", "CRIA_FALLBACK_URL has no effect", 1), 1);
    json_decref(ask_json(&s, "POST", "/api/generate", 404,
                         "{\"model\": \"missing\", \"prompt\": \"private\"}"));
    assert_int_equal(serve_lines(&s, "preload of", "isolation is on, nothing may leave", 1), 1);
    serve_signal(&s, SIGHUP); /* it stays so */
    assert_int_equal(serve_lines(&s, "info", "settings were read again", 1), 1);
    check_refused(ask_json(&s, "POST", "/api/pull", 403, "{\"model\": \"qwen2.5\"}"));
    assert_int_equal(serve_stop(&s), 0);
    check_uncalled(fd);
}

/* Commands with the setting ask servers of this machine, and nobody else. */
static void commands_stay(void **state) {
    (void)state;
    struct serve s;
    struct ran r;
    int port;
    char host[64], name[64];
    const int fd = listen_here(&port);
    snprintf(name, sizeof name, "localhost.example:%d/me/m", port);
    serve_start(&s, NULL, (const char *[]){models_set, NULL});
    snprintf(host, sizeof host, "127.0.0.1:%d", s.port);
    setenv("CRIA_HOST", "127.0.0.1:1", 1); /* no server does it for them */
    setenv("CRIA_ISOLATION", "on", 1);
    setenv("CRIA_MODELS", shop.root, 1);
    const char *const refused[][5] = {{"pull", "qwen2.5", NULL},
                                      {"pull", name, "--insecure", NULL},
                                      {"push", "chat", NULL},
                                      {"verify", "isolation", "now", NULL}};
    for (size_t i = 0; i < 3; i++) {
        const int code = run_cria(&r, refused[i], "", 0, 30);
        if (code != 5 || !strstr(r.err.p, "nothing may leave"))
            fail_msg("%s %s: %d: %s", refused[i][0], refused[i][1], code, r.err.p);
        ran_fini(&r);
    }
    assert_int_equal(run_cria(&r, refused[3], "", 0, 30), 2);
    ran_fini(&r);
    setenv("CRIA_HOST", host, 1);
    assert_int_equal(run_cria(&r, (const char *[]){"ps", NULL}, "", 0, 30), 0);
    ran_fini(&r);
    setenv("CRIA_ISOLATION", "maybe", 1); /* not taken for "off" */
    assert_int_equal(run_cria(&r, (const char *[]){"list", NULL}, "", 0, 30), 2);
    ran_fini(&r);
    unsetenv("CRIA_HOST");
    unsetenv("CRIA_MODELS");
    unsetenv("CRIA_ISOLATION");
    assert_int_equal(serve_stop(&s), 0);
    check_uncalled(fd);
}

int main(int argc, char **argv) {
    if (argc > 3 && strcmp(argv[1], "--without") == 0) return become_older(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(attacks_fail, usual),
        cmocka_unit_test_setup(attacks_are_real, usual),
        cmocka_unit_test_setup(one_wall, usual),
        cmocka_unit_test_setup(attempts_are_told, usual),
        cmocka_unit_test_setup(not_started, usual),
        cmocka_unit_test_setup(wrong_settings, usual),
        cmocka_unit_test_setup(serves, usual),
        cmocka_unit_test_setup(passed_socket, usual),
        cmocka_unit_test_setup(no_core, usual),
        cmocka_unit_test_setup(nothing_is_inherited, usual),
        cmocka_unit_test_setup(killed_leaves_nobody, usual),
        cmocka_unit_test_setup(linked_model, usual),
        cmocka_unit_test_setup(nothing_leaves, usual),
        cmocka_unit_test_setup(commands_stay, usual),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
