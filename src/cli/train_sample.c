/* Examples to compare two models on: those of the data that one of them was trained with. */
#include <stdlib.h>

#include "cli/train_model.h"
#include "text/chat/chat.h"

static int lay_out(struct train_sample *s, struct err *e) {
    const struct dataset *d = &s->data;
    s->seq = calloc((size_t)d->n_seq + 1, sizeof *s->seq);
    if (!s->seq) return err_nomem(e, "quality");
    s->n = d->n_seq;
    for (int i = 0; i < d->n_seq; i++)
        s->seq[i] = (struct train_seq){d->tok + d->seq[i].at, d->label + d->seq[i].at, d->seq[i].n};
    return 0;
}

int train_sample_read(struct train_sample *s, const char *path, const char *data, struct err *e) {
    *s = (struct train_sample){.n = 0};
    struct str source = STR("");
    struct gguf *g = gguf_open(path, e);
    struct vocab *v = g ? vocab_load(g, e) : NULL;
    if (v && gguf_get_str(g, "tokenizer.chat_template", &source, NULL) < 1) source = STR("");
    struct chat_template *t = !v         ? NULL
                              : source.n ? chat_template_new(source, e)
                                         : chat_template_plain(e);
    const struct data_opts o = {.vocab = v, .chat = t, .skip_bad = true, .stop = &cli_interrupted};
    int rc = t ? dataset_read(&s->data, data, &o, e) : -1;
    if (rc == 0) rc = lay_out(s, e);
    chat_template_free(t);
    vocab_free(v);
    gguf_close(g);
    return rc;
}

void train_sample_fini(struct train_sample *s) {
    dataset_fini(&s->data);
    free(s->seq);
}
