/* Write a model of a published shape with random weights, for measurements: speed depends on shapes
 * and types, not on what the weights say.  What such a model writes is noise; with --copy
 * (copier.c) it goes on as the text did after the same words before.
 *
 *   mkmodel SHAPE OUT.gguf [--type Q4_K_M] [--vocab FILE] [--copy] [--rows 64] [--seed 1]
 * [--threads N] mkmodel --list
 *
 * Each tensor gets the type that `cria quantize` would give it, so files are as large as the
 * published ones.  Of a matrix only --rows different rows are made and encoded; they repeat in a
 * random order, since the search of a good quantizer would take minutes for a large model.
 * --rows 0 makes them all.
 *
 * Data flow: shape.c lists tensors and keys, vocab.c the vocabulary; a pool of rows is encoded by
 * a team, row by row from (seed, tensor, row), so that threads change nothing; then written. */
#include <getopt.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/team.h"
#include "copier.h"
#include "engine/mix.h"
#include "quant/quant.h"
#include "sample/rng.h"
#include "shape.h"
#include "vocab.h"

struct options {
    const char *shape, *out, *type, *vocab;
    int n_rows, n_threads;
    uint64_t seed;
    bool copy;
};

/* ---- rows ---- */

struct pool {
    const struct shape_tensor *t;
    const struct copier *copier;
    enum qtype type;
    uint64_t seed; /* of the tensor */
    int64_t first; /* row */
    int n;         /* rows in the pool */
    size_t row_bytes;
    uint8_t *bytes; /* [n][row_bytes] */
    atomic_int next;
};

/* Normal numbers by the polar form of Box and Muller (Marsaglia), two at a time. */
static void fill_normal(float *x, size_t n, struct rng *r) {
    for (size_t i = 0; i < n; i += 2) {
        double u, v, s;
        do {
            u = 2 * rng_unit(r) - 1, v = 2 * rng_unit(r) - 1;
            s = u * u + v * v;
        } while (s >= 1 || s == 0);
        const double f = sqrt(-2 * log(s) / s);
        x[i] = (float)(u * f);
        if (i + 1 < n) x[i + 1] = (float)(v * f);
    }
}

static void make_row(const struct pool *p, int64_t row, float *x) {
    const size_t n = (size_t)p->t->ne[0];
    struct rng r;
    if (p->t->fill == FILL_COPY) {
        copier_row(p->copier, p->t->name, row, x);
        return;
    }
    rng_seed(&r, p->seed + (uint64_t)row);
    fill_normal(x, n, &r);
    for (size_t i = 0; i < n; i++)
        x[i] = p->t->fill == FILL_NORM ? 1 + 0.05f * x[i] : p->t->scale * x[i];
}

static void encode_rows(struct worker *w, void *arg) {
    struct pool *p = arg;
    float *x = (float *)(void *)w->scratch;
    for (int i; (i = atomic_fetch_add(&p->next, 1)) < p->n;) {
        make_row(p, p->first + i, x);
        quant_type(p->type)->encode(x, p->bytes + (size_t)i * p->row_bytes, (size_t)p->t->ne[0],
                                    NULL);
    }
}

static uint64_t hash_name(const char *name, uint64_t seed) {
    uint64_t h = 14695981039346656037u ^ seed * 0x9e3779b97f4a7c15u; /* FNV-1a, 64 bits */
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 1099511628211u;
    return rng_splitmix(&h);
}

/* n rows of the pool, each time another one, so that writes are long. */
static int write_repeated(struct gguf_writer *w, const struct pool *p, int64_t n, struct err *e) {
    struct rng r;
    rng_seed(&r, ~p->seed);
    for (int64_t i = 0; i < n; i++) {
        const size_t row = (size_t)(rng_unit(&r) * p->n);
        if (gguf_write_data(w, p->bytes + row * p->row_bytes, p->row_bytes, e) != 0) return -1;
    }
    return 0;
}

static int write_rows(struct gguf_writer *w, struct team *team, const struct shape_tensor *t,
                      enum qtype type, const struct copier *copier, const struct options *o,
                      struct err *e) {
    const int64_t n_row = t->ne[1] * t->ne[2];
    const int at_once = o->n_rows ? o->n_rows : 256;
    const bool repeat = o->n_rows && n_row > o->n_rows && t->fill == FILL_WEIGHT;
    struct pool p = {.t = t, .copier = copier, .type = type, .seed = hash_name(t->name, o->seed)};
    p.row_bytes = qtype_row_bytes(type, (int)t->ne[0]);
    p.bytes = malloc((size_t)at_once * p.row_bytes);
    int rc = p.bytes ? team_reserve(team, (size_t)t->ne[0] * sizeof(float), 0, e)
                     : err_nomem(e, t->name);
    for (; rc == 0 && p.first < n_row; p.first += p.n) {
        p.n = n_row - p.first < at_once ? (int)(n_row - p.first) : at_once;
        atomic_store(&p.next, 0);
        team_run(team, encode_rows, &p);
        if (repeat) {
            rc = write_repeated(w, &p, n_row, e);
            break;
        }
        rc = gguf_write_data(w, p.bytes, (size_t)p.n * p.row_bytes, e);
    }
    free(p.bytes);
    return rc;
}

static int write_vector(struct gguf_writer *w, const struct shape *s, const struct shape_tensor *t,
                        struct err *e) {
    const int n = (int)t->ne[0];
    float *x = malloc((size_t)n * sizeof *x);
    if (!x) return err_nomem(e, t->name);
    if (t->fill == FILL_LLAMA3) shape_llama3_divisors(s, x, n);
    for (int i = 0; i < n && t->fill != FILL_LLAMA3; i++)
        x[i] = t->fill == FILL_RAMP ? 1 + 31.0f * (float)i / (float)(n - 1) : 1;
    const int rc = gguf_write_data(w, x, (size_t)n * sizeof *x, e);
    free(x);
    return rc;
}

/* ---- the file ---- */

struct model {
    struct shape s;
    struct copier copier;
    struct shape_tensor *t; /* [n] */
    enum qtype *type;       /* [n] */
    int n, mix;
};

static int choose_types(struct model *m, struct err *e) {
    const struct shape *s = &m->s;
    struct mix_model mm = {.arch = str_of(s->arch),
                           .n_layer = s->n_layer,
                           .n_head = s->n_head,
                           .n_kv_head = s->n_kv_head,
                           .n_expert = s->n_expert,
                           .n_tensor = m->n};
    struct gguf_tensor *list = calloc((size_t)m->n, sizeof *list);
    const struct gguf_tensor **at = calloc((size_t)m->n, sizeof *at);
    int rc = list && at ? 0 : err_nomem(e, s->name), n_fallback;
    for (int i = 0; rc == 0 && i < m->n; i++) {
        const struct shape_tensor *t = &m->t[i];
        list[i] = (struct gguf_tensor){t->name, QT_F32, t->n_dim, {t->ne[0], t->ne[1], t->ne[2], 1},
                                       NULL,    0,      0};
        at[i] = &list[i];
    }
    mm.tensor = at;
    if (rc == 0) rc = mix_choose_of(&mm, m->mix, false, false, m->type, &n_fallback, e);
    free(list), free(at);
    return rc;
}

static int model_init(struct model *m, const struct options *o, struct err *e) {
    char names[512];
    const struct shape *s = shape_by_name(o->shape);
    if (!s) return err_set(e, ERR_USAGE, "mkmodel: no shape \"%s\"; --list shows them", o->shape);
    *m = (struct model){.s = *s, .mix = mix_by_name(o->type)};
    mix_list(names, sizeof names);
    if (m->mix < 0 || mix_base_type(m->mix) < 0)
        return err_set(e, ERR_USAGE, "--type: found \"%s\"; accepted: %s", o->type, names);
    if (o->copy && copier_init(&m->copier, &m->s, o->seed, e) != 0) return -1;
    m->t = shape_tensors(&m->s, &m->n);
    m->type = m->t ? calloc((size_t)m->n, sizeof *m->type) : NULL;
    if (!m->type) return err_nomem(e, o->shape);
    if (o->copy) copier_mark(m->t, m->n);
    return choose_types(m, e);
}

static int put_vocab(struct gguf_writer *w, const struct shape *s, const struct options *o,
                     struct err *e) {
    char path[4096];
    struct stat st;
    if (!o->vocab) return vocab_make(w, s->n_vocab, o->seed, e);
    const bool folder = stat(o->vocab, &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(path, sizeof path, folder ? "%s/ggml-vocab-%s.gguf" : "%s", o->vocab, s->vocab);
    return vocab_copy(w, path, s->n_vocab, e);
}

static int declare(struct gguf_writer *w, const struct model *m, const struct options *o,
                   struct err *e) {
    if (gguf_set_str(w, "general.architecture", str_of(m->s.arch), e) != 0) return -1;
    /* Not in the name: llama.cpp expects tokens of Phi-3's own when that says so. */
    if (gguf_set_str(w, "general.name", o->copy ? STR("copier") : STR("random weights"), e) != 0)
        return -1;
    if (gguf_set_str(w, "general.description", str_of(m->s.name), e) != 0) return -1;
    if (gguf_set_u32(w, "general.file_type", (uint32_t)m->mix, e) != 0) return -1;
    if (gguf_set_u32(w, "general.quantization_version", 2, e) != 0) return -1;
    if (shape_set_keys(&m->s, w, e) != 0 || put_vocab(w, &m->s, o, e) != 0) return -1;
    for (int i = 0; i < m->n; i++)
        if (gguf_add_tensor(w, m->t[i].name, m->type[i], m->t[i].n_dim, m->t[i].ne, e) != 0)
            return -1;
    return 0;
}

static int write_model(const struct model *m, const struct options *o, struct err *e) {
    struct team *team = team_new(o->n_threads, e);
    if (!team) return -1;
    struct gguf_writer *w = gguf_writer_new(o->out, 0, e);
    int rc = w ? declare(w, m, o, e) : -1;
    for (int i = 0; rc == 0 && i < m->n; i++) {
        const enum fill f = m->t[i].fill;
        rc = f == FILL_WEIGHT || f == FILL_NORM || f == FILL_COPY
                 ? write_rows(w, team, &m->t[i], m->type[i], &m->copier, o, e)
                 : write_vector(w, &m->s, &m->t[i], e);
    }
    if (rc == 0)
        rc = gguf_writer_finish(w, e);
    else
        gguf_writer_abort(w);
    team_free(team);
    return rc;
}

/* ---- the command ---- */

static void print_shapes(void) {
    for (const struct shape *s = shape_all(); s->name; s++)
        printf("%-18s %-11s %5d x %2d, heads %d/%d of %d, ffn %d%s, vocabulary %d: %.3f G values\n",
               s->name, s->arch, s->n_embd, s->n_layer, s->n_head, s->n_kv_head, s->head_dim,
               s->n_ff, s->n_expert ? " of each expert" : "", s->n_vocab, shape_n_param(s) * 1e-9);
}

static void usage(FILE *f) {
    fputs(
        "mkmodel SHAPE OUT.gguf: a model of a real shape with random weights\n\n"
        "  --type TYPE      file type as of `cria quantize`; default Q4_K_M\n"
        "  --vocab FILE     a GGUF whose vocabulary is copied, or a folder of ggml-vocab-*.gguf;\n"
        "                   default: a made-up one of the right size\n"
        "  --copy           weights that copy: it goes on as its text did after the same words\n"
        "  --rows N         different rows of a matrix, which repeat; 0: all; default 64\n"
        "  --seed N         default 1; the same seed gives the same file\n"
        "  --threads N      default: one per core\n"
        "  --list           the shapes\n",
        f);
}

/* A number of lo..hi, or an error that names the option. */
static int number(const char *option, const char *text, uint64_t lo, uint64_t hi, uint64_t *out,
                  struct err *e) {
    char *end;
    const unsigned long long v = strtoull(text, &end, 10);
    *out = v;
    if (*text >= '0' && *text <= '9' && *end == 0 && v >= lo && v <= hi) return 0;
    return err_set(e, ERR_USAGE, "--%s: found \"%s\"; %llu to %llu is accepted", option, text,
                   (unsigned long long)lo, (unsigned long long)hi);
}

/* 1: done, nothing to make. */
static int parse(int argc, char **argv, struct options *o, struct err *e) {
    static const struct option table[] = {
        {"type", required_argument, NULL, 't'},
        {"vocab", required_argument, NULL, 'v'},
        {"copy", no_argument, NULL, 'c'},
        {"rows", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 'n'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    uint64_t v;
    int c;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (c) {
        case 't': o->type = optarg; break;
        case 'v': o->vocab = optarg; break;
        case 'r':
            if (number("rows", optarg, 0, 1 << 16, &v, e) != 0) return -1;
            o->n_rows = (int)v;
            break;
        case 's':
            if (number("seed", optarg, 0, UINT64_MAX - 1, &o->seed, e) != 0) return -1;
            break;
        case 'n':
            if (number("threads", optarg, 1, 512, &v, e) != 0) return -1;
            o->n_threads = (int)v;
            break;
        case 'c': o->copy = true; break;
        case 'l': print_shapes(); return 1;
        case 'h': usage(stdout); return 1;
        default: return err_set(e, ERR_USAGE, "mkmodel: --help shows what is accepted");
        }
    }
    if (argc - optind != 2)
        return err_set(e, ERR_USAGE, "mkmodel: found %d arguments; SHAPE OUT.gguf are accepted",
                       argc - optind);
    o->shape = argv[optind], o->out = argv[optind + 1];
    return 0;
}

int main(int argc, char **argv) {
    const long n_core = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.type = "Q4_K_M", .n_rows = 64, .seed = 1, .n_threads = 1};
    struct model m = {0};
    struct err e = {0};
    if (n_core > 1) o.n_threads = n_core > 512 ? 512 : (int)n_core;
    int rc = parse(argc, argv, &o, &e);
    if (rc == 1) return 0;
    if (rc == 0) rc = model_init(&m, &o, &e);
    if (rc == 0) rc = write_model(&m, &o, &e);
    free(m.t), free(m.type);
    if (rc == 0) return 0;
    fprintf(stderr, "error: %s\n", e.msg);
    return err_exit_code(&e);
}
