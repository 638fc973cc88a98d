/* See allow.h. */
#include "server/allow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/front_priv.h"

enum {
    /* Of a prompt, as it is estimated: English text and code have 3 to 4.5 bytes a token, and a
     * template adds some.  Both ends: too much is given back when the prompt was read. */
    BYTES_MOST = 4,
    BYTES_LEAST = 3,
    TEMPLATE_TOKENS = 8,
    KEYS_SHOWN = 200, /* in metrics; the others together */
};

/* ---- who ---- */

/* The key of "Authorization: Bearer KEY" or "X-API-Key: KEY"; empty: none. */
static struct str key_text(const struct http_head *h) {
    const struct str *a = http_head_get(h, "Authorization"), *x = http_head_get(h, "X-API-Key");
    if (a && a->n > 7 && strncasecmp(a->p, "Bearer ", 7) == 0) {
        struct str key = {a->p + 7, a->n - 7};
        while (key.n && *key.p == ' ')
            key.p++, key.n--;
        return key;
    }
    return x ? *x : STR("");
}

static int deny(struct request *r, const char *why, struct err *e) {
    buf_str(&r->headers, "WWW-Authenticate: Bearer realm=\"cria\"\r\n");
    err_set(e, ERR_DENIED, "%s", why);
    return 401;
}

static bool is_old(const struct key *k) {
    return k->expires_s && (int64_t)time(NULL) >= k->expires_s;
}

static void refuse(struct request *r, const struct key_refusal *why, struct err *e) {
    const struct key_use use = {.key = r->key->name, .model = "", .n_refused = 1};
    r->limit = why->limit;
    buf_printf(&r->headers, "Retry-After: %lld\r\n", (long long)why->retry_s);
    key_refusal_text(why, e);
    door_count(r->server->door, &use);
}

/* Lists and shows are free. */
static bool counts(const struct route *t) {
    return (t->right & RIGHT_READ) == 0;
}

int allow_enter(struct request *r, const struct http_head *h, struct err *e) {
    struct key_refusal why;
    const struct str text = key_text(h);
    if (r->route->right == RIGHT_NONE || !(r->keys = door_keys(r->server->door))) return 0;
    const struct key *k = keys_find(r->keys, text);
    if (!k) return deny(r, text.n ? "this API key is not known" : "an API key is needed", e);
    snprintf(r->user, sizeof r->user, "%s", k->name);
    r->key = k;
    if (k->disabled) return deny(r, "this API key is disabled", e);
    if (is_old(k)) return deny(r, "this API key has expired", e);
    if (!(k->rights & (unsigned)r->route->right)) {
        err_set(e, ERR_DENIED, "this API key may not do that");
        return 403;
    }
    if (!counts(r->route)) return 0;
    r->entered = key_enter(door_limits(r->server->door), k, &why) == 0;
    if (r->entered) return 0;
    refuse(r, &why, e);
    return 429;
}

/* ---- models ---- */

bool allow_sees(const struct request *r, const struct name *n) {
    return !r->key || key_allows(r->key, n);
}

int allow_model(const struct request *r, const struct name *n, struct err *e) {
    char text[NAME_TEXT];
    if (allow_sees(r, n)) return 0;
    name_short(n, text);
    err_set(e, ERR_DENIED, "this API key may not use model \"%.200s\"", text);
    return err_field(e, "model");
}

static bool sees_name(const struct request *r, const json_t *name) {
    struct name n;
    const char *text = json_string_value(name);
    return text && name_parse(text, &n, NULL) == 0 && allow_sees(r, &n);
}

void allow_hide(const struct request *r, json_t *list) {
    for (size_t i = json_array_size(list); r->key && i-- > 0;) {
        json_t *one = json_array_get(list, i);
        if (!sees_name(r, json_object_get(one, "shares"))) json_object_del(one, "shares");
        if (!sees_name(r, json_object_get(one, "name"))) json_array_remove(list, i);
    }
}

enum key_class allow_class(const struct request *r) {
    return r->key ? r->key->class : KEY_NORMAL;
}

/* ---- tokens ---- */

/* Bytes of all texts in it; images are no text. */
static int64_t text_bytes(const json_t *v) {
    int64_t n = 0;
    const char *name;
    json_t *one;
    size_t i;
    if (json_is_string(v)) return (int64_t)json_string_length(v);
    json_array_foreach(v, i, one) n += json_is_integer(one) ? BYTES_LEAST : text_bytes(one);
    json_object_foreach((json_t *)(uintptr_t)v, name, one) {
        if (strcmp(name, "images") != 0) n += text_bytes(one);
    }
    return n;
}

static int64_t prompt_bytes(const json_t *gen) {
    static const char *const parts[] = {"messages", "tools",     "prompt", "suffix", "system",
                                        "tokens",   "documents", "query",  "input"};
    int64_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        n += text_bytes(json_object_get(gen, parts[i]));
    return n;
}

/* Of the answers, as many as the request names; 0: it names none. */
static int64_t answer_tokens(const json_t *gen) {
    const json_int_t most =
        json_integer_value(json_object_get(json_object_get(gen, "options"), "num_predict"));
    const json_int_t n = json_integer_value(json_object_get(gen, "n"));
    return most > 0 && most <= INT32_MAX ? most * (n > 1 && n <= 128 ? n : 1) : 0;
}

/* What was put aside for all of its asks. */
static struct key_hold all_held(const struct request *r) {
    return (struct key_hold){.minute = r->hold.minute + r->hold_before.minute,
                             .day = r->hold.day + r->hold_before.day};
}

int allow_tokens(struct request *r, const json_t *gen, struct err *e) {
    struct key_refusal why;
    const struct key_quota *q = r->key ? &r->key->quota : NULL;
    if (!r->entered || (!q->tpm && !q->daily_tokens)) return 0;
    r->hold_before = all_held(r);
    r->hold = (struct key_hold){0};
    r->held = false;
    const int64_t n = prompt_bytes(gen);
    const struct key_need need = {n / BYTES_MOST, n / BYTES_LEAST + TEMPLATE_TOKENS,
                                  answer_tokens(gen)};
    r->held = key_reserve(door_limits(r->server->door), r->key, &need, &r->hold, &why) == 0;
    if (r->held) return 0;
    refuse(r, &why, e);
    return -1;
}

void allow_prompt(struct request *r, int n_prompt) {
    if (r->held) key_correct(door_limits(r->server->door), r->key, &r->hold, n_prompt);
}

void allow_settle(struct request *r, int status) {
    pthread_mutex_lock(&r->lock);
    const bool first = r->entered && !r->settled;
    r->settled = true;
    const struct gen_stats done = request_work(r);
    const struct key_hold held = all_held(r);
    const bool error = status >= 400 || r->failed;
    char *model = first && r->worked && r->model ? strdup(r->model) : NULL;
    pthread_mutex_unlock(&r->lock);
    if (!first) return;
    const struct key_use use = {.key = r->key->name,
                                .model = model ? model : "",
                                .n_request = !r->limit,
                                .n_error = error && !r->limit,
                                .n_prompt = done.n_prompt,
                                .n_eval = done.n_eval};
    key_settle(door_limits(r->server->door), r->key, &held, (int64_t)done.n_prompt + done.n_eval);
    door_count(r->server->door, &use);
    free(model);
}

/* ---- headers ---- */

/* Go's form, as OpenAI's headers have it: "1h2m3s", "250ms". */
static void put_duration(struct buf *out, int64_t ns) {
    const long long ms = (ns + 999999) / 1000000, s = (ms + 999) / 1000;
    if (ms < 1000) {
        buf_printf(out, "%lldms", ms);
        return;
    }
    if (s >= 3600) buf_printf(out, "%lldh", s / 3600);
    if (s >= 60) buf_printf(out, "%lldm", s / 60 % 60);
    buf_printf(out, "%llds", s % 60);
}

static void put_openai(struct buf *out, const char *what, const struct key_left *l) {
    if (!l->most) return;
    buf_printf(out, "x-ratelimit-limit-%s: %lld\r\nx-ratelimit-remaining-%s: %lld\r\n", what,
               (long long)l->most, what, (long long)l->left);
    buf_printf(out, "x-ratelimit-reset-%s: ", what);
    put_duration(out, l->reset_ns);
    buf_str(out, "\r\n");
}

static void put_anthropic(struct buf *out, const char *what, const struct key_left *l) {
    char when[32];
    struct tm tm;
    const time_t t = time(NULL) + (time_t)((l->reset_ns + 999999999) / 1000000000);
    if (!l->most) return;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    buf_printf(out,
               "anthropic-ratelimit-%s-limit: %lld\r\nanthropic-ratelimit-%s-remaining: %lld\r\n"
               "anthropic-ratelimit-%s-reset: %s\r\n",
               what, (long long)l->most, what, (long long)l->left, what, when);
}

void allow_headers(const struct request *r, struct buf *out) {
    struct key_left requests, tokens;
    if (!r->key || (!r->entered && !r->limit)) return;
    key_look(door_limits(r->server->door), r->key, &requests, &tokens);
    void (*const put)(struct buf *, const char *, const struct key_left *) =
        r->dialect == DIALECT_ANTHROPIC ? put_anthropic : put_openai;
    put(out, "requests", &requests);
    put(out, "tokens", &tokens);
}

/* ---- metrics ---- */

static int64_t value_of(const struct key_counts *c, int which) {
    const int64_t v[] = {c->n_requests, c->n_refused, c->n_tokens, c->n_now};
    return v[which];
}

/* Names of keys need no escaping (keys.h). */
static void put_counter(struct key_limits *l, int which, const char *name, const char *kind,
                        const char *help, struct buf *out) {
    struct key_meter *at = NULL;
    struct key_counts c;
    int64_t others = 0;
    buf_printf(out, "# HELP cria_%s %s\n# TYPE cria_%s %s\n", name, help, name, kind);
    for (int i = 0; key_limits_counts(l, &at, &c); i++) {
        if (i < KEYS_SHOWN)
            buf_printf(out, "cria_%s{key=\"%s\"} %lld\n", name, c.name,
                       (long long)value_of(&c, which));
        else
            others += value_of(&c, which);
    }
    if (others) buf_printf(out, "cria_%s{key=\"\"} %lld\n", name, (long long)others);
}

void allow_metrics(const struct request *r, struct buf *out) {
    static const char *const of[][3] = {
        {"key_requests_total", "counter", "Requests let in, by key; \"\": all further keys."},
        {"key_refused_total", "counter", "Requests over a limit of their key."},
        {"key_tokens_total", "counter", "Tokens of prompts and answers, by key."},
        {"key_requests_now", "gauge", "Requests under way, by key."},
    };
    if (!r->key || !(r->key->rights & RIGHT_METRICS)) return;
    for (int i = 0; i < 4; i++)
        put_counter(door_limits(r->server->door), i, of[i][0], of[i][1], of[i][2], out);
}
