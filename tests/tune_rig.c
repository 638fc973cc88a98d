/* See tune_rig.h. */
#include "tune_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "gguf/read.h"
#include "store/store.h"

enum { MAX_WORDS = 64, WAIT_S = 240 };

static struct ran last;

void tune_rig_open(struct tune_rig *r, const char *model) {
    char real[PATH_MAX];
    assert_non_null(realpath(golden(model), real));
    r->dir = temp_folder();
    snprintf(r->model, sizeof r->model, "%s", real);
    setenv("CRIA_MODELS", tune_path(r, "store"), 1);
    setenv("CRIA_HOST", "127.0.0.1:9", 1); /* nobody answers there */
}

void tune_rig_close(struct tune_rig *r) {
    ran_fini(&last);
    last = (struct ran){.code = 0};
    temp_remove(r->dir);
}

const char *tune_path(const struct tune_rig *r, const char *name) {
    static char ring[8][1200];
    static int at;
    char *b = ring[at++ & 7];
    snprintf(b, sizeof ring[0], "%s/%s", r->dir, name);
    return b;
}

void tune_write(const struct tune_rig *r, const char *name, const char *text) {
    struct err e;
    if (os_write_file(tune_path(r, name), text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
}

void tune_examples(const struct tune_rig *r, const char *name, int n) {
    static const char *const word[] = {"red", "green", "blue", "old", "new", "far", "near"};
    struct buf b = {0};
    for (int i = 0; i < n; i++) {
        buf_printf(&b, "{\"instruction\": \"What is number %d", i);
        for (int k = 0; k < i % 5; k++)
            buf_printf(&b, " of the %s", word[(i + k) % 7]);
        buf_printf(&b, "?\", \"response\": \"It is %d", i * 37 % 101);
        for (int k = 0; k < i % 3; k++)
            buf_printf(&b, ", %s", word[(i * 3 + k) % 7]);
        buf_str(&b, ".\"}\n");
    }
    tune_write(r, name, buf_view(&b).p);
    buf_fini(&b);
}

/* ---- commands ---- */

/* Words of a text; it is cut up. */
static int split(char *text, const char **word, int n) {
    for (char *save, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
        if (n < MAX_WORDS - 1) word[n++] = w;
    word[n] = NULL;
    return n;
}

static int tune_words(struct tune_rig *r, const char *data, const char *out, char *more,
                      const char **word) {
    int n = 0;
    word[n++] = "tune";
    word[n++] = r->model;
    word[n++] = "--data";
    word[n++] = tune_path(r, data);
    if (out) word[n++] = "--out", word[n++] = out;
    return split(more, word, n);
}

static struct ran *run(const char *const *word, int code) {
    ran_fini(&last);
    run_cria(&last, word, NULL, 0, WAIT_S);
    if (last.code == code) return &last;
    fail_msg("%s %s: code %d, not %d: %s%s", word[0], word[1], last.code, code,
             buf_view(&last.out).p, buf_view(&last.err).p);
    return NULL;
}

struct ran *tune(struct tune_rig *r, int code, const char *data, const char *out,
                 const char *more) {
    const char *word[MAX_WORDS];
    char text[1024];
    snprintf(text, sizeof text, "%s", more);
    tune_words(r, data, out, text, word);
    return run(word, code);
}

struct ran *tune_cria(struct tune_rig *r, int code, const char *words) {
    const char *word[MAX_WORDS];
    char text[8192];
    (void)r;
    snprintf(text, sizeof text, "%s", words);
    split(text, word, 0);
    return run(word, code);
}

pid_t tune_start(struct tune_rig *r, const char *data, const char *out, const char *more) {
    const char *word[MAX_WORDS + 1], *exe = getenv("CRIA");
    char text[1024];
    snprintf(text, sizeof text, "%s", more);
    word[0] = exe ? exe : "build/cria";
    tune_words(r, data, out, text, word + 1);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    const int fd = open(tune_path(r, "running"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execv(word[0], (char *const *)(uintptr_t)word);
    _exit(127);
}

void tune_says(const struct buf *b, const char *text) {
    if (!strstr(buf_view(b).p, text)) fail_msg("'%s' is not in: %s", text, buf_view(b).p);
}

/* ---- what is in the store ---- */

static struct store *open_store(void) {
    struct err e;
    struct store *s = store_open(NULL, &e);
    if (!s) fail_msg("%s", e.msg);
    return s;
}

static void get(struct store *s, const char *name, struct manifest *m) {
    struct err e;
    struct name n;
    assert_int_equal(name_parse(name, &n, &e), 0);
    if (store_get(s, &n, NULL, m, &e) != 0) fail_msg("%s", e.msg);
}

const char *tune_adapter(struct tune_rig *r, const char *name) {
    static char text[DIGEST_TEXT];
    struct store *s = open_store();
    struct manifest m;
    (void)r;
    get(s, name, &m);
    const struct layer *l = manifest_layer(&m, LAYER_ADAPTER);
    if (l) digest_format(&l->digest, text);
    const char *out = l ? text : NULL;
    manifest_fini(&m);
    store_close(s);
    return out;
}

float *tune_weights(struct tune_rig *r, const char *name, size_t *n) {
    struct store *s = open_store();
    struct manifest m;
    struct err e;
    char path[STORE_PATH];
    (void)r;
    get(s, name, &m);
    const struct layer *l = manifest_layer(&m, LAYER_ADAPTER);
    if (!l) l = manifest_layer(&m, LAYER_MODEL);
    assert_int_equal(store_blob(s, &l->digest, path, NULL, &e), 0);
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    struct buf b = {0};
    for (int i = 0; i < gguf_n_tensor(g); i++)
        buf_append(&b, gguf_tensor_at(g, i)->data, gguf_tensor_at(g, i)->n_bytes);
    *n = b.n / sizeof(float);
    assert_true(*n > 0 && !b.failed);
    gguf_close(g);
    manifest_fini(&m);
    store_close(s);
    return (float *)(void *)b.p;
}

json_t *tune_lineage_of(struct tune_rig *r, const char *name) {
    char words[256];
    snprintf(words, sizeof words, "show %s --json", name);
    struct ran *ran = tune_cria(r, 0, words);
    json_t *all = json_loads(buf_view(&ran->out).p, 0, NULL);
    json_t *t = json_incref(json_object_get(all, "training"));
    assert_true(json_is_object(t));
    json_decref(all);
    return t;
}

/* Folders of .cria that begin with PREFIX. */
static int count(const struct tune_rig *r, const char *prefix) {
    DIR *d = opendir(tune_path(r, "store/.cria"));
    int n = 0;
    for (struct dirent *x; d && (x = readdir(d));)
        n += strncmp(x->d_name, prefix, strlen(prefix)) == 0;
    if (d) closedir(d);
    return n;
}

void tune_store_is(struct tune_rig *r, int n_models, int n_runs) {
    struct store *s = open_store();
    struct store_check c;
    struct err e;
    assert_int_equal(store_verify(s, NULL, &c, NULL, NULL, NULL, &e), 0);
    if (n_models >= 0) assert_int_equal(c.n_models, n_models);
    assert_int_equal(c.n_missing + c.n_wrong + c.n_damaged, 0);
    store_close(s);
    if (n_runs < 0) return;
    assert_int_equal(count(r, "create-"), 0);
    assert_int_equal(count(r, "train-"), n_runs);
}
