/* Engine children (engine/gen_child.c, child.c): what one may do, what the front bears from one,
 * and that nothing stays when one ends, in whatever way.  What a gen answers is in test_gen.c. */
#include "support.h"

#include "child_rig.h"
#include "gen_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sandbox.h"
#include "engine/child.h"
#include "engine/child_proc.h"
#include "engine/wire.h"
#include "gguf/write.h"

static const char *const llama = "models/llama32.gguf";
static const char endless[] =
    "{'op':'text','raw':true,'prompt':'Hello there',"
    "'options':{'temperature':0,'num_predict':100000,'ignore_eos':true,'num_ctx':256}}";
static const char brief[] = "{'op':'text','raw':true,'prompt':'Hello there',"
                            "'options':{'temperature':0,'num_predict':4,'ignore_eos':true}}";

static struct gen *open_path(const char *path, struct gen_opts o) {
    struct err e = {0};
    o.engine.n_threads = 2;
    if (!o.engine.n_ctx) o.engine.n_ctx = 256;
    struct gen *g = gen_open_child(path, &o, NULL, &e);
    if (!g) fail_msg("%s: %s", path, e.msg);
    return g;
}

static struct gen *open_llama(void) {
    return open_path(golden(llama), (struct gen_opts){0});
}

/* ---- what is left ---- */

struct census {
    int n_fd, n_thread;
};

static struct census census(void) {
    return (struct census){rig_count_fds(), rig_count_threads()};
}

static void assert_nothing_left(struct census before) {
    assert_int_equal(rig_count_fds(), before.n_fd);
    assert_int_equal(rig_count_threads(), before.n_thread);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child, not even a dead one */
    assert_int_equal(errno, ECHILD);
}

/* A task of a child that is gone has ended once, with a message; more cannot be started. */
static void assert_gone(struct gen *g, struct talk *t, const char *says) {
    struct err e = {0};
    json_t *r = json_pack("{s:s}", "op", "chat");
    talk_wait(t);
    assert_int_equal(t->err.code, ERR_IO);
    if (!strstr(t->err.msg, says)) fail_msg("\"%s\"; expected: %s", t->err.msg, says);
    usleep(1000);
    int n_end = 0;
    for (int i = 0; i < talk_n_events(t); i++)
        n_end += t->kind[i] == GEN_END;
    assert_int_equal(n_end, 1);
    assert_false(gen_alive(g));
    assert_int_equal(gen_start(g, r, NULL, NULL, NULL, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    json_decref(r);
    talk_fini(t);
}

/* ---- the sandbox ---- */

/* The number behind "NAME=". */
static int told(const char *message, const char *name) {
    char key[64];
    snprintf(key, sizeof key, " %s=", name);
    const char *p = strstr(message, key);
    if (!p) fail_msg("no%s in: %s", key, message);
    return atoi(p + strlen(key));
}

static void assert_refused(const char *message, const char *const *names) {
    for (; *names; names++) {
        const int why = told(message, *names);
        if (why != EPERM && why != EACCES) fail_msg("%s: errno %d: %s", *names, why, message);
    }
}

static struct err prove(const char *folder, uint64_t max_bytes) {
    struct err e = {0};
    struct gen_opts o = {.engine = {.cache = folder}, .max_bytes = max_bytes};
    rig_role("proof");
    assert_null(gen_open_child(golden(llama), &o, NULL, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    rig_real();
    return e;
}

static const char *const refused[] = {"socket",  "unix",   "pair",   "connect", "bind",  "sendmsg",
                                      "thread",  "kill",   "ptrace", "exec",    "uring", "memfd",
                                      "unshare", "passwd", "write",  "mkdir",   NULL};

static void test_sandbox(void **state) {
    static const char *const more[] = {"unlink", "fork", "limit", "dumpable", NULL};
    (void)state;
    const struct sandbox_state here = sandbox_offered();
    assert_true(here.seccomp || here.landlock_abi);
    if (!here.seccomp || (SANITIZED && !here.landlock_abi))
        fail_msg("this kernel lacks a part that the test needs");
    const int leak = fcntl(STDERR_FILENO, F_DUPFD, 100); /* without close-on-exec */
    assert_true(leak >= 100);
    setenv("CRIA_API_KEY", "secret", 1);
    setenv("HOME_OF_SECRETS", "secret", 1);
    setenv("OLLAMA_NUM_THREADS", "2", 1);
    const struct err e = prove(NULL, 0);
    close(leak);
    assert_refused(e.msg, refused);
    if (!SANITIZED) assert_refused(e.msg, more);
    assert_int_equal(told(e.msg, "core"), 0);
    /* Standard descriptors, the connection, the figures of memory, the model; nothing else. */
    const char *fds = strstr(e.msg, "fds=");
    assert_non_null(fds);
    int n = 0;
    for (const char *p = fds; *p && *p != ' '; p++)
        n += *p == ',';
    if (n != 6 || strncmp(fds, "fds=0,1,2,3,", 12) != 0) fail_msg("%s", e.msg);
    assert_non_null(strstr(e.msg, "OLLAMA_NUM_THREADS,"));
    assert_null(strstr(e.msg, "KEY"));
    assert_null(strstr(e.msg, "HOME"));
    assert_null(strstr(e.msg, "PATH,"));
    unsetenv("CRIA_API_KEY");
    unsetenv("HOME_OF_SECRETS");
    unsetenv("OLLAMA_NUM_THREADS");
}

/* The folder of the cache is the only one; what is refused besides stays so. */
static void test_sandbox_folder(void **state) {
    static const char *const still[] = {"socket", "kill", "exec", "passwd", "write", "mkdir", NULL};
    char *dir = temp_folder();
    (void)state;
    if (!sandbox_offered().landlock_abi) fail_msg("this kernel has no Landlock");
    const struct err e = prove(dir, 0);
    assert_refused(e.msg, still);
    if (!strstr(e.msg, " own=0/0/0/0 ")) fail_msg("%s", e.msg);
    temp_remove(dir);
}

/* What may be used is bounded where the model's limit is. */
static void test_memory(void **state) {
    (void)state;
    assert_int_equal(told(prove(NULL, 0).msg, "gigabyte"), 0);
    const struct err e = prove(NULL, 64 << 20);
    if (!SANITIZED) assert_int_equal(told(e.msg, "gigabyte"), ENOMEM);
}

/* ---- other fronts ---- */

/* The proof's message from a front that `prepare` has changed, a process of its own. */
static struct err prove_after(int (*prepare)(void), const char *folder) {
    struct err e = {0};
    int report[2], status = -1;
    assert_int_equal(pipe(report), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        const struct gen_opts o = {.engine = {.cache = folder}};
        rig_role("proof");
        if (prepare() != 0) _exit(1);
        gen_open_child(golden(llama), &o, NULL, &e);
        _exit(write(report[1], &e, sizeof e) == sizeof e ? 0 : 2);
    }
    close(report[1]);
    const ssize_t n = read(report[0], &e, sizeof e);
    close(report[0]);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(n, sizeof e);
    if (e.code != ERR_LIMIT) fail_msg("%s", e.msg);
    return e;
}

static int be_nobody(void) {
    return geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0) ? -1 : 0;
}

static int without(unsigned call) {
    struct sock_filter op[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog prog = {4, op};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

static int without_landlock(void) {
    return without(SYS_landlock_create_ruleset);
}

static int without_seccomp(void) {
    return without(SYS_seccomp);
}

/* A user without any right has the same walls. */
static void test_plain_user(void **state) {
    (void)state;
    assert_refused(prove_after(be_nobody, NULL).msg, refused);
}

/* On kernels that lack one wall, the other stands by itself. */
static void test_one_wall(void **state) {
    static const char *const landlocked[] = {"passwd", "write", "mkdir", "kill", "ptrace", NULL};
    char *dir = temp_folder();
    (void)state;
    if (!SANITIZED) { /* nothing of a sanitizer's filter keeps files closed */
        const struct err e = prove_after(without_landlock, dir);
        assert_refused(e.msg, refused);
        assert_null(strstr(e.msg, " own=")); /* no cache on disk then */
    }
    assert_refused(prove_after(without_seccomp, NULL).msg, landlocked);
    temp_remove(dir);
}

/* ---- children that lie ---- */

static void face(const struct attack *a) {
    char role[80];
    struct err e = {0};
    const struct gen_opts o = {0};
    snprintf(role, sizeof role, "bad-%s", a->name);
    rig_role(role);
    const int64_t t0 = os_now_ns();
    struct gen *g = gen_open_child(golden(llama), &o, NULL, &e);
    if (a->request) {
        struct talk t = {0};
        if (!g) fail_msg("%s: %s", a->name, e.msg);
        talk_start_json(&t, g, json_loads(a->request, 0, NULL));
        if (strcmp(a->name, "flood") == 0) {
            talk_wait_events(&t, 1);
            gen_pause(t.task);
        }
        if (strcmp(a->name, "late") == 0) { /* this one was right until it had ended */
            talk_wait(&t);
            assert_int_equal(t.err.code, ERR_NONE);
            for (int i = 0; i < 2000 && gen_alive(g); i++)
                usleep(1000);
            assert_false(gen_alive(g));
            talk_fini(&t);
        } else {
            assert_gone(g, &t, a->says);
        }
        gen_close(g);
    } else {
        assert_null(g);
        if (e.code != ERR_FORMAT || !strstr(e.msg, a->says))
            fail_msg("%s: \"%s\"; expected: %s", a->name, e.msg, a->says);
    }
    if (!SANITIZED) assert_true(os_now_ns() - t0 < 3000000000);
}

static void test_attacks(void **state) {
    (void)state;
    const struct census before = census();
    int n = 0;
    for (const struct attack *a = rig_attacks; a->name; a++, n++)
        face(a);
    rig_real();
    assert_true(n >= 40);
    assert_nothing_left(before);
}

static void test_odd_ends(void **state) {
    static const struct {
        const char *role, *says;
    } odd[] = {{"leave", "(code 3)"}, {"linger", "(signal 9)"}};
    const struct census before = census();
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct talk t = {0};
        rig_role(odd[i].role);
        struct gen *g = open_llama();
        talk_start(&t, g, "{'op':'chat','messages':[]}");
        assert_gone(g, &t, odd[i].says);
        gen_close(g);
    }
    rig_real();
    assert_nothing_left(before);
}

/* ---- children that say nothing ---- */

static volatile int stop;

static void *stop_soon(void *arg) {
    (void)arg;
    usleep(100000);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void test_stop_opening(void **state) {
    const struct census before = census();
    const struct gen_opts o = {0};
    struct err e = {0};
    pthread_t t;
    (void)state;
    stop = 0;
    rig_role("hang");
    const int64_t t0 = os_now_ns();
    pthread_create(&t, NULL, stop_soon, NULL);
    assert_null(gen_open_child(golden(llama), &o, &stop, &e));
    pthread_join(t, NULL);
    assert_int_equal(e.code, ERR_CANCELLED);
    if (!SANITIZED) assert_true(os_now_ns() - t0 < 1000000000);
    rig_real();
    assert_nothing_left(before);
}

static void test_close_deaf(void **state) {
    const struct census before = census();
    struct talk t = {0};
    (void)state;
    rig_role("deaf");
    struct gen *g = open_llama();
    talk_start(&t, g, "{'op':'chat','messages':[]}");
    gen_close(g); /* gives it five seconds */
    assert_true(t.ended);
    assert_int_equal(t.err.code, ERR_CANCELLED);
    talk_fini(&t);
    rig_real();
    assert_nothing_left(before);
}

static void test_bad_program(void **state) {
    const struct census before = census();
    const struct gen_opts o = {0};
    struct err e = {0};
    (void)state;
    setenv("CRIA_PROGRAM", "/nowhere/cria", 1);
    assert_null(gen_open_child(golden(llama), &o, NULL, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.msg, "/nowhere/cria"));
    setenv("CRIA_PROGRAM", "/bin/false", 1);
    assert_null(gen_open_child(golden(llama), &o, NULL, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.msg, "(code 1)"));
    rig_real();
    assert_nothing_left(before);
}

/* ---- crashes ---- */

/* Killed at some moment of an answer: that answer ends, and the next child answers in 2 s. */
static void test_crashes(void **state) {
    static const int sig[] = {SIGKILL, SIGSEGV, SIGABRT, SIGILL};
    const struct census before = census();
    const int rounds = SANITIZED ? 12 : 100;
    unsigned seed = 1;
    double worst_s = 0;
    int n_slow = 0;
    (void)state;
    for (int i = 0; i < rounds; i++) {
        struct talk t[3] = {0}, next = {0};
        char says[32];
        struct gen *g = open_llama();
        for (int k = 0; k < 3; k++)
            talk_start(&t[k], g, endless);
        const int pid = rig_child_pid();
        assert_true(pid > 0);
        seed = seed * 1103515245 + 12345;
        usleep(seed >> 16 & 0x7fff);
        if (i % 4 == 0) talk_wait_events(&t[0], 2);
        kill(pid, sig[i % 4]);
        snprintf(says, sizeof says, "(signal %d)", sig[i % 4]);
        if (SANITIZED) strcpy(says, "process ended (");
        for (int k = 0; k < 3; k++)
            assert_gone(g, &t[k], says);
        const int64_t t0 = os_now_ns();
        struct gen *other = open_llama();
        talk(&next, other, brief);
        const double s = (double)(os_now_ns() - t0) * 1e-9;
        if (s > worst_s) worst_s = s;
        n_slow += s > 2;
        assert_int_equal(next.n_id[0], 4);
        talk_fini(&next);
        gen_close(g);
        gen_close(other);
    }
    print_message("%d crashes; the slowest next answer took %.3f s\n", rounds, worst_s);
    if (!SANITIZED) assert_true(n_slow <= rounds / 100);
    assert_nothing_left(before);
}

/* The file of a model that runs is cut short: SIGBUS, in the child alone. */
static void test_truncated(void **state) {
    char *dir = temp_folder(), path[600];
    size_t n;
    uint8_t *bytes = slurp(golden(llama), &n);
    struct talk t = {0};
    (void)state;
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    free(bytes);
    struct gen *g = open_path(path, (struct gen_opts){0});
    assert_int_equal(truncate(path, 4096), 0);
    talk_start(&t, g, endless);
    assert_gone(g, &t, SANITIZED ? "process ended (" : "(signal 7): was its file changed");
    gen_close(g);
    temp_remove(dir);
}

/* The front dies: so does the child, at once. */
static void test_orphan(void **state) {
    int report[2], status;
    char line[32] = "";
    (void)state;
    assert_int_equal(pipe(report), 0);
    const pid_t front = fork();
    if (front == 0) {
        struct err e;
        const struct gen_opts o = {.engine = {.n_ctx = 256}};
        struct gen *g = gen_open_child(golden(llama), &o, NULL, &e);
        dprintf(report[1], "%d\n", g ? rig_child_pid() : 0);
        sleep(60);
        _exit(0);
    }
    close(report[1]);
    assert_true(read(report[0], line, sizeof line - 1) > 0);
    close(report[0]);
    const int child = atoi(line);
    assert_true(child > 0 && kill(child, 0) == 0);
    kill(front, SIGKILL);
    waitpid(front, &status, 0);
    bool gone = false;
    for (int i = 0; i < 2000 && !gone; i++) {
        char path[64], stat[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", child);
        FILE *f = fopen(path, "re");
        gone = !f || !fgets(stat, sizeof stat, f) || strstr(stat, ") Z ");
        if (f) fclose(f);
        usleep(1000);
    }
    assert_true(gone);
}

/* ---- files ---- */

static void write_split(const struct gguf *g, const char *path, int no) {
    struct err e;
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    const int n = gguf_n_tensor(g), first = no ? n / 2 : 0, end = no ? n : n / 2;
    size_t size;
    assert_non_null(w);
    for (int i = 0; no == 0 && i < gguf_n_kv(g); i++)
        gguf_copy_kv(w, gguf_kv_at(g, i), &e);
    gguf_set_u32(w, "xplit.no", (uint32_t)no, &e);
    gguf_set_u32(w, "xplit.count", 2, &e);
    gguf_set_u32(w, "xplit.tensors.count", (uint32_t)n, &e);
    for (int i = first; i < end; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_int_equal(gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, &e), 0);
    }
    for (int i = first; i < end; i++)
        assert_int_equal(
            gguf_write_data(w, gguf_tensor_at(g, i)->data, gguf_tensor_at(g, i)->n_bytes, &e), 0);
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
    uint8_t *b = slurp(path, &size); /* the writer keeps these names for itself */
    for (size_t i = 0; i + 6 < size; i++)
        if (memcmp(b + i, "xplit.", 6) == 0) b[i] = 's';
    FILE *f = fopen(path, "wb");
    fwrite(b, 1, size, f);
    fclose(f);
    free(b);
}

static void expect_same(const char *path, struct gen_opts o) {
    struct talk a = {0}, b = {0};
    o.engine.n_threads = 2, o.engine.n_ctx = 256;
    struct err e;
    struct gen *child = open_path(path, o), *local = gen_open_local(path, &o, &e);
    if (!local) fail_msg("%s", e.msg);
    talk(&a, child, brief);
    talk(&b, local, brief);
    assert_int_equal(a.n_id[0], 4);
    assert_memory_equal(a.id[0], b.id[0], 4 * sizeof(int32_t));
    talk_fini(&a);
    talk_fini(&b);
    gen_close(child);
    gen_close(local);
}

static void test_splits(void **state) {
    char *dir = temp_folder(), path[2][600];
    struct err e = {0};
    (void)state;
    struct gguf *g = gguf_open(golden(llama), &e);
    assert_non_null(g);
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/m-0000%d-of-00002.gguf", dir, i + 1);
        write_split(g, path[i], i);
    }
    gguf_close(g);
    expect_same(path[0], (struct gen_opts){0});
    expect_same(path[1], (struct gen_opts){0});
    assert_int_equal(unlink(path[1]), 0);
    assert_null(gen_open_child(path[0], &(struct gen_opts){0}, NULL, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "m-00002-of-00002.gguf: No such file"));
    assert_int_equal(mkfifo(path[1], 0600), 0);
    assert_null(gen_open_child(path[0], &(struct gen_opts){0}, NULL, &e));
    assert_non_null(strstr(e.msg, "fifo"));
    temp_remove(dir);
}

static void test_adapter(void **state) {
    const char *lora = golden("lora/llama32.lora-all.gguf");
    struct err e = {0};
    (void)state;
    expect_same(golden(llama), (struct gen_opts){.engine = {.lora = &lora, .n_lora = 1}});
    const char *none = "/nowhere/lora.gguf";
    struct gen_opts o = {.engine = {.lora = &none, .n_lora = 1}};
    assert_null(gen_open_child(golden(llama), &o, NULL, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

/* Errors of the file come through, with its name. */
static void test_bad_files(void **state) {
    char *dir = temp_folder(), path[600];
    struct err e = {0}, same = {0};
    const struct gen_opts o = {0};
    (void)state;
    snprintf(path, sizeof path, "%s/bad.gguf", dir);
    FILE *f = fopen(path, "wb");
    fputs("GGUF\3\0\0\0 and then nothing that makes sense ..............", f);
    fclose(f);
    assert_null(gen_open_child(path, &o, NULL, &e));
    assert_null(gen_open_local(path, &o, &same));
    assert_int_equal(e.code, same.code);
    assert_string_equal(e.msg, same.msg);
    assert_null(gen_open_child(dir, &o, NULL, &e));
    assert_non_null(strstr(e.msg, "directory"));
    assert_null(gen_open_child("/dev/zero", &o, NULL, &e));
    assert_non_null(strstr(e.msg, "device"));
    temp_remove(dir);
}

/* The cache on disk works behind the walls, and outlives a child. */
static void test_cache(void **state) {
    char *dir = temp_folder(), folder[600];
    struct buf prompt = {0};
    (void)state;
    snprintf(folder, sizeof folder, "%s/deep/cache", dir);
    for (int i = 0; i < 120; i++)
        buf_printf(&prompt, "word%d ", i % 7);
    for (int i = 0; i < 2; i++) {
        struct talk t = {0};
        struct gen *g =
            open_path(golden(llama), (struct gen_opts){.engine = {.cache = folder, .n_ctx = 512}});
        talk(&t, g, "{'op':'text','raw':true,'prompt':'%s','options':{'num_predict':2}}", prompt.p);
        if (i == 0) assert_int_equal(t.all.n_cached, 0);
        if (i == 1) assert_true(t.all.n_cached > 0);
        talk_fini(&t);
        gen_close(g);
    }
    buf_fini(&prompt);
    temp_remove(dir);
}

/* ---- large things ---- */

static json_t *large_request(const char *op, const char *key, size_t n) {
    char *text = malloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = "many words "[i % 11];
    json_t *r = json_pack("{s:s, s:s%}", "op", op, key, text, n);
    free(text);
    assert_non_null(r);
    return r;
}

/* What is more than the socket takes waits, and arrives; an answer that is too large is an error of
 * its task alone. */
static void test_large(void **state) {
    enum { MB = 1 << 20 };
    struct talk t = {0}, many[4] = {0};
    (void)state;
    struct gen *g = open_llama();
    json_t *r = large_request("text", "prompt", 6 * MB);
    json_object_set_new(r, "raw", json_true());
    json_object_set_new(r, "truncate", json_false());
    const int64_t t0 = os_now_ns();
    talk_start_json(&t, g, r);
    if (!SANITIZED) assert_true(os_now_ns() - t0 < 1000000000); /* nobody waits for the child */
    talk_wait(&t);
    if (t.err.code != ERR_LIMIT) fail_msg("%d %s", t.err.code, t.err.msg);
    talk_fini(&t);
    talk_start_json(&t, g, large_request("tokenize", "text", 8 * MB));
    talk_wait(&t);
    if (t.err.code != ERR_LIMIT) fail_msg("%d %s", t.err.code, t.err.msg);
    talk_fini(&t);
    for (int i = 0; i < 4; i++)
        talk_start_json(&many[i], g, large_request("tokenize", "text", MB / 2));
    for (int i = 0; i < 4; i++) {
        talk_wait(&many[i]);
        if (many[i].err.code) fail_msg("%s", many[i].err.msg);
        assert_true(json_array_size(json_object_get(many[i].result, "tokens")) > MB / 20);
        talk_fini(&many[i]);
    }
    talk(&t, g, brief);
    talk_fini(&t);
    gen_close(g);
}

static void hear_nothing(void *ctx, const struct gen_event *ev) {
    (void)ctx, (void)ev;
}

/* A child that reads nothing: what waits for it is bounded, and the next one is told to come again.
 */
static void test_busy(void **state) {
    (void)state;
    struct gen *g = open_llama();
    const int pid = rig_child_pid();
    struct err e = {0};
    int n = 0, rc = 0;
    json_t *r = large_request("tokenize", "text", 30 << 20);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    while (n < 15 && rc == 0) {
        struct gen_task *task = NULL;
        rc = gen_start(g, r, hear_nothing, NULL, &task, &e);
        n += rc == 0;
    }
    if (rc == 0) fail_msg("%d requests of 30 MiB wait", n);
    if (e.code != ERR_BUSY) fail_msg("%d %s", e.code, e.msg);
    kill(pid, SIGKILL);
    json_decref(r);
    gen_close(g);
}

/* ---- from inside ---- */

/* A child on a thread of this process, where a sanitizer sees what it leaves behind. */
struct inside {
    int fd;
    pthread_t thread;
    int rc;
    struct err err;
    struct wire_in in;
};

struct inside_arg {
    struct inside *in;
    int fd;
};

static void *inside_main(void *arg) {
    const struct inside_arg a = *(struct inside_arg *)arg;
    const struct child_opts o = {.open = gen_open_local, .bare = true};
    free(arg);
    a.in->rc = child_run(a.fd, &o, &a.in->err);
    return NULL;
}

static void inside_begin(struct inside *s) {
    int pair[2];
    struct inside_arg *a = malloc(sizeof *a);
    *s = (struct inside){.in.from_child = true};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *a = (struct inside_arg){s, pair[1]};
    s->fd = pair[0];
    pthread_create(&s->thread, NULL, inside_main, a);
}

static void inside_say(struct inside *s, enum wire_kind kind, uint64_t id, const char *body) {
    struct buf b = {0};
    assert_int_equal(wire_put_frame(&b, kind, id, str_of(body), NULL), 0);
    assert_int_equal(write(s->fd, b.p, b.n), b.n);
    buf_fini(&b);
}

/* The next frame that is no report of the load; false: the child has closed. */
static bool inside_hear(struct inside *s, struct wire_frame *f) {
    struct err e;
    for (;;) {
        size_t room;
        int rc;
        while ((rc = wire_take(&s->in, f, &e)) > 0)
            if (f->head.kind != WIRE_LOAD) return true;
        assert_int_equal(rc, 0);
        char *at = wire_room(&s->in, &room);
        const ssize_t n = read(s->fd, at, room);
        if (n <= 0) return false;
        s->in.n += (size_t)n;
    }
}

static void inside_end(struct inside *s, int rc, enum err_code code) {
    struct wire_frame f;
    while (inside_hear(s, &f))
        continue;
    pthread_join(s->thread, NULL);
    assert_int_equal(s->rc, rc);
    if (rc != 0) assert_int_equal(s->err.code, code);
    close(s->fd);
    wire_in_fini(&s->in);
}

static void inside_open(struct inside *s) {
    struct child_files files;
    struct wire_frame f;
    struct buf b = {0};
    const struct gen_opts o = {.engine = {.n_ctx = 256, .n_threads = 2}};
    assert_int_equal(child_files_open(&files, golden(llama), &o, NULL), 0);
    assert_int_equal(child_files_send(&files, s->fd, NULL, NULL), 0);
    child_files_fini(&files);
    assert_int_equal(wire_put_open(&b, golden(llama), &o, NULL), 0);
    assert_int_equal(write(s->fd, b.p, b.n), b.n);
    buf_fini(&b);
    assert_true(inside_hear(s, &f));
    assert_int_equal(f.head.kind, WIRE_READY);
}

/* Events of task `id` up to its end; the end's error. */
static enum err_code inside_task(struct inside *s, uint64_t id, enum wire_op op, int *n_event) {
    const struct wire_task may = {.op = op, .n_choice = 1, .n_vocab = 448, .n_embd = 64};
    struct wire_frame f;
    struct gen_event ev = {0};
    struct err e;
    for (*n_event = 0; ev.kind != GEN_END; ++*n_event) {
        json_t *data;
        assert_true(inside_hear(s, &f));
        assert_int_equal(f.head.kind, WIRE_EVENT);
        assert_int_equal(f.head.id, id);
        if (wire_get_event(&f, &may, &ev, &data, &e) != 0) fail_msg("%s", e.msg);
        json_decref(data);
    }
    return ev.err.code;
}

static void test_inside(void **state) {
    struct inside s;
    int n;
    (void)state;
    inside_begin(&s);
    inside_open(&s);
    inside_say(&s, WIRE_START, 1 << 16 | 7, "{\"op\":\"tokenize\",\"text\":\"Hello\"}");
    assert_int_equal(inside_task(&s, 1 << 16 | 7, WIRE_TOKENIZE, &n), ERR_NONE);
    assert_int_equal(n, 2);
    inside_say(&s, WIRE_START, 2 << 16 | 7, "{\"op\":");
    assert_int_equal(inside_task(&s, 2 << 16 | 7, WIRE_TOKENIZE, &n), ERR_USAGE);
    /* Too late, and never there: nothing happens. */
    inside_say(&s, WIRE_CANCEL, 1 << 16 | 7, "");
    inside_say(&s, WIRE_PAUSE, 99 << 16 | 9999, "");
    inside_say(
        &s, WIRE_START, 3 << 16,
        "{\"op\":\"text\",\"raw\":true,\"prompt\":\"Hi\",\"options\":{\"num_predict\":100000,"
        "\"ignore_eos\":true}}");
    inside_say(&s, WIRE_PAUSE, 3 << 16, "");
    inside_say(&s, WIRE_RESUME, 3 << 16, "");
    inside_say(&s, WIRE_CANCEL, 3 << 16, "");
    assert_int_equal(inside_task(&s, 3 << 16, WIRE_GENERATE, &n), ERR_CANCELLED);
    inside_say(&s, WIRE_CLOSE, 0, "");
    inside_end(&s, 0, ERR_NONE);
}

/* It takes nothing from a front that does not speak as it should. */
static void test_inside_wrong(void **state) {
    struct inside s;
    (void)state;
    inside_begin(&s);
    inside_say(&s, WIRE_FILE, 0, "/nowhere/model.gguf"); /* without its descriptor */
    inside_end(&s, -1, ERR_FORMAT);
    inside_begin(&s);
    inside_say(&s, WIRE_OPEN, 0, "{\"path\":\"/nowhere\",\"n_ctx\":-1}");
    inside_end(&s, -1, ERR_FORMAT);
    inside_begin(&s);
    inside_open(&s);
    inside_say(&s, WIRE_OPEN, 0, "{}");
    inside_end(&s, -1, ERR_FORMAT);
    inside_begin(&s);
    inside_open(&s);
    shutdown(s.fd, SHUT_WR);
    inside_end(&s, -1, ERR_IO);
}

/* ---- cost ---- */

struct count {
    int n;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool end;
};

static void count_event(void *ctx, const struct gen_event *ev) {
    struct count *c = ctx;
    c->n += ev->kind == GEN_TEXT;
    if (ev->kind != GEN_END) return;
    pthread_mutex_lock(&c->lock);
    c->end = true;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock);
}

static double cpu_s(int who) {
    struct rusage r;
    getrusage(who, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* Processor time of a text event, both sides together, when a step has one and when it has eight.
 */
static void test_cost(void **state) {
    (void)state;
    for (int per_step = 1; per_step <= 8; per_step *= 8) {
        char role[32];
        struct count c = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
        json_t *r = json_pack("{s:s}", "op", "chat");
        struct err e;
        snprintf(role, sizeof role, "stream-%d", per_step);
        rig_role(role);
        struct gen *g = open_llama();
        const double front = cpu_s(RUSAGE_SELF), child = cpu_s(RUSAGE_CHILDREN);
        assert_int_equal(gen_start(g, r, count_event, &c, NULL, &e), 0);
        pthread_mutex_lock(&c.lock);
        while (!c.end)
            pthread_cond_wait(&c.ended, &c.lock);
        pthread_mutex_unlock(&c.lock);
        const double ours = cpu_s(RUSAGE_SELF) - front;
        gen_close(g);
        const double its = cpu_s(RUSAGE_CHILDREN) - child;
        json_decref(r);
        assert_int_equal(c.n, STREAM_TOKENS);
        print_message("%d events a step: %.2f us in the front, %.2f us in the child each\n",
                      per_step, ours / c.n * 1e6, its / c.n * 1e6);
        if (!SANITIZED) assert_true((ours + its) / c.n < 50e-6); /* the goal is 5 */
    }
    rig_real();
}

int main(int argc, char **argv) {
    rig_play(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    rig_real();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox),    cmocka_unit_test(test_sandbox_folder),
        cmocka_unit_test(test_plain_user), cmocka_unit_test(test_one_wall),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_odd_ends),   cmocka_unit_test(test_stop_opening),
        cmocka_unit_test(test_close_deaf), cmocka_unit_test(test_bad_program),
        cmocka_unit_test(test_crashes),    cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_orphan),     cmocka_unit_test(test_splits),
        cmocka_unit_test(test_adapter),    cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_cache),      cmocka_unit_test(test_large),
        cmocka_unit_test(test_inside),     cmocka_unit_test(test_inside_wrong),
        cmocka_unit_test(test_cost),       cmocka_unit_test(test_busy),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    rig_fini();
    return n_failed;
}
