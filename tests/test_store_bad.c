/* Bad model files sent by a client (SECURITY.md 1.1: the doors "blob upload and create", "quantize"
 * and "adapter" of the server): refused with 400, nothing is made of them, the server stays up.
 * What gets through is loaded and asked: an engine may refuse it, in an orderly way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_rig.h"
#include "badgguf.h"
#include "seedgguf.h"
#include "store/digest.h"

/* The same files go through gguf_open and the commands in test_gguf_bad, test_model_bad and
 * test_cli_bad. */
enum { STRIDE = SANITIZED ? 29 : 3 };

static struct serve S;
static char *dir, seed[600], other[600];

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(seed, sizeof seed, "%s/spm.gguf", dir);
    snprintf(other, sizeof other, "%s/bpe.gguf", dir);
    seed_gguf_write(seed, SEED_SPM);
    seed_gguf_write(other, SEED_BPE);
    serve_start(&S, NULL, NULL);
    api_make(&S, "base", "llama32", "");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return serve_stop(&S);
}

struct tally {
    int n, seen, n_wrong, n_through;
};

static void wrong(struct tally *t, const struct bad_case *c, int status, const char *text) {
    print_message("%s %s: %d \"%s\"\n", c->id, c->name, status, text);
    t->n_wrong++;
}

static void use(struct tally *t, const struct bad_case *c) {
    struct buf text = {0};
    const int status =
        api_status(&S, "POST", "/api/generate",
                   "{\"model\":\"bad\",\"prompt\":\"a\",\"raw\":true,\"stream\":false,"
                   "\"keep_alive\":0,\"options\":{\"num_predict\":1,\"num_ctx\":32}}",
                   &text);
    if (status != 200 && status != 400 && status != 500) wrong(t, c, status, text.p);
    if (status != 200 && text.n == 0) wrong(t, c, status, "no error");
    buf_fini(&text);
    t->n_through++;
}

static void create(struct tally *t, const struct bad_case *c, const char *digest,
                   const char *form) {
    const bool must_fail = c->kind == BAD_FILE || c->kind == BAD_MODEL;
    struct buf text = {0};
    char body[400];
    /* Each time: deleting the model before took the blob with it. */
    const int sent = api_upload_bytes(&S, digest, c->bytes, c->n);
    if (sent != 201 && sent != 200) wrong(t, c, sent, "upload");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(body, sizeof body, form, digest);
#pragma GCC diagnostic pop
    const int status = api_status(&S, "POST", "/api/create", body, &text);
    if (status != 400 && (must_fail || status != 200)) wrong(t, c, status, text.p);
    if (status == 400 && (text.n < 8 || strchr(text.p, '\x1b'))) wrong(t, c, status, text.p);
    const int there = api_status(&S, "POST", "/api/show", "{\"model\":\"bad\"}", NULL);
    if ((status == 200) != (there == 200)) wrong(t, c, there, "shown");
    if (there == 200) {
        use(t, c);
        api_status(&S, "DELETE", "/api/delete", "{\"model\":\"bad\"}", NULL);
    }
    buf_fini(&text);
}

static void check_case(void *ctx, const struct bad_case *c) {
    static const char *const form[] = {
        "{\"model\":\"bad\",\"stream\":false,\"files\":{\"m.gguf\":\"%s\"}}",
        "{\"model\":\"bad\",\"stream\":false,\"files\":{\"m.gguf\":\"%s\"},\"quantize\":\"q8_0\"}",
        "{\"model\":\"bad\",\"stream\":false,\"from\":\"base\",\"adapters\":{\"m.gguf\":\"%s\"}}"};
    struct tally *t = ctx;
    struct digest d;
    char digest[DIGEST_TEXT];
    if (t->seen++ % STRIDE != 0) return;
    assert_int_equal(digest_of(c->bytes, c->n, &d, NULL), 0);
    digest_format(&d, digest);
    create(t, c, digest, form[0]);
    create(t, c, digest, form[1]);
    struct bad_case as_adapter = *c;
    as_adapter.kind = BAD_FILE; /* none of them is one */
    create(t, &as_adapter, digest, form[2]);
    t->n += 3;
}

static void check(const struct tally *t, int at_least) {
    print_message("%d creates, %d models loaded\n", t->n, t->n_through);
    if (t->n < at_least / STRIDE) fail_msg("%d cases; at least %d", t->n, at_least / STRIDE);
    if (t->n_wrong) fail_msg("%d of %d cases went wrong", t->n_wrong, t->n);
    assert_int_equal(api_status(&S, "POST", "/api/show", "{\"model\":\"base\"}", NULL), 200);
}

static void structure(void **state) {
    (void)state;
    struct tally t = {0};
    bad_structure_each(seed, check_case, &t);
    check(&t, 720);
}

static void model(void **state) {
    (void)state;
    struct tally t = {0};
    bad_model_each(seed, check_case, &t);
    check(&t, 600);
}

static void vocab(void **state) {
    (void)state;
    struct tally t = {0};
    bad_vocab_each(seed, check_case, &t);
    bad_vocab_each(other, check_case, &t);
    check(&t, 360);
}

/* Parts of a split file, as files of one create. */
static void splits(void **state) {
    (void)state;
    for (int odd = SPLIT_GOOD; odd < SPLIT_ODD_COUNT; odd++) {
        char first[700], path[800], digest[80], *folder = temp_folder();
        struct buf files = {0}, body = {0}, text = {0};
        bad_split_write(seed, folder, 3, (enum split_odd)odd, first, sizeof first);
        if (odd == SPLIT_NAME || odd == SPLIT_MOST || odd == SPLIT_MANY) {
            temp_remove(folder); /* other names than these */
            continue;
        }
        for (int i = 1; i <= 3 - (odd == SPLIT_MISSING); i++) {
            snprintf(path, sizeof path, "%s", first);
            char *number = strstr(path, "-00001-of-");
            assert_non_null(number);
            number[5] = (char)('0' + i);
            api_upload(&S, path, digest);
            buf_printf(&files, "%s\"%s\":\"%s\"", i > 1 ? "," : "", strrchr(path, '/') + 1, digest);
        }
        buf_printf(&body, "{\"model\":\"split%d\",\"stream\":false,\"files\":{%s}}", odd, files.p);
        const int status = api_status(&S, "POST", "/api/create", body.p, &text);
        const int want = odd == SPLIT_GOOD ? 200 : odd == SPLIT_MISSING ? 404 : 400;
        if (status != want) fail_msg("split %d: %d \"%s\"", odd, status, text.p);
        buf_fini(&files), buf_fini(&body), buf_fini(&text);
        temp_remove(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure),
        cmocka_unit_test(model),
        cmocka_unit_test(vocab),
        cmocka_unit_test(splits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
