/* What is parsed for the model store: digests, names, manifests, configs. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "sample/rng.h"
#include "store/config.h"
#include "store/manifest.h"
#include "store/name.h"

/* ---- digests ---- */

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX_UPPER "0123456789ABCDEF0123456789abcdef0123456789ABCDEF0123456789abcdef"

static void digests(void **state) {
    (void)state;
    static const char *const good[] = {"sha256:" HEX, "sha256-" HEX, "sha256:" HEX_UPPER};
    static const char *const bad[] = {
        "",
        "sha256:",
        HEX,
        "sha256:" HEX "0",
        "sha256:" HEX "/",
        "sha256:../../../../../../../../../../../../../../etc/passwd/aaaaaaaaaaaaa",
        "sha256:" HEX "\n",
        "sha256_" HEX,
        "sha512:" HEX,
        "SHA256:" HEX,
        " sha256:" HEX,
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab..\xe2\x80\xa4",
        "sha256-../0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab",
    };
    struct digest d;
    struct err e;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(digest_parse(str_of(good[i]), &d, &e), 0);
        assert_string_equal(d.hex, HEX);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (digest_parse(str_of(bad[i]), &d, &e) == 0) fail_msg("accepted: %s", bad[i]);
        assert_int_equal(e.code, ERR_FORMAT);
        assert_int_equal(d.hex[0], 0);
    }
    char nul[DIGEST_TEXT] = "sha256:" HEX;
    nul[30] = 0;
    assert_int_equal(digest_parse((struct str){nul, 7 + DIGEST_HEX}, &d, &e), -1);
    assert_int_equal(digest_of("abc", 3, &d, &e), 0); /* FIPS 180-4, example 1 */
    assert_string_equal(d.hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* ---- names ---- */

static void names(void **state) {
    (void)state;
    static const struct {
        const char *text, *shown, *full;
    } good[] = {
        {"llama3.2", "llama3.2:latest", "registry.ollama.ai/library/llama3.2:latest"},
        {"llama3.2:3b", "llama3.2:3b", "registry.ollama.ai/library/llama3.2:3b"},
        {"me/x:Q4_K_M", "me/x:Q4_K_M", "registry.ollama.ai/me/x:Q4_K_M"},
        {"library/x", "x:latest", "registry.ollama.ai/library/x:latest"},
        {"HF.co/User/Repo-GGUF:Q8_0", "hf.co/User/Repo-GGUF:Q8_0", "hf.co/User/Repo-GGUF:Q8_0"},
        {"localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"},
        {"http://127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"},
        {"https://h/a/b", "h/a/b:latest", "h/a/b:latest"},
        {"_a:_b", "_a:_b", "registry.ollama.ai/library/_a:_b"},
        {"x:v1@sha256:" HEX, "x:v1", "registry.ollama.ai/library/x:v1"},
    };
    static const char *const bad[] = {
        "",
        "/",
        "x/",
        "/x",
        ":",
        "x:",
        ":x",
        "..",
        "../x",
        "x/../y",
        "a/b/c/d",
        "../../x",
        "a/../../etc/passwd",
        ".x",
        "-x",
        "x:.y",
        "x:-",
        "x y",
        "x\ny",
        "x\\y",
        "x%2f",
        "\xc3\xa9",
        "a.b/c",
        "localhost:5000/x",
        "http://x",
        "http://a/b",
        "h:0/a/b",
        "h:65536/a/b",
        "h:x/a/b",
        "h:/a/b",
        "h:05/a/b",
        "a@b",
        "a@sha256:12",
        "good@evil/a/b",
        "[::1]/a/b",
        "a//b",
        "a/b//c",
        "~x",
        "x*",
    };
    struct name n, again;
    struct err e;
    char text[NAME_TEXT];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (name_parse(good[i].text, &n, &e) != 0) fail_msg("%s: %s", good[i].text, e.msg);
        name_short(&n, text);
        assert_string_equal(text, good[i].shown);
        name_full(&n, text);
        assert_string_equal(text, good[i].full);
        assert_int_equal(name_parse(text, &again, &e), 0);
        assert_true(name_eq(&n, &again));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (name_parse(bad[i], &n, &e) == 0) fail_msg("accepted: %s", bad[i]);
        assert_int_equal(e.code, ERR_USAGE);
    }
    assert_int_equal(name_parse("x:v1@sha256:" HEX, &n, &e), 0);
    assert_string_equal(n.pin.hex, HEX);
    assert_true(n.has_tag && !n.plain_http);
    assert_int_equal(name_parse("http://h/a/b", &n, &e), 0);
    assert_true(n.plain_http && !n.has_tag);
}

/* Limits of each part: exactly at them, one over. */
static void name_limits(void **state) {
    (void)state;
    static const struct {
        const char *before, *after;
        int max;
    } part[] = {{"", "", 80}, {"", "/m", 80}, {"m:", "", 80}, {"", "/a/b", 350}};
    struct name n;
    struct err e;
    for (size_t i = 0; i < 4; i++)
        for (int over = 0; over < 2; over++) {
            char text[500], run[400];
            memset(run, 'a', sizeof run);
            run[part[i].max + over] = 0;
            snprintf(text, sizeof text, "%s%s%s", part[i].before, run, part[i].after);
            assert_int_equal(name_parse(text, &n, &e), over ? -1 : 0);
        }
    /* The longest name and its pin have room in every buffer. */
    char host[351], eighty[81], text[1000], out[NAME_TEXT];
    memset(host, 'h', 350), host[350] = 0;
    memset(eighty, 'e', 80), eighty[80] = 0;
    snprintf(text, sizeof text, "%s/%s/%s:%s@sha256:" HEX, host, eighty, eighty, eighty);
    assert_int_equal(name_parse(text, &n, &e), 0);
    name_short(&n, out);
    assert_int_equal(strlen(out), 350 + 3 * 81);
}

static char random_char(struct rng *r) {
    static const char usual[] = "////..::@@--__aAzZ09bcd \\%~\t\n\x01\xc3\xa9";
    return (rng_next(r) & 7) ? usual[rng_next(r) % (sizeof usual - 1)]
                             : (char)(1 + rng_next(r) % 255);
}

static void check_part(const char *p, const char *text) {
    if (!*p || strchr(p, '/') || strcmp(p, ".") == 0 || strcmp(p, "..") == 0 || *p == '.' ||
        *p == '-')
        fail_msg("\"%s\" gave the part \"%s\"", text, p);
    for (const char *c = p; *c; c++)
        if (!(*c >= '0' && *c <= '9') && !((*c | 32) >= 'a' && (*c | 32) <= 'z') &&
            !strchr("_-.:", *c))
            fail_msg("\"%s\" gave the part \"%s\"", text, p);
}

/* SECURITY.md X4: no string leads out of the store, and what is formatted parses to the same. */
static void random_names(void **state) {
    (void)state;
    struct rng r;
    struct name n, again;
    int n_good = 0;
    rng_seed(&r, 20261126);
    for (int round = 0; round < 1000000; round++) {
        char text[40], full[NAME_TEXT];
        const size_t len = rng_next(&r) % (sizeof text - 1);
        for (size_t i = 0; i < len; i++)
            text[i] = random_char(&r);
        text[len] = 0;
        if (name_parse(text, &n, NULL) != 0) continue;
        n_good++;
        check_part(n.host, text), check_part(n.space, text);
        check_part(n.model, text), check_part(n.tag, text);
        name_full(&n, full);
        if (name_parse(full, &again, NULL) != 0 || !name_eq(&n, &again))
            fail_msg("\"%s\" became \"%s\", which does not come back", text, full);
        name_short(&n, full);
        if (name_parse(full, &again, NULL) != 0 || !name_eq(&n, &again))
            fail_msg("\"%s\" is shown as \"%s\", which does not come back", text, full);
    }
    assert_true(n_good > 10000); /* the strings reach the good side, too */
}

/* ---- manifests and configs ---- */

#define LAYER(type, size)                                                                          \
    "{\"mediaType\":\"" type "\",\"digest\":\"sha256:" HEX "\",\"size\":" size "}"
#define HEAD "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_MANIFEST "\","
#define CONFIG "\"config\":" LAYER(MEDIA_CONFIG, "1")
#define ONE(layer) HEAD CONFIG ",\"layers\":[" layer "]}"

static void manifest_bytes(void **state) {
    (void)state;
    static const char text[] = "  " HEAD CONFIG ", \"extra\":{\"a\":[1,2]},\"layers\":[" LAYER(
        MEDIA_LAYER "model", "17592186044416") "," LAYER("x/y", "0") "," LAYER(MEDIA_LAYER "prompt",
                                                                               "3") "]} \n";
    struct manifest m;
    struct err e;
    struct digest id;
    if (manifest_parse("m", text, strlen(text), &m, &e) != 0) fail_msg("%s", e.msg);
    assert_true(str_is(m.bytes, text));
    digest_of(text, strlen(text), &id, &e);
    assert_true(digest_eq(&id, &m.id));
    assert_int_equal(m.n_layer, 3);
    assert_int_equal(m.layer[0].n_bytes, LAYER_MAX_BYTES);
    assert_int_equal(m.layer[1].kind, LAYER_OTHER);
    assert_ptr_equal(manifest_layer(&m, LAYER_TEMPLATE), &m.layer[2]);
    assert_null(manifest_layer(&m, LAYER_ADAPTER));
    assert_int_equal(manifest_total_bytes(&m), 1); /* one digest, counted once */
    /* As Ollama writes it, and back. */
    struct buf b = {0};
    struct manifest again;
    m.layer[2].from = "/x", m.layer[0].name = "n";
    assert_int_equal(manifest_build(&m.config, m.layer, m.n_layer, &b, &e), 0);
    assert_non_null(strstr(b.p, HEAD CONFIG ",\"layers\":[{\"mediaType\":\"" MEDIA_LAYER
                                            "model\",\"digest\":\"sha256:" HEX
                                            "\",\"size\":17592186044416,\"name\":\"n\"}"));
    assert_int_equal(manifest_parse("m", b.p, b.n, &again, &e), 0);
    assert_int_equal(again.n_layer, 3);
    assert_string_equal(again.layer[2].from, "/x");
    buf_fini(&b);
    manifest_fini(&again);
    manifest_fini(&m);
    for (int k = LAYER_MODEL; k <= LAYER_LICENSE; k++)
        assert_int_equal(layer_kind_of(layer_media_type((enum layer_kind)k)), k);
    assert_int_equal(layer_kind_of("application/vnd.cria.trainfile"), LAYER_EXTENSION);
    assert_int_equal(layer_kind_of(MEDIA_LAYER "tensor"), LAYER_OTHER);
}

static void manifest_bad(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        HEAD "\"layers\":[]}",
        HEAD "\"config\":null,\"layers\":[]}",
        HEAD "\"config\":[],\"layers\":[]}",
        HEAD CONFIG ",\"layers\":{}}",
        HEAD CONFIG ",\"layers\":[1]}",
        HEAD CONFIG "," CONFIG ",\"layers\":[]}",
        "{\"schemaVersion\":1," CONFIG ",\"layers\":[]}",
        "{\"schemaVersion\":2,\"mediaType\":\"text/html\"," CONFIG ",\"layers\":[]}",
        "{\"schemaVersion\":2,\"mediaType\":2," CONFIG ",\"layers\":[]}",
        ONE(LAYER("x", "-1")),
        ONE(LAYER("x", "17592186044417")),
        ONE(LAYER("x", "9223372036854775808")),
        ONE(LAYER("x", "1.5")),
        ONE(LAYER("x", "\"1\"")),
        ONE("{\"mediaType\":\"x\",\"digest\":\"sha256:../../x\",\"size\":1}"),
        ONE("{\"mediaType\":\"x\",\"digest\":\"\",\"size\":1}"),
        ONE("{\"mediaType\":\"x\",\"size\":1}"),
        ONE("{\"digest\":\"sha256:" HEX "\",\"size\":1}"),
        ONE("{\"mediaType\":1,\"digest\":\"sha256:" HEX "\",\"size\":1}"),
        ONE("{\"mediaType\":\"x\",\"digest\":[],\"size\":1}"),
    };
    struct manifest m;
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (manifest_parse("m", bad[i], strlen(bad[i]), &m, &e) == 0)
            fail_msg("accepted: %s", bad[i]);
        if (e.code != ERR_FORMAT) fail_msg("%s: code %d, %s", bad[i], e.code, e.msg);
        manifest_fini(&m);
    }
}

static void repeat(struct buf *b, const char *text, const char *between, int n) {
    for (int i = 0; i < n; i++) {
        if (i) buf_str(b, between);
        buf_str(b, text);
    }
}

static int parse_code(const struct buf *b) {
    struct manifest m;
    struct err e = {0};
    manifest_parse("m", b->p, b->n, &m, &e);
    manifest_fini(&m);
    return (int)e.code;
}

/* SECURITY.md R6, R7: counts, depth and sizes, with the memory they take. */
static void manifest_bombs(void **state) {
    (void)state;
    static const struct {
        const char *open, *unit, *between, *close;
        int n, code;
    } bomb[] = {
        {HEAD CONFIG ",\"layers\":[", LAYER("x", "1"), ",", "]}", MANIFEST_MAX_LAYERS, 0},
        {HEAD CONFIG ",\"layers\":[", LAYER("x", "1"), ",", "]}", MANIFEST_MAX_LAYERS + 1,
         ERR_LIMIT},
        {HEAD CONFIG ",\"layers\":[", "{}", ",", "]}", 1000000, ERR_LIMIT},
        {HEAD CONFIG ",\"x\":", "[", "", "", 100000, ERR_FORMAT},
        {HEAD CONFIG ",\"x\":", "{\"a\":", "", "", 100000, ERR_FORMAT},
        {HEAD CONFIG ",", "\"a\":1", ",", "}", 500000, ERR_LIMIT},
        {HEAD CONFIG, " ", "", "}", MANIFEST_MAX_BYTES, ERR_LIMIT},
        {HEAD CONFIG, " ", "", "}", MANIFEST_MAX_BYTES / 2, 0},
        {HEAD CONFIG ",\"x\":\"", "[{,", "", "\"}", 1000000, 0}, /* in a text they count not */
    };
    for (size_t i = 0; i < sizeof bomb / sizeof *bomb; i++) {
        struct buf b = {0};
        buf_str(&b, bomb[i].open);
        repeat(&b, bomb[i].unit, bomb[i].between, bomb[i].n);
        buf_str(&b, bomb[i].close);
        const size_t before = os_peak_rss_bytes();
        const int64_t t0 = os_now_ns();
        const int code = parse_code(&b);
        if (code != bomb[i].code) fail_msg("bomb %zu: code %d", i, code);
        if (os_now_ns() - t0 > 2000000000) fail_msg("bomb %zu takes too long", i);
        const size_t grown = os_peak_rss_bytes() - before;
        if (grown > (size_t)24 << 20) fail_msg("bomb %zu takes %zu bytes", i, grown);
        buf_fini(&b);
    }
}

static void configs(void **state) {
    (void)state;
    struct model_config c = {.model_format = "gguf",
                             .model_family = "llama",
                             .model_type = "3.2B",
                             .file_type = "Q4_K_M",
                             .family = {"llama"},
                             .n_family = 1,
                             .renderer = "r"};
    struct model_config back;
    struct buf b = {0};
    struct err e;
    const char *const diff[] = {"sha256:" HEX};
    assert_int_equal(model_config_build(&c, diff, 1, &b, &e), 0);
    assert_string_equal(
        b.p, "{\"model_format\":\"gguf\",\"model_family\":\"llama\",\"model_families\":[\"llama\"],"
             "\"model_type\":\"3.2B\",\"file_type\":\"Q4_K_M\",\"renderer\":\"r\","
             "\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","
             "\"diff_ids\":[\"sha256:" HEX "\"]}}");
    assert_int_equal(model_config_parse("c", buf_view(&b), &back, &e), 0);
    assert_string_equal(back.model_type, "3.2B");
    assert_string_equal(back.family[0], "llama");
    assert_null(back.parser);
    model_config_fini(&back);
    buf_fini(&b);
    static const char *const bad[] = {"",
                                      "[]",
                                      "{\"model_family\":1}",
                                      "{\"capabilities\":[1]}",
                                      "{\"capabilities\":\"x\"}",
                                      "{\"context_length\":-1}",
                                      "{\"context_length\":\"1\"}",
                                      "{\"a\":1,\"a\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (model_config_parse("c", str_of(bad[i]), &back, &e) == 0) fail_msg("took %s", bad[i]);
        model_config_fini(&back);
    }
    static const char odd[] = "{\"unknown\":[{}],\"renderer\":null,\"context_length\":8192,"
                              "\"capabilities\":[\"completion\",\"tools\"]}";
    assert_int_equal(model_config_parse("c", str_of(odd), &back, &e), 0);
    assert_int_equal(back.context_length, 8192);
    assert_int_equal(back.n_capability, 2);
    model_config_fini(&back);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests),        cmocka_unit_test(names),
        cmocka_unit_test(name_limits),    cmocka_unit_test(random_names),
        cmocka_unit_test(manifest_bytes), cmocka_unit_test(manifest_bad),
        cmocka_unit_test(manifest_bombs), cmocka_unit_test(configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
