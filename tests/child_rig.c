/* See child_rig.h.  Roles run in a process of their own: they end with _exit. */
#include "support.h"

#include "child_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/child.h"
#include "engine/child_proc.h"
#include "engine/gen_priv.h"
#include "engine/wire.h"

extern char **environ;

/* ---- which program ---- */

static char *dir; /* of the links to this program */

void rig_role(const char *role) {
    static char path[700], self[600];
    if (!dir) dir = temp_folder();
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    snprintf(path, sizeof path, "%s/%s", dir, role);
    unlink(path);
    assert_int_equal(symlink(self, path), 0);
    chmod(dir, 0755); /* a test may be another user */
    setenv("CRIA_PROGRAM", path, 1);
}

void rig_real(void) {
    use_program();
}

void rig_fini(void) {
    if (dir) temp_remove(dir);
    dir = NULL;
}

/* ---- this process ---- */

static int count_in(const char *folder) {
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 3; /* ".", "..", and the folder while it is read */
}

int rig_count_fds(void) {
    return count_in("/proc/self/fd");
}

int rig_count_threads(void) {
    return count_in("/proc/self/task") + 1;
}

int rig_child_pid(void) {
    DIR *d = opendir("/proc");
    int found = 0;
    for (struct dirent *x; d && (x = readdir(d));) {
        char path[300], line[400] = "", state = 0;
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%.20s/stat", x->d_name);
        FILE *f = atoi(x->d_name) > 0 ? fopen(path, "re") : NULL;
        if (!f) continue;
        const char *p = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        fclose(f);
        if (p && sscanf(p, ") %c %d", &state, &parent) == 2 && parent == getpid() && state != 'Z')
            found = atoi(x->d_name);
    }
    if (d) closedir(d);
    return found;
}

/* ---- proof ---- */

static int of(long rc) {
    return rc < 0 ? errno : 0;
}

static void *thread_socket(void *arg) {
    *(int *)arg = of(socket(AF_INET, SOCK_STREAM, 0));
    return NULL;
}

static int try_fork(void) {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    return of(pid);
}

static int try_open(const char *path, int flags) {
    const int fd = open(path, flags | O_CLOEXEC, 0600);
    const int why = of(fd);
    if (fd >= 0) close(fd);
    return why;
}

static int try_exec(const char *path) {
    char *argv[] = {(char *)(uintptr_t)path, NULL};
    return of(execve(path, argv, argv + 1));
}

static void try_network(struct buf *b) {
    const struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/run/nothing"};
    const struct sockaddr *to = (const struct sockaddr *)(const void *)&a;
    int in_thread = -1, pair[2];
    pthread_t t;
    struct msghdr m = {0};
    buf_printf(b, "socket=%d unix=%d pair=%d ", of(socket(AF_INET, SOCK_STREAM, 0)),
               of(socket(AF_UNIX, SOCK_STREAM, 0)), of(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));
    buf_printf(b, "connect=%d bind=%d sendmsg=%d ", of(connect(CHILD_FD, to, sizeof a)),
               of(bind(CHILD_FD, to, sizeof a)), of(sendmsg(CHILD_FD, &m, 0)));
    if (pthread_create(&t, NULL, thread_socket, &in_thread) == 0) pthread_join(t, NULL);
    buf_printf(b, "thread=%d ", in_thread);
}

static void try_others(struct buf *b) {
    buf_printf(b, "kill=%d ptrace=%d exec=%d ", of(kill(getppid(), 0)),
               of(ptrace(PTRACE_ATTACH, getppid(), 0, 0)), try_exec("/bin/true"));
    buf_printf(b, "uring=%d memfd=%d unshare=%d ", of(syscall(SYS_io_uring_setup, 1, NULL)),
               of(syscall(SYS_memfd_create, "x", 0)), of(syscall(SYS_unshare, 0)));
    if (SANITIZED) return;
    const struct rlimit r = {1 << 20, 1 << 20};
    buf_printf(b, "fork=%d limit=%d dumpable=%d ", try_fork(), of(setrlimit(RLIMIT_CORE, &r)),
               of(syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0)));
}

static void try_files(struct buf *b, const char *folder) {
    buf_printf(b, "passwd=%d write=%d mkdir=%d unlink=%d ", try_open("/etc/passwd", O_RDONLY),
               try_open("/tmp/cria-proof", O_WRONLY | O_CREAT),
               of(mkdir("/tmp/cria-proof-dir", 0700)), of(unlink("/etc/cria-proof")));
    if (!folder) return;
    char path[600], other[600];
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(other, sizeof other, "%s/b", folder);
    const int made = try_open(path, O_WRONLY | O_CREAT | O_EXCL);
    const int renamed = of(renameat(AT_FDCWD, path, AT_FDCWD, other));
    const int read_back = try_open(other, O_RDONLY);
    const int removed = of(unlinkat(AT_FDCWD, other, 0));
    buf_printf(b, "own=%d/%d/%d/%d ", made, renamed, read_back, removed);
}

static struct gen *proof_open(const char *path, const struct gen_opts *o, struct err *e) {
    struct buf b = {0};
    struct rlimit core;
    (void)path;
    try_network(&b);
    try_others(&b);
    try_files(&b, o->engine.cache);
    getrlimit(RLIMIT_CORE, &core);
    void *gigabyte = malloc((size_t)1 << 30);
    buf_printf(&b, "core=%d gigabyte=%d fds=", (int)core.rlim_max, gigabyte ? 0 : errno);
    free(gigabyte);
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) buf_printf(&b, "%d,", fd);
    buf_str(&b, " env=");
    for (char **v = environ; *v; v++)
        buf_printf(&b, "%.*s,", (int)strcspn(*v, "="), *v);
    err_set(e, ERR_LIMIT, "proof: %s", b.p);
    buf_fini(&b);
    return NULL;
}

/* ---- stream ---- */

struct stream {
    struct gen base;
    struct gen_opts opts;
    int n_step;
    pthread_t thread;
    bool started;
    struct gen_task task;
    gen_event_fn *fn;
    void *ctx;
};

static void *stream_main(void *arg) {
    struct stream *s = arg;
    struct gen_event ev = {.kind = GEN_PROMPT};
    s->fn(s->ctx, &ev);
    for (int i = 0; i < STREAM_TOKENS; i++) {
        const int32_t tok = i % 100;
        ev =
            (struct gen_event){.kind = GEN_TEXT, .text = STR(" word"), .token = &tok, .n_token = 1};
        s->fn(s->ctx, &ev);
        if (i % s->n_step == s->n_step - 1) s->opts.told(s->opts.told_ctx);
    }
    ev = (struct gen_event){.kind = GEN_FINISH};
    s->fn(s->ctx, &ev);
    ev = (struct gen_event){.kind = GEN_END};
    s->fn(s->ctx, &ev);
    s->opts.told(s->opts.told_ctx);
    return NULL;
}

static int stream_start(struct gen *g, const json_t *request, gen_event_fn *fn, void *ctx,
                        struct gen_task **out, struct err *e) {
    struct stream *s = (struct stream *)g;
    (void)request, (void)e;
    if (s->started) pthread_join(s->thread, NULL);
    s->started = true;
    s->fn = fn;
    s->ctx = ctx;
    s->task.gen = g;
    *out = &s->task;
    return pthread_create(&s->thread, NULL, stream_main, s) == 0 ? 0 : -1;
}

static void stream_close(struct gen *g) {
    struct stream *s = (struct stream *)g;
    if (s->started) pthread_join(s->thread, NULL);
    free(s);
}

static struct gen_load stream_load(const struct gen *g) {
    (void)g;
    return (struct gen_load){.n_running = 1};
}

static bool yes(const struct gen *g) {
    return g != NULL;
}

static void no_cancel(struct gen_task *t) {
    (void)t;
}

static void no_pause(struct gen_task *t, bool on) {
    (void)t, (void)on;
}

static int stream_step;

static struct gen *stream_open(const char *path, const struct gen_opts *o, struct err *e) {
    static const struct gen_impl impl = {.close = stream_close,
                                         .alive = yes,
                                         .load = stream_load,
                                         .start = stream_start,
                                         .cancel = no_cancel,
                                         .pause = no_pause};
    struct stream *s = calloc(1, sizeof *s);
    (void)path, (void)e;
    s->base = (struct gen){&impl, {.arch = "stream", .n_ctx = 8, .n_embd = 4, .n_vocab = 100}};
    s->opts = *o;
    s->n_step = stream_step;
    return &s->base;
}

/* ---- attacks ---- */

static struct wire_in in;
static uint64_t task_id;

static void out(const void *p, size_t n) {
    if (write(CHILD_FD, p, n) < 0) _exit(9);
}

static void out_buf(struct buf *b) {
    out(b->p, b->n);
    buf_fini(b);
}

/* Until a frame of that kind has come. */
static void await(enum wire_kind kind) {
    for (;;) {
        struct wire_frame f;
        size_t room;
        while (wire_take(&in, &f, NULL) > 0) {
            if (f.head.kind != kind) continue;
            task_id = f.head.id;
            return;
        }
        char *at = wire_room(&in, &room);
        const ssize_t n = read(CHILD_FD, at, room);
        if (n <= 0) _exit(8);
        in.n += (size_t)n;
    }
}

static void say(enum wire_kind kind, uint64_t id, const char *body, size_t n) {
    struct buf b = {0};
    wire_put_frame(&b, kind, id, (struct str){body, n}, NULL);
    out_buf(&b);
}

static void say_ready(void) {
    static const struct gen_info info = {.arch = "bad", .n_ctx = 8, .n_embd = 4, .n_vocab = 100};
    struct buf b = {0};
    wire_put_ready(&b, &info, NULL);
    out_buf(&b);
}

static void event(struct gen_event ev) {
    struct buf b = {0};
    wire_put_event(&b, task_id, &ev, NULL);
    out_buf(&b);
}

/* The event's frame with the byte at `at` of its body changed. */
static void bent(struct gen_event ev, size_t at, uint8_t to) {
    struct buf b = {0};
    wire_put_event(&b, task_id, &ev, NULL);
    b.p[sizeof(struct wire_head) + at] = (char)to;
    out_buf(&b);
}

static void data_event(enum gen_kind kind, const char *json) {
    json_t *j = json_loads(json, JSON_DECODE_ANY, NULL);
    if (!j) _exit(7);
    event((struct gen_event){.kind = kind, .data = j});
    json_decref(j);
}

static void prompt(void) {
    event((struct gen_event){.kind = GEN_PROMPT});
}

static void finish(void) {
    event((struct gen_event){.kind = GEN_FINISH});
}

static void text(struct str s, int choice) {
    event((struct gen_event){.kind = GEN_TEXT, .text = s, .choice = choice});
}

static void end(void) {
    event((struct gen_event){.kind = GEN_END});
}

static void vector(float x, int n) {
    const float v[8] = {x, x, x, x, x, x, x, x};
    event((struct gen_event){.kind = GEN_VECTOR, .vector = v, .n_vector = n});
}

static void a_noise(void) {
    out("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
}
static void a_long(void) {
    out("\xff\xff\xff\x7f\x12\0\0\0\1\0\0\0\0\0\0\0", 16);
}
static void a_kind(void) {
    out("\0\0\0\0\x63\0\0\0\0\0\0\0\0\0\0\0", 16);
}
static void a_ours(void) {
    say(WIRE_START, 65536, "{}", 2);
}
static void a_padding(void) {
    out("\1\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0{xxxxxxx", 24);
}
static void a_json(void) {
    say(WIRE_READY, 0, "{\"arch\":", 8);
}
static void a_arch(void) {
    struct gen_info i = {.arch = "x\033[2J", .n_ctx = 8};
    struct buf b = {0};
    wire_put_ready(&b, &i, NULL);
    out_buf(&b);
}
static void a_count(void) {
    struct gen_info i = {.arch = "x", .n_ctx = 8, .n_vocab = -1};
    struct buf b = {0};
    wire_put_ready(&b, &i, NULL);
    out_buf(&b);
}
static void a_early(void) {
    task_id = 65536, prompt();
}
static void a_error(void) {
    say(WIRE_FAILED, 0, "\x63\0\0\0\1\0\0\0x", 9);
}
static void a_error_long(void) {
    say(WIRE_FAILED, 0, "\1\0\0\0\xff\0\0\0x", 9);
}
static void a_twice(void) {
    say_ready();
}
static void a_other(void) {
    task_id += 65536, prompt();
}
static void a_slot(void) {
    task_id |= 0xffff, prompt();
}
static void a_load(void) {
    say(WIRE_LOAD, 0, "12345678", 8);
}
static void a_load_sign(void) {
    say(WIRE_LOAD, 0, "\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
}
static void a_utf8(void) {
    prompt(), text(STR("\xc3("), 0);
}
static void a_choice(void) {
    prompt(), text(STR("x"), 1);
}
static void a_choice_big(void) {
    prompt(), text(STR("x"), -2);
}
static void a_before(void) {
    text(STR("x"), 0);
}
static void a_behind(void) {
    prompt(), finish(), text(STR("x"), 0);
}
static void a_two_prompts(void) {
    prompt(), prompt();
}
static void a_two_ends(void) {
    prompt(), finish(), finish();
}
static void a_open_end(void) {
    prompt(), end();
}
static void a_late(void) {
    prompt(), finish(), end(), prompt();
}
static void a_torn(void) {
    say(WIRE_EVENT, task_id, "\0\0\0\0", 4);
}
static void a_sizes(void) {
    bent((struct gen_event){.kind = GEN_TEXT, .text = STR("abc")}, 24, 200);
}
static void a_event_kind(void) {
    bent((struct gen_event){.kind = GEN_PROMPT}, 0, 99);
}
static void a_why(void) {
    bent((struct gen_event){.kind = GEN_FINISH}, 4, 99);
}
static void a_stats(void) {
    bent((struct gen_event){.kind = GEN_PROMPT}, 43, 0x80);
}
static void a_token(void) {
    const int32_t t = 100;
    prompt();
    event((struct gen_event){.kind = GEN_TEXT, .text = STR("x"), .token = &t, .n_token = 1});
}
static void a_call(void) {
    prompt(), data_event(GEN_CALL, "{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":[]}}");
}
static void a_logprob(void) {
    prompt(), data_event(GEN_TEXT, "[{\"token\":\"x\"}]");
}
static void a_logprob_bytes(void) {
    prompt(), data_event(GEN_TEXT, "[{\"token\":\"x\",\"logprob\":-1,\"bytes\":[256]}]");
}
static void a_result(void) {
    prompt(), data_event(GEN_RESULT, "{\"text\":\"x\"}");
}
static void a_deep(void) {
    char deep[3000];
    struct buf b = {0};
    memset(deep, '[', sizeof deep);
    struct gen_event ev = {.kind = GEN_CALL, .text = {deep, sizeof deep}};
    prompt();
    wire_put_event(&b, task_id, &ev, NULL);
    uint32_t n = sizeof deep, none = 0; /* the text becomes the data */
    memcpy(b.p + sizeof(struct wire_head) + 24, &none, 4);
    memcpy(b.p + sizeof(struct wire_head) + 32, &n, 4);
    out_buf(&b);
}
static void a_nan(void) {
    vector(NAN, 4);
}
static void a_wide(void) {
    vector(1, 5);
}
static void a_vector_twice(void) {
    vector(1, 4), vector(1, 4);
}
static void a_no_vector(void) {
    vector(1, 4), end();
}
static void a_chat_vector(void) {
    prompt(), vector(1, 4);
}
static void a_rank(void) {
    data_event(GEN_RESULT, "{\"results\":[{\"index\":2,\"score\":1.0}]}");
}
static void a_ranks(void) {
    data_event(GEN_RESULT, "{\"results\":[{\"index\":0,\"score\":1},{\"index\":0,\"score\":1},{"
                           "\"index\":0,\"score\":1}]}");
}
static void a_ids(void) {
    data_event(GEN_RESULT, "{\"tokens\":[-1]}");
}
static void a_no_result(void) {
    end();
}
static void a_flood(void) {
    char big[60000];
    memset(big, 'x', sizeof big);
    prompt();
    await(WIRE_PAUSE);
    for (int i = 0; i < 1000; i++)
        text((struct str){big, sizeof big}, 0);
}

#define CHAT "{\"op\":\"chat\",\"messages\":[]}"
#define EMBED "{\"op\":\"embed\",\"input\":[\"a\",\"b\"]}"
#define RERANK "{\"op\":\"rerank\",\"query\":\"q\",\"documents\":[\"a\",\"b\"]}"

const struct attack rig_attacks[] = {
    {"noise", NULL, "kind", a_noise},
    {"long", NULL, "bytes", a_long},
    {"kind", NULL, "kind", a_kind},
    {"ours", NULL, "kind", a_ours},
    {"padding", NULL, "padding", a_padding},
    {"json", NULL, "JSON", a_json},
    {"arch", NULL, "without a name", a_arch},
    {"count", NULL, "n_vocab", a_count},
    {"early", NULL, "out of order", a_early},
    {"error", NULL, "an error that is none", a_error},
    {"error-long", NULL, "an error that is none", a_error_long},
    {"twice", CHAT, "out of order", a_twice},
    {"other", CHAT, "task that there is not", a_other},
    {"slot", CHAT, "task that there is not", a_slot},
    {"load", CHAT, "load", a_load},
    {"load-sign", CHAT, "load", a_load_sign},
    {"utf8", CHAT, "UTF-8", a_utf8},
    {"choice", CHAT, "choice 1 of 1", a_choice},
    {"choice-big", CHAT, "choice", a_choice_big},
    {"before", CHAT, "out of order", a_before},
    {"behind", CHAT, "out of order", a_behind},
    {"two-prompts", CHAT, "out of order", a_two_prompts},
    {"two-ends", CHAT, "out of order", a_two_ends},
    {"open-end", CHAT, "out of order", a_open_end},
    {"torn", CHAT, "torn", a_torn},
    {"sizes", CHAT, "that says", a_sizes},
    {"event-kind", CHAT, "out of place", a_event_kind},
    {"why", CHAT, "out of place", a_why},
    {"stats", CHAT, "out of place", a_stats},
    {"token", CHAT, "out of range", a_token},
    {"call", CHAT, "another shape", a_call},
    {"logprob", CHAT, "another shape", a_logprob},
    {"logprob-bytes", CHAT, "another shape", a_logprob_bytes},
    {"result", CHAT, "out of place", a_result},
    {"deep", CHAT, "deeper", a_deep},
    {"nan", EMBED, "out of range", a_nan},
    {"wide", EMBED, "out of range", a_wide},
    {"vector-twice", EMBED, "out of order", a_vector_twice},
    {"no-vector", EMBED, "out of order", a_no_vector},
    {"chat-vector", CHAT, "out of place", a_chat_vector},
    {"rank", RERANK, "another shape", a_rank},
    {"ranks", RERANK, "another shape", a_ranks},
    {"ids", "{\"op\":\"tokenize\",\"text\":\"a\"}", "another shape", a_ids},
    {"no-result", "{\"op\":\"render\",\"messages\":[]}", "out of order", a_no_result},
    {"flood", CHAT, "paused", a_flood},
    {"late", CHAT, "task that there is not", a_late}, /* its task ends well before that */
    {0},
};

static void play_attack(const char *name) {
    await(WIRE_OPEN);
    for (const struct attack *a = rig_attacks; a->name; a++) {
        if (strcmp(a->name, name) != 0) continue;
        if (a->request) say_ready(), await(WIRE_START);
        a->act();
    }
    sleep(60); /* whoever waits for this one to go has to end it */
}

/* ---- roles ---- */

static void play_child(const char *parent,
                       struct gen *(*open)(const char *, const struct gen_opts *, struct err *)) {
    struct err e = {0};
    const struct child_opts o = {.open = open, .parent = atol(parent)};
    const int rc = child_run(CHILD_FD, &o, &e);
    _exit(rc == 0 ? 0 : 1);
}

static void play_ready(const char *role) {
    await(WIRE_OPEN);
    say_ready();
    if (strcmp(role, "deaf") == 0) sleep(60);
    await(WIRE_START);
    if (strcmp(role, "leave") == 0) _exit(3);
    close(CHILD_FD);
    sleep(60);
}

void rig_play(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "engine") != 0) return;
    const char *slash = strrchr(argv[0], '/'), *role = slash ? slash + 1 : argv[0];
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(role, "proof") == 0) play_child(argv[2], proof_open);
    if (sscanf(role, "stream-%d", &stream_step) == 1) play_child(argv[2], stream_open);
    if (strncmp(role, "bad-", 4) == 0) play_attack(role + 4);
    if (strcmp(role, "hang") == 0) sleep(60);
    play_ready(role);
    _exit(0);
}
