/* A run's checkpoints: what makes it this run, where its figures are kept. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "train/train_priv.h"

static int hash_base(struct trainer *r, uint8_t out[SHA256_BYTES], struct err *e) {
    struct sha256 h;
    if (r->o.base_digest) {
        memcpy(out, r->o.base_digest, SHA256_BYTES);
        return 0;
    }
    sha256_init(&h);
    for (int i = 0; i < gguf_n_split(r->g); i++) {
        const struct gguf_bytes b = gguf_file_at(r->g, i);
        sha256_add(&h, b.p, b.n);
    }
    return sha256_final(&h, out) == 0 ? 0 : err_nomem(e, "training");
}

static void add_seq(struct sha256 *h, const struct train_seq *s, int n) {
    const int64_t n_seq = n;
    sha256_add(h, &n_seq, sizeof n_seq);
    for (int i = 0; i < n; i++) {
        sha256_add(h, &s[i].n, sizeof s[i].n);
        sha256_add(h, s[i].tok, (size_t)s[i].n * sizeof *s[i].tok);
        sha256_add(h, s[i].label, (size_t)s[i].n * sizeof *s[i].label);
    }
}

static int hash_data(const struct train_data *d, uint8_t out[SHA256_BYTES], struct err *e) {
    struct sha256 h;
    sha256_init(&h);
    add_seq(&h, d->seq, d->n_seq);
    add_seq(&h, d->valid, d->n_valid);
    return sha256_final(&h, out) == 0 ? 0 : err_nomem(e, "training");
}

/* Every setting that changes a bit of the result; memory, recomputation and threads do not. */
static void describe(const struct trainer *r, struct buf *b) {
    const struct train_opts *o = &r->o;
    buf_printf(b, "method=%s\nsteps=%d\nbatch=%d\n", train_method_name(o->method), r->plan.n_step,
               o->batch);
    buf_printf(b, "rows=%d\nbf16=%d\nlr=%.9g\nschedule=%s\n", o->micro_rows,
               r->plan.prec == GEMM_BF16, o->lr, schedule_name(o->schedule));
    buf_printf(b, "warmup_steps=%d\nmin_ratio=%.9g\nclip=%.9g\nweight_decay=%.9g\nbeta2=%.9g\n",
               r->plan.n_warmup, o->min_ratio, o->clip, o->weight_decay, o->beta2);
    buf_printf(b, "valid_every=%d\npatience=%d\nseed=%llu\n", r->plan.valid_every, o->patience,
               (unsigned long long)o->seed);
    if (o->method == TRAIN_DPO) buf_printf(b, "beta=%.9g\n", o->dpo_beta);
    if (!train_is_full(o))
        buf_printf(b, "rank=%d\nalpha=%.9g\nrslora=%d\ndropout=%.9g\ntargets=%d\nlayers=%d\n",
                   o->lora.rank, (double)o->lora.alpha, o->lora.stabilized, (double)o->lora.dropout,
                   o->lora.targets, o->lora.last_layers);
    if (o->method == TRAIN_QAT)
        for (int i = 0; i < r->p->n_param; i++)
            buf_printf(b, "%d.type=%d\n", i, (int)o->fake(o->fake_ctx, r->p->p[i].name));
}

/* An adapter that is trained further: by its values. */
static int describe_from(const struct trainer *r, struct buf *b, struct err *e) {
    struct sha256 h;
    uint8_t digest[SHA256_BYTES];
    if (!r->o.from) return 0;
    sha256_init(&h);
    sha256_add(&h, r->p->w, r->p->n_plane * sizeof *r->p->w);
    if (sha256_final(&h, digest) != 0) return err_nomem(e, "training");
    buf_str(b, "from=");
    for (int i = 0; i < SHA256_BYTES; i++)
        buf_printf(b, "%02x", digest[i]);
    buf_byte(b, '\n');
    return 0;
}

int train_save_init(struct trainer *r, struct err *e) {
    const int fd = checkpoint_lock(r->o.dir, e);
    if (fd < 0) return -1;
    r->lock_fd = fd;
    describe(r, &r->config);
    if (describe_from(r, &r->config, e) != 0) return -1;
    r->id.config = buf_view(&r->config);
    if (r->config.failed) return err_nomem(e, "training");
    if (r->config.n > CHECKPOINT_MAX_CONFIG)
        return err_set(e, ERR_LIMIT,
                       "training: settings and types of %d tensors take %zu bytes; a checkpoint "
                       "holds at most %d",
                       r->p->n_param, r->config.n, CHECKPOINT_MAX_CONFIG);
    return hash_base(r, r->id.base, e) == 0 ? hash_data(&r->d, r->id.data, e) : -1;
}

void train_save_fini(struct trainer *r) {
    if (r->lock_fd >= 0) close(r->lock_fd);
    buf_fini(&r->config);
}

static struct checkpoint checkpoint_of(struct trainer *r) {
    return (struct checkpoint){.id = &r->id, .state = &r->s, .p = r->p, .best = r->best};
}

int train_save(struct trainer *r, struct err *e) {
    const struct checkpoint c = checkpoint_of(r);
    return checkpoint_save(r->o.dir, &c, e);
}

static bool is_count(double v, double most) {
    return v >= 0 && v <= most && v == floor(v);
}

/* What the loop relies on, of a file that anybody may have made. */
static bool is_sane(const struct trainer *r) {
    const double *own = r->s.own, step = (double)r->s.step;
    if (r->s.step > r->plan.n_step || !is_count(own[OWN_N_SKIPPED], step)) return false;
    if (own[OWN_VALID_AT] != -1 && !is_count(own[OWN_VALID_AT], step)) return false;
    if (!is_count(own[OWN_STOPPED], 1) || !is_count(own[OWN_N_RECENT], step)) return false;
    if (!isfinite(own[OWN_RECENT_LOSS]) || isinf(own[OWN_FIRST_LOSS])) return false;
    if (!isfinite(own[OWN_SECONDS]) || own[OWN_SECONDS] < 0) return false;
    return r->s.best_step < 0 || isfinite(r->s.best_loss);
}

int trainer_resume(struct trainer *r, bool *found, struct err *e) {
    const struct checkpoint c = checkpoint_of(r);
    char path[PATH_MAX];
    *found = false;
    if (!r->o.dir) return 0;
    int rc = checkpoint_load(r->o.dir, &c, path, e);
    if (rc == 0 && path[0] && !is_sane(r))
        rc = err_set(e, ERR_FORMAT, "%s: damaged: figures that no run can have", path);
    r->spoilt = rc != 0;
    if (rc != 0) return -1;
    *found = r->resumed = path[0] != 0;
    grad_refresh(r->grad);
    return 0;
}
