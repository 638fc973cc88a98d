/* `cria create` through a server: what it makes there is, to the digest of its manifest, what it
 * makes here, and no file goes over the wire twice. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api_rig.h"
#include "badgguf.h"
#include "hf.h"

static struct serve srv;
static char *dir, host[64], modelfile[700];

/* Absolute: a Modelfile's paths are relative to itself. */
static const char *full(const char *rel) {
    static char ring[4][4200];
    static int at;
    char *out = ring[at++ % 4];
    assert_non_null(realpath(golden(rel), out));
    return out;
}

/* The model's own name: without one it has that of its folder, which no server is told. */
static void name_folder(const char *folder) {
    char path[800];
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *j = slurp_json(path);
    json_object_set_new(j, "_name_or_path", json_string("maker/model"));
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
}

static int set_up(void **state) {
    (void)state;
    char path[700];
    dir = temp_folder();
    setenv("HOME", dir, 1);
    serve_start(&srv, NULL, NULL);
    snprintf(host, sizeof host, "127.0.0.1:%d", srv.port);
    snprintf(modelfile, sizeof modelfile, "%s/Modelfile", dir);
    snprintf(path, sizeof path, "%s/folder", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(hf_write(golden("models/llama32.gguf"), path, HF_SHARDED | HF_F16), 0);
    name_folder(path);
    snprintf(path, sizeof path, "%s/adapter", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(
        hf_write_adapter(golden("lora/llama32.lora-qv.gguf"), golden("models/llama32.gguf"), path),
        0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    assert_int_equal(serve_stop(&srv), 0);
    temp_remove(dir);
    return 0;
}

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }

static void there(void) {
    setenv("CRIA_HOST", host, 1);
    setenv("CRIA_MODELS", "/nonexistent/models", 1); /* nothing is to be done here */
}

static void here(void) {
    char store[700];
    snprintf(store, sizeof store, "%s/models", dir);
    setenv("CRIA_HOST", "127.0.0.1:1", 1);
    setenv("CRIA_MODELS", store, 1);
}

static void write_modelfile(const char *text) {
    FILE *f = fopen(modelfile, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* `create`: exit code as told; what it said is the caller's: free(). */
static char *create(const char *name, const char *more, int code) {
    struct ran r;
    if (run_cria(&r, ARGS("create", name, "-f", modelfile, more), "", 0, 100) != code)
        fail_msg("create: exit %d, expected %d: %s", r.code, code, r.err.p);
    char *said = strdup(r.err.p ? r.err.p : "");
    ran_fini(&r);
    return said;
}

static char *digest_of_model(const char *name) {
    struct ran r;
    assert_int_equal(run_cria(&r, ARGS("list", name, "--json"), "", 0, 60), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    const json_t *m = json_array_get(json_object_get(j, "models"), 0);
    char *digest = strdup(json_string_value(json_object_get(m, "digest")));
    json_decref(j);
    ran_fini(&r);
    return digest;
}

static void same(const char *name, const char *more, const char *text) {
    write_modelfile(text);
    there();
    free(create(name, more, 0));
    char *a = digest_of_model(name);
    here();
    free(create(name, more, 0));
    char *b = digest_of_model(name);
    assert_int_equal(strlen(a), 64);
    if (strcmp(a, b) != 0) fail_msg("%s: there %s, here %s", name, a, b);
    free(a), free(b);
}

static void same_models(void **state) {
    (void)state;
    char text[3000], folder[700], first[1024];
    snprintf(text, sizeof text,
             "FROM %s\nSYSTEM \"\"\"Be brief.\nBe kind.\"\"\"\nTEMPLATE {{ .Prompt }}\n"
             "PARAMETER stop a\nPARAMETER stop b\nPARAMETER temperature 0.5\nPARAMETER top_k 7\n"
             "PARAMETER penalize_newline true\nLICENSE one\nLICENSE two\nMESSAGE user hello\n"
             "MESSAGE assistant hi\nREQUIRES 0.6.0\nPARSER qwen3\nRENDERER qwen3\n",
             full("models/llama32.gguf"));
    same("all", NULL, text);
    same("child", NULL, "FROM all\nSYSTEM other\nPARAMETER stop c\n");
    snprintf(text, sizeof text, "FROM %s\n", full("models/llama32.gguf"));
    same("small", "-qQ8_0", text);
    snprintf(text, sizeof text, "FROM all\nADAPTER %s\n", full("lora/llama32.lora-qv.gguf"));
    same("tuned", NULL, text);
    same("folder", NULL, "FROM folder\n");
    same("tuned2", NULL, "FROM ./folder\nADAPTER ./adapter\n");
    snprintf(text, sizeof text, "FROM %s\nDRAFT %s\n", full("models/llama32.gguf"),
             full("models/llama32.gguf"));
    same("drafted", NULL, text);
    snprintf(folder, sizeof folder, "%s/split", dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    bad_split_write(golden("models/llama32.gguf"), folder, 3, SPLIT_GOOD, first, sizeof first);
    snprintf(text, sizeof text, "FROM %s\n", first);
    same("split", NULL, text);
    same("split2", NULL, "FROM split/\n");
}

static void sends_once(void **state) {
    (void)state;
    char text[1200];
    const int before = serve_lines(&srv, "\"POST\"", "/api/blobs/", 0);
    snprintf(text, sizeof text, "FROM %s\nSYSTEM x\n", full("models/phi3-4k.gguf"));
    write_modelfile(text);
    there();
    free(create("once", NULL, 0));
    assert_int_equal(serve_lines(&srv, "\"POST\"", "/api/blobs/", before + 1), before + 1);
    char *said = create("twice", NULL, 0);
    assert_non_null(strstr(said, "using existing layer sha256:"));
    assert_non_null(strstr(said, "success"));
    free(said);
    assert_int_equal(serve_lines(&srv, "\"POST\"", "/api/blobs/", before + 1), before + 1);
}

static void refuse(const char *text, const char *more, int code, const char *expected) {
    write_modelfile(text);
    char *said = create("no", more, code);
    if (!strstr(said, expected)) fail_msg("said %s, expected %s", said, expected);
    free(said);
}

static void refusals(void **state) {
    (void)state;
    char text[1200];
    there();
    refuse("FROM ./none.gguf\n", NULL, 3, "Modelfile (line 1): ");
    refuse("FROM folder\nADAPTER none\n", NULL, 3, "(line 2): none: no such file or folder");
    refuse("FROM folder\nSYSTEM \"\"\n", NULL, 1, "(line 2): an empty text");
    refuse("FROM folder\nPARAMETER top_k x\n", NULL, 2, "option \"top_k\" must be of type");
    snprintf(text, sizeof text, "FROM %s\n", full("lora/llama32.lora-qv.gguf"));
    refuse(text, NULL, 1, "an adapter");
    refuse("FROM folder\n", "-qQ9_9", 2, "Q9_9");
    refuse("FROM 127.0.0.1:1/x/nobody\n", NULL, 1, "Error: ");
    setenv("CRIA_HOST", "http://192.0.2.1:9", 1);
    refuse("FROM folder\n", "--link", 1, "--link: for models of this machine only");
    refuse("FROM folder\n", "--threads=1", 1, "--threads: for models of this machine only");
}

/* With a server on this machine, what needs this machine's files is done here. */
static void links(void **state) {
    (void)state;
    char text[1200];
    snprintf(text, sizeof text, "FROM %s\n", full("models/llama32.gguf"));
    write_modelfile(text);
    here();
    setenv("CRIA_HOST", host, 1);
    free(create("linked", "--link", 0));
    struct ran r;
    assert_int_equal(run_cria(&r, ARGS("show", "linked"), "", 0, 60), 3); /* not the server's */
    ran_fini(&r);
    here();
    assert_int_equal(run_cria(&r, ARGS("show", "linked"), "", 0, 60), 0);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_models), cmocka_unit_test(sends_once),
                                       cmocka_unit_test(refusals), cmocka_unit_test(links)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
