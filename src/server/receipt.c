/* See receipt.h. */
#include "server/receipt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/buf.h"
#include "base/os.h"
#include "base/sha256.h"
#include "base/version.h"
#include "cpu/cpu.h"

enum { HEX = 2 * SHA256_BYTES + 1, MAX_CHOICES = 128, BUILD_ID = 64 };

struct output {
    struct sha256 text, tokens;
    int n_token;
    enum gen_kind kind; /* of the last piece */
    enum gen_why why;
};

struct receipt {
    char *model, *digest;
    json_t *request;
    struct sha256 prompt;
    int n_prompt, n, n_finished;
    bool failed;
    struct output output[]; /* [n] */
};

static void hex(const uint8_t *bytes, size_t n, char *out) {
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++)
        out[2 * i] = digit[bytes[i] >> 4], out[2 * i + 1] = digit[bytes[i] & 15];
    out[2 * n] = 0;
}

static void add_tokens(struct sha256 *s, const int32_t *token, int n) {
    for (int i = 0; i < n; i++) {
        const uint32_t t = (uint32_t)token[i];
        const uint8_t le[4] = {(uint8_t)t, (uint8_t)(t >> 8), (uint8_t)(t >> 16),
                               (uint8_t)(t >> 24)};
        sha256_add(s, le, sizeof le);
    }
}

struct receipt *receipt_new(const char *model, const char *digest, const json_t *request,
                            struct err *e) {
    const json_int_t wanted = json_integer_value(json_object_get(request, "n"));
    const int n = wanted < 1 ? 1 : wanted > MAX_CHOICES ? MAX_CHOICES : (int)wanted;
    struct receipt *p = calloc(1, sizeof *p + (size_t)n * sizeof *p->output);
    if (!p) {
        err_nomem(e, "receipt");
        return NULL;
    }
    p->n = n;
    p->model = strdup(model);
    p->digest = strdup(digest);
    p->request = json_deep_copy(request);
    sha256_init(&p->prompt);
    for (int i = 0; i < n; i++) {
        sha256_init(&p->output[i].text), sha256_init(&p->output[i].tokens);
        p->output[i].kind = GEN_TEXT;
    }
    if (p->model && p->digest && p->request) return p;
    receipt_free(p);
    err_nomem(e, "receipt");
    return NULL;
}

static void drop(struct sha256 *s) {
    uint8_t unused[SHA256_BYTES];
    if (s->md) sha256_final(s, unused);
}

void receipt_free(struct receipt *p) {
    if (!p) return;
    drop(&p->prompt);
    for (int i = 0; i < p->n; i++)
        drop(&p->output[i].text), drop(&p->output[i].tokens);
    json_decref(p->request);
    free(p->model), free(p->digest);
    free(p);
}

/* Where thinking ends and a call begins is a part of the answer; a text alone is hashed as it is.
 */
static void begin_piece(struct output *o, enum gen_kind kind) {
    static const char mark[] = {[GEN_THINKING] = 'h', [GEN_TEXT] = 't', [GEN_CALL] = 'c'};
    if (o->kind == kind && kind != GEN_CALL) return;
    sha256_add(&o->text, (const char[]){0, mark[kind]}, 2);
    o->kind = kind;
}

static void add_call(struct receipt *p, struct output *o, const json_t *call) {
    /* Ids of calls are drawn by chance; what is called is not. */
    char *text = json_dumps(json_object_get(call, "function"), JSON_COMPACT | JSON_SORT_KEYS);
    begin_piece(o, GEN_CALL);
    if (text)
        sha256_add(&o->text, text, strlen(text));
    else
        p->failed = true;
    free(text);
}

bool receipt_add(struct receipt *p, const struct gen_event *ev) {
    struct output *o = ev->choice >= 0 && ev->choice < p->n ? &p->output[ev->choice] : NULL;
    switch (ev->kind) {
    case GEN_PROMPT:
        add_tokens(&p->prompt, ev->token, ev->n_token);
        p->n_prompt = ev->n_token;
        break;
    case GEN_THINKING:
    case GEN_TEXT:
        if (!o) break;
        if (ev->text.n) begin_piece(o, ev->kind);
        sha256_add(&o->text, ev->text.p, ev->text.n);
        add_tokens(&o->tokens, ev->token, ev->n_token);
        o->n_token += ev->n_token;
        break;
    case GEN_CALL:
        if (o) add_call(p, o, ev->data);
        break;
    case GEN_FINISH:
        if (o) o->why = ev->why;
        return ++p->n_finished == p->n;
    default: break;
    }
    return false;
}

/* The digest as text; what was hashed is over with it. */
static json_t *digest_json(struct sha256 *s) {
    uint8_t d[SHA256_BYTES];
    char text[HEX];
    if (sha256_final(s, d) != 0) return NULL;
    hex(d, sizeof d, text);
    return json_string(text);
}

static json_t *now_json(void) {
    char text[32];
    struct tm tm;
    const time_t t = time(NULL);
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static json_t *build_json(void) {
    uint8_t id[BUILD_ID];
    char text[2 * BUILD_ID + 1];
    hex(id, os_build_id(id, sizeof id), text);
    return json_pack("{s:s, s:s}", "version", CRIA_VERSION, "id", text);
}

json_t *receipt_json(struct receipt *p) {
    static const char *const why[] = {"stop", "length", "calls", "cancelled"};
    json_t *output = json_array();
    for (int i = 0; i < p->n; i++) {
        struct output *o = &p->output[i];
        json_array_append_new(output, json_pack("{s:i, s:o, s:o, s:s}", "n_tokens", o->n_token,
                                                "tokens_sha256", digest_json(&o->tokens), "sha256",
                                                digest_json(&o->text), "why", why[o->why]));
    }
    json_t *prompt =
        json_pack("{s:i, s:o}", "n_tokens", p->n_prompt, "sha256", digest_json(&p->prompt));
    json_t *j =
        json_pack("{s:i, s:o, s:s, s:s, s:o, s:s, s:O, s:o, s:o}", "version", 1, "created",
                  now_json(), "model", p->model, "digest", p->digest, "build", build_json(),
                  "kernels", cpu_isa(), "request", p->request, "prompt", prompt, "output", output);
    if (!p->failed) return j;
    json_decref(j);
    return NULL;
}

int receipt_settle(json_t *request, struct err *e) {
    json_t *options = json_object_get(request, "options");
    uint32_t seed;
    if (!options) {
        options = json_object();
        if (json_object_set_new(request, "options", options) != 0) return err_nomem(e, "receipt");
    }
    const json_t *is = json_object_get(options, "seed");
    if (json_is_integer(is) && json_integer_value(is) >= 0) return 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint32_t)os_now_ns();
    return json_object_set_new(options, "seed", json_integer(seed >> 1)) == 0
               ? 0
               : err_nomem(e, "receipt");
}

/* ---- two of them ---- */

static void tell(const char *what, const json_t *then, const json_t *now, struct buf *out) {
    char *a = json_dumps(then, JSON_ENCODE_ANY | JSON_COMPACT),
         *b = json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT);
    buf_printf(out, "%s: %.200s, was %.200s\n", what, b ? b : "nothing", a ? a : "nothing");
    free(a), free(b);
}

static bool differs(const char *what, const json_t *then, const json_t *now, struct buf *out) {
    if (json_equal(then, now)) return false;
    tell(what, then, now, out);
    return true;
}

void receipt_compare(const json_t *then, const json_t *now, struct buf *out, bool *same_output) {
    static const char *const around[] = {"digest", "build", "kernels", "prompt"};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++)
        differs(around[i], json_object_get(then, around[i]), json_object_get(now, around[i]), out);
    *same_output =
        !differs("output", json_object_get(then, "output"), json_object_get(now, "output"), out);
}
