/* What is said about tokens: the special ones, what is put around a text, the chat template. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "create/convert_priv.h"
#include "text/vocab.h"

#define KEY(x) "tokenizer.ggml." x

enum { MAX_TEMPLATE = 1 << 20 };

/* "text" or {"content": "text"} */
static struct str token_text(const json_t *j) {
    if (json_is_object(j)) j = json_object_get(j, "content");
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)}
                             : (struct str){NULL, 0};
}

/* The id of "bos" and so on: by its text, else by config.json's number (the first of several). */
static int special_id(const struct conversion *c, const struct tokens *t, const json_t *generation,
                      const char *what) {
    char key[64];
    snprintf(key, sizeof key, "%s_token", what);
    const struct str text = token_text(json_object_get(c->tok_config, key));
    const int found = text.p ? tokens_find(t, text) : -1;
    if (found >= 0) return found;
    snprintf(key, sizeof key, "%s_token_id", what);
    const json_t *id = convert_config(c, key);
    if (!id) id = json_object_get(c->root, key);
    if (!id || json_is_null(id)) id = json_object_get(generation, key);
    if (json_is_array(id)) id = json_array_get(id, 0);
    const json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;
    return n >= 0 && n < t->n ? (int)n : -1;
}

/* Generation may end in several ways.  GGUF names three ends: the second is kept as that of a turn,
 * the third as that of a message. */
static int set_ends(struct conversion *c, const struct tokens *t, const json_t *generation, int eos,
                    struct err *e) {
    static const char *const keys[] = {KEY("eot_token_id"), KEY("eom_token_id")};
    const json_t *list = json_object_get(generation, "eos_token_id"), *id;
    size_t i, k = 0;
    if (!json_is_array(list)) list = convert_config(c, "eos_token_id");
    if (!json_is_array(list)) list = json_object_get(c->root, "eos_token_id");
    json_array_foreach((json_t *)list, i, id) {
        const json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;
        if (n < 0 || n >= t->n || n == eos || k == 2) continue;
        if (gguf_set_u32(c->w, keys[k++], (uint32_t)n, e) != 0) return -1;
    }
    return 0;
}

/* ---- what is put around a text ---- */

struct around {
    bool known, first, last;
    struct str first_text, last_text;
};

/* TemplateProcessing {single: [{SpecialToken: {id}}, {Sequence: ..}, ..]}, alone or in a sequence.
 */
static void look_around(const json_t *j, struct around *a, int depth) {
    const char *type = json_string_value(json_object_get(j, "type"));
    const json_t *list = json_object_get(j, "processors"), *x;
    size_t i;
    if (!type || depth > 4) return;
    json_array_foreach((json_t *)list, i, x) look_around(x, a, depth + 1);
    if (strcmp(type, "TemplateProcessing") != 0) return;
    const json_t *single = json_object_get(j, "single");
    const size_t n = json_array_size(single);
    const json_t *lo = json_object_get(json_array_get(single, 0), "SpecialToken");
    const json_t *hi =
        n > 1 ? json_object_get(json_array_get(single, n - 1), "SpecialToken") : NULL;
    a->known = true;
    a->first_text = token_text(json_object_get(lo, "id"));
    a->last_text = token_text(json_object_get(hi, "id"));
    a->first = a->first_text.p, a->last = a->last_text.p;
}

/* tokenizer_config.json's word counts; then the post-processor's; byte-level BPE without either
 * puts nothing there.  SentencePiece's own habit (BOS) is GGUF's default. */
static int set_around(struct conversion *c, const struct tokens *t, int bos, int eos,
                      struct err *e) {
    struct around a = {0};
    const json_t *add_bos = json_object_get(c->tok_config, "add_bos_token");
    const json_t *add_eos = json_object_get(c->tok_config, "add_eos_token");
    if (c->family->flags & FAMILY_ENCODER) return 0;
    look_around(json_object_get(c->tokenizer, "post_processor"), &a, 0);
    const bool says = a.known || !t->has_score;
    const bool first = a.first && bos >= 0 && str_eq(a.first_text, t->text[bos]);
    const bool last = a.last && eos >= 0 && str_eq(a.last_text, t->text[eos]);
    if (json_is_boolean(add_bos) || says) {
        const bool on = json_is_boolean(add_bos) ? json_is_true(add_bos) : first;
        if (gguf_set_bool(c->w, KEY("add_bos_token"), on && bos >= 0, e) != 0) return -1;
    }
    if (json_is_boolean(add_eos) || says) {
        const bool on = json_is_boolean(add_eos) ? json_is_true(add_eos) : last;
        return gguf_set_bool(c->w, KEY("add_eos_token"), on && eos >= 0, e);
    }
    return 0;
}

/* ---- the chat template ---- */

/* A text, or a list of named ones of which "default" is meant. */
static struct str template_text(const json_t *j) {
    size_t i;
    const json_t *x;
    json_array_foreach((json_t *)j, i, x) {
        const struct str name = token_text(json_object_get(x, "name"));
        if (name.p && str_is(name, "default")) return token_text(json_object_get(x, "template"));
    }
    return json_is_string(j) ? token_text(j) : (struct str){NULL, 0};
}

static int set_template(struct conversion *c, struct err *e) {
    char path[CONVERT_PATH];
    struct stat st;
    struct buf text = {0};
    const int n = snprintf(path, sizeof path, "%s/chat_template.jinja", c->folder);
    if (n < (int)sizeof path && stat(path, &st) == 0) {
        int rc = os_read_file(path, MAX_TEMPLATE, &text, e);
        if (rc == 0) rc = gguf_set_str(c->w, "tokenizer.chat_template", buf_view(&text), e);
        buf_fini(&text);
        return rc;
    }
    const struct str t = template_text(json_object_get(c->tok_config, "chat_template"));
    return t.p ? gguf_set_str(c->w, "tokenizer.chat_template", t, e) : 0;
}

/* ---- all ---- */

static const struct {
    const char *what, *key;
} specials[] = {{"bos", KEY("bos_token_id")},     {"eos", KEY("eos_token_id")},
                {"unk", KEY("unknown_token_id")}, {"sep", KEY("seperator_token_id")},
                {"pad", KEY("padding_token_id")}, {"cls", KEY("cls_token_id")},
                {"mask", KEY("mask_token_id")}};

static int set_ids(struct conversion *c, const struct tokens *t, const json_t *generation,
                   struct err *e) {
    const bool encoder = c->family->flags & FAMILY_ENCODER;
    int id[sizeof specials / sizeof *specials];
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        id[i] = special_id(c, t, generation, specials[i].what);
    if (encoder && id[0] < 0) id[0] = id[5]; /* a text begins with [CLS] and ends with [SEP] */
    if (encoder && id[1] < 0) id[1] = id[3];
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (id[i] >= 0 && gguf_set_u32(c->w, specials[i].key, (uint32_t)id[i], e) != 0) return -1;
    if (set_ends(c, t, generation, id[1], e) != 0) return -1;
    return set_around(c, t, id[0], id[1], e);
}

int convert_special(struct conversion *c, const struct tokens *t, struct err *e) {
    json_t *generation = NULL;
    int rc = convert_read_json(c->folder, "generation_config.json", &generation, e);
    if (rc == 0) rc = set_ids(c, t, generation, e);
    json_decref(generation);
    return rc == 0 ? set_template(c, e) : -1;
}
