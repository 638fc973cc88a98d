/* Opening a model: the file is mapped and bound, nothing of the weights is copied; threads, cache
 * and workspace are sized here once, so that generation allocates nothing. */
#include "engine/engine.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cores.h"
#include "base/log.h"
#include "base/os.h"
#include "cpu/cpu.h"
#include "engine/memory.h"
#include "engine/speculate.h"
#include "text/chat/named.h"

enum {
    MIN_CTX = 4,
    MAX_CTX = 1 << 24,
    MAX_PARALLEL = 1024,
    MIN_CACHE_BYTES = 1 << 20,
};

struct engine {
    struct gguf *gguf;
    struct vocab *vocab;
    struct chat_template *chat; /* or NULL: chat_err says why */
    bool has_chat;
    struct err chat_err;
    struct model *model; /* NULL when vocab_only, like all below */
    struct team *team;
    struct kv_pool *kv;
    struct forward *forward;
    struct prefix *prefix;                          /* or NULL */
    struct model_adapter *adapter[ENGINE_MAX_LORA]; /* [n_adapter] */
    char *adapter_path[ENGINE_MAX_LORA];            /* owned, as they were given */
    int n_adapter; /* atomic: written behind the others by whoever adds one */
    int n_given;   /* of them those given at opening */
    int max_rank;  /* that there is room for */
    struct memory_sizes sizes;
    struct step_cost step_cost;
    double load_s;
};

static int user_cache(struct engine_opts *o, struct err *e) {
    static char folder[PATH_MAX];
    char v[64];
    struct stat st;
    if (os_setting("CACHE_SIZE", v, sizeof v) &&
        (!os_parse_bytes(v, &o->cache_bytes) || o->cache_bytes < MIN_CACHE_BYTES))
        return err_set(e, ERR_USAGE,
                       "setting CRIA_CACHE_SIZE: found \"%s\"; a number of bytes from 1m, such as "
                       "512m or 4g, is accepted",
                       v);
    if (!os_setting("CACHE", folder, sizeof folder)) return 0;
    if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(e, ERR_USAGE,
                       "setting CRIA_CACHE: found \"%s\", which is no folder; a folder, which is "
                       "made if it is missing, is accepted",
                       folder);
    o->cache = folder;
    return 0;
}

int engine_user_opts(struct engine_opts *o, struct err *e) {
    char v[64], *end;
    o->k_type = o->v_type = QT_F16;
    if (os_setting("KV_CACHE_TYPE", v, sizeof v)) {
        const int t = kv_type_by_name(v);
        if (t < 0)
            return err_set(e, ERR_USAGE,
                           "setting CRIA_KV_CACHE_TYPE: found \"%s\"; one of " KV_TYPE_NAMES
                           " is accepted",
                           v);
        o->k_type = o->v_type = (enum qtype)t;
    }
    if (o->n_ctx == 0 && os_setting("CONTEXT_LENGTH", v, sizeof v)) {
        const long n = strtol(v, &end, 10);
        if (end == v || *end || (n != 0 && (n < MIN_CTX || n > MAX_CTX)))
            return err_set(e, ERR_USAGE,
                           "setting CRIA_CONTEXT_LENGTH: found \"%s\"; 0 (the default) or a whole "
                           "number from %d to %d is accepted",
                           v, MIN_CTX, MAX_CTX);
        o->n_ctx = (int)n;
    }
    return user_cache(o, e);
}

static int check_count(const char *name, int v, int min, int max, struct err *e) {
    if (v == 0 || (v >= min && v <= max)) return 0; /* 0: the default */
    return err_set(e, ERR_USAGE, "%s: %d; accepted: %d to %d", name, v, min, max);
}

static int check_opts(const struct engine_opts *o, struct err *e) {
    if (check_count("num_ctx", o->n_ctx, MIN_CTX, MAX_CTX, e) != 0) return -1;
    if (check_count("num_batch", o->n_batch, 1, 1 << 16, e) != 0) return -1;
    if (check_count("num_thread", o->n_threads, 1, 512, e) != 0) return -1;
    if (check_count("num_parallel", o->n_parallel, 1, MAX_PARALLEL, e) != 0) return -1;
    if (o->n_lora > ENGINE_MAX_LORA)
        return err_set(e, ERR_LIMIT, "lora: %d adapters; at most %d are accepted", o->n_lora,
                       ENGINE_MAX_LORA);
    return 0;
}

static int choose_sizes(struct engine *g, const struct engine_opts *o, struct err *e) {
    const int train = model_n_ctx_train(g->model);
    const struct memory_model m = {
        .hp = model_hparams(g->model),
        .encoder = model_is_embedding(g->model),
        .positions_end = model_positions_end(g->model),
        .n_text = vocab_size(g->vocab),
    };
    if (train > 0 && o->n_ctx > train)
        log_msg(LOG_WARN, "%s: a context of %d tokens is more than the model %s (%d)%s",
                gguf_path(g->gguf), o->n_ctx,
                m.positions_end ? "has positions for" : "was trained for", train,
                o->cap_ctx ? ", which it gets" : "");
    struct engine_opts fit = *o;
    if (memory_sizes(&m, o, &g->sizes, e) != 0) return -1;
    if (!o->fit) return 0;
    return o->fit(o->fit_ctx, g, &fit, e) == 0 ? memory_sizes(&m, &fit, &g->sizes, e) : -1;
}

static int open_adapters(struct engine *g, const struct engine_opts *o, struct err *e) {
    for (int i = 0; i < o->n_lora; i++) {
        const float scale = o->lora_scale ? o->lora_scale[i] : 1.0f;
        g->adapter_path[i] = strdup(o->lora[i]);
        if (!g->adapter_path[i]) return err_nomem(e, o->lora[i]);
        g->adapter[i] = model_adapter_open(g->model, o->lora[i], scale, e);
        if (!g->adapter[i]) return -1;
        g->n_given = ++g->n_adapter;
    }
    return 0;
}

/* The cache on disk is a help: where it cannot be had, that is said and the rest works. */
static struct prefix_disk *open_disk(const struct engine *g, const struct engine_opts *o) {
    if (!o->cache) return NULL;
    const struct identity_opts who = {
        .model = g->gguf,
        .adapter = g->n_given ? model_adapter_gguf(g->adapter[0]) : NULL,
        .adapter_scale = o->lora_scale ? o->lora_scale[0] : 1.0f,
        .pool = g->kv,
        .weights = g->model,
        .forward = g->forward,
    };
    struct err why;
    struct prefix_disk_opts d = {.folder = o->cache, .page_bytes = kv_page_bytes(g->kv)};
    d.max_bytes = o->cache_bytes ? o->cache_bytes : DEFAULT_CACHE_BYTES;
    d.who = identity_new(&who, &why);
    struct prefix_disk *disk = d.who ? prefix_disk_open(&d, &why) : NULL;
    if (!disk) log_msg(LOG_WARN, "nothing is cached on disk: %s", why.msg);
    return disk;
}

static int open_prefix(struct engine *g, const struct engine_opts *o, struct err *e) {
    if (model_is_embedding(g->model)) return 0;
    g->prefix = prefix_new(g->kv, open_disk(g, o), e);
    return g->prefix ? 0 : -1;
}

static int pin_team(struct team *t, struct err *e) {
    const struct cores *c = cores_here();
    if (c->n_cpu == 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "setting CRIA_PIN: the processors cannot be listed here");
    return team_pin(t, c->cpu, c->n_cpu, e);
}

static int open_team(struct engine *g, const struct engine_opts *o, struct err *e) {
    const int n = o->n_threads ? o->n_threads : cores_default_threads(e);
    const int pin = cores_setting_pin(e);
    if (n < 0 || pin < 0) return -1;
    g->team = team_new(n, e);
    if (!g->team) return -1;
    return pin ? pin_team(g->team, e) : 0;
}

static int open_weights(struct engine *g, const struct engine_opts *o, struct err *e) {
    g->model = model_open(g->gguf, cpu_ops(), e);
    if (!g->model || open_adapters(g, o, e) != 0) return -1;
    if (open_team(g, o, e) != 0) return -1;
    if (choose_sizes(g, o, e) != 0) return -1;
    g->kv = kv_pool_new(g->model, &g->sizes.kv, e);
    if (!g->kv) return -1;
    g->max_rank = o->spare_rank;
    for (int i = 0; i < g->n_adapter; i++) {
        const int rank = model_adapter_get(g->adapter[i])->max_rank;
        if (rank > g->max_rank) g->max_rank = rank;
    }
    const struct forward_opts f = memory_forward_opts(&g->sizes, g->max_rank);
    g->forward = forward_new(g->model, g->team, &f, e);
    return g->forward ? open_prefix(g, o, e) : -1;
}

/* A model without a usable template still completes raw prompts: the error is kept for whoever
 * wants to chat.  It names no path: it is told to clients of a server, too. */
static void open_template(struct engine *g, const struct engine_opts *o) {
    const bool named = o->renderer && *o->renderer;
    struct str own = STR("");
    struct err *e = &g->chat_err;
    if (gguf_get_str(g->gguf, "tokenizer.chat_template", &own, o->chat_template.n ? NULL : e) < 0)
        own = STR("");
    const struct str source = o->chat_template.n ? o->chat_template : own;
    g->has_chat = source.n > 0 || named;
    /* A TEMPLATE that was only found by the file's own: that one is exact (text/chat/named.h). */
    if (!named && chat_named_stands_for(o->chat_template, own))
        g->chat = chat_template_new(own, NULL);
    if (!g->chat)
        g->chat =
            named ? chat_template_named(o->renderer, source, e) : chat_template_new(source, e);
}

/* The layers below know the file's tensors and keys but not all its name.  An adapter's errors
 * name the adapter. */
static void name_file(const char *path, const struct engine_opts *o, struct err *e) {
    if (!e || e->code == ERR_USAGE || strstr(e->msg, path)) return;
    for (int i = 0; i < o->n_lora; i++)
        if (strstr(e->msg, o->lora[i])) return;
    err_prefix(e, path);
}

struct engine *engine_open(const char *path, const struct engine_opts *o, struct err *e) {
    const int64_t t0 = os_now_ns();
    if (check_opts(o, e) != 0) return NULL;
    struct engine *g = calloc(1, sizeof *g);
    if (!g) {
        err_nomem(e, path);
        return NULL;
    }
    g->gguf = gguf_open(path, e);
    if (!g->gguf) goto fail;
    g->vocab = vocab_load(g->gguf, e);
    if (!g->vocab) goto fail;
    g->sizes.n_vocab = vocab_size(g->vocab);
    open_template(g, o);
    if (!o->vocab_only && open_weights(g, o, e) != 0) goto fail;
    g->load_s = (double)(os_now_ns() - t0) * 1e-9;
    return g;
fail:
    name_file(path, o, e);
    engine_close(g);
    return NULL;
}

void engine_close(struct engine *g) {
    if (!g) return;
    prefix_free(g->prefix);
    if (g->forward) forward_free(g->forward);
    if (g->kv) kv_pool_free(g->kv);
    if (g->team) team_free(g->team);
    for (int i = 0; i < ENGINE_MAX_LORA; i++) {
        if (g->adapter[i]) model_adapter_free(g->adapter[i]);
        free(g->adapter_path[i]);
    }
    if (g->model) model_free(g->model);
    if (g->chat) chat_template_free(g->chat);
    if (g->vocab) vocab_free(g->vocab);
    if (g->gguf) gguf_close(g->gguf);
    free(g);
}

const struct gguf *engine_gguf(const struct engine *g) {
    return g->gguf;
}

const struct vocab *engine_vocab(const struct engine *g) {
    return g->vocab;
}

const struct chat_template *engine_template(const struct engine *g, struct err *e) {
    if (!g->chat && e) *e = g->chat_err;
    return g->chat;
}

bool engine_has_template(const struct engine *g) {
    return g->has_chat;
}

const struct model *engine_model(const struct engine *g) {
    return g->model;
}

struct forward *engine_forward(struct engine *g) {
    return g->forward;
}

struct team *engine_team(struct engine *g) {
    return g->team;
}

struct kv_pool *engine_kv(struct engine *g) {
    return g->kv;
}

struct prefix *engine_prefix(struct engine *g) {
    return g->prefix;
}

const struct adapter *engine_adapter(const struct engine *g) {
    return g->n_given ? model_adapter_get(g->adapter[0]) : NULL;
}

static bool is_named(const char *path, struct str name) {
    const char *slash = strrchr(path, '/');
    struct str file = str_of(slash ? slash + 1 : path);
    if (str_eq(str_of(path), name) || str_eq(file, name)) return true;
    if (file.n < 5 || memcmp(file.p + file.n - 5, ".gguf", 5) != 0) return false;
    return str_eq((struct str){file.p, file.n - 5}, name);
}

int engine_adapter_named(const struct engine *g, struct str name, const struct adapter **out,
                         struct err *e) {
    *out = NULL;
    if (name.n == 0) return 0;
    const int n = __atomic_load_n(&g->n_adapter, __ATOMIC_ACQUIRE);
    for (int i = 0; i < n; i++)
        if (is_named(g->adapter_path[i], name)) {
            *out = model_adapter_get(g->adapter[i]);
            return 0;
        }
    return err_set(e, ERR_NOT_FOUND, "adapter: none has the name \"%.*s\"",
                   (int)(name.n < 80 ? name.n : 80), name.p);
}

int engine_add_adapter(struct engine *g, const char *name, struct gguf *file, float scale,
                       struct err *e) {
    const int n = g->n_adapter;
    const struct adapter *other;
    if (n == ENGINE_MAX_LORA || engine_adapter_named(g, str_of(name), &other, NULL) == 0) {
        gguf_close(file);
        return n == ENGINE_MAX_LORA
                   ? err_set(e, ERR_LIMIT, "adapter %s: %d are there; at most so many", name, n)
                   : err_set(e, ERR_USAGE, "adapter \"%s\": the name is not free", name);
    }
    struct model_adapter *a = model_adapter_take(g->model, file, scale, e);
    if (!a) return -1;
    const int rank = model_adapter_get(a)->max_rank;
    char *own = strdup(name);
    if (!own || rank > g->max_rank) {
        model_adapter_free(a);
        free(own);
        if (!own) return err_nomem(e, name);
        return err_set(e, ERR_LIMIT, "adapter %s: rank %d; there is room for %d", name, rank,
                       g->max_rank);
    }
    g->adapter[n] = a;
    g->adapter_path[n] = own;
    __atomic_store_n(&g->n_adapter, n + 1, __ATOMIC_RELEASE);
    return 0;
}

int engine_n_ctx(const struct engine *g) {
    return g->sizes.n_ctx;
}

int engine_n_batch(const struct engine *g) {
    return g->sizes.n_batch;
}

int engine_n_out(const struct engine *g) {
    return g->sizes.n_out;
}

int engine_n_vocab(const struct engine *g) {
    return g->sizes.n_vocab;
}

struct step_cost *engine_step_cost(struct engine *g) {
    return &g->step_cost;
}

double engine_load_s(const struct engine *g) {
    return g->load_s;
}
