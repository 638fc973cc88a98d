/* libcria, the functions of include/cria.h: a thin skin over engine, session, gen and embed that
 * copies options by size, turns errors over and makes callers take turns. */
#include "cria.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "engine/embed.h"
#include "engine/decode.h"
#include "engine/prompt.h"
#include "engine/speculate.h"

static_assert(CRIA_ERROR_CANCELLED == (int)ERR_CANCELLED,
              "status and err_code have the same values");
static_assert(CRIA_ERROR_LIMIT == (int)ERR_LIMIT, "status and err_code have the same values");
static_assert(CRIA_CANCELLED == (int)DECODE_CANCELLED,
              "reason and decode_why have the same values");
static_assert(sizeof(((cria_error *)0)->message) == sizeof(((struct err *)0)->msg),
              "messages are copied whole");

struct cria_model {
    struct engine *engine;
    pthread_mutex_t turn;     /* held while the forward runs or cache pages change hands */
    struct session *embedder; /* made when first needed; under turn */
};

struct cria_session {
    cria_model *model;
    struct session *session;
};

/* -1, with *to filled from e. */
static int fail(cria_error *to, const struct err *e) {
    if (to) {
        to->status = (int)e->code;
        memcpy(to->message, e->msg, sizeof to->message);
    }
    return -1;
}

const char *cria_status_name(int status) {
    static const char *const name[] = {"ok",          "usage", "not found",     "format",
                                       "unsupported", "limit", "out of memory", "io",
                                       "cancelled"};
    return status >= 0 && status <= CRIA_ERROR_CANCELLED ? name[status] : "unknown";
}

const char *cria_version(void) {
    return CRIA_VERSION;
}

int cria_api_version(void) {
    return CRIA_API_VERSION;
}

/* Copy what both sides know of a struct that begins with its size. */
static void copy_sized(void *to, size_t to_size, const void *from, size_t from_size) {
    memcpy(to, from, to_size < from_size ? to_size : from_size);
    if (to_size > from_size) memset((char *)to + from_size, 0, to_size - from_size);
}

static int check_size(size_t size, struct err *e) {
    if (size >= sizeof(size_t) && size <= 4096) return 0;
    return err_set(e, ERR_USAGE, "options: size %zu; they were not initialized by _init", size);
}

/* ---- models ---- */

static const cria_model_options model_defaults = {.size = sizeof model_defaults,
                                                  .lora_scale = 1.0f};

void cria_model_options_init(cria_model_options *o, size_t size) {
    copy_sized(o, size, &model_defaults, sizeof model_defaults);
    o->size = size;
}

static int engine_options(const cria_model_options *in, struct engine_opts *out, struct err *e) {
    const int max_sessions = 1023; /* of the engine's 1024 */
    if (in->n_sessions < 0 || in->n_sessions > max_sessions)
        return err_set(e, ERR_USAGE, "n_sessions: %d; accepted: 0 to %d", in->n_sessions,
                       max_sessions);
    *out = (struct engine_opts){
        .n_ctx = in->n_ctx,
        .n_batch = in->n_batch,
        .n_threads = in->n_threads,
        /* One more for cria_embed, which has a session of its own. */
        .n_parallel = (in->n_sessions ? in->n_sessions : 1) + 1,
        .k_type = QT_F16,
        .v_type = QT_F16,
        .vocab_only = in->vocab_only != 0,
    };
    if (!in->kv_type) return 0;
    const int t = kv_type_by_name(in->kv_type);
    if (t < 0)
        return err_set(e, ERR_USAGE, "kv_type: \"%s\"; accepted: " KV_TYPE_NAMES, in->kv_type);
    out->k_type = out->v_type = (enum qtype)t;
    return 0;
}

cria_model *cria_model_open(const char *path, const cria_model_options *given, cria_error *error) {
    cria_model_options in = model_defaults;
    struct engine_opts o;
    struct err e = {0};
    cria_model *m = NULL;
    if (!path) {
        err_set(&e, ERR_USAGE, "cria_model_open: no path");
        goto fail;
    }
    if (given) {
        if (check_size(given->size, &e) != 0) goto fail;
        memcpy(&in, given, given->size < sizeof in ? given->size : sizeof in);
    }
    if (engine_options(&in, &o, &e) != 0) goto fail;
    if (in.lora) o.lora = &in.lora, o.lora_scale = &in.lora_scale, o.n_lora = 1;
    m = calloc(1, sizeof *m);
    if (!m) {
        err_nomem(&e, path);
        goto fail;
    }
    pthread_mutex_init(&m->turn, NULL);
    m->engine = engine_open(path, &o, &e);
    if (m->engine) return m;
fail:
    cria_model_close(m);
    fail(error, &e);
    return NULL;
}

void cria_model_close(cria_model *m) {
    if (!m) return;
    session_free(m->embedder);
    engine_close(m->engine);
    pthread_mutex_destroy(&m->turn);
    free(m);
}

const char *cria_model_arch(const cria_model *m) {
    return engine_model(m->engine) ? model_arch(engine_model(m->engine)) : "";
}

int cria_model_n_vocab(const cria_model *m) {
    return engine_n_vocab(m->engine);
}

int cria_model_n_embd(const cria_model *m) {
    return engine_model(m->engine) ? model_n_embd(engine_model(m->engine)) : 0;
}

int cria_model_n_ctx(const cria_model *m) {
    return engine_n_ctx(m->engine);
}

int cria_model_is_embedding(const cria_model *m) {
    return engine_model(m->engine) && model_is_embedding(engine_model(m->engine));
}

static int need_weights(const cria_model *m, struct err *e) {
    if (engine_model(m->engine)) return 0;
    return err_set(e, ERR_USAGE, "%s: opened with vocab_only; it tokenizes only",
                   gguf_path(engine_gguf(m->engine)));
}

/* ---- text and tokens ---- */

/* As snprintf: what fits, terminated; the full length is returned. */
static long copy_text(const struct buf *b, char *out, size_t cap) {
    if (cap > 0) {
        const size_t n = b->n < cap - 1 ? b->n : cap - 1;
        if (n > 0) memcpy(out, b->p, n);
        out[n] = 0;
    }
    return (long)b->n;
}

/* What fits; the full number is returned. */
static long copy_ids(const struct ids *ids, int32_t *out, size_t cap) {
    const size_t fit = ids->n < cap ? ids->n : cap;
    if (fit > 0) memcpy(out, ids->v, fit * sizeof *out);
    return (long)ids->n;
}

long cria_tokenize(const cria_model *m, const char *text, size_t n_bytes, int flags, int32_t *out,
                   size_t cap, cria_error *error) {
    const struct tok_opts opts = {.add_special = flags & CRIA_ADD_SPECIAL,
                                  .parse_special = flags & CRIA_PARSE_SPECIAL};
    struct ids ids = {0};
    struct err e = {0};
    long n = -1;
    if (tok_encode(engine_vocab(m->engine), (struct str){text, n_bytes}, opts, &ids, &e) != 0)
        fail(error, &e);
    else
        n = copy_ids(&ids, out, cap);
    ids_fini(&ids);
    return n;
}

long cria_detokenize(const cria_model *m, const int32_t *tokens, size_t n, int flags, char *out,
                     size_t cap, cria_error *error) {
    const struct detok_opts opts = {.special = flags & CRIA_SHOW_SPECIAL};
    struct buf b = {0};
    struct err e = {0};
    long len = -1;
    if (tok_decode(engine_vocab(m->engine), tokens, n, opts, &b, &e) != 0)
        fail(error, &e);
    else
        len = copy_text(&b, out, cap);
    buf_fini(&b);
    return len;
}

long cria_chat_tokens(const cria_model *m, const cria_message *messages, size_t n, int32_t *out,
                      size_t cap, cria_error *error) {
    struct chat_message *list = n < INT32_MAX ? calloc(n + 1, sizeof *list) : NULL;
    struct ids ids = {0};
    struct err e = {0};
    long len = -1;
    if (!list) err_nomem(&e, "cria_chat_tokens");
    for (size_t i = 0; list && i < n; i++)
        list[i] = (struct chat_message){.role = str_of(messages[i].role),
                                        .content = str_of(messages[i].content)};
    if (!list || prompt_chat(m->engine, list, (int)n, &ids, &e) != 0)
        fail(error, &e);
    else
        len = copy_ids(&ids, out, cap);
    ids_fini(&ids);
    free(list);
    return len;
}

/* ---- generating ---- */

cria_session *cria_session_new(cria_model *m, cria_error *error) {
    struct err e = {0};
    cria_session *s = NULL;
    if (need_weights(m, &e) != 0) goto fail;
    s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(&e, "cria_session_new");
        goto fail;
    }
    s->model = m;
    s->session = session_new(m->engine, &e);
    if (s->session) return s;
fail:
    free(s);
    fail(error, &e);
    return NULL;
}

void cria_session_free(cria_session *s) {
    if (!s) return;
    pthread_mutex_lock(&s->model->turn); /* its pages go back to the pool */
    session_free(s->session);
    pthread_mutex_unlock(&s->model->turn);
    free(s);
}

static cria_generate_options generate_defaults(void) {
    const struct sampler_opts d = sampler_defaults();
    return (cria_generate_options){
        .size = sizeof(cria_generate_options),
        .n_predict = -1,
        .seed = d.seed,
        .temperature = d.temperature,
        .top_k = d.top_k,
        .top_p = d.top_p,
        .min_p = d.min_p,
        .typical_p = d.typical_p,
        .repeat_last_n = d.repeat_last_n,
        .repeat_penalty = d.repeat_penalty,
        .presence_penalty = d.presence_penalty,
        .frequency_penalty = d.frequency_penalty,
        .n_keep = -1,
        .n_draft = SPECULATE_MAX,
    };
}

void cria_generate_options_init(cria_generate_options *o, size_t size) {
    const cria_generate_options d = generate_defaults();
    copy_sized(o, size, &d, sizeof d);
    o->size = size;
}

static struct sampler_opts sampler_options(const cria_generate_options *in) {
    struct sampler_opts o = sampler_defaults();
    o.seed = in->seed;
    o.temperature = in->temperature;
    o.top_k = in->top_k;
    o.top_p = in->top_p, o.min_p = in->min_p, o.typical_p = in->typical_p;
    o.repeat_last_n = in->repeat_last_n;
    o.repeat_penalty = in->repeat_penalty;
    o.presence_penalty = in->presence_penalty;
    o.frequency_penalty = in->frequency_penalty;
    return o;
}

/* The caller's callback behind gen's. */
struct listener {
    cria_text_fn fn;
    void *user;
};

static int on_event(void *ctx, const struct decode_event *ev) {
    const struct listener *l = ctx;
    return l->fn ? l->fn(l->user, ev->text.p, ev->text.n, ev->token) : 0;
}

static void copy_result(cria_result *to, const struct decode_stats *st) {
    if (!to) return;
    *to = (cria_result){
        .reason = (int)st->why,
        .n_prompt = st->n_prompt,
        .n_prompt_cached = st->n_prompt_cached,
        .n_generated = st->n_eval,
        .prompt_s = (double)st->prompt_ns * 1e-9,
        .generate_s = (double)st->eval_ns * 1e-9,
    };
}

/* Stop texts as gen takes them; NULL with e set.  free() */
static struct str *stop_texts(const cria_generate_options *o, struct err *e) {
    struct str *stop = calloc((size_t)(o->n_stop > 0 ? o->n_stop : 0) + 1, sizeof *stop);
    if (!stop) err_nomem(e, "cria_generate");
    for (int i = 0; stop && i < o->n_stop; i++)
        stop[i] = str_of(o->stop[i]);
    return stop;
}

/* The turns of two models are taken in one order by all. */
static void take_turns(cria_model *a, cria_model *b) {
    if ((uintptr_t)a > (uintptr_t)b) {
        cria_model *t = a;
        a = b, b = t;
    }
    pthread_mutex_lock(&a->turn);
    if (a != b) pthread_mutex_lock(&b->turn);
}

static void end_turns(cria_model *a, cria_model *b) {
    pthread_mutex_unlock(&a->turn);
    if (a != b) pthread_mutex_unlock(&b->turn);
}

static int generate(cria_session *s, const int32_t *tokens, size_t n,
                    const cria_generate_options *given, struct listener *l, cria_result *result,
                    struct err *e) {
    cria_generate_options in = generate_defaults();
    if (given) {
        if (check_size(given->size, e) != 0) return -1;
        memcpy(&in, given, given->size < sizeof in ? given->size : sizeof in);
    }
    if (n > INT32_MAX) return err_set(e, ERR_LIMIT, "prompt: %zu tokens are too many", n);
    if (in.n_draft < 0 || in.n_draft > SPECULATE_MAX)
        return err_set(e, ERR_USAGE, "n_draft: %d; accepted: 0 to %d", in.n_draft, SPECULATE_MAX);
    struct str *stop = stop_texts(&in, e);
    if (!stop) return -1;
    const struct decode_request r = {
        .prompt = tokens,
        .n_prompt = (int)n,
        .sampler = sampler_options(&in),
        .n_predict = in.n_predict,
        .n_keep = in.n_keep,
        .no_shift = in.no_shift != 0,
        .stop = stop,
        .n_stop = in.n_stop > 0 ? in.n_stop : 0,
        .special = in.show_special != 0,
        .n_draft = in.n_draft > 0 ? in.n_draft : -1,
        .draft = in.draft ? in.draft->session : NULL,
    };
    struct decode_stats st;
    cria_model *other = in.draft ? in.draft->model : s->model;
    take_turns(s->model, other);
    const int rc = decode_run(s->session, &r, on_event, l, in.cancel, &st, e);
    end_turns(s->model, other);
    free(stop);
    if (rc == 0) copy_result(result, &st);
    return rc;
}

int cria_generate_tokens(cria_session *s, const int32_t *tokens, size_t n,
                         const cria_generate_options *o, cria_text_fn fn, void *user,
                         cria_result *result, cria_error *error) {
    struct listener l = {fn, user};
    struct err e = {0};
    return generate(s, tokens, n, o, &l, result, &e) == 0 ? 0 : fail(error, &e);
}

int cria_generate(cria_session *s, const char *prompt, const cria_generate_options *o,
                  cria_text_fn fn, void *user, cria_result *result, cria_error *error) {
    struct listener l = {fn, user};
    struct ids ids = {0};
    struct err e = {0};
    int rc = prompt_encode(engine_vocab(s->model->engine), str_of(prompt), &ids, &e);
    if (rc == 0) rc = generate(s, ids.v, ids.n, o, &l, result, &e);
    ids_fini(&ids);
    return rc == 0 ? 0 : fail(error, &e);
}

/* ---- embeddings ---- */

/* With the turn held. */
static int embed(cria_model *m, const struct ids *ids, int flags, float *out, struct err *e) {
    if (!m->embedder) m->embedder = session_new(m->engine, e);
    if (!m->embedder) return -1;
    const int rc = embed_tokens(m->embedder, ids->v, (int)ids->n, POOL_MODEL,
                                (flags & CRIA_NORMALIZE) != 0, out, e);
    session_truncate(m->embedder, 0); /* the pages are the other sessions' again */
    return rc;
}

int cria_embed(cria_model *m, const char *text, size_t n_bytes, int flags, float *out, size_t cap,
               cria_error *error) {
    const struct tok_opts opts = {.add_special = true};
    struct ids ids = {0};
    struct err e = {0};
    const int n_embd = cria_model_n_embd(m);
    int rc = need_weights(m, &e);
    if (rc == 0 && cap < (size_t)n_embd)
        rc = err_set(&e, ERR_USAGE, "cria_embed: room for %zu numbers; %d are needed", cap, n_embd);
    if (rc == 0)
        rc = tok_encode(engine_vocab(m->engine), (struct str){text, n_bytes}, opts, &ids, &e);
    if (rc == 0) {
        pthread_mutex_lock(&m->turn);
        rc = embed(m, &ids, flags, out, &e);
        pthread_mutex_unlock(&m->turn);
    }
    ids_fini(&ids);
    return rc == 0 ? n_embd : fail(error, &e);
}
