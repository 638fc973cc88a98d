/* A template's life, and what a rendering may spend. */
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/work.h"
#include "text/chat/jinja_priv.h"

enum { BLOCK_BYTES = 64 << 10 };

static long long cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct jv jr_fail(struct jrun *r, enum err_code code, const char *fmt, ...) {
    if (!r->failed) {
        va_list ap;
        char where[160];
        va_start(ap, fmt);
        err_vset(r->e, code, fmt, ap);
        va_end(ap);
        snprintf(where, sizeof where, "%.100s: line %d", r->t->name, r->line);
        err_prefix(r->e, where);
    }
    r->failed = true;
    return jv_undef(NULL);
}

/* n: bytes or values touched; most steps touch few. */
bool jr_step(struct jrun *r, size_t n) {
    const long before = r->steps;
    r->steps += 1 + (long)(n >> 8);
    if (r->steps > r->o.max_steps)
        jr_fail(r, ERR_LIMIT, "more than the %ld steps that a template may take", r->o.max_steps);
    else if (work_stopped())
        jr_fail(r, ERR_CANCELLED, "cancelled");
    else if (before >> 8 != r->steps >> 8 && cpu_ns() > r->end_ns)
        jr_fail(r, ERR_LIMIT, "more than the %d ms that a template may take", r->o.max_cpu_ms);
    return !r->failed;
}

void *jr_alloc(struct jrun *r, size_t n, size_t size) {
    size_t bytes;
    if (r->failed) return NULL;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > r->o.max_mem ||
        r->arena.used_bytes + r->live_bytes + bytes > r->o.max_mem) {
        jr_fail(r, ERR_LIMIT, "more than the %zu MiB of memory that a template may take",
                r->o.max_mem >> 20);
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    void *p = r->block;
    if (bytes > r->n_block) {
        p = arena_alloc(&r->arena, bytes > BLOCK_BYTES / 4 ? bytes : BLOCK_BYTES);
        if (!p) {
            jr_fail(r, ERR_NOMEM, "out of memory");
            return NULL;
        }
        if (bytes > BLOCK_BYTES / 4) return p;
        r->block = p;
        r->n_block = BLOCK_BYTES;
    }
    r->block += bytes;
    r->n_block -= bytes;
    return p;
}

struct jinja *jinja_new(const char *name, struct str source, struct err *e) {
    enum { MAX_SOURCE = 4 << 20 };
    if (source.n > MAX_SOURCE) {
        err_set(e, ERR_LIMIT, "%s: a template of %zu bytes; up to %d are accepted", name, source.n,
                MAX_SOURCE);
        return NULL;
    }
    struct jinja *t = calloc(1, sizeof *t);
    if (!t || !(t->name = strdup(name))) {
        err_nomem(e, name);
        jinja_free(t);
        return NULL;
    }
    struct jparse p = {.name = t->name, .arena = &t->arena, .e = e};
    p.tok = jinja_lex(t->name, &t->arena, source, e);
    if (p.tok) t->body = jinja_parse(&p);
    if (p.tok && !p.failed) return t;
    jinja_free(t);
    return NULL;
}

void jinja_free(struct jinja *t) {
    if (!t) return;
    arena_fini(&t->arena);
    free(t->name);
    free(t);
}

static bool is_trusted(const struct jinja_opts *o, const char *name) {
    for (const char *const *t = o->trusted; t && *t; t++)
        if (strcmp(*t, name) == 0) return true;
    return false;
}

static void set_variables(struct jrun *r, const json_t *vars) {
    const char *key;
    json_t *value;
    for (const struct jentry *g = jinja_globals; g->name; g++)
        jr_assign(r, str_of(g->name), jv_func(r, g->name, g->fn, jv_none()));
    r->scope = jr_push(r, r->scope);
    json_object_foreach((json_t *)vars, key, value) {
        if (r->failed) break;
        jr_assign(r, str_of(key), jv_of_json(r, value, !is_trusted(&r->o, key)));
    }
}

/* The output, in runs of one kind. */
static void hand_over(const struct jbuild *b, struct chat_prompt *out) {
    for (size_t i = 0, j; i < b->text.n; i = j) {
        for (j = i + 1; j < b->text.n && b->mark.p[j] == b->mark.p[i];)
            j++;
        (b->mark.p[i] ? chat_quote : chat_say)(out, (struct str){b->text.p + i, j - i});
    }
}

int jinja_render(const struct jinja *t, const json_t *vars, const struct jinja_opts *o,
                 struct chat_prompt *out, struct err *e) {
    struct jbuild b = {0};
    struct jrun r = {.t = t, .e = e, .line = 1, .out = &b};
    if (o) r.o = *o;
    if (!r.o.max_steps) r.o.max_steps = 1000000;
    if (!r.o.max_out) r.o.max_out = 16 << 20;
    if (!r.o.max_mem) r.o.max_mem = 256 << 20;
    if (!r.o.max_cpu_ms) r.o.max_cpu_ms = 250;
    r.end_ns = cpu_ns() + r.o.max_cpu_ms * 1000000LL;
    r.scope = jr_push(&r, NULL);
    if (!r.failed) set_variables(&r, vars);
    if (!r.failed) jr_exec(&r, t->body);
    if (!r.failed) hand_over(&b, out);
    if (!r.failed && out->failed) jr_fail(&r, ERR_NOMEM, "out of memory");
    jb_fini(&r, &b);
    arena_fini(&r.arena);
    return r.failed ? -1 : 0;
}
