/* What lies on the disk when personal data is filtered: kept responses and their chains, the audit
 * log's encrypted texts, cached answers.  Every file of the server's home is searched. */
#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api_rig.h"
#include "audit_rig.h"
#include "policy/answer_record.h"
#include "policy/answer_store.h"

#define JANE "jane.doe@example.com"
#define BOB "bob@example.org"
#define CARD "4111 1111 1111 1111"

/* ---- files ---- */

static void search(const char *path, const char *value) {
    DIR *d = opendir(path);
    if (!d) {
        size_t n;
        struct stat st;
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) return;
        uint8_t *all = slurp(path, &n);
        if (memmem(all, n, value, strlen(value))) fail_msg("%s has \"%s\"", path, value);
        free(all);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char name[1200];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        search(name, value);
    }
    closedir(d);
}

/* The databases, their logs, the server's log. */
static void nothing_has(const char *dir, const char *const *values) {
    for (; *values; values++)
        search(dir, *values);
}

static const char *const raw[] = {"jane",   "ne.doe",    "example.com", "bob@",
                                  "carol@", "4111 1111", "12.03.1985",  NULL};

/* ---- servers ---- */

static void start(struct serve *s, const char *pii, const char *a, const char *b, const char *c) {
    char mode[64];
    snprintf(mode, sizeof mode, "CRIA_PII=%s", pii);
    serve_start(s, NULL, (const char *const[]){mode, a, b, c, NULL});
    api_make(s, "chat", "llama32",
             ",\"template\":\"{{ range .Messages }}[{{ .Role }}] {{ .Content }}{{ end }}\"");
}

/* A response whose text is forced by a schema; `input` is JSON. */
static json_t *respond(const struct serve *s, bool stream, const char *input, const char *forced,
                       const char *more) {
    struct answer a;
    struct buf b = {0};
    buf_printf(&b,
               "{\"model\":\"chat\",\"stream\":%s,\"input\":%s,\"max_output_tokens\":400,"
               "\"temperature\":0,\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"x\","
               "\"schema\":{\"type\":\"string\",\"enum\":[\"%s\"]}}}%s}",
               stream ? "true" : "false", input, forced, more);
    ask(s, &a, "POST", "/v1/responses", NULL, b.p);
    if (a.status != 200) fail_msg("%s: %d %s", b.p, a.status, a.body.p);
    json_t *o = stream ? answer_stream(&a) : answer_json(&a);
    if (stream) {
        json_t *last = json_array_get(o, json_array_size(o) - 1);
        json_t *whole = json_incref(json_object_get(last, "response"));
        json_decref(o);
        o = whole;
    }
    assert_string_equal(text_of(o, "status"), "completed");
    buf_fini(&b);
    answer_fini(&a);
    return o;
}

/* The text of a response: its only message's. */
static const char *said(const json_t *response) {
    const json_t *item = json_array_get(json_object_get(response, "output"), 0);
    return text_of(json_array_get(json_object_get(item, "content"), 0), "text");
}

static void says(const json_t *response, const char *want) {
    if (!strstr(said(response), want)) fail_msg("found %s; wanted %s", said(response), want);
}

static json_t *kept(const struct serve *s, const json_t *response) {
    char path[200];
    snprintf(path, sizeof path, "/v1/responses/%s", text_of(response, "id"));
    return ask_json(s, "GET", path, 200, "%s", "");
}

static json_t *go_on(const struct serve *s, const json_t *before, bool stream, const char *input,
                     const char *forced) {
    char more[200];
    snprintf(more, sizeof more, ",\"previous_response_id\":\"%s\"", text_of(before, "id"));
    return respond(s, stream, input, forced, more);
}

/* ---- responses ---- */

#define ABOUT                                                                                      \
    ",\"instructions\":\"Be kind to " BOB "\",\"metadata\":{\"card\":\"" CARD                      \
    "\"},\"user\":\"" JANE "\""

static void placeholders_are_kept(void **state) {
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        struct serve s;
        start(&s, "replace", "CRIA_LOG_PROMPTS=1", NULL, NULL);
        json_t *one =
            respond(&s, stream, "\"I am " JANE "\"", "Dear <EMAIL_2>, not <EMAIL_1>", ABOUT);
        says(one, "Dear " JANE ", not " BOB);
        assert_string_equal(text_of(one, "instructions"), "Be kind to " BOB);
        json_t *it = kept(&s, one);
        says(it, "Dear <EMAIL_2>, not <EMAIL_1>");
        assert_string_equal(text_of(it, "instructions"), "Be kind to <EMAIL_1>");
        assert_string_equal(text_of(json_object_get(it, "metadata"), "card"), "<CARD_1>");
        assert_string_equal(text_of(it, "user"), "<EMAIL_2>");
        assert_string_equal(text_of(it, "id"), text_of(one, "id"));
        assert_true(json_equal(json_object_get(it, "usage"), json_object_get(one, "usage")));
        json_decref(it);
        /* The chain goes on: what was replaced before stays a placeholder, new values get others.
         */
        json_t *two =
            go_on(&s, one, stream, "\"and carol@example.net\"", "<EMAIL_1> <EMAIL_2> <EMAIL_3>");
        says(two, "<EMAIL_1> <EMAIL_2> carol@example.net");
        json_t *three = go_on(&s, two, stream, "\"who?\"", "<EMAIL_3>");
        says(three, "<EMAIL_3>");
        nothing_has(s.dir, raw); /* while the databases have their logs */
        json_decref(one), json_decref(two), json_decref(three);
        serve_signal(&s, SIGTERM);
        assert_true(serve_ended(&s, 20));
        nothing_has(s.dir, raw);
        serve_kill(&s);
    }
}

static void labels_and_masks_are_kept(void **state) {
    static const char *const modes[][2] = {{"redact", "write to [EMAIL], [CARD]"},
                                           {"mask", "write to j***@e***.com, **** **** **** 1111"}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct serve s;
        start(&s, modes[i][0], NULL, NULL, NULL);
        json_t *one = respond(&s, i, "\"I am " JANE "\"", "write to " JANE ", " CARD, ABOUT);
        says(one, modes[i][1]);
        json_t *it = kept(&s, one), *two = go_on(&s, one, i, "\"yes " BOB "\"", "ok");
        says(it, modes[i][1]);
        says(two, "ok");
        nothing_has(s.dir, raw);
        json_decref(one), json_decref(two), json_decref(it);
        assert_int_equal(serve_stop(&s), 0);
    }
}

/* Only the request asks for it; and what was kept before it did is not kept again. */
static void own_wish(void **state) {
    (void)state;
    struct serve s;
    start(&s, "off", NULL, NULL, NULL);
    json_t *one = respond(&s, false, "\"I am " JANE "\"", "<EMAIL_1>", ",\"pii\":\"replace\"");
    says(one, JANE);
    nothing_has(s.dir, raw);
    json_t *two = respond(&s, false, "\"I am " JANE "\"", "hello", "");
    char path[200], more[200];
    snprintf(path, sizeof path, "/v1/responses/%s", text_of(two, "id"));
    snprintf(more, sizeof more, ",\"pii\":\"redact\",\"previous_response_id\":\"%s\"",
             text_of(two, "id"));
    json_t *three = respond(&s, false, "\"x\"", "y", more);
    json_decref(ask_json(&s, "DELETE", path, 200, "%s", ""));
    json_decref(one), json_decref(two), json_decref(three);
    serve_signal(&s, SIGTERM); /* the database's log is gone with it */
    assert_true(serve_ended(&s, 20));
    nothing_has(s.dir, raw);
    serve_kill(&s);
}

/* What models get as one text is searched as one; arguments are JSON in a text. */
static void in_parts(void **state) {
    (void)state;
    struct serve s;
    start(&s, "redact", NULL, NULL, NULL);
    api_make(&s, "chat", "llama32", API_CALLER);
    json_t *one = respond(
        &s, false,
        "[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"I was born on\"},"
        "{\"type\":\"input_text\",\"text\":\"12.03.1985\"}]},"
        "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"mail\",\"arguments\":"
        "\"{\\\"to\\\":\\\"j\\\\u0061ne.doe\\\\u0040ex\\\\u0061mple.com\\\"}\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"sent to " JANE "\"},"
        "{\"role\":\"user\",\"content\":\"and?\"}]",
        "done", "");
    json_t *two = go_on(&s, one, false, "\"again\"", "yes");
    says(two, "yes");
    nothing_has(s.dir, raw);
    json_decref(one), json_decref(two);
    assert_int_equal(serve_stop(&s), 0);
}

/* The model's own calls: the client gets values, the disk placeholders. */
static void calls(void **state) {
    (void)state;
    struct serve s;
    int n_call = 0;
    start(&s, "replace", NULL, NULL, NULL);
    api_make(&s, "chat", "llama32", API_CALLER);
    for (int seed = 1; seed < 5; seed++) {
        size_t i;
        json_t *item;
        json_t *o = ask_json(
            &s, "POST", "/v1/responses", 200,
            "{\"model\":\"chat\",\"seed\":%d,\"max_output_tokens\":300,\"tool_choice\":"
            "\"required\",\"input\":\"" JANE "\",\"tools\":[{\"type\":\"function\",\"name\":"
            "\"mail\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":{\"to\":"
            "{\"enum\":[\"" JANE "\"]}},\"required\":[\"to\"],\"additionalProperties\":false}}]}",
            seed);
        json_t *it = kept(&s, o);
        json_array_foreach(json_object_get(o, "output"), i, item) {
            const json_t *same = json_array_get(json_object_get(it, "output"), i);
            if (strcmp(text_of(item, "type"), "function_call") != 0) continue;
            n_call++;
            assert_non_null(strstr(text_of(item, "arguments"), JANE));
            assert_non_null(strstr(text_of(same, "arguments"), "<EMAIL_1>"));
            assert_string_equal(text_of(item, "call_id"), text_of(same, "call_id"));
            assert_string_equal(text_of(item, "id"), text_of(same, "id"));
        }
        json_decref(o), json_decref(it);
    }
    assert_true(n_call > 0);
    nothing_has(s.dir, raw);
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- the audit log ---- */

/* The entry of the last request to the route, its texts decrypted. */
static json_t *entry(const char *dir, const char *file, const char *route) {
    char key[700];
    struct ran r;
    json_t *found = NULL;
    snprintf(key, sizeof key, "--private-key=%s/own.pem", dir);
    run_cria(&r, (const char *const[]){"audit", "export", key, file, NULL}, NULL, 0, 30);
    if (r.code != 0) fail_msg("%s", r.err.p);
    for (char *line = r.out.p, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (strcmp(text_of(o, "type"), "request") == 0 && strcmp(text_of(o, "route"), route) == 0) {
            json_decref(found);
            found = json_incref(o);
        }
        json_decref(o);
    }
    if (!found) fail_msg("no entry of %s: %s", route, r.out.p);
    ran_fini(&r);
    return found;
}

static void no_raw_text(const json_t *o, const char *key) {
    assert_true(*text_of(o, key));
    for (int i = 0; raw[i]; i++)
        if (strstr(text_of(o, key), raw[i])) fail_msg("%s: %s", key, text_of(o, key));
}

static void audit_has_the_filtered(void **state) {
    static const struct {
        const char *server, *model, *request; /* who asks for it */
        const char *forced, *client, *audit;
    } is[] = {
        {"redact", "", "", "to " JANE, "to [EMAIL]", "to [EMAIL]"},
        {"mask", "", "", "to " JANE, "to j***@e***.com", "to j***@e***.com"},
        {"replace", "", "", "to <EMAIL_1>", "to " JANE, "to <EMAIL_1>"},
        {"off", "", ",\"pii\":\"replace\"", "to <EMAIL_1>", "to " JANE, "to <EMAIL_1>"},
        {"off", "[model chat]\npolicy = pii=redact\n", "", "to " JANE, "to [EMAIL]", "to [EMAIL]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        struct serve s;
        char *dir = temp_folder(), file[600], set[700], key[700], conf[700], path[600];
        snprintf(file, sizeof file, "%s/audit.db", dir);
        snprintf(set, sizeof set, "CRIA_AUDIT_FILE=%s", file);
        snprintf(key, sizeof key, "CRIA_AUDIT_PUBLIC_KEY=%s/own.pub.pem", dir);
        snprintf(path, sizeof path, "%s/conf", dir);
        snprintf(conf, sizeof conf, "CRIA_CONFIG=%s", path);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "AUDIT = on\nAUDIT_CONTENT = on\nLOG_PROMPTS = on\n%s", is[i].model);
        fclose(f);
        audit_make_key(dir, "own", "X25519");
        start(&s, is[i].server, set, key, conf);
        json_t *o = ask_json(
            &s, "POST", "/api/generate", 200,
            "{\"model\":\"chat\",\"stream\":false,\"prompt\":\"I am j\\u0061ne.doe@example.com, "
            "\\u00014111 1111 1111 1111\",\"options\":{\"temperature\":0},\"format\":{\"type\":"
            "\"string\",\"enum\":[\"%s\"]}%s}",
            is[i].forced, is[i].request);
        if (!strstr(text_of(o, "response"), is[i].client)) fail_msg("%s", text_of(o, "response"));
        nothing_has(s.dir, raw);
        assert_int_equal(serve_stop(&s), 0);
        nothing_has(dir, raw);
        json_t *x = entry(dir, file, "/api/generate");
        no_raw_text(x, "prompt");
        no_raw_text(x, "answer");
        assert_non_null(strstr(text_of(x, "prompt"), "I am [EMAIL]"));
        assert_non_null(strstr(text_of(x, "answer"), is[i].audit));
        const json_t *found = json_object_get(json_object_get(x, "pii"), "request");
        assert_int_equal(json_integer_value(json_object_get(found, "email")), 1);
        assert_int_equal(json_integer_value(json_object_get(found, "card")), 1);
        /* What the client got can still be shown to be that. */
        struct ran r;
        char log[700];
        snprintf(log, sizeof log, "--log=%s", file);
        run_cria(&r, (const char *const[]){"audit", "digest", log, "-", NULL},
                 text_of(o, "response"), strlen(text_of(o, "response")), 30);
        r.out.p[strcspn(r.out.p, "\n")] = 0;
        assert_string_equal(r.out.p, text_of(x, "answer_hmac"));
        ran_fini(&r);
        json_decref(x), json_decref(o);
        temp_remove(dir);
    }
}

/* ---- the response cache ---- */

/* The events of all cached answers, unpacked: as they lie there a search would find nothing. */
static int cached(const char *home, struct buf *out) {
    char path[700];
    sqlite3 *db;
    sqlite3_stmt *st;
    struct err e;
    int n = 0;
    json_t *gen = json_pack("{s:s}", "op", "text");
    snprintf(path, sizeof path, "%s/.cria/answers.db", home);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT value FROM answer", -1, &st, NULL), SQLITE_OK);
    for (; sqlite3_step(st) == SQLITE_ROW; n++) {
        const struct str sealed = {sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0)};
        struct answer_record r = {0};
        struct answer_seal seal;
        struct str value;
        assert_int_equal(answer_unseal(sealed, "", &seal, &value, &e), 0);
        if (answer_unpack(value, gen, &r, &e) != 0) fail_msg("%s", e.msg);
        buf_append(out, r.bytes.p, r.bytes.n);
        answer_record_fini(&r);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    json_decref(gen);
    return n;
}

static void asks(const struct serve *s, const char *prompt, const char *forced, const char *more,
                 const char *want, const char *cache) {
    struct answer a;
    struct buf b = {0};
    buf_printf(
        &b,
        "{\"model\":\"chat\",\"stream\":false,\"prompt\":\"%s\",\"options\":{\"temperature\":"
        "0},\"format\":{\"type\":\"string\",\"enum\":[\"%s\"]}%s}",
        prompt, forced, more);
    ask(s, &a, "POST", "/api/generate", NULL, b.p);
    json_t *o = answer_json(&a);
    if (a.status != 200 || !strstr(text_of(o, "response"), want)) fail_msg("%s", a.body.p);
    assert_string_equal(answer_header(&a, "X-Cache"), cache);
    json_decref(o);
    answer_fini(&a);
    buf_fini(&b);
}

static void cached_answers_are_filtered(void **state) {
    (void)state;
    struct serve s;
    struct buf all = {0};
    start(&s, "replace", "CRIA_RESPONSE_CACHE=on", "CRIA_PII_ENTITIES=all,card=redact", NULL);
    asks(&s, "I am " JANE, "<EMAIL_1> has " CARD, "", JANE " has [CARD]", "MISS");
    asks(&s, "I am " JANE, "<EMAIL_1> has " CARD, "", JANE " has [CARD]", "HIT");
    /* Another's value in the same place: the same question, and its own answer. */
    asks(&s, "I am " BOB, "<EMAIL_1> has " CARD, "", BOB " has [CARD]", "HIT");
    /* Another policy has other answers. */
    asks(&s, "hello", "call " BOB, "", "call " BOB, "MISS");
    asks(&s, "hello", "call " BOB, ",\"pii\":\"redact\"", "call [EMAIL]", "MISS");
    asks(&s, "hello", "call " BOB, ",\"pii\":\"mask\"", "call b***@e***.org", "MISS");
    asks(&s, "hello", "call " BOB, ",\"pii\":\"redact\"", "call [EMAIL]", "HIT");
    asks(&s, "hello", "call " BOB, "", "call " BOB, "HIT");
    serve_signal(&s, SIGTERM);
    assert_true(serve_ended(&s, 20));
    assert_int_equal(cached(s.dir, &all), 4);
    assert_null(memmem(all.p, all.n, "4111", 4));
    assert_null(memmem(all.p, all.n, "jane", 4));
    assert_non_null(memmem(all.p, all.n, "[CARD]", 6));
    buf_fini(&all);
    serve_kill(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placeholders_are_kept),
        cmocka_unit_test(labels_and_masks_are_kept),
        cmocka_unit_test(own_wish),
        cmocka_unit_test(in_parts),
        cmocka_unit_test(calls),
        cmocka_unit_test(audit_has_the_filtered),
        cmocka_unit_test(cached_answers_are_filtered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
