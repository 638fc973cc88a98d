/* The fields of requests.  The tables that the server itself checks with (server/field.h, reached
 * through its routes) make the wrong requests: every route x {good, missing field, every field with
 * values of every other type, out of its range, null, unknown field, unknown model, bad JSON, no
 * body, huge, deep}.  docs/openapi.yaml is held against the same tables. */
#include "api_rig.h"
#include "yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "create/tune.h"
#include "server/front_priv.h"
#include "server/param.h"
#include "server/route.h"

static struct serve S;

static int start(void **state) {
    (void)state;
    serve_start(&S, NULL, (const char *const[]){"CRIA_DEBUG=1", NULL});
    api_make(&S, "chat", "llama32",
             ",\"template\":\"{{ range .Messages }}[{{ .Role }}] {{ .Content }}{{ end }}\"");
    api_make(&S, "bert", "bert", "");
    return 0;
}

static int stop(void **state) {
    (void)state;
    return serve_stop(&S);
}

/* ---- a request that each route takes ---- */

#define MESSAGES "'messages':[{'role':'user','content':'hi'}]"
#define SHORT "'options':{'num_predict':1}"

static const struct good {
    const char *path, *body; /* with ' for " */
    int status;              /* of body; 0: not sent (it would change the store, or reach out) */
} goods[] = {
    {"/api/generate", "{'model':'chat','prompt':'a'," SHORT "}", 200},
    {"/api/chat", "{'model':'chat'," MESSAGES "," SHORT "}", 200},
    {"/api/embed", "{'model':'bert','input':'a'}", 200},
    {"/api/embeddings", "{'model':'bert','prompt':'a'}", 200},
    {"/api/show", "{'model':'chat'}", 200},
    {"/api/create", "{'model':'made','from':'chat','stream':false}", 200},
    {"/api/pull", "{'model':'nobody.invalid/x/y','stream':false}", 0},
    {"/api/push", "{'model':'chat','stream':false}", 0},
    {"/api/train",
     "{'model':'made','from':'chat','data':"
     "'sha256:0000000000000000000000000000000000000000000000000000000000000000'}",
     404},
    {"/api/forget", "{'history':true}", 200}, /* the client's own: nothing is wiped */
    {"/api/audit/prune", "{'before':'2026-01-01'}", 404},
    {"/api/audit/isolation", "{'walls':{},'tries':[]}", 404},
    {"/api/copy", "{'source':'chat','destination':'made'}", 200},
    {"/api/delete", "{'model':'nobody'}", 404},
    {"/v1/chat/completions", "{'model':'chat'," MESSAGES ",'max_tokens':1}", 200},
    {"/v1/completions", "{'model':'chat','prompt':'a','max_tokens':1}", 200},
    {"/v1/embeddings", "{'model':'bert','input':'a'}", 200},
    {"/v1/responses", "{'model':'chat','input':'a','max_output_tokens':1}", 200},
    {"/v1/messages", "{'model':'chat'," MESSAGES ",'max_tokens':1}", 200},
    {"/v1/messages/count_tokens", "{'model':'chat'," MESSAGES "}", 200},
    {"/api/tokenize", "{'model':'chat','text':'a'}", 200},
    {"/api/detokenize", "{'model':'chat','tokens':[5]}", 200},
    {"/api/apply-template", "{'model':'chat'," MESSAGES "}", 200},
    {"/api/rerank", "{'model':'bert','query':'a','documents':['b']}", 200},
    {"/api/pii", "{'text':'a'}", 200},
    {"/v1/rerank", "{'model':'bert','query':'a','documents':['b']}", 200},
};
enum { N_GOOD = sizeof goods / sizeof *goods };

static const struct good *good_of(const struct route *r) {
    for (int i = 0; i < N_GOOD; i++)
        if (strcmp(goods[i].path, r->path) == 0) return &goods[i];
    fail_msg("%s has fields and no good request here", r->path);
    return NULL;
}

/* The i-th route with a table of fields; NULL behind the last. */
static const struct route *with_fields(int i) {
    const struct route *r;
    for (int k = 0; (r = route_at(k)); k++)
        if (r->fields && i-- == 0) return r;
    return NULL;
}

/* ---- asking ---- */

struct said {
    int status;
    char message[600], param[100], ignored[100]; /* of an error, in its dialect's form; or "" */
};

static void read_error(const struct route *r, const struct answer *a, struct said *s) {
    json_t *j = answer_json(a), *e = json_object_get(j, "error");
    const json_t *text = json_is_string(e) ? e : json_object_get(e, "message");
    if (json_is_string(e) != (r->dialect == DIALECT_OLLAMA) || !json_is_string(text))
        fail_msg("%s: an error of another form: %s", r->path, a->body.p);
    if (r->dialect == DIALECT_OPENAI) assert_int_equal(json_object_size(e), 4);
    if (r->dialect == DIALECT_ANTHROPIC)
        assert_string_equal(json_string_value(json_object_get(j, "type")), "error");
    const char *param = json_string_value(json_object_get(e, "param"));
    snprintf(s->message, sizeof s->message, "%s", json_string_value(text));
    snprintf(s->param, sizeof s->param, "%s", param ? param : "");
    json_decref(j);
}

static struct said post_text(const struct route *r, const char *body) {
    struct answer a;
    struct said s = {0};
    ask(&S, &a, http_method_name(r->method), r->path, NULL, body);
    s.status = a.status;
    const char *ignored = answer_header(&a, "X-Cria-Ignored");
    snprintf(s.ignored, sizeof s.ignored, "%s", ignored ? ignored : "");
    if (a.status >= 400) read_error(r, &a, &s);
    answer_fini(&a);
    return s;
}

static struct said post(const struct route *r, json_t *take) {
    char *text = json_dumps(take, JSON_COMPACT);
    const struct said s = post_text(r, text);
    free(text);
    json_decref(take);
    return s;
}

/* The good request with another value. */
static json_t *with(const struct route *r, const char *field, json_t *take) {
    json_t *j = api_quoted(good_of(r)->body);
    json_object_set_new(j, field, take);
    return j;
}

/* 400, which names the field, also in "param". */
static void refused(const struct route *r, const char *field, json_t *take) {
    char *value = json_dumps(take, JSON_COMPACT | JSON_ENCODE_ANY);
    const struct said s = post(r, with(r, field, take));
    const size_t n = strlen(field);
    if (s.status != 400) fail_msg("%s \"%s\": %s: %d", r->path, field, value, s.status);
    if (r->dialect == DIALECT_OPENAI &&
        (strncmp(s.param, field, n) != 0 || (s.param[n] && !strchr(".[", s.param[n]))))
        fail_msg("%s \"%s\": %s: param \"%s\" of %s", r->path, field, value, s.param, s.message);
    if (!strstr(s.message, field) && !(strcmp(field, "think") == 0 && strstr(s.message, "think")))
        fail_msg("%s \"%s\": %s: %s", r->path, field, value, s.message);
    free(value);
}

/* ---- the matrix ---- */

static void good(void **state) {
    (void)state;
    const struct route *r;
    for (int i = 0; (r = with_fields(i)); i++) {
        const struct good *g = good_of(r);
        const struct said s = g->status ? post(r, api_quoted(g->body)) : (struct said){0};
        if (s.status != g->status) fail_msg("%s: %d %s", r->path, s.status, s.message);
        assert_string_equal(s.ignored, "");
    }
}

static void missing_field(void **state) {
    (void)state;
    const struct route *r;
    int n = 0;
    for (int i = 0; (r = with_fields(i)); i++)
        for (const struct field *d = r->fields; d->name; d++) {
            char want[100];
            if (!d->required) continue;
            snprintf(want, sizeof want, "%s is required", d->name);
            for (int k = 0; k < 2; k++) { /* null is absent */
                json_t *j = with(r, d->name, json_null());
                if (k == 0) json_object_del(j, d->name);
                const struct said s = post(r, j);
                if (s.status != 400 || strcmp(s.message, want) != 0)
                    fail_msg("%s without %s: %d %s", r->path, d->name, s.status, s.message);
                if (r->dialect == DIALECT_OPENAI) assert_string_equal(s.param, d->name);
                n++;
            }
        }
    assert_true(n > 50);
}

static void wrong_type(void **state) {
    (void)state;
    static const struct {
        unsigned type;
        const char *value;
    } of_type[] = {{FIELD_TEXT, "'words'"}, {FIELD_BOOL, "true"}, {FIELD_INT | FIELD_NUMBER, "7"},
                   {FIELD_NUMBER, "0.5"},   {FIELD_ARRAY, "[]"},  {FIELD_OBJECT, "{}"}};
    const struct route *r;
    int n = 0;
    for (int i = 0; (r = with_fields(i)); i++)
        for (const struct field *d = r->fields; d->name; d++)
            for (size_t k = 0; k < sizeof of_type / sizeof *of_type; k++) {
                if (d->types & of_type[k].type) continue;
                refused(r, d->name, api_quoted(of_type[k].value));
                if (d->also && d->types) {
                    json_t *j = with(r, d->also, api_quoted(of_type[k].value));
                    json_object_del(j, d->name);
                    assert_int_equal(post(r, j).status, 400);
                }
                n++;
            }
    assert_true(n > 700);
}

static void out_of_range(void **state) {
    (void)state;
    const struct route *r;
    int n = 0;
    for (int i = 0; (r = with_fields(i)); i++)
        for (const struct field *d = r->fields; d->name; d++) {
            if (d->one_of) refused(r, d->name, json_string("nothing of that"));
            if (d->one_of) refused(r, d->name, json_string(""));
            if (d->min == 0 && d->max == 0) continue;
            refused(r, d->name, json_real(d->min - 1));
            refused(r, d->name, json_real(d->max + (d->max < 1e6 ? 1 : d->max)));
            n++;
        }
    assert_true(n > 40);
}

/* What is absent changes nothing, so null does not either. */
static void null_field(void **state) {
    (void)state;
    const struct route *r;
    for (int i = 0; (r = with_fields(i)); i++)
        for (const struct field *d = r->fields; d->name; d++) {
            if (!good_of(r)->status || d->required || !d->types) continue;
            json_t *j = api_quoted(good_of(r)->body);
            if (json_object_get(j, d->name) || strcmp(r->path, "/api/copy") == 0) {
                json_decref(j);
                continue;
            }
            json_object_set_new(j, d->name, json_null());
            const struct said s = post(r, j);
            if (s.status != good_of(r)->status)
                fail_msg("%s \"%s\": null: %d %s", r->path, d->name, s.status, s.message);
        }
}

static void unknown_field(void **state) {
    (void)state;
    const struct route *r;
    for (int i = 0; (r = with_fields(i)); i++) {
        const bool native = r->dialect == DIALECT_OLLAMA;
        if (native && !good_of(r)->status) continue;
        const bool refuses = !native || strcmp(r->path, "/api/train") == 0;
        const struct said s = post(r, with(r, "colour", api_quoted("'red'")));
        if (s.status != (refuses ? 400 : good_of(r)->status))
            fail_msg("%s: %d %s", r->path, s.status, s.message);
        assert_string_equal(s.ignored, refuses ? "" : "colour");
        if (refuses) assert_non_null(strstr(s.message, "colour"));
        if (r->dialect == DIALECT_OPENAI) assert_string_equal(s.param, "colour");
    }
    assert_true(serve_lines(&S, "ignored: colour", "debug", 8) >= 8);
}

/* A header says which; names from outside cannot end it, nor make it long. */
static void ignored_names(void **state) {
    (void)state;
    const struct route *chat = route_find(HTTP_POST, "/api/chat").route;
    json_t *j = with(chat, "a\r\nX-Evil: 1", json_true());
    json_object_set_new(j, "temperature", json_true());
    json_object_set_new(json_array_get(json_object_get(j, "messages"), 0), "name",
                        json_string("anna"));
    for (int i = 0; i < 1000; i++) {
        char name[40];
        snprintf(name, sizeof name, "field_number_%d", i);
        json_object_set_new(j, name, json_null());
    }
    char *text = json_dumps(j, JSON_COMPACT);
    struct answer a;
    ask(&S, &a, "POST", "/api/chat", NULL, text);
    assert_int_equal(a.status, 200);
    const char *ignored = answer_header(&a, "X-Cria-Ignored");
    assert_true(strncmp(ignored, "a??X-Evil??1, temperature", 25) == 0 && strlen(ignored) < 100);
    assert_null(answer_header(&a, "X-Evil"));
    assert_non_null(strstr(a.head.p, "X-Cria-Ignored: messages[0].name\r\n"));
    answer_fini(&a);
    free(text);
    json_decref(j);
}

static void other_names(void **state) {
    (void)state;
    const struct route *r;
    for (int i = 0; (r = with_fields(i)); i++)
        for (const struct field *d = r->fields; d->name; d++) {
            json_t *j = api_quoted(good_of(r)->body), *v = json_object_get(j, d->name);
            if (d->also && v && good_of(r)->status) {
                json_object_set(j, d->also, v);
                json_object_set_new(j, d->name, json_string(""));
                const struct said s = post(r, json_incref(j));
                if (s.status != good_of(r)->status)
                    fail_msg("%s \"%s\": %d %s", r->path, d->also, s.status, s.message);
                assert_string_equal(s.ignored, "");
            }
            json_decref(j);
        }
}

static void unknown_model(void **state) {
    (void)state;
    static const char *const bad[] = {"../../etc/passwd", "a b", "x/../../y"};
    const struct route *r;
    for (int i = 0; (r = with_fields(i)); i++) {
        if (r->fields->name && strcmp(r->fields->name, "model") != 0) continue;
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
            refused(r, "model", json_string(bad[k]));
        if (strstr("/api/create /api/pull /api/train", r->path)) continue; /* they make one */
        const struct said s = post(r, with(r, "model", json_string("nobody")));
        if (s.status != 404 || !strstr(s.message, "nobody"))
            fail_msg("%s: %d %s", r->path, s.status, s.message);
        if (r->dialect == DIALECT_OPENAI) assert_string_equal(s.param, "model");
    }
}

static void bad_bodies(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{",   "[]", "nope", "{\"a\":1,}", "\"a\"", "{\"a\":\"\xff\"}", "{\"model\":1,\"model\":2}",
        "{}{}"};
    const struct route *r;
    char *deep = api_deep(), *huge = api_long("{\"model\":\"", BODY_MAX, "\"}"),
         *name = api_long("{\"model\":\"", 100000, "\"}");
    for (int i = 0; (r = with_fields(i)); i++) {
        assert_string_equal(post_text(r, NULL).message, "missing request body");
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
            if (post_text(r, bad[k]).status != 400) fail_msg("%s %s", r->path, bad[k]);
        assert_int_equal(post_text(r, deep).status, 400);
        assert_int_equal(post_text(r, name).status, 400);
        if (post_text(r, huge).status != 413) fail_msg("%s: a huge body", r->path);
    }
    free(deep), free(huge), free(name);
}

/* ---- "param" of what the engine finds ---- */

static void param_of_engine(void **state) {
    (void)state;
    static const struct {
        const char *path, *field, *value, *param, *code;
    } cases[] = {
        {"/v1/chat/completions", "response_format",
         "{'type':'json_schema','json_schema':{'name':'x','schema':{'type':'nothing'}}}",
         "response_format", NULL},
        {"/v1/chat/completions", "options", "{'top_k':'x'}", "options.top_k", NULL},
        {"/v1/chat/completions", "keep_alive", "'5 parsecs'", "keep_alive", NULL},
        {"/v1/chat/completions", "num_ctx", "4", "messages", "context_length_exceeded"},
        {"/v1/chat/completions", "reasoning_effort", "'low'", "reasoning_effort", NULL},
        {"/v1/chat/completions", "tools", "[{'type':'function','function':{'name':'f'}}]", "tools",
         NULL},
        {"/v1/chat/completions", "model", "'bert'", "model", NULL},
        {"/v1/completions", "prompt", "[4000000]", "prompt", NULL},
        {"/v1/completions", "suffix", "'x'", "suffix", NULL},
        {"/v1/completions", "response_format", "{'type':'regex','regex':'('}", "response_format",
         NULL},
        {"/v1/embeddings", "input", "[4000000]", "input", NULL},
        {"/v1/embeddings", "dimensions", "100000", "dimensions", NULL},
        {"/v1/responses", "text", "{'format':{'type':'gbnf','gbnf':'root ::= ('}}", "text", NULL},
        {"/v1/responses", "num_ctx", "4", "input", "context_length_exceeded"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct route *r = route_find(HTTP_POST, cases[i].path).route;
        json_t *j = with(r, cases[i].field, api_quoted(cases[i].value));
        char *text = json_dumps(j, JSON_COMPACT);
        struct answer a;
        ask(&S, &a, "POST", r->path, NULL, text);
        json_t *o = answer_json(&a), *e = json_object_get(o, "error");
        const char *param = json_string_value(json_object_get(e, "param")),
                   *code = json_string_value(json_object_get(e, "code"));
        if (a.status != 400 || !param || strcmp(param, cases[i].param) != 0 ||
            strcmp(code ? code : "", cases[i].code ? cases[i].code : "") != 0)
            fail_msg("%s: %d %s", text, a.status, a.body.p);
        answer_fini(&a);
        json_decref(o);
        json_decref(j);
        free(text);
    }
}

static void names_of_clients(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        /* body, engine's name, the client's */
        {"{'max_tokens':1}", "options.num_predict", "max_tokens"},
        {"{'max_completion_tokens':1}", "options.num_predict", "max_completion_tokens"},
        {"{'options':{'num_predict':1},'max_tokens':1}", "options.num_predict",
         "options.num_predict"},
        {"{'top_p':1}", "options.top_p", "top_p"},
        {"{}", "options.num_ctx", ""}, /* the model file's own */
        {"{'response_format':{}}", "format", "response_format"},
        {"{'text':{}}", "format", "text"},
        {"{'prompt':[1]}", "tokens", "prompt"},
        {"{'input':'x'}", "messages", "input"},
        {"{'messages':[]}", "messages", "messages"},
        {"{'messages':[]}", "messages[0].role", "messages[0].role"},
        {"{}", "model", "model"},
        {"{}", "messages", "messages"},
        {"{}", "format", ""},
        {"{}", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[ERR_FIELD];
        json_t *body = api_quoted(cases[i][0]);
        param_of(body, cases[i][1], out);
        if (strcmp(out, cases[i][2]) != 0) fail_msg("%s %s: %s", cases[i][0], cases[i][1], out);
        json_decref(body);
    }
}

/* ---- docs/openapi.yaml ---- */

static const json_t *follow(const json_t *spec, const json_t *v) {
    const char *ref = json_string_value(json_object_get(v, "$ref"));
    char path[200], *save;
    if (!ref) return v;
    snprintf(path, sizeof path, "%s", ref + 2);
    v = spec;
    for (char *s = strtok_r(path, "/", &save); s; s = strtok_r(NULL, "/", &save))
        v = json_object_get(v, s);
    if (!v) fail_msg("%s is not there", ref);
    return follow(spec, v);
}

static unsigned type_named(const char *name) {
    static const char *const names[] = {"string", "boolean", "integer",
                                        "number", "array",   "object"};
    for (int i = 0; i < 6; i++)
        if (strcmp(names[i], name) == 0) return 1u << i;
    assert_string_equal(name, "null");
    return 0;
}

/* What a schema of the description lets through. */
struct allows {
    unsigned types;
    const json_t *min, *max, *words;
};

static unsigned type_of_value(const json_t *v) {
    return json_is_string(v) ? FIELD_TEXT : json_is_boolean(v) ? FIELD_BOOL : FIELD_NUMBER;
}

static void add_schema(const json_t *spec, const json_t *v, struct allows *a) {
    static const char *const either[] = {"oneOf", "anyOf"};
    v = follow(spec, v);
    const json_t *type = json_object_get(v, "type"), *words = json_object_get(v, "enum"),
                 *only = json_object_get(v, "const");
    if (json_is_string(type)) a->types |= type_named(json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++)
        a->types |= type_named(json_string_value(json_array_get(type, i)));
    if (!type && words) a->types |= type_of_value(json_array_get(words, 0));
    if (!type && only) a->types |= type_of_value(only);
    if (json_object_get(v, "minimum")) a->min = json_object_get(v, "minimum");
    if (json_object_get(v, "maximum")) a->max = json_object_get(v, "maximum");
    if (words) a->words = words;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < json_array_size(json_object_get(v, either[k])); i++)
            add_schema(spec, json_array_get(json_object_get(v, either[k]), i), a);
    if (json_object_get(v, "deprecated") && !a->types) a->types = FIELD_ANY;
}

static void compare_field(const struct route *r, const struct field *d, const struct allows *a) {
    unsigned types = d->types;
    if (types & FIELD_NUMBER && a->types != FIELD_ANY) types &= ~(unsigned)FIELD_INT;
    if (types != a->types)
        fail_msg("%s \"%s\": types %#x, described as %#x", r->path, d->name, types, a->types);
    if (a->min && json_number_value(a->min) != d->min)
        fail_msg("%s \"%s\": from %g, not %g", r->path, d->name, d->min, json_number_value(a->min));
    if (a->max && json_number_value(a->max) != d->max)
        fail_msg("%s \"%s\": to %g, not %g", r->path, d->name, d->max, json_number_value(a->max));
    if (d->one_of && a->words)
        for (size_t i = 0; i < json_array_size(a->words); i++)
            assert_true(field_among(json_string_value(json_array_get(a->words, i)), d->one_of));
}

static bool is_required(const json_t *schema, const char *name) {
    const json_t *list = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0) return true;
    return false;
}

static void compare(const struct route *r, const json_t *spec, const json_t *schema) {
    json_t *properties = json_object_get(schema, "properties"), *v;
    const char *name;
    const bool strict = json_is_false(json_object_get(schema, "additionalProperties"));
    if (strict != (r->dialect != DIALECT_OLLAMA))
        fail_msg("%s: what is not listed is %s", r->path, strict ? "refused" : "ignored");
    for (const struct field *d = r->fields; d->name; d++) {
        const json_t *p = json_object_get(properties, d->name);
        struct allows a = {0};
        if (!p != !d->types) fail_msg("%s \"%s\" is not described", r->path, d->name);
        if (!p) continue;
        add_schema(spec, p, &a);
        compare_field(r, d, &a);
        if (!d->also && is_required(schema, d->name) != d->required)
            fail_msg("%s \"%s\": required or not?", r->path, d->name);
    }
    json_object_foreach(properties, name, v) {
        const struct field *d = r->fields;
        while (d->name && strcmp(d->name, name) != 0 && !(d->also && strcmp(d->also, name) == 0))
            d++;
        if (!d->name) fail_msg("%s \"%s\" is described, and not known", r->path, name);
    }
}

static void description(void **state) {
    (void)state;
    static const char *const step[] = {"requestBody", "content", "application/json", "schema"};
    static const char *const method[] = {[HTTP_POST] = "post", [HTTP_DELETE] = "delete"};
    json_t *spec = yaml_read("docs/openapi.yaml");
    const struct route *r;
    for (int i = 0; (r = with_fields(i)); i++) {
        const json_t *v = json_object_get(json_object_get(spec, "paths"), r->path);
        v = json_object_get(v, method[r->method]);
        for (int k = 0; k < 4; k++)
            v = json_object_get(v, step[k]);
        if (!v) fail_msg("%s has no description of its body", r->path);
        compare(r, spec, follow(spec, v));
    }
    json_decref(spec);
}

/* A table of its own: create/tune.h. */
static void options_of_training(void **state) {
    (void)state;
    json_t *spec = yaml_read("docs/openapi.yaml"), *v;
    const json_t *o = spec;
    const char *const step[] = {
        "components", "schemas", "NativeTrainRequest", "properties", "options", "properties", NULL};
    const char *name;
    struct buf known = {0};
    int n = 0;
    for (int i = 0; step[i]; i++)
        o = json_object_get(o, step[i]);
    tune_list(&known);
    buf_str(&known, " ");
    json_object_foreach((json_t *)(uintptr_t)o, name, v) {
        char word[64];
        snprintf(word, sizeof word, " %s ", name);
        if (!strstr(known.p, word)) fail_msg("%s is described, and not known", name);
    }
    for (const char *c = known.p; *c; c++)
        n += *c == ' ';
    assert_int_equal(json_object_size(o), n - 1);
    buf_fini(&known);
    json_decref(spec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(description),      cmocka_unit_test(options_of_training),
        cmocka_unit_test(names_of_clients), cmocka_unit_test(good),
        cmocka_unit_test(missing_field),    cmocka_unit_test(wrong_type),
        cmocka_unit_test(out_of_range),     cmocka_unit_test(null_field),
        cmocka_unit_test(unknown_field),    cmocka_unit_test(ignored_names),
        cmocka_unit_test(other_names),      cmocka_unit_test(unknown_model),
        cmocka_unit_test(bad_bodies),       cmocka_unit_test(param_of_engine),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
