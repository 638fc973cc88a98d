/* Fuzz target: an answer of a model.  The first byte chooses the family, the second how thinking is
 * read; the rest is the answer.  Read whole, and in parts, it must give the same pieces, and what
 * is text must be there. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char *const parsers[] = {
    "hermes",      "llama3",    "mistral",       "qwen3",       "phi4",
    "granite",     "cohere",    "deepseek3",     "deepseek-r1", "kimi",
    "harmony",     "glm-4.7",   "qwen3-coder",   "lfm2",        "olmo3",
    "gemma4",      "ministral", "functiongemma", "functionary", "functionary-3.1",
    "deepseek3.2", "apertus",   "minicpm",       "solar",       "gemma",
};
enum { N_PARSERS = sizeof parsers / sizeof *parsers };

static const char tool_list[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}}}}}]";

static void require(bool holds) {
    if (!holds) abort();
}

struct pieces {
    struct buf out;
    int kind;
    size_t n_text; /* bytes of text and thinking */
};

static int on_piece(void *ctx, const struct answer_piece *p) {
    struct pieces *x = ctx;
    if ((int)p->kind != x->kind || p->kind == ANSWER_CALL) {
        buf_byte(&x->out, 0);
        buf_byte(&x->out, (char)p->kind);
    }
    x->kind = (int)p->kind;
    if (p->kind == ANSWER_CALL) {
        const json_t *f = json_object_get(p->call, "function");
        require(strcmp(json_string_value(json_object_get(f, "name")), "f") == 0);
        char *z = json_dumps(json_object_get(f, "arguments"), JSON_COMPACT);
        require(z && *z == '{');
        buf_str(&x->out, z);
        free(z);
    } else {
        require(p->text.n > 0);
        buf_append(&x->out, p->text.p, p->text.n);
        x->n_text += p->text.n;
    }
    return 0;
}

/* In parts of 1, 2, 3... bytes when step is 1; whole when it is 0. */
static void read_all(const struct answer_opts *o, const uint8_t *p, size_t n, size_t step,
                     struct pieces *x) {
    struct err e = {0};
    struct answer *a = answer_new(NULL, o, &e);
    require(a != NULL);
    x->kind = -1;
    for (size_t at = 0, part = step ? 1 : n; at < n; at += part, part += step) {
        if (part > n - at) part = n - at;
        require(answer_push(a, (struct str){(const char *)p + at, part}, on_piece, x) == 0);
    }
    require(answer_finish(a, on_piece, x) == 0);
    answer_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static json_t *tools;
    if (!tools) tools = json_loads(tool_list, 0, NULL);
    if (n < 2 || n > 100000) return 0;
    const struct answer_opts o = {.parser = parsers[bytes[0] % N_PARSERS],
                                  .tools = bytes[1] & 4 ? NULL : tools,
                                  .thinking = !(bytes[1] & 1),
                                  .in_thinking = bytes[1] & 2};
    struct pieces whole = {0}, parts = {0};
    read_all(&o, bytes + 2, n - 2, 0, &whole);
    read_all(&o, bytes + 2, n - 2, 1, &parts);
    require(whole.out.n == parts.out.n &&
            (whole.out.n == 0 || memcmp(whole.out.p, parts.out.p, whole.out.n) == 0));
    require(whole.n_text <= n - 2);
    buf_fini(&whole.out);
    buf_fini(&parts.out);
    return 0;
}
