/* Registries and archives that lie, once more, under strace (SECURITY.md R1): whatever they say, a
 * pull or load makes, changes and removes files in its store and key folder only, and opens none
 * that they named. */
#include "store_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PID = 1 << 22 };

static char *dir, log_path[600];

/* What became of a log. */
struct seen {
    int n_programs; /* pulls and loads */
    int n_writes;   /* calls that make, change or remove */
    int n_wrong;
    char wrong[2000]; /* the first of them */
};

/* By process and thread id: the command that it runs, or 0, and from which line of the log on. */
static char command_of[MAX_PID];
static int since[MAX_PID];

/* The second argument of the program, when it is to be looked at: 'p' pull, 'l' load; else 0. */
static char command_in(const char *line) {
    const char *p = strstr(line, "execve(\""), *args = p ? strstr(p, "\", [\"") : NULL;
    const char *end = p ? strchr(p + 8, '"') : NULL;
    if (!args || end < p + 8 + 5 || strncmp(end - 5, "/cria", 5) != 0) return 0;
    args = strstr(args + 5, "\", \"");
    if (!args) return 0;
    return strncmp(args + 4, "pull\"", 5) == 0   ? 'p'
           : strncmp(args + 4, "load\"", 5) == 0 ? 'l'
                                                 : 0;
}

static bool is_one_of(const char *name, const char *const *list) {
    for (; *list; list++)
        if (strcmp(name, *list) == 0) return true;
    return false;
}

/* "openat", from "openat(..." or "<... openat resumed>...". */
static void call_of(const char *p, char *out, size_t n) {
    if (strncmp(p, "<... ", 5) == 0) p += 5;
    snprintf(out, n, "%.*s", (int)strcspn(p, "( "), p);
}

/* Children are what their parents are, threads too. */
static void note_children(const char *line, int pid) {
    static const char *const makes[] = {"clone", "clone3", "fork", "vfork", NULL};
    char call[32];
    const char *equals = NULL;
    call_of(line, call, sizeof call);
    for (const char *p = line; (p = strstr(p, " = ")); p++)
        equals = p;
    const int child = equals ? atoi(equals + 3) : 0;
    if (is_one_of(call, makes) && child > 0 && child < MAX_PID && command_of[pid])
        command_of[child] = command_of[pid];
}

static bool climbs(const char *path) {
    for (const char *p = path; (p = strstr(p, "..")); p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == 0)) return true;
    return false;
}

/* In a test's folder: what is behind that, else NULL. */
static const char *in_test_folder(const char *path) {
    const char *p = strstr(path, "/cria-test-");
    return p ? strchr(p + 1, '/') ? strchr(p + 1, '/') : "" : NULL;
}

/* The same behind a home there ("/home0"). */
static const char *in_home(const char *path) {
    const char *p = in_test_folder(path);
    if (p && strncmp(p, "/home", 5) == 0) p += 5 + strspn(p + 5, "0123456789");
    return p;
}

static bool is_ours(const char *path) {
    static const char *const roots[] = {"/store", "/.cria", NULL};
    const char *p = in_home(path);
    if (!p) return strcmp(path, "/dev/null") == 0 || strcmp(path, "/dev/tty") == 0;
    for (int i = 0; roots[i]; i++) {
        const size_t n = strlen(roots[i]);
        if (strncmp(p, roots[i], n) == 0 && (p[n] == 0 || p[n] == '/')) return !climbs(path);
    }
    return false;
}

/* A folder that holds the stores: it is there, and making it says so. */
static bool is_above(const char *call, const char *path) {
    const char *p = in_test_folder(path);
    const size_t n = strlen(path);
    return strncmp(call, "mkdir", 5) == 0 &&
           (p ? !*p : strncmp(dir, path, n) == 0 && (dir[n] == '/' || path[n - 1] == '/'));
}

/* The user's own folder is read by a load only; Ollama's key is a key, too, and certificates are
 * what SSL_CERT_FILE says. */
static bool may_read(const char *path, char command) {
    const char *p = in_home(path);
    if (climbs(path) || strstr(path, "/passwd") || strstr(path, "/shadow")) return false;
    return command == 'l' || !p || !*p || is_ours(path) || strcmp(p, "/.ollama/id_ed25519") == 0 ||
           strcmp(p, "/cert.pem") == 0;
}

static bool writes(const char *call, const char *args) {
    static const char *const always[] = {
        "creat",     "unlink", "unlinkat", "rename",   "renameat", "renameat2", "mkdir",
        "mkdirat",   "rmdir",  "link",     "linkat",   "symlink",  "symlinkat", "chmod",
        "fchmodat",  "chown",  "lchown",   "fchownat", "truncate", "mknod",     "mknodat",
        "utimensat", "utime",  "setxattr", NULL};
    if (is_one_of(call, always)) return true;
    return strncmp(call, "open", 4) == 0 && (strstr(args, "O_WRONLY") || strstr(args, "O_RDWR") ||
                                             strstr(args, "O_CREAT") || strstr(args, "O_TRUNC"));
}

/* The next path of the arguments: a string, below the folder before it ("5</folder>, "). */
static const char *next_path(const char *p, char *out, size_t n) {
    char folder[4096] = "?";
    for (; *p && *p != '"'; p++)
        if (*p == '<' && p[1] == '/')
            snprintf(folder, sizeof folder, "%.*s", (int)strcspn(p + 1, ">"), p + 1);
    if (!*p++) return NULL;
    const size_t len = strcspn(p, "\"");
    snprintf(out, n, "%s%s%.*s", *p == '/' ? "" : folder, *p == '/' ? "" : "/", (int)len, p);
    return p + len + (p[len] == '"');
}

static void look_at(const char *line, char command, struct seen *s) {
    char call[32], path[8300];
    const char *args = strchr(line, '(');
    call_of(line, call, sizeof call);
    if (!args || line[0] == '<') return;
    const bool write = writes(call, args);
    if (!write && strncmp(call, "open", 4) != 0) return; /* looked at, not opened */
    s->n_writes += write;
    for (const char *p = args; (p = next_path(p, path, sizeof path));) {
        if (write ? is_ours(path) || is_above(call, path) : may_read(path, command)) continue;
        if (s->n_wrong++ == 0) snprintf(s->wrong, sizeof s->wrong, "%.1900s", line);
    }
}

/* Twice: a thread may have done something before the call that made it returns. */
static void read_log(const char *path, struct seen *s) {
    memset(command_of, 0, sizeof command_of);
    memset(since, 0, sizeof since);
    *s = (struct seen){0};
    for (int turn = 0; turn < 2; turn++) {
        size_t n;
        char *text = (char *)slurp(path, &n), *rest = text;
        assert_true(n > 0);
        text[n - 1] = 0;
        int n_line = 0;
        for (char *line; (line = strsep(&rest, "\n")); n_line++) {
            const int pid = (int)strtol(line, &line, 10);
            if (pid <= 0 || pid >= MAX_PID) continue;
            line += strspn(line, " ");
            const char command = command_in(line);
            if (command && turn == 0)
                command_of[pid] = command, since[pid] = n_line, s->n_programs++;
            if (turn == 0)
                note_children(line, pid);
            else if (command_of[pid] && n_line > since[pid])
                look_at(line, command_of[pid], s);
        }
        free(text);
    }
}

/* ---- running ---- */

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(log_path, sizeof log_path, "%s/log", dir);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static void trace(const char *const *command, struct seen *s) {
    enum { N_OWN = 12 };
    const char *args[24] = {
        "-c", "exec strace \"$@\"",   "sh", "-f",    "--seccomp-bpf", "-y", "-s", "4096",
        "-e", "trace=%file,%process", "-o", log_path};
    struct ran r;
    for (int i = 0; command[i]; i++)
        args[N_OWN + i] = command[i];
    /* The leak checker is a tracer, too. */
    if (SANITIZED) setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    const int code = run_program(&r, "/bin/sh", args, "", 0, 250);
    if (code == 127) fail_msg("strace does not run; ./quickstart test installs it");
    if (code != 0) fail_msg("%s: code %d: %s%s", command[0], code, r.out.p, r.err.p);
    ran_fini(&r);
    read_log(log_path, s);
}

/* A test of ours as a whole, as it was built beside this one. */
static void all_of(const char *test, int at_least) {
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *slash = strrchr(cria, '/');
    char exe[600];
    struct seen s;
    snprintf(exe, sizeof exe, "%.*s/tests/%s", slash ? (int)(slash - cria) : 1, slash ? cria : ".",
             test);
    trace((const char *const[]){exe, NULL}, &s);
    if (s.n_wrong) fail_msg("%s: %d calls, the first: %s", test, s.n_wrong, s.wrong);
    if (s.n_programs < at_least || s.n_writes < at_least)
        fail_msg("%s: only %d programs and %d writes were seen", test, s.n_programs, s.n_writes);
}

static void pulls_stay_in_the_store(void **state) {
    (void)state;
    all_of("test_hostile", 40);
    all_of("test_redirect", 5);
}

static void loads_stay_in_the_store(void **state) {
    (void)state;
    all_of("test_archive", 40);
}

/* ---- that it would be seen ---- */

static void what_is_wrong_is_seen(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "openat(AT_FDCWD</w>, \"/etc/passwd\", O_RDONLY) = 3",
        "openat(AT_FDCWD</w>, \"/tmp/x\", O_WRONLY|O_CREAT, 0644 <unfinished ...>",
        "openat(5</tmp/cria-test-abcdef/store/blobs>, \"../../x\", O_RDWR) = 3",
        "openat(5</tmp/cria-test-abcdef/store/blobs>, \"../manifests/x\", O_RDONLY) = -1 ENOENT",
        "openat(AT_FDCWD</w>, \"/tmp/cria-test-abcdef/secret\", O_RDONLY) = 3",
        "unlink(\"/tmp/cria-test-abcdef/storehouse/x\") = 0",
        "unlinkat(5</tmp/cria-test-abcdef>, \"x\", 0) = -1 ENOENT",
        "renameat(5</tmp/cria-test-abcdef/store>, \"x\", 6</tmp>, \"y\") = 0",
        "unlink(\"x\") = 0",
    };
    static const char *const right[] = {
        "openat(AT_FDCWD</w>, \"/lib/libc.so.6\", O_RDONLY|O_CLOEXEC) = 3",
        "openat(5</tmp/cria-test-abcdef/store>, \"blobs\", O_RDONLY) = 3",
        "renameat(5</tmp/cria-test-abcdef/store>, \"x\", 5</tmp/cria-test-abcdef/store>, \"y\") = "
        "0",
        "mkdir(\"/tmp/cria-test-abcdef/store\", 0755) = -1 EEXIST",
        "openat(AT_FDCWD</w>, \"/tmp/cria-test-abcdef/.cria/id_ed25519\", O_RDWR|O_CREAT, 0600) = "
        "3",
    };
    struct seen s = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int before = s.n_wrong;
        look_at(wrong[i], 'p', &s);
        if (s.n_wrong == before) fail_msg("%s", wrong[i]);
    }
    s = (struct seen){0};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        look_at(right[i], 'p', &s);
    if (s.n_wrong) fail_msg("%s", s.wrong);
    /* In a real log: a store that is no test's. */
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    char root[700];
    snprintf(root, sizeof root, "%s/elsewhere", dir);
    setenv("CRIA_MODELS", root, 1);
    trace((const char *const[]){"sh", "-c", "\"$0\" load /dev/null; true", cria, NULL}, &s);
    unsetenv("CRIA_MODELS");
    assert_int_equal(s.n_programs, 1);
    if (!s.n_wrong) fail_msg("writes to another folder were not seen");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_seen),
        cmocka_unit_test(pulls_stay_in_the_store),
        cmocka_unit_test(loads_stay_in_the_store),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
