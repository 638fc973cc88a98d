/* The prefix cache on disk: what was written comes back with the same bits, and nothing else does:
 * not torn, changed, foreign or misplaced files, not those of another model, type or adapter. */
#include "prefix_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/prefix_file.h"

enum { N = 200, N_WHOLE = 192 }; /* tokens of a prompt, and in full pages */

static const char *const llama = "models/llama32.gguf";

/* ---- the folder ---- */

static char *in(const char *dir, const char *name) {
    static char path[4][1200];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

struct listing {
    char name[200][64];
    int n, n_page, n_note, n_temp;
    uint64_t bytes;
};

static struct listing list(const char *dir) {
    static struct listing l;
    struct stat st;
    l = (struct listing){0};
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));) {
        if (x->d_name[0] == '.' || l.n == 200) continue;
        const size_t n = strlen(x->d_name);
        if (lstat(in(dir, x->d_name), &st) == 0) l.bytes += (uint64_t)st.st_size;
        l.n_page += n > 3 && strcmp(x->d_name + n - 3, ".kv") == 0;
        l.n_note += n > 3 && strcmp(x->d_name + n - 3, ".id") == 0;
        l.n_temp += strncmp(x->d_name, "tmp-", 4) == 0;
        snprintf(l.name[l.n++], 64, "%.63s", x->d_name);
    }
    closedir(d);
    return l;
}

/* One of the pages' names. */
static const char *page_name(const char *dir, int i) {
    static char name[64];
    const struct listing l = list(dir);
    for (int k = 0; k < l.n; k++)
        if (strstr(l.name[k], ".kv") && i-- == 0) return strcpy(name, l.name[k]);
    fail_msg("%s: no page", dir);
    return NULL;
}

static void spill(const char *path, const void *bytes, size_t n, mode_t mode) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void copy(const char *from, const char *to) {
    size_t n;
    uint8_t *b = slurp(from, &n);
    spill(to, b, n, 0600);
    free(b);
}

/* ---- one run ---- */

struct setup {
    const char *path;
    struct engine_opts o;
    float *want; /* computed, the first time; owned */
    int32_t tok[N];
};

static struct setup setup(const char *path, struct engine_opts o) {
    struct setup s = {.path = path, .o = o};
    if (s.o.n_ctx == 0) s.o.n_ctx = 256;
    prompt_make(s.tok, N, 96, 1);
    s.want = plain_logits(path, s.o, s.tok, N);
    return s;
}

/* As a program that starts: how many tokens came from disk.  The answer is always right. */
static int ask(struct setup *s, bool store) {
    int cached;
    struct engine *g = prefix_engine(s->path, s->o);
    float *got = prefix_logits(g, s->tok, N, &cached);
    if (memcmp(got, s->want, (size_t)engine_n_vocab(g) * sizeof *got) != 0)
        fail_msg("%s: other logits with %d cached tokens", s->path, cached);
    if (store) prefix_store(g, s->tok, N);
    free(got);
    engine_close(g);
    return cached;
}

/* ---- round trip ---- */

static void round_trip(const char *rel, struct engine_opts o) {
    char *dir = temp_folder();
    char folder[1100];
    snprintf(folder, sizeof folder, "%s/new/cache", dir); /* made */
    o.cache = folder;
    struct setup s = setup(golden(rel), o);
    assert_int_equal(ask(&s, true), 0);
    assert_int_equal(ask(&s, true), N_WHOLE);
    struct stat st;
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    const struct listing l = list(folder);
    assert_int_equal(l.n_page, 3);
    assert_int_equal(l.n_note, 1);
    assert_int_equal(l.n_temp, 0);
    for (int i = 0; i < l.n; i++) {
        assert_int_equal(stat(in(folder, l.name[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    free(s.want);
    temp_remove(dir);
}

static void test_round_trip(void **state) {
    (void)state;
    round_trip(llama, (struct engine_opts){0});
    round_trip("models/gemma3.gguf", (struct engine_opts){.k_type = QT_F16, .v_type = QT_F16});
    round_trip("models-quant/llamaq.Q4_K_M.gguf",
               (struct engine_opts){.k_type = QT_Q8_0, .v_type = QT_Q4_0});
    if (!golden_is_full()) return;
    round_trip("models/gpt2.gguf", (struct engine_opts){0});
    round_trip("models/deepseek2-mla.gguf", (struct engine_opts){.k_type = QT_BF16});
    round_trip("models/gpt-oss.gguf", (struct engine_opts){0});
}

/* A longer text adds its pages; another one that begins alike takes what they share. */
static void test_texts_grow(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct engine_opts o = {.n_ctx = 512, .cache = dir};
    int32_t tok[400];
    int cached;
    prompt_make(tok, 400, 96, 5);
    static const int n[] = {100, 130, 300, 350, 400}, want_cached[] = {0, 0, 128, 256, 256},
                     want_pages[] = {0, 2, 4, 4, 6};
    for (int i = 0; i < 5; i++) { /* a single new page is not worth it */
        struct engine *g = prefix_engine(golden(llama), o);
        free(prefix_logits(g, tok, n[i], &cached));
        assert_int_equal(cached, want_cached[i]);
        prefix_store(g, tok, n[i]);
        assert_int_equal(list(dir).n_page, want_pages[i]);
        engine_close(g);
    }
    tok[140] ^= 1;
    struct engine *g = prefix_engine(golden(llama), o);
    free(prefix_logits(g, tok, 400, &cached));
    assert_int_equal(cached, 128);
    assert_int_equal(prefix_stats(engine_prefix(g)).n_loaded, 2);
    engine_close(g);
    temp_remove(dir);
}

/* ---- what must not be shared ---- */

/* A copy whose weights differ in one byte: the same header, name and size. */
static void change_a_weight(const char *path) {
    struct err e = {0};
    struct gguf *g = gguf_open(path, &e);
    assert_non_null(g);
    const off_t at = (off_t)(gguf_tensor_at(g, gguf_n_tensor(g) / 2)->data - gguf_file_at(g, 0).p);
    gguf_close(g);
    const int fd = open(path, O_RDWR);
    uint8_t b;
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= 1;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

static void test_others_find_nothing(void **state) {
    (void)state;
    char *dir = temp_folder(), model[1100], twin[1100], folder[1100], lora[1100];
    snprintf(model, sizeof model, "%s/a.gguf", dir);
    snprintf(twin, sizeof twin, "%s/b.gguf", dir);
    snprintf(folder, sizeof folder, "%s/cache", dir);
    snprintf(lora, sizeof lora, "%s", golden("lora/llama32.lora-qv.gguf"));
    copy(golden(llama), model);
    copy(golden(llama), twin);
    change_a_weight(twin);
    sleep(3); /* files that have just changed are not noted */
    const char *const adapter[] = {lora};
    const float scale[] = {0.5f}, scale2[] = {1};
    const struct engine_opts o = {.cache = folder};
    struct engine_opts typed = o, adapted = o, louder;
    typed.v_type = QT_F16;
    adapted.lora = adapter, adapted.n_lora = 1, adapted.lora_scale = scale;
    louder = adapted, louder.lora_scale = scale2;
    struct setup s[] = {setup(model, o), setup(twin, o), setup(model, typed), setup(model, adapted),
                        setup(model, louder)};
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 5; i++) {
            const int cached = ask(&s[i], true);
            if (cached != (round ? N_WHOLE : 0)) fail_msg("%d of setup %d", cached, i);
        }
    assert_int_equal(list(folder).n_page, 15);
    assert_int_equal(list(folder).n_note, 3);
    assert_int_equal(rename(model, twin), 0); /* known by its content, not by its name */
    sleep(3);                                 /* that changed its ctime */
    s[1].path = twin, s[1].want = (free(s[1].want), s[0].want), s[0].want = NULL;
    ask(&s[1], true);
    assert_int_equal(ask(&s[1], true), N_WHOLE);
    for (int i = 0; i < 5; i++)
        free(s[i].want);
    temp_remove(dir);
}

/* phi3 chooses its angles by the context size. */
static void test_angles_count(void **state) {
    (void)state;
    if (!golden_is_full()) return;
    char *dir = temp_folder();
    struct setup s = setup(golden("models/phi3-128k-short.gguf"),
                           (struct engine_opts){.n_ctx = 256, .cache = dir});
    struct setup t = setup(s.path, (struct engine_opts){.n_ctx = 65536, .cache = dir});
    assert_int_equal(ask(&s, true), 0);
    assert_int_equal(ask(&t, true), 0);
    assert_int_equal(ask(&s, true), N_WHOLE);
    assert_int_equal(ask(&t, true), N_WHOLE);
    free(s.want);
    free(t.want);
    temp_remove(dir);
}

/* ---- bad files ---- */

struct sample {
    uint8_t file[PREFIX_HEAD_BYTES + 300], data[301];
    int32_t tok[KV_PAGE];
    struct prefix_key k;
    size_t n;
    int fd;
};

static void sample_make(struct sample *s) {
    *s = (struct sample){.n = sizeof s->file, .fd = memfd_create("page", MFD_CLOEXEC)};
    assert_true(s->fd >= 0);
    assert_int_equal(fchmod(s->fd, 0600), 0);
    for (size_t i = 0; i < 300; i++)
        s->file[PREFIX_HEAD_BYTES + i] = (uint8_t)(i * 37);
    prompt_make(s->tok, KV_PAGE, 1000, 9);
    memset(s->k.space, 1, sizeof s->k.space), memset(s->k.chain, 2, sizeof s->k.chain);
    s->k.index = 4, s->k.tok = s->tok, s->k.n_bytes = 300;
    prefix_page_head(&s->k, s->file + PREFIX_HEAD_BYTES, s->file);
}

static int sample_read(struct sample *s, size_t n) {
    struct err e = {0};
    assert_int_equal(ftruncate(s->fd, 0), 0);
    assert_int_equal(pwrite(s->fd, s->file, n, 0), n);
    s->data[300] = 0x5a;
    const int rc = prefix_page_read(s->fd, &s->k, s->data, &e);
    assert_int_equal(s->data[300], 0x5a);
    if (rc != 0) assert_int_equal(e.code, ERR_FORMAT);
    return rc;
}

static void test_every_length_and_every_bit(void **state) {
    (void)state;
    struct sample s;
    sample_make(&s);
    assert_int_equal(sample_read(&s, s.n), 0);
    assert_memory_equal(s.data, s.file + PREFIX_HEAD_BYTES, 300);
    for (size_t n = 0; n < s.n; n++)
        assert_int_equal(sample_read(&s, n), -1);
    for (size_t bit = 0; bit < 8 * s.n; bit++) {
        s.file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (sample_read(&s, s.n) == 0) fail_msg("bit %zu", bit);
        s.file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    s.tok[KV_PAGE - 1]++; /* the wanted page is another one */
    assert_int_equal(sample_read(&s, s.n), -1);
    s.tok[KV_PAGE - 1]--;
    s.k.index++;
    assert_int_equal(sample_read(&s, s.n), -1);
    s.k.index--;
    s.k.n_bytes--;
    assert_int_equal(sample_read(&s, s.n), -1);
    s.k.n_bytes++;
    assert_int_equal(sample_read(&s, s.n), 0);
    close(s.fd);

    uint8_t note[PREFIX_NOTE_BYTES], key[SHA256_BYTES] = {7}, digest[SHA256_BYTES] = {8}, got[32];
    struct err e;
    for (size_t bit = 0; bit <= 8 * sizeof note; bit++) {
        const int fd = memfd_create("note", MFD_CLOEXEC);
        fchmod(fd, 0600);
        prefix_note_make(key, digest, note);
        if (bit < 8 * sizeof note) note[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(write(fd, note, sizeof note), sizeof note);
        assert_int_equal(prefix_note_read(fd, key, got, &e), bit < 8 * sizeof note ? -1 : 0);
        close(fd);
    }
    assert_memory_equal(got, digest, sizeof got);
}

enum damage { CUT, LONGER, FLIPPED, SWAPPED, OPEN_TO_ALL, FOREIGN, LINK, FIFO, FOLDER, N_DAMAGE };

/* Damage one page; false: this user cannot. */
static bool do_damage(const char *dir, enum damage how, int page) {
    char path[1200];
    size_t n;
    struct stat st;
    snprintf(path, sizeof path, "%s", in(dir, page_name(dir, page)));
    uint8_t *b = slurp(path, &n);
    uint8_t *more = calloc(1, n + 1);
    memcpy(more, b, n);
    free(b);
    assert_int_equal(unlink(path), 0);
    switch (how) {
    case CUT: spill(path, more, n * 2 / 3, 0600); break;
    case LONGER: spill(path, more, n + 1, 0600); break;
    case FLIPPED: more[n - 3] ^= 4, spill(path, more, n, 0600); break;
    case SWAPPED: copy(in(dir, page_name(dir, 0)), path); break;
    case OPEN_TO_ALL: spill(path, more, n, 0666); break;
    case FOREIGN: spill(path, more, n, 0600); break;
    case LINK:
        spill(in(dir, "target"), more, n, 0600);
        assert_int_equal(symlink("target", path), 0);
        break;
    case FIFO: assert_int_equal(mkfifo(path, 0600), 0); break;
    default: assert_int_equal(mkdir(path, 0700), 0);
    }
    free(more);
    if (how != FOREIGN) return true;
    return chown(path, 4711, (gid_t)-1) == 0 && stat(path, &st) == 0 && st.st_uid == 4711;
}

static void test_damaged_files_are_computed_again(void **state) {
    (void)state;
    for (int how = 0; how < N_DAMAGE; how++)
        for (int page = 0; page < 3; page++) {
            char *dir = temp_folder();
            struct setup s = setup(golden(llama), (struct engine_opts){.cache = dir, .n_ctx = 256});
            ask(&s, true);
            const bool done = do_damage(dir, (enum damage)how, page);
            const int cached = ask(&s, false);
            if (done && (cached >= N_WHOLE || cached % KV_PAGE != 0))
                fail_msg("damage %d: %d tokens", how, cached);
            const struct listing l = list(dir);
            if (how <= OPEN_TO_ALL) assert_int_equal(l.n_page, 2); /* removed: it was ours */
            if (how == FOREIGN || how == LINK) assert_int_equal(l.n_page, 3);
            free(s.want);
            temp_remove(dir);
        }
}

/* ---- limits ---- */

static void test_size_limit(void **state) {
    (void)state;
    char *dir = temp_folder();
    const uint64_t limit = 600 << 10; /* 24 files of 25 kB (F16) */
    struct engine_opts o = {.n_ctx = 256, .k_type = QT_F16, .v_type = QT_F16, .cache = dir};
    o.cache_bytes = limit;
    int32_t tok[N];
    int cached;
    char junk[200000] = {0};
    spill(in(dir, "tmp-1-abc"), junk, sizeof junk, 0600);  /* left over */
    spill(in(dir, "tmp-2-abc"), junk, 100000, 0600);       /* being written */
    spill(in(dir, "letter.txt"), junk, sizeof junk, 0600); /* not the cache's */
    const int held = open(in(dir, "tmp-2-abc"), O_RDONLY);
    assert_int_equal(flock(held, LOCK_EX | LOCK_NB), 0);
    for (unsigned i = 0; i < 12; i++) {
        struct engine *g = prefix_engine(golden(llama), o);
        prompt_make(tok, N, 96, 40 + (i % 3 ? i : 0)); /* every third time the same */
        free(prefix_logits(g, tok, N, &cached));
        assert_int_equal(cached, i % 3 || i == 0 ? 0 : N_WHOLE);
        prefix_store(g, tok, N);
        engine_close(g);
        const struct listing l = list(dir);
        if (l.bytes > limit + sizeof junk) fail_msg("%llu bytes", (unsigned long long)l.bytes);
    }
    assert_int_equal(access(in(dir, "tmp-1-abc"), F_OK), -1);
    assert_int_equal(access(in(dir, "tmp-2-abc"), F_OK), 0);
    assert_int_equal(access(in(dir, "letter.txt"), F_OK), 0);
    assert_true(list(dir).n_page >= 15);
    close(held);

    o.cache_bytes = 40 << 10; /* one page: a second would not fit, and one is not worth it */
    struct engine *g = prefix_engine(golden(llama), o);
    prompt_make(tok, N, 96, 99);
    free(prefix_logits(g, tok, N, &cached));
    prefix_store(g, tok, N);
    engine_close(g);
    assert_int_equal(list(dir).n_temp, 1);
    temp_remove(dir);
}

/* ---- the program ---- */

static json_t *last_line(const struct ran *r) {
    const char *p = r->out.p, *line = p;
    for (; *p; p++)
        if (p[0] == '\n' && p[1]) line = p + 1;
    json_t *j = json_loads(line, 0, NULL);
    if (!j) fail_msg("%s%s", r->out.p, r->err.p);
    return j;
}

static int run_once(struct ran *r, const char *prompt) {
    const char *const args[] = {"run", golden(llama),    "--raw", "--json", "-o", "temperature=0",
                                "-o",  "num_predict=30", "--ctx", "2048",   NULL};
    return run_cria(r, args, prompt, strlen(prompt), 60);
}

static const char *long_prompt(void) {
    static char text[6000];
    size_t n = 0;
    for (int i = 0; n < 3000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "line %d is here; ", i * 7 % 100);
    return text;
}

/* A program at the same time as another one; its output goes to files. */
static pid_t start_run(const char *dir, int i) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    struct ran r;
    char name[16];
    run_once(&r, long_prompt());
    snprintf(name, sizeof name, "out.%d", i);
    spill(in(dir, name), r.out.p, r.out.n, 0600);
    snprintf(name, sizeof name, "err.%d", i);
    spill(in(dir, name), r.err.p, r.err.n, 0600);
    _exit(r.code);
}

/* Without "created_at" and times: the pieces of text only. */
static void same_text(const char *p, const char *q) {
    int n = 0;
    while ((p = strstr(p, "\"response\"")) && (q = strstr(q, "\"response\""))) {
        const size_t len = strcspn(p, "\n") < 40 ? strcspn(p, "\n") : 40;
        assert_memory_equal(p, q, len);
        p++, q++, n++;
    }
    assert_true(n >= 10);
}

static void test_programs(void **state) {
    (void)state;
    char *dir = temp_folder(), folder[1100];
    struct ran cold, warm;
    snprintf(folder, sizeof folder, "%s/cache", dir);
    assert_int_equal(run_once(&cold, long_prompt()), 0);
    setenv("CRIA_CACHE", folder, 1);
    for (int round = 0; round < 4; round++) { /* cold together, then warm, then small together */
        if (round == 3) setenv("CRIA_CACHE_SIZE", "1m", 1);
        pid_t pid[2];
        for (int i = 0; i < 2; i++)
            pid[i] = start_run(dir, i);
        for (int i = 0; i < 2; i++) {
            struct buf text = {0};
            int status;
            assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
            os_read_file(in(dir, i ? "err.1" : "err.0"), 1 << 20, &text, NULL);
            if (status != 0 || text.n) fail_msg("status %d: %s", status, text.p);
            os_read_file(in(dir, i ? "out.1" : "out.0"), 1 << 20, &text, NULL);
            same_text(cold.out.p, text.p);
            buf_fini(&text);
        }
    }
    assert_int_equal(run_once(&warm, long_prompt()), 0);
    same_text(cold.out.p, warm.out.p);
    json_t *j = last_line(&warm);
    const json_int_t n = json_integer_value(json_object_get(j, "prompt_eval_count")),
                     got = json_integer_value(json_object_get(j, "prompt_cached_count"));
    assert_true(n > 300);
    assert_int_equal(got, (n - 1) / KV_PAGE * KV_PAGE);
    assert_int_equal(list(folder).n_temp, 0);
    json_decref(j);
    ran_fini(&warm);
    ran_fini(&cold);
    unsetenv("CRIA_CACHE"), unsetenv("CRIA_CACHE_SIZE");
    temp_remove(dir);
}

/* A folder that cannot be used costs the cache, not the answer; a setting that makes no sense is an
 * error. */
static void test_folders_and_settings(void **state) {
    (void)state;
    char *dir = temp_folder(), open_folder[1100], file[1100];
    struct ran r;
    snprintf(open_folder, sizeof open_folder, "%s/open", dir);
    snprintf(file, sizeof file, "%s/file", dir);
    assert_int_equal(mkdir(open_folder, 0700), 0);
    assert_int_equal(chmod(open_folder, 0777), 0);
    spill(file, "x", 1, 0600);
    const struct {
        const char *folder, *size;
        int code;
        const char *said;
    } cases[] = {
        {"/proc/no/such/folder", "", 0, "nothing is cached on disk: /proc/no/such/folder: "},
        {"/proc/self", "", 0, "/proc/self"},
        {open_folder, "", 0, "nobody else may write"},
        {file, "", 2, "CRIA_CACHE"},
        {dir, "lots", 2, "CRIA_CACHE_SIZE: found \"lots\""},
        {dir, "0", 2, "CRIA_CACHE_SIZE"},
        {dir, "-1g", 2, "CRIA_CACHE_SIZE"},
        {dir, "1000", 2, "CRIA_CACHE_SIZE"},
        {dir, "64m", 0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("CRIA_CACHE", cases[i].folder, 1);
        setenv("CRIA_CACHE_SIZE", cases[i].size, 1);
        run_once(&r, long_prompt());
        if (r.code != cases[i].code || !strstr(r.err.p, cases[i].said))
            fail_msg("%s, %s: code %d, %s", cases[i].folder, cases[i].size, r.code, r.err.p);
        ran_fini(&r);
    }
    unsetenv("CRIA_CACHE"), unsetenv("CRIA_CACHE_SIZE");
    temp_remove(dir);
}

int main(void) {
    umask(022);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_texts_grow),
        cmocka_unit_test(test_others_find_nothing),
        cmocka_unit_test(test_angles_count),
        cmocka_unit_test(test_every_length_and_every_bit),
        cmocka_unit_test(test_damaged_files_are_computed_again),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_programs),
        cmocka_unit_test(test_folders_and_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
