/* The loss of a file of examples, by the forward that serves: mean of -ln p over the tokens that
 * training would learn, as train/data.h marks them. */
#include "exam.h"

#include <math.h>

#include "engine/session.h"
#include "train/data.h"

struct sum {
    const int32_t *label; /* of the sequence at hand */
    double nll;
    long n;
};

static void add_row(void *ctx, int i, const float *row, int n_col) {
    struct sum *s = ctx;
    if (s->label[i] < 0) return;
    float max = row[0];
    for (int k = 1; k < n_col; k++)
        max = fmaxf(max, row[k]);
    double total = 0;
    for (int k = 0; k < n_col; k++)
        total += exp((double)(row[k] - max));
    s->nll += log(total) - (double)(row[s->label[i]] - max);
    s->n++;
}

static int read_all(struct session *session, const char *path, struct sum *sum, struct err *e) {
    struct engine *g = session_engine(session);
    struct data_opts o = {
        .vocab = engine_vocab(g), .chat = engine_template(g, e), .max_tokens = engine_n_ctx(g)};
    struct dataset d;
    if (!o.chat) return -1;
    int rc = dataset_read(&d, path, &o, e);
    for (int i = 0; rc == 0 && i < d.n_seq; i++) {
        const struct data_seq *q = &d.seq[i];
        sum->label = d.label + q->at;
        session_truncate(session, 0);
        rc = session_feed_all(session, d.tok + q->at, q->n, add_row, sum, e);
    }
    dataset_fini(&d);
    return rc;
}

int exam_loss(const char *model, const char *lora, const char *path, double *loss, struct err *e) {
    const char *const adapter[] = {lora};
    const struct engine_opts o = {.lora = adapter, .n_lora = lora != NULL};
    struct sum sum = {0};
    struct engine *g = engine_open(model, &o, e);
    struct session *s = g ? session_new(g, e) : NULL;
    const int rc = s ? read_all(s, path, &sum, e) : -1;
    session_free(s);
    engine_close(g);
    *loss = sum.n ? sum.nll / (double)sum.n : 0;
    return rc;
}
