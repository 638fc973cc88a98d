/* Models by name, through the command: a store written by hand as Ollama writes one is listed,
 * shown and run; cp, rm, verify, gc. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "rewrite.h"
#include "store_rig.h"

#define RUN(r, input, ...)                                                                         \
    run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, input, strlen(input), 60)

static struct shop shop;
static char chat_path[600]; /* a model with a chat template */

/* ---- a store by hand: no code of ours writes it ---- */

/* A blob; where its bytes go in a manifest: "digest" and "size". */
static void hand_blob(const void *bytes, size_t n, const char *media, struct buf *layers) {
    struct digest d;
    char path[700];
    digest_of(bytes, n, &d, NULL);
    snprintf(path, sizeof path, "%s/blobs/sha256-%s", shop.root, d.hex);
    if (os_write_file(path, bytes, n, &shop.e) != 0) fail_msg("%s", shop.e.msg);
    buf_printf(layers, "%s{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu}",
               layers->n ? "," : "", media, d.hex, n);
}

struct hand_layer {
    const char *kind, *text; /* "system", "params"... */
};

/* What `ollama create` makes of a GGUF file and some layers.  The file's manifest goes to rel. */
static void hand_model(const char *rel, const char *gguf, const struct hand_layer *more, int n) {
    struct buf config = {0}, layers = {0}, all = {0};
    size_t n_file;
    uint8_t *file = slurp(gguf, &n_file);
    char media[100], path[900];
    static const char text[] =
        "{\"model_format\":\"gguf\",\"model_family\":\"llama\",\"model_families\":[\"llama\"],"
        "\"model_type\":\"3.2B\",\"file_type\":\"F32\",\"architecture\":\"amd64\",\"os\":\"linux\","
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
    hand_blob(text, strlen(text), "application/vnd.docker.container.image.v1+json", &config);
    hand_blob(file, n_file, "application/vnd.ollama.image.model", &layers);
    for (int i = 0; i < n; i++) {
        snprintf(media, sizeof media, "application/vnd.ollama.image.%s", more[i].kind);
        hand_blob(more[i].text, strlen(more[i].text), media, &layers);
    }
    buf_printf(&all,
               "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest."
               "v2+json\",\"config\":%s,\"layers\":[%s]}\n",
               config.p, layers.p);
    snprintf(path, sizeof path, "manifests/%s", rel);
    shop_file(&shop, path, all.p);
    buf_fini(&config), buf_fini(&layers), buf_fini(&all);
    free(file);
}

static void age(const char *rel, long seconds) {
    char path[900];
    struct timespec now;
    snprintf(path, sizeof path, "%s/manifests/%s", shop.root, rel);
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec -= seconds;
    if (utimensat(AT_FDCWD, path, (struct timespec[2]){now, now}, 0) != 0) fail_msg("%s", path);
}

#define HUB "registry.ollama.ai/library"

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    shop_file(&shop, "blobs/x", ""); /* makes the folder */
    snprintf(chat_path, sizeof chat_path, "%s/chat.gguf", shop.dir);
    rewrite_template(golden("models/llama32.gguf"), chat_path, REWRITE_CHATML);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

/* A TEMPLATE as Ollama's models of the ChatML family have it. */
#define CHATML                                                                                     \
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}"       \
    "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"

/* ---- tests ---- */

static const char *line_of(const char *text, int n) {
    for (; n > 0 && text; n--)
        text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL;
    return text ? text : "";
}

static void starts(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with)) != 0) fail_msg("'%s' does not begin: %s", text, with);
}

static void list(void **state) {
    (void)state;
    struct ran r;
    assert_int_equal(RUN(r, "", "list"), 0);
    assert_string_equal(r.out.p, "NAME    ID    SIZE    MODIFIED\n");
    ran_fini(&r);
    hand_model(HUB "/tiny/latest", chat_path, NULL, 0);
    hand_model("hf.co/User/Repo/Q8_0", golden("models/bert.gguf"), NULL, 0);
    shop_file(&shop, "manifests/" HUB "/broken/v1", "{");
    age(HUB "/tiny/latest", 3 * 7 * 24 * 3600 + 100), age("hf.co/User/Repo/Q8_0", 5400);
    struct buf bytes = {0};
    struct digest id;
    char path[900], row[300];
    snprintf(path, sizeof path, "%s/manifests/" HUB "/tiny/latest", shop.root);
    assert_int_equal(os_read_file(path, 1 << 20, &bytes, &shop.e), 0);
    digest_of(bytes.p, bytes.n, &id, &shop.e);
    buf_fini(&bytes);
    assert_int_equal(RUN(r, "", "ls"), 0);
    starts(r.out.p, "NAME                    ID              SIZE      MODIFIED\n");
    starts(line_of(r.out.p, 1), "broken:v1               (damaged)       -         ");
    starts(line_of(r.out.p, 2), "hf.co/User/Repo:Q8_0    ");
    assert_non_null(strstr(line_of(r.out.p, 2), "2 hours ago\n"));
    snprintf(row, sizeof row, "tiny:latest             %.12s    ", id.hex);
    starts(line_of(r.out.p, 3), row);
    assert_non_null(strstr(line_of(r.out.p, 3), " KB    3 weeks ago\n"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "list", "--json", "TI"), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    json_t *m = json_object_get(j, "models");
    assert_int_equal(json_array_size(m), 1);
    m = json_array_get(m, 0);
    assert_string_equal(json_string_value(json_object_get(m, "name")), "tiny:latest");
    assert_string_equal(json_string_value(json_object_get(m, "digest")), id.hex);
    struct stat st;
    assert_int_equal(stat(chat_path, &st), 0);
    assert_true(json_integer_value(json_object_get(m, "size")) > st.st_size);
    json_decref(j);
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "rm", "broken:v1"), 0);
    assert_string_equal(r.out.p, "deleted 'broken:v1'\n");
    ran_fini(&r);
    assert_int_equal(shop_count(&shop, ".cria/leases"), 0);
}

/* The same command on a file and on a name says the same. */
static void same(const char *input, const char *const *by_file, const char *const *by_name) {
    struct ran a, b;
    run_cria(&a, by_file, input, strlen(input), 60);
    run_cria(&b, by_name, input, strlen(input), 60);
    if (a.code != 0 || b.code != 0) fail_msg("%s: %s%s", by_name[0], a.err.p, b.err.p);
    assert_true(a.out.n > 0);
    assert_string_equal(a.out.p, b.out.p);
    ran_fini(&a), ran_fini(&b);
}
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void by_name(void **state) {
    (void)state;
    hand_model(HUB "/tiny/latest", chat_path, NULL, 0);
    hand_model("h.example:5000/me/bert/f32", golden("models/bert.gguf"), NULL, 0);
    same("", ARGS("show", "-v", chat_path), ARGS("show", "-v", "TINY"));
    same("", ARGS("tokenize", "--ids", chat_path, "some text"),
         ARGS("tokenize", "--ids", "tiny:latest", "some text"));
    same("", ARGS("embed", golden("models/bert.gguf"), "some text"),
         ARGS("embed", "H.example:5000/ME/Bert:F32", "some text"));
    same("", ARGS("run", chat_path, "hello", "-o", "temperature=0", "-o", "num_predict=8"),
         ARGS("run", "tiny", "hello", "-o", "temperature=0", "-o", "num_predict=8"));
    struct ran r;
    assert_int_equal(RUN(r, "", "bench", "tiny", "--pp", "8", "--tg", "4", "-r1", "--json"), 0);
    assert_non_null(strstr(r.out.p, "\"model\":\"tiny\""));
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "perplexity", "tiny", "tests/test_store_cli.c", "--ctx", "64"), 0);
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "run", "tiny", "x", "--json", "-o", "num_predict=2"), 0);
    assert_non_null(strstr(r.out.p, "\"model\":\"tiny\""));
    ran_fini(&r);
}

static void missing(void **state) {
    (void)state;
    static const char *const commands[] = {"show", "tokenize", "embed", "bench", "rm"};
    struct ran r;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_int_equal(RUN(r, "", commands[i], "no-such:model"), 3);
        assert_string_equal(r.err.p, "Error: model 'no-such:model' not found\n");
        assert_string_equal(r.out.p, "");
        ran_fini(&r);
    }
    /* `run` asks the registry; nobody is there. */
    assert_int_equal(RUN(r, "", "run", "http://127.0.0.1:1/library/none"), 1);
    assert_non_null(strstr(r.err.p, "pulling manifest\n"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "perplexity", "nope", "README.md"), 3), ran_fini(&r);
    assert_int_equal(RUN(r, "", "verify", "nope"), 3), ran_fini(&r);
    assert_int_equal(RUN(r, "", "cp", "nope", "x"), 3), ran_fini(&r);
    /* What looks like a file is one. */
    assert_int_equal(RUN(r, "", "show", "nope.gguf"), 3);
    assert_non_null(strstr(r.err.p, "nope.gguf: No such file"));
    ran_fini(&r);
    /* SECURITY.md R9: the answer does not tell whether a path exists. */
    static const char *const paths[] = {"../../etc/passwd", "../../etc/nothing-there"};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(RUN(r, "", "rm", paths[k]), 2), ran_fini(&r);
        assert_int_equal(RUN(r, "", "cp", paths[k], "x"), 2), ran_fini(&r);
        assert_int_equal(RUN(r, "", "cp", "x", paths[k]), 2), ran_fini(&r);
        assert_int_equal(RUN(r, "", "verify", paths[k]), 2), ran_fini(&r);
    }
    assert_int_equal(RUN(r, "", "list", "../.."), 0);
    assert_string_equal(r.out.p, "NAME    ID    SIZE    MODIFIED\n");
    ran_fini(&r);
}

/* The prompt's tokens of one question. */
static long prompt_count(const char *const *args) {
    struct ran r;
    run_cria(&r, args, "", 0, 60);
    if (r.code != 0) fail_msg("%s", r.err.p);
    const char *at = strstr(r.out.p, "\"prompt_eval_count\":");
    assert_non_null(at);
    const long n = strtol(at + 20, NULL, 10);
    ran_fini(&r);
    return n;
}

static void layers(void **state) {
    (void)state;
    static const struct hand_layer more[] = {
        {"system", "Answer in one word."},
        {"params", "{\"temperature\":0,\"num_predict\":6,\"stop\":[\"<<a>>\",\"<<b>>\"],"
                   "\"odd_one\":1,\"draft\":\"/etc/passwd\",\"num_gpu\":1}"},
    };
    hand_model(HUB "/sys/latest", chat_path, more, 2);
    same("",
         ARGS("run", chat_path, "hello", "-o", "temperature=0", "-o", "num_predict=6", "--system",
              "Answer in one word."),
         ARGS("run", "sys", "hello"));
    same("", /* what the user says goes first */
         ARGS("run", chat_path, "hello", "-o", "temperature=0", "-o", "num_predict=3", "--system",
              "Other."),
         ARGS("run", "sys", "hello", "-o", "num_predict=3", "--system", "Other."));
    struct ran r;
    assert_int_equal(RUN(r, "", "run", "sys", "hello"), 0);
    assert_non_null(strstr(r.err.p, "\"odd_one\" has no effect"));
    assert_non_null(strstr(r.err.p, "\"draft\" has no effect"));
    ran_fini(&r);

    static const struct hand_layer talk[] = {{"messages",
                                              "[{\"role\":\"user\",\"content\":\"One?\"},"
                                              "{\"role\":\"assistant\",\"content\":\"Yes, one.\"},"
                                              "{\"role\":\"user\",\"content\":\"Two?\"}]"}};
    hand_model(HUB "/talk/latest", chat_path, talk, 1);
    const long plain =
        prompt_count(ARGS("run", chat_path, "hello", "--json", "-o", "num_predict=1"));
    const long after = prompt_count(ARGS("run", "talk", "hello", "--json", "-o", "num_predict=1"));
    assert_true(after > plain + 12);
    /* They are forgotten before the question is. */
    char ctx[24];
    snprintf(ctx, sizeof ctx, "%ld", plain + 6);
    assert_int_equal(RUN(r, "", "run", "talk", "hello", "-o", "num_predict=1", "--ctx", ctx), 0);
    ran_fini(&r);

    static const struct hand_layer bad[] = {
        {"messages", "[{\"role\":\"evil\",\"content\":\"x\"}]"}};
    hand_model(HUB "/bad/latest", chat_path, bad, 1);
    assert_int_equal(RUN(r, "", "run", "bad", "x"), 1), ran_fini(&r);

    /* A TEMPLATE where the file has none. */
    static const struct hand_layer chatml[] = {{"template", CHATML}};
    hand_model(HUB "/raw/latest", golden("models/llama32.gguf"), NULL, 0);
    same("", /* without any, the last message is the prompt, as in Ollama */
         ARGS("run", "raw", "hello", "-o", "temperature=0", "-o", "num_predict=8"),
         ARGS("run", "raw", "--raw", "hello", "-o", "temperature=0", "-o", "num_predict=8"));
    hand_model(HUB "/templ/latest", golden("models/llama32.gguf"), chatml, 1);
    /* Any other: what it renders is what the model reads. */
    static const struct hand_layer own[] = {{"template", "<<{{ .System }}|{{ .Prompt }}>>"},
                                            {"system", "be kind"}};
    hand_model(HUB "/own/latest", golden("models/llama32.gguf"), own, 2);
    same("", ARGS("run", "own", "hello", "-o", "temperature=0", "-o", "num_predict=8"),
         ARGS("run", "raw", "--raw", "<<be kind|hello>>", "-o", "temperature=0", "-o",
              "num_predict=8"));
    same("", ARGS("run", chat_path, "hello", "-o", "temperature=0", "-o", "num_predict=8"),
         ARGS("run", "templ", "hello", "-o", "temperature=0", "-o", "num_predict=8"));
}

static void adapters(void **state) {
    (void)state;
    size_t n;
    char *lora = (char *)slurp(golden("lora/llama32.lora-qv.gguf"), &n);
    struct buf layers = {0};
    hand_model(HUB "/lora/latest", golden("models/llama32.gguf"), NULL, 0);
    hand_blob(lora, n, "application/vnd.ollama.image.adapter", &layers);
    free(lora);
    /* Beside the layer of the model. */
    char path[900];
    struct buf all = {0};
    snprintf(path, sizeof path, "%s/manifests/" HUB "/lora/latest", shop.root);
    assert_int_equal(os_read_file(path, 1 << 20, &all, &shop.e), 0);
    struct buf again = {0};
    buf_printf(&again, "%.*s,%s]}", (int)(strstr(all.p, "]}") - all.p), all.p, layers.p);
    shop_file(&shop, "manifests/" HUB "/lora/latest", again.p);
    const char *const model = golden("models/llama32.gguf"), *const adapter = golden(
                                                                 "lora/llama32.lora-qv.gguf");
    same("",
         ARGS("run", model, "--raw", "Once", "-o", "temperature=0", "-o", "num_predict=16",
              "--lora", adapter),
         ARGS("run", "lora", "--raw", "Once", "-o", "temperature=0", "-o", "num_predict=16"));
    struct ran r;
    assert_int_equal(RUN(r, "", "run", "lora", "--raw", "x", "--lora", adapter), 1), ran_fini(&r);
    buf_fini(&layers), buf_fini(&all), buf_fini(&again);
}

/* Models without weights say what they are. */
static void no_weights(void **state) {
    (void)state;
    struct ran r;
    struct buf config = {0}, all = {0};
    static const char cloud[] =
        "{\"remote_host\":\"https://cloud.example\",\"remote_model\":\"x\"}";
    hand_blob(cloud, strlen(cloud), "application/vnd.docker.container.image.v1+json", &config);
    buf_printf(&all, "{\"schemaVersion\":2,\"config\":%s,\"layers\":[]}", config.p);
    shop_file(&shop, "manifests/" HUB "/far/cloud", all.p);
    assert_int_equal(RUN(r, "", "run", "far:cloud", "x"), 1);
    assert_non_null(strstr(r.err.p, "another host (https://cloud.example)"));
    ran_fini(&r);
    buf_fini(&config), buf_fini(&all);
}

static void copy_remove(void **state) {
    (void)state;
    struct ran r;
    hand_model(HUB "/tiny/latest", chat_path, NULL, 0);
    const int n = shop_count(&shop, "blobs");
    assert_int_equal(RUN(r, "", "cp", "tiny", "me/copy:v2"), 0);
    assert_string_equal(r.out.p, "copied 'tiny' to 'me/copy:v2'\n");
    ran_fini(&r);
    assert_int_equal(shop_count(&shop, "blobs"), n); /* no data is copied */
    size_t na, nb;
    char path[900];
    snprintf(path, sizeof path, "%s/manifests/" HUB "/tiny/latest", shop.root);
    uint8_t *a = slurp(path, &na);
    snprintf(path, sizeof path, "%s/manifests/registry.ollama.ai/me/copy/v2", shop.root);
    uint8_t *b = slurp(path, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    free(a), free(b);
    /* One that is missing does not keep the others. */
    assert_int_equal(RUN(r, "", "rm", "tiny", "nope", "me/copy:v2", "nix"), 3);
    assert_string_equal(r.out.p, "deleted 'tiny'\ndeleted 'me/copy:v2'\n");
    assert_non_null(strstr(r.err.p, "model 'nope' not found"));
    assert_non_null(strstr(r.err.p, "model 'nix' not found"));
    ran_fini(&r);
    assert_int_equal(shop_count(&shop, "blobs"), n - 2); /* its config and its GGUF file */
    assert_int_equal(RUN(r, "", "rm"), 2), ran_fini(&r);
    assert_int_equal(RUN(r, "", "cp", "tiny"), 2), ran_fini(&r);
}

static void verify_gc(void **state) {
    (void)state;
    struct ran r;
    struct digest d;
    char path[900];
    hand_model(HUB "/tiny/latest", chat_path, NULL, 0);
    assert_int_equal(RUN(r, "", "verify"), 0);
    assert_string_equal(r.out.p, "1 models, 2 blobs: all as they should be\n");
    ran_fini(&r);
    size_t n;
    uint8_t *file = slurp(chat_path, &n);
    digest_of(file, n, &d, &shop.e);
    snprintf(path, sizeof path, "%s/blobs/sha256-%s", shop.root, d.hex);
    file[n - 1] ^= 1;
    assert_int_equal(os_write_file(path, file, n, &shop.e), 0);
    assert_int_equal(RUN(r, "", "verify", "--all"), 1);
    assert_non_null(strstr(r.out.p, "tiny:latest: sha256:"));
    assert_non_null(strstr(r.out.p, "holds other bytes"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "verify", "tiny", "--json"), 1);
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "wrong")), 1);
    assert_int_equal(json_array_size(json_object_get(j, "findings")), 1);
    json_decref(j);
    ran_fini(&r);
    file[n - 1] ^= 1;
    assert_int_equal(os_write_file(path, file, n, &shop.e), 0);
    free(file);
    shop_blob(&shop, "loose");
    assert_int_equal(RUN(r, "", "gc"), 0); /* younger than an hour */
    assert_string_equal(r.out.p, "removed 0 blobs and 0 unfinished files, 0 B\n");
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "gc", "--now", "--dry-run"), 0);
    assert_string_equal(r.out.p, "would remove 1 blobs and 0 unfinished files, 5 B\n");
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "gc", "--now", "--json"), 0);
    assert_string_equal(
        r.out.p, "{\"blobs\":1,\"partial\":0,\"bytes\":5,\"kept_all\":false,\"dry_run\":false}\n");
    ran_fini(&r);
    shop_file(&shop, "manifests/" HUB "/broken/v1", "{");
    assert_int_equal(RUN(r, "", "gc", "--now"), 1);
    assert_non_null(strstr(r.err.p, "nothing was removed"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "verify"), 1);
    assert_non_null(strstr(r.out.p, "broken:v1"));
    ran_fini(&r);
}

/* A store that may only be read serves what only reads, writes nothing, and says why. */
static void read_only(void **state) {
    (void)state;
    struct ran r;
    hand_model(HUB "/tiny/latest", chat_path, NULL, 0);
    const bool is_root = geteuid() == 0;
    if (is_root) { /* whom permissions do not stop: a folder where the lock's should be */
        shop_file(&shop, ".cria", "a file");
    } else {
        assert_int_equal(chmod(shop.root, 0555), 0);
    }
    assert_int_equal(RUN(r, "", "list"), 0), ran_fini(&r);
    assert_int_equal(RUN(r, "", "run", "tiny", "x", "-o", "num_predict=2"), 0), ran_fini(&r);
    assert_int_equal(RUN(r, "", "verify"), 0), ran_fini(&r);
    assert_int_equal(RUN(r, "", "cp", "tiny", "b"), 1);
    assert_non_null(strstr(r.err.p, "/.cria: "));
    ran_fini(&r);
    assert_int_equal(RUN(r, "", "rm", "tiny"), 1), ran_fini(&r);
    assert_int_equal(RUN(r, "", "gc", "--now"), 1), ran_fini(&r);
    if (!is_root) assert_int_equal(RUN(r, "", "gc", "--now", "--dry-run"), 0), ran_fini(&r);
    shop_check(&shop, 1);
    chmod(shop.root, 0755);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(list),       TEST(by_name),     TEST(missing),   TEST(layers),    TEST(adapters),
        TEST(no_weights), TEST(copy_remove), TEST(verify_gc), TEST(read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
