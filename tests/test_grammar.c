/* Constrained answers, through `cria debug grammar` and `cria debug schema`. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* One line through a door; json_decref the answer. */
static json_t *ask(const char *door, json_t *line) {
    const char *const args[] = {"debug", door, NULL};
    char *text = json_dumps(line, JSON_COMPACT);
    struct ran r;
    assert_int_equal(run_cria(&r, args, text, strlen(text), 10), 0);
    json_t *out = json_loads(r.out.p, 0, NULL);
    assert_non_null(out);
    ran_fini(&r);
    free(text);
    json_decref(line);
    return out;
}

static void gbnf_line(void *ctx, int line, json_t *v) {
    json_t *s;
    size_t i;
    json_array_foreach(json_object_get(v, "strings"), i, s) {
        json_t *out =
            ask("grammar", json_pack("{s:O, s:O}", "grammar", json_object_get(v, "grammar"), "text",
                                     json_object_get(s, "text")));
        if (!json_is_true(json_object_get(v, "parses"))) {
            assert_non_null(json_object_get(out, "error"));
        } else {
            assert_true(json_equal(json_object_get(out, "accepted_bytes"),
                                   json_object_get(s, "accepted_bytes")));
            assert_true(
                json_equal(json_object_get(out, "complete"), json_object_get(s, "complete")));
        }
        json_decref(out);
    }
    (void)ctx, (void)line;
}

static void golden_grammars(void **state) {
    assert_int_equal(each_jsonl(golden("grammar/gbnf.jsonl"), gbnf_line, NULL), 14);
    (void)state;
}

/* 1: accepted, 0: not, -1: an error. */
static int verdict(const json_t *schema, const json_t *value, size_t flags) {
    char *text = json_dumps(value, flags | JSON_ENCODE_ANY);
    json_t *out = ask("schema", json_pack("{s:O, s:s}", "schema", schema, "text", text));
    const int v =
        json_object_get(out, "error") ? -1 : json_is_true(json_object_get(out, "accepted"));
    free(text);
    json_decref(out);
    return v;
}

/* A value with its keys in the order of the schema's properties, as the golden data says: one of
 * its instances is written in another. */
static json_t *in_order(const json_t *schema, const json_t *value) {
    const json_t *props = json_object_get(schema, "properties");
    if (!json_is_object(value) || !props) return json_deep_copy(value);
    json_t *out = json_object(), *v;
    const char *key;
    json_object_foreach((json_t *)props, key, v) {
        json_t *own = json_object_get(value, key);
        if (own) json_object_set_new(out, key, in_order(v, own));
    }
    json_object_foreach((json_t *)value, key, v) {
        if (!json_object_get(out, key)) json_object_set(out, key, v);
    }
    return out;
}

static void schema_line(void *ctx, int line, json_t *v) {
    const json_t *schema = json_object_get(v, "schema"), *one;
    const char *name = json_string_value(json_object_get(v, "name"));
    size_t i;
    json_array_foreach(json_object_get(v, "valid"), i, one) {
        json_t *ordered = in_order(schema, one);
        for (int k = 0; k < 3; k++) {
            static const size_t flags[] = {JSON_COMPACT, JSON_INDENT(2), JSON_ENSURE_ASCII};
            const int got = verdict(schema, ordered, flags[k]);
            if (got != 1) fail_msg("%s: valid instance %zu: %d", name, i, got);
        }
        json_decref(ordered);
    }
    json_array_foreach(json_object_get(v, "invalid"), i, one) {
        if (verdict(schema, one, JSON_COMPACT) == 1) fail_msg("%s: invalid instance %zu", name, i);
    }
    (void)ctx, (void)line;
}

static void golden_schemas(void **state) {
    assert_int_equal(each_jsonl(golden("grammar/schemas.jsonl"), schema_line, NULL), 29);
    (void)state;
}

static void refused(const char *grammar, const char *word) {
    json_t *out = ask("grammar", json_pack("{s:s, s:s}", "grammar", grammar, "text", "a"));
    const char *msg = json_string_value(json_object_get(out, "error"));
    if (!msg || !strstr(msg, word)) fail_msg("%.40s: %s", grammar, msg ? msg : "no error");
    json_decref(out);
}

static void hostile_grammars(void **state) {
    char *deep = calloc(1, 120000);
    memcpy(deep, "root ::= ", 9);
    memset(deep + 9, '(', 100000);
    refused(deep, "deeper than 100");
    refused("root ::= root \"a\"", "left recursion");
    refused("root ::= e b\ne ::= \"\"\nb ::= root | \"a\"", "left recursion");
    refused("root ::= \"a\"{0,1000000000}", "repetition above");
    refused("root ::= [z-a]", "ends before");
    refused("root ::= *", "unexpected");
    free(deep);
    (void)state;
}

static void unknown_keyword(void **state) {
    json_t *out = ask("schema", json_pack("{s:{s:s, s:i}, s:s}", "schema", "type", "integer",
                                          "mystery", 3, "text", "3"));
    assert_non_null(strstr(json_string_value(json_object_get(out, "error")), "mystery"));
    json_decref(out);
    (void)state;
}

/* The fuzzer's: an empty name was looked for without end. */
static void empty_type(void **state) {
    json_t *out = ask("schema", json_pack("{s:{s:s}, s:s}", "schema", "type", "", "text", "3"));
    assert_non_null(json_object_get(out, "error"));
    json_decref(out);
    (void)state;
}

/* What cannot be enforced is refused, not dropped; a type beside an enum chooses among its values.
 */
static void nothing_is_dropped(void **state) {
    (void)state;
    static const char *const unenforced[] = {
        "{\"type\":\"object\",\"properties\":{},\"required\":[\"a\"]}",
        "{\"$ref\":\"#/$defs/a\",\"type\":\"string\",\"$defs\":{\"a\":{\"type\":\"integer\"}}}",
        "{\"allOf\":[{\"type\":\"string\"},{\"properties\":{}}]}",
        "{\"type\":\"string\",\"allOf\":[{\"properties\":{}}]}",
        "{\"type\":\"string\",\"enum\":[1,2]}",
        "{\"type\":\"string\",\"const\":1}",
    };
    for (size_t i = 0; i < sizeof unenforced / sizeof *unenforced; i++) {
        json_t *schema = json_loads(unenforced[i], 0, NULL);
        json_t *out = ask("schema", json_pack("{s:o, s:s}", "schema", schema, "text", "{}"));
        if (json_is_true(json_object_get(out, "accepted"))) fail_msg("%s: accepted", unenforced[i]);
        json_decref(out);
    }
    json_t *typed = json_loads("{\"type\":\"string\",\"enum\":[\"a\",1]}", 0, NULL);
    json_t *one = json_string("a"), *other = json_integer(1);
    assert_int_equal(verdict(typed, one, JSON_ENCODE_ANY), 1);
    assert_int_equal(verdict(typed, other, JSON_ENCODE_ANY), 0);
    json_decref(typed), json_decref(one), json_decref(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_grammars),  cmocka_unit_test(golden_schemas),
        cmocka_unit_test(hostile_grammars), cmocka_unit_test(unknown_keyword),
        cmocka_unit_test(empty_type),       cmocka_unit_test(nothing_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
