/* Which of our pre-tokenizers does tokenizer.json mean?  GGUF has only a name for it, the hub has
 * patterns, and publishers write the same pattern in many ways.  So patterns are not compared but
 * what they do: tokenizer.json's own stages and each of ours cut a few lines of text, and the first
 * of ours that cuts them all alike is the one.
 *
 * The patterns are a stranger's, so they are matched here, under a limit; the matcher of
 * text/pretok.c is for our own and has none. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "create/convert_priv.h"
#include "text/pretok.h"

enum { MAX_STAGE = 8, MATCH_LIMIT = 200000 };

/* No line has letters with marks or case outside ASCII: there the reference's cuts differ from the
 * published patterns (pretok_data.c), and ours follow the reference. */
static const char *const probes[] = {
    "Hello World, it's fooBar's HelloWORLD I'LL we'Ve don't x'y 'tis",
    "1 12 123 1234 12345 1234567 a1b22c333 3.14 1,000,000 v2",
    "  two   three    four\ttab\t\ttabs \t mix   ",
    "end.\n\nnew\n  indented\r\n\r\n \n x",
    "!!! ... a.b (c) [d]{e} #include<x> a+=b; -- ==> $5 `q` ~z \"s\" 'u'",
    "path/to/file\n//x\n a/b !/\n?\n",
    "\xe4\xb8\xad\xe6\x96\x87 \xe6\xbc\xa2\xe5\xad\x97\xe3\x81\x8b\xe3\x81\xaa "
    "\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xd9\xa3\xd9\xa4\xd9\xa5\xd9\xa6",
    "caf\xc3\xa9 na\xc3\xafve stra\xc3\x9f"
    "e \xe2\x82\xac 5 \xe2\x80\x9cq\xe2\x80\x9d \xf0\x9f\x98\x80\xf0\x9f\x98\x80 ok",
};
enum { N_PROBE = sizeof probes / sizeof *probes };

struct stages {
    pcre2_code *code[MAX_STAGE]; /* owned */
    int n;
    bool failed; /* there is one that cannot be run here */
};

static void add_pattern(struct stages *s, const char *pattern) {
    int code;
    PCRE2_SIZE at;
    if (s->n == MAX_STAGE) {
        s->failed = true;
        return;
    }
    s->code[s->n] = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                  &code, &at, NULL);
    if (s->code[s->n])
        s->n++;
    else
        s->failed = true;
}

#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* One pre_tokenizer object (tokenizers' JSON), sequences and all. */
static void add_stages(struct stages *s, const json_t *j, int depth) {
    const char *type = json_string_value(json_object_get(j, "type"));
    const json_t *list = json_object_get(j, "pretokenizers"), *x;
    const json_t *pattern = json_object_get(j, "pattern"), *flag;
    size_t i;
    if (!type || depth > 4) return;
    if (strcmp(type, "Sequence") == 0) {
        json_array_foreach((json_t *)list, i, x) add_stages(s, x, depth + 1);
    } else if (strcmp(type, "Split") == 0) {
        const char *regex = json_string_value(json_object_get(pattern, "Regex"));
        if (regex)
            add_pattern(s, regex);
        else
            s->failed = true;
    } else if (strcmp(type, "Digits") == 0) {
        flag = json_object_get(j, "individual_digits");
        add_pattern(s, json_is_true(flag) ? "\\p{N}" : "\\p{N}+");
    } else if (strcmp(type, "Punctuation") == 0) {
        add_pattern(s, "[!-/:-@\\[-`{-~\\p{P}]");
    } else if (strcmp(type, "ByteLevel") == 0) {
        flag = json_object_get(j, "use_regex");
        if (!flag || json_is_true(flag)) add_pattern(s, GPT2_PATTERN);
    } else {
        s->failed = true;
    }
}

/* ---- cutting ---- */

static void push_end(struct cuts *c, size_t end) {
    if (c->n < c->cap) c->end[c->n++] = end;
}

/* Each piece of `in` into matches and what lies between.  False when the matcher gave up. */
static bool run_stage(const pcre2_code *code, struct str text, const struct cuts *in,
                      struct cuts *out) {
    pcre2_match_context *ctx = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    bool ok = ctx && data;
    size_t lo = 0;
    if (ok) pcre2_set_match_limit(ctx, MATCH_LIMIT);
    for (size_t i = 0; ok && i < in->n; lo = in->end[i++]) {
        const size_t n = in->end[i] - lo;
        size_t at = 0;
        while (at < n) {
            const int rc = pcre2_match(code, (PCRE2_SPTR)text.p + lo, n, at, 0, data, ctx);
            if (rc == PCRE2_ERROR_NOMATCH) break;
            const PCRE2_SIZE *v = pcre2_get_ovector_pointer(data);
            ok = rc > 0 && v[1] > v[0];
            if (!ok) break;
            if (v[0] > at) push_end(out, lo + v[0]);
            push_end(out, lo + v[1]);
            at = v[1];
        }
        if (at < n) push_end(out, lo + n);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(ctx);
    return ok;
}

enum { MAX_CUTS = 256 };

static bool cut(const struct stages *s, struct str text, struct cuts *out) {
    size_t room[MAX_CUTS];
    struct cuts in = {.end = room, .cap = MAX_CUTS};
    out->n = 0;
    push_end(out, text.n);
    for (int i = 0; i < s->n; i++) {
        memcpy(room, out->end, out->n * sizeof *room);
        in.n = out->n;
        out->n = 0;
        if (!run_stage(s->code[i], text, &in, out)) return false;
    }
    return true;
}

static bool same(const struct cuts *a, const struct cuts *b) {
    return a->n == b->n && memcmp(a->end, b->end, a->n * sizeof *a->end) == 0;
}

/* Does the pre-tokenizer of this name cut all lines as the stages do? */
static bool agrees(const char *name, const struct stages *s, unsigned *flags, struct err *e) {
    bool known;
    struct cuts ours = {0}, tmp = {0};
    struct pretok *p = pretok_new(str_of(name), &known, e);
    bool ok = p != NULL;
    for (int i = 0; ok && i < N_PROBE; i++) {
        size_t room[MAX_CUTS];
        struct cuts theirs = {.end = room, .cap = MAX_CUTS};
        pretok_split(p, str_of(probes[i]), &ours, &tmp);
        ok = cut(s, str_of(probes[i]), &theirs) && same(&ours, &theirs);
    }
    if (p) *flags = pretok_flags(p);
    cuts_fini(&ours);
    cuts_fini(&tmp);
    pretok_free(p);
    return ok;
}

/* Names that stand for others of equal cuts, by what is used most; then the whole table. */
static const char *const usual[] = {"llama-bpe", "dbrx",   "qwen2",  "gpt-2",  "refact",
                                    "smollm",    "gpt-4o", "tekken", "falcon", "deepseek-llm"};
enum { N_USUAL = sizeof usual / sizeof *usual };

const char *pretok_guess(const json_t *tokenizer, bool whole_words, bool *known, struct err *e) {
    struct stages s = {0};
    const char *best = NULL, *name;
    add_stages(&s, json_object_get(tokenizer, "pre_tokenizer"), 0);
    for (int i = 0; !s.failed && (name = i < N_USUAL ? usual[i] : pretok_name_at(i - N_USUAL));
         i++) {
        unsigned flags = 0;
        if (!agrees(name, &s, &flags, e) || (flags & PRETOK_RAW)) continue;
        if (!best) best = name;
        if (whole_words != ((flags & PRETOK_WHOLE_WORDS) != 0)) continue;
        best = name;
        break;
    }
    for (int i = 0; i < s.n; i++)
        pcre2_code_free(s.code[i]);
    *known = best != NULL;
    return best ? best : "default";
}
