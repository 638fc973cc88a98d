/* See answer_key.h.
 *
 *   format version \0 model \0 tenant \0 way \0 settings \0 day \0 filter
 *   \0 "options" \0 JSON \0, then each field of the request by name: NAME \0 JSON \0
 *
 * JSON escapes NUL bytes, so that no two inputs run into the same bytes. */
#include "policy/answer_key.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/version.h"
#include "engine/run_options.h"

/* Another one when what is hashed changes, or what is kept under it (answer_record.h). */
#define FORMAT "cria answer 2 " CRIA_VERSION

/* ---- options by their effect ---- */

/* Those of the request go over those of the model, which were checked when it was opened; what is
 * wrong with one of them has no effect. */
static int set_all(struct run_options *o, const json_t *from, bool strict, struct err *e) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)from, name, v) {
        struct err why = {0};
        if (run_options_set_json(o, name, v, &why) == 0 || why.code == ERR_NOT_FOUND || !strict)
            continue;
        return err_set(e, why.code, "%s", why.msg);
    }
    return 0;
}

/* How fast, not what. */
static bool changes_nothing(const char *name) {
    return strcmp(name, "num_thread") == 0 || strcmp(name, "num_batch") == 0;
}

/* Without a draw no seed matters. */
static bool is_left_out(const struct run_options *o, const char *name) {
    return changes_nothing(name) || (o->sampler.temperature <= 0 && strcmp(name, "seed") == 0);
}

/* Put those that `from` names into `out`, unless they are as usual. */
static int collect(const struct run_options *o, const struct run_options *usual, const json_t *from,
                   json_t *out) {
    const char *theirs;
    json_t *unused;
    int rc = 0;
    json_object_foreach((json_t *)from, theirs, unused) {
        const bool twin = strcmp(theirs, "draft_num_predict") == 0; /* Ollama's name */
        const char *name = twin ? "num_draft" : theirs;
        json_t *v = run_options_get_json(o, name), *plain = run_options_get_json(usual, name);
        if (v && !json_equal(v, plain) && !is_left_out(o, name))
            rc |= json_object_set(out, name, v);
        json_decref(v);
        json_decref(plain);
    }
    return rc;
}

static bool is_reproducible(const struct run_options *o, const json_t *gen) {
    const char *op = json_string_value(json_object_get(gen, "op"));
    if (op && strcmp(op, "embed") == 0) return true;
    return o->sampler.temperature <= 0 || o->seed >= 0;
}

/* The options that have an effect, new. */
static json_t *effective(const struct answer_inputs *in, bool *reproducible, struct err *e) {
    struct run_options *o = calloc(2, sizeof *o), *usual = o + 1; /* kilobytes: not on a stack */
    const json_t *theirs = json_object_get(in->gen, "options");
    json_t *out = json_object();
    if (!o || !out) {
        err_nomem(e, "answer key");
        goto fail;
    }
    run_options_init(o);
    run_options_init(usual);
    int rc = set_all(o, in->params, false, e);
    if (rc == 0) rc = set_all(o, theirs, true, e);
    if (rc == 0 && (collect(o, usual, in->params, out) | collect(o, usual, theirs, out)) != 0)
        rc = err_nomem(e, "answer key");
    *reproducible = is_reproducible(o, in->gen);
    run_options_fini(o);
    run_options_fini(usual);
    if (rc != 0) goto fail;
    free(o);
    return out;
fail:
    free(o);
    json_decref(out);
    return NULL;
}

/* ---- hashing ---- */

static int add_bytes(const char *p, size_t n, void *h) {
    sha256_add(h, p, n);
    return 0;
}

static void add_text(struct sha256 *h, const char *text) {
    sha256_add(h, text, strlen(text) + 1);
}

static void add_json(struct sha256 *h, const json_t *v) {
    json_dump_callback(v, add_bytes, h, JSON_COMPACT | JSON_ENCODE_ANY);
    sha256_add(h, "", 1);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The fields of an object by name; what they hold as it is.  skip: not those; or NULL. */
static int add_fields(struct sha256 *h, const json_t *o, bool (*skip)(const char *name),
                      void (*add)(struct sha256 *h, const char *name, const json_t *v)) {
    const size_t n = json_object_size(o);
    const char **name = malloc((n + 1) * sizeof *name), *key;
    json_t *v;
    size_t n_name = 0;
    if (!name) return -1;
    json_object_foreach((json_t *)o, key, v) {
        if (!json_is_null(v) && !(skip && skip(key))) name[n_name++] = key;
    }
    qsort(name, n_name, sizeof *name, by_name);
    for (size_t i = 0; i < n_name; i++) {
        add_text(h, name[i]);
        add(h, name[i], json_object_get(o, name[i]));
    }
    free(name);
    sha256_add(h, "", 1);
    return 0;
}

static void add_value(struct sha256 *h, const char *name, const json_t *v) {
    (void)name;
    add_json(h, v);
}

/* Clients write a message's parts in any order. */
static void add_field(struct sha256 *h, const char *name, const json_t *v) {
    if (strcmp(name, "messages") != 0 || !json_is_array(v)) {
        add_json(h, v);
        return;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *m = json_array_get(v, i);
        if (!json_is_object(m) || add_fields(h, m, NULL, add_value) != 0) add_json(h, m);
    }
    sha256_add(h, "", 1);
}

/* Whose turn it is, and what stands elsewhere in the key. */
static bool is_no_input(const char *name) {
    return strcmp(name, "user") == 0 || strcmp(name, "tenant") == 0 || strcmp(name, "options") == 0;
}

int answer_key(const struct answer_inputs *in, struct answer_key *out, struct err *e) {
    const char *const head[] = {FORMAT,       in->model, in->tenant, in->way,
                                in->settings, in->day,   in->filter};
    json_t *options = effective(in, &out->reproducible, e);
    struct sha256 h;
    if (!options) return -1;
    sha256_init(&h);
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        add_text(&h, head[i]);
    int rc = add_fields(&h, options, NULL, add_value);
    if (rc == 0) rc = add_fields(&h, in->gen, is_no_input, add_field);
    if (in->later) add_json(&h, in->later);
    json_decref(options);
    if (sha256_final(&h, out->bytes) != 0 || rc != 0) return err_nomem(e, "answer key");
    return 0;
}

void answer_key_hex(const uint8_t key[ANSWER_KEY_BYTES], char out[ANSWER_KEY_HEX + 1]) {
    static const char digit[] = "0123456789abcdef";
    for (int i = 0; i < ANSWER_KEY_BYTES; i++) {
        out[2 * i] = digit[key[i] >> 4];
        out[2 * i + 1] = digit[key[i] & 15];
    }
    out[ANSWER_KEY_HEX] = 0;
}

/* ---- days ---- */

bool answer_tells_day(const char *template, size_t n) {
    static const char *const word[] = {"strftime_now", "currentDate"}; /* Jinja, Go */
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (n && memmem(template, n, word[i], strlen(word[i]))) return true;
    return false;
}
