/* A plan over the memory limit: which settings would fit.  Each alone first, in halves, as gentle
 * as it can be; where none does it alone, all together. */
#include <string.h>

#include "base/buf.h"
#include "train/train_priv.h"

enum knob { ROWS, CTX, LAYERS, RANK, N_KNOB };
static const char *const name[] = {"rows", "ctx", "layers", "rank"};
static const int least[] = {0, 32, 1, 1};

struct attempt {
    const struct gguf *g;
    const struct train_opts *o;
    int n_thread;
    const struct train_plan *p; /* of what was asked for */
};

/* What it is now; 0: it does not help here. */
static int value_of(const struct attempt *a, enum knob k) {
    const struct train_opts *o = a->o;
    const int last = o->lora.last_layers;
    /* An adapter that is trained further has its shape. */
    if ((k == LAYERS || k == RANK) && (train_is_full(o) || o->from)) return 0;
    switch (k) {
    case ROWS: return a->p->max_rows > o->ctx ? a->p->max_rows : 0;
    case CTX: return a->p->max_seq_rows;
    case LAYERS: return last && last < a->p->n_layer ? last : a->p->n_layer;
    case RANK: return o->lora.rank;
    case N_KNOB: break;
    }
    return 0;
}

static void turn(struct train_opts *o, enum knob k, int n) {
    if (k == ROWS) o->micro_rows = n > o->ctx ? n : o->ctx;
    if (k == CTX) o->ctx = n;
    if (k == CTX) o->micro_rows = n;
    if (k == LAYERS) o->lora.last_layers = n;
    if (k == RANK) o->lora.rank = n;
}

static bool fits_with(const struct attempt *a, const struct train_opts *o, uint64_t *bytes) {
    struct train_plan p = *a->p;
    bool fits = false;
    if (p.max_seq_rows > o->ctx) p.max_seq_rows = o->ctx;
    if (p.max_rows > o->micro_rows) p.max_rows = o->micro_rows;
    if (train_plan_fit(a->g, o, a->n_thread, o->memory_bytes, &p, &fits, NULL) != 0) return false;
    *bytes = p.total_bytes;
    return fits;
}

static void append_size(struct buf *b, uint64_t n) {
    if (n < 1000 * 1000 * 1000)
        buf_printf(b, "%.0f MB", (double)n / 1e6);
    else
        buf_printf(b, "%.2f GB", (double)n / 1e9);
}

static void say(struct buf *b, uint64_t bytes) {
    buf_str(b, " (");
    append_size(b, bytes);
    buf_str(b, ")");
}

static void suggest_recompute(const struct attempt *a, struct buf *b) {
    struct train_opts t = *a->o;
    uint64_t bytes;
    if (t.recompute != TRAIN_RECOMPUTE_NONE) return;
    t.recompute = TRAIN_RECOMPUTE_AUTO;
    if (!fits_with(a, &t, &bytes)) return;
    buf_str(b, "recompute auto");
    say(b, bytes);
}

static void suggest_one(const struct attempt *a, enum knob k, struct buf *b) {
    const int now = value_of(a, k);
    uint64_t bytes;
    for (int n = now / 2; n >= 1 && n >= least[k]; n /= 2) {
        struct train_opts t = *a->o;
        turn(&t, k, n);
        if (fits_with(a, &t, &bytes)) {
            buf_printf(b, "%s%s %d", b->n ? ", or " : "", name[k], k == ROWS ? t.micro_rows : n);
            say(b, bytes);
            return;
        }
        if (k == ROWS && t.micro_rows == t.ctx) return;
    }
}

static void suggest_all(const struct attempt *a, struct buf *b) {
    struct train_opts t = *a->o;
    int n[N_KNOB];
    uint64_t bytes;
    t.recompute = TRAIN_RECOMPUTE_AUTO;
    for (int k = 0; k < N_KNOB; k++)
        n[k] = value_of(a, (enum knob)k);
    for (bool more = true; more;) {
        more = false;
        for (int k = CTX; k < N_KNOB; k++) {
            if (n[k] / 2 < least[k] || n[k] / 2 < 1) continue;
            n[k] /= 2;
            turn(&t, (enum knob)k, n[k]);
            more = true;
        }
        if (!more || !fits_with(a, &t, &bytes)) continue;
        for (int k = CTX; k < N_KNOB; k++)
            if (n[k]) buf_printf(b, "%s%s %d", b->n ? " with " : "", name[k], n[k]);
        say(b, bytes);
        return;
    }
}

int train_plan_refuse(const struct gguf *g, const struct train_opts *o, int n_thread,
                      const struct train_plan *p, struct err *e) {
    const struct attempt a = {g, o, n_thread, p};
    struct buf b = {0}, size = {0};
    suggest_recompute(&a, &b);
    for (int k = 0; k < N_KNOB; k++)
        suggest_one(&a, (enum knob)k, &b);
    if (b.n == 0) suggest_all(&a, &b);
    append_size(&size, p->total_bytes);
    buf_str(&size, ", ");
    append_size(&size, o->memory_bytes);
    err_set(e, ERR_LIMIT, "training: needs %s are allowed (memory limit); %s%s",
            size.failed ? "more memory than" : size.p,
            b.n ? "what would fit: " : "no setting makes it fit, a smaller model does",
            b.n && !b.failed ? b.p : "");
    buf_fini(&b);
    buf_fini(&size);
    return -1;
}
