/* How a model is opened: its files and texts from the store, the options that were asked for, the
 * sizes that fit. */
#include "server/models_priv.h"

#include <string.h>

#include "base/os.h"
#include "engine/run_options.h"
#include "server/ask_options.h"

/* ---- what it brings ---- */

/* A parameter that would make every request fail has no effect, as in `cria run`. */
static int read_params(struct loaded *l, struct err *e) {
    const char *name;
    json_t *v;
    void *tmp;
    if (recipe_params(&l->recipe, &l->params, e) != 0) return -1;
    json_object_foreach_safe(l->params, tmp, name, v) {
        struct err why = {0};
        json_t *one = json_pack("{s:O}", name, v);
        struct load_key unused;
        if (options_check(one, &unused, &why) != 0) {
            log_line(l->models->log, LOG_WARN,
                     "model %s: its parameter \"%.60s\" has no effect: %s", l->text, name, why.msg);
            json_object_del(l->params, name);
        }
        json_decref(one);
    }
    return 0;
}

int loaded_read(struct loaded *l, struct err *e) {
    if (recipe_open(&l->recipe, l->models->store, &l->name, l->text, e) != 0) return -1;
    struct err unused;
    /* An odd config is no reason not to run. */
    if (recipe_config(&l->recipe, &l->config, &unused) != 0)
        log_line(l->models->log, LOG_WARN, "model %s: %s", l->text, unused.msg);
    if (read_params(l, e) != 0 || recipe_messages(&l->recipe, &l->messages, e) != 0 ||
        recipe_text(&l->recipe, LAYER_SYSTEM, &l->system, e) != 0)
        return -1;
    return recipe_text(&l->recipe, LAYER_TEMPLATE, &l->template, e);
}

/* ---- opening ---- */

/* Put the model's name where a path is in an error. */
static void hide_path(const char *path, const char *name, struct err *e) {
    const char *at = *path ? strstr(e->msg, path) : NULL;
    if (!at) return;
    const struct err was = *e;
    err_set(e, was.code, "%.*s%s%s", (int)(at - e->msg), was.msg, name,
            was.msg + (at - e->msg) + strlen(path));
}

void loaded_hide_paths(const struct loaded *l, struct err *e) {
    hide_path(l->recipe.path, l->text, e);
    hide_path(l->recipe.adapter, l->text, e);
    hide_path(l->recipe.draft, l->text, e);
}

struct opening {
    struct loaded *l;
    const struct room *room;
    struct gen_opts o;
    const char *lora;
    int asked; /* context that the request asked for; 0: nobody did, it may be made smaller */
    int usual; /* of the model's parameters or the settings; 0: the engine's own */
};

enum { ENGINE_CTX = 4096 }; /* what the engine takes by itself, at most */

/* Beyond its training a model makes no sense of positions (COMPAT.md 2.7). */
static int within_training(const struct loaded *l, int n_ctx) {
    const uint64_t train = l->config.context_length;
    if (!train || (uint64_t)n_ctx <= train) return n_ctx;
    log_line(l->models->log, LOG_WARN,
             "model %s: num_ctx %d is more than it was trained for: %llu are used", l->text, n_ctx,
             (unsigned long long)train);
    return (int)train;
}

static int prepare(struct opening *p, struct load_key *key, struct err *e) {
    struct loaded *l = p->l;
    struct engine_opts *o = &p->o.engine;
    struct load_key own;
    if (options_check(l->params, &own, e) != 0) return -1;
    o->n_ctx = own.num_ctx;
    if (engine_user_opts(o, e) != 0) return -1;
    p->usual = within_training(l, o->n_ctx);
    p->asked = within_training(l, key->num_ctx);
    if (!key->num_batch) key->num_batch = own.num_batch;
    if (!key->num_thread) key->num_thread = own.num_thread;
    o->n_batch = key->num_batch, o->n_threads = key->num_thread;
    if (l->recipe.adapter[0]) p->lora = l->recipe.adapter, o->lora = &p->lora, o->n_lora = 1;
    o->chat_template = buf_view(&l->template);
    p->o.draft = l->recipe.draft[0] ? l->recipe.draft : NULL;
    p->o.renderer = l->config.renderer;
    p->o.parser = l->config.parser;
    p->o.max_bytes = p->room->limited ? room_left(p->room) : 0;
    return 0;
}

/* A context made smaller than what was asked for is taken only when there is no other way. */
static int open_once(struct opening *p, bool reduced_will_do, struct err *e) {
    struct loaded *l = p->l;
    struct gen *g = gen_open_child(l->recipe.path, &p->o, &l->stop, e);
    if (!g) return -1;
    const struct gen_info *i = gen_info(g);
    if (!i->ctx_reduced || reduced_will_do || (p->asked && i->n_ctx >= p->asked)) {
        l->gen = g;
        return 0;
    }
    err_set(e, ERR_LIMIT,
            "model \"%s\" with a context of %d tokens needs more than the %.1f MB of memory that "
            "may be used; %d tokens would fit",
            l->text, p->o.engine.n_ctx, (double)p->o.max_bytes * 1e-6, i->n_ctx);
    gen_close(g);
    return -1;
}

/* With NUM_PARALLEL 0 as many sequences as fit, before the context is made smaller. */
static int open_with(struct opening *p, int n_ctx, int n_parallel, bool reduced_will_do,
                     struct err *e) {
    p->o.engine.n_ctx = n_ctx;
    for (int n = n_parallel ? n_parallel : 4;; n /= 2) {
        const bool last = n == 1 || n_parallel;
        p->o.engine.n_parallel = n;
        if (open_once(p, last && reduced_will_do, e) == 0) return 0;
        if (e->code != ERR_LIMIT || last) return -1;
    }
}

/* The context: what was asked for, but not less than is usual when that fits, because the next
 * client gets this model, too; a wish of the settings or the model's parameters gives way. */
static int open_sizes(struct opening *p, int n_parallel, struct err *e) {
    const bool may_shrink = !p->asked && !p->room->more;
    const int usual_at_most = p->usual ? p->usual : ENGINE_CTX;
    if (p->asked > usual_at_most) return open_with(p, p->asked, n_parallel, false, e);
    if (open_with(p, p->usual, n_parallel, may_shrink, e) == 0) return 0;
    if (e->code != ERR_LIMIT) return -1;
    if (p->asked) return open_with(p, p->asked, n_parallel, false, e);
    if (!may_shrink || !p->usual || open_with(p, 0, n_parallel, true, e) != 0) return -1;
    p->l->ctx_reduced = true;
    return 0;
}

static void say_loaded(const struct loaded *l) {
    const struct gen_info *i = gen_info(l->gen);
    log_line(l->models->log, LOG_INFO,
             "model %s: loaded in %.2f s, %llu MiB planned, context %d, %d in parallel", l->text,
             (double)l->load_ns * 1e-9, (unsigned long long)i->n_bytes >> 20, i->n_ctx,
             i->n_parallel);
    if (l->ctx_reduced)
        log_line(l->models->log, LOG_WARN,
                 "model %s: a context of %d tokens is what fits in memory", l->text, i->n_ctx);
}

int loaded_open(struct loaded *l, const struct room *r, struct err *e) {
    struct opening p = {.l = l, .room = r};
    struct load_key key = l->key;
    const int64_t t0 = os_now_ns();
    pthread_mutex_lock(&l->models->lock);
    const int n_parallel = l->models->o.n_parallel;
    pthread_mutex_unlock(&l->models->lock);
    *e = (struct err){0};
    if (prepare(&p, &key, e) != 0 || open_sizes(&p, n_parallel, e) != 0) {
        loaded_hide_paths(l, e);
        return -1;
    }
    const struct gen_info *i = gen_info(l->gen);
    l->key = key;
    l->n_parallel = i->n_parallel > 0 ? i->n_parallel : 1;
    l->ctx_reduced |= i->ctx_reduced;
    l->load_ns = os_now_ns() - t0;
    if (loaded_new_process(l, e) != 0) {
        gen_close(l->gen);
        l->gen = NULL;
        return -1;
    }
    say_loaded(l);
    return 0;
}
