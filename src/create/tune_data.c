/* Examples for a fine-tune: found, read with the model's vocabulary and template, parted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "create/tune_priv.h"
#include "text/chat/named.h"

/* ---- files ---- */

/* A path, or the file of that name in a folder as MLX has it. */
static int find_path(const char *folder, const char *value, const char *in_folder,
                     char path[STORE_PATH], bool *is_folder, struct err *e) {
    enum create_what what;
    char dir[STORE_PATH];
    if (!folder)
        return err_set(e, ERR_LIMIT, "%.200s: paths are not opened here; data is sent as blobs",
                       value);
    if (create_look(folder, value, path, &what, e) != 0) return -1;
    if (what == CREATE_NOTHING)
        return err_set(e, ERR_NOT_FOUND, "%.300s: no such file or folder", value);
    *is_folder = what == CREATE_FOLDER;
    if (!*is_folder) return 0;
    memcpy(dir, path, sizeof dir);
    if (snprintf(path, STORE_PATH, "%s/%s", dir, in_folder) >= STORE_PATH)
        return err_set(e, ERR_USAGE, "%.300s: too long", value);
    return 0;
}

/* TRAINFILE or VALIDFILE. */
static int find_line(struct creation *k, const struct modelfile_line *l, struct tune_data *t,
                     struct err *e) {
    struct stat st;
    bool is_folder;
    if (l->command == MF_VALIDFILE)
        return find_path(k->o->folder, l->value.p, "valid.jsonl", t->valid_path, &is_folder, e);
    t->shown = l->value.p;
    if (find_path(k->o->folder, l->value.p, "train.jsonl", t->train_path, &is_folder, e) != 0)
        return -1;
    if (!is_folder || t->valid_path[0]) return 0;
    if (find_path(k->o->folder, l->value.p, "valid.jsonl", t->valid_path, &is_folder, e) != 0)
        return -1;
    if (stat(t->valid_path, &st) != 0) t->valid_path[0] = 0; /* parted from the others instead */
    return 0;
}

int tune_data_find(struct creation *k, const struct modelfile *m, struct tune_data *t,
                   struct err *e) {
    const struct create_opts *o = k->o;
    /* VALIDFILE first: it goes before a folder's own. */
    for (int i = 0; i < 2 * m->n; i++) {
        const struct modelfile_line *l = &m->line[i % m->n];
        if (l->command == (i < m->n ? MF_VALIDFILE : MF_TRAINFILE) && find_line(k, l, t, e) != 0)
            return create_at_line(l, e);
    }
    if (o->train_file) {
        t->shown = o->train_file->name;
        if (create_take_file(k, o->train_file, t->train_path, e) != 0) return -1;
    }
    return o->valid_file ? create_take_file(k, o->valid_file, t->valid_path, e) : 0;
}

/* ---- template ---- */

/* As the engine chooses it (engine/engine.c, open_template): a TEMPLATE that was only found by the
 * file's own stands for that one. */
static struct chat_template *open_template(struct creation *k, const struct gguf *g,
                                           const char *renderer, struct err *e) {
    const struct layer *l = create_layer(k, LAYER_TEMPLATE);
    struct str own = STR("");
    struct buf text = {0};
    struct chat_template *t = NULL;
    if (gguf_get_str(g, "tokenizer.chat_template", &own, NULL) < 1) own = STR("");
    if (l && create_layer_text(k, l, MODELFILE_MAX_BYTES, &text, e) != 0) return NULL;
    const struct str source = text.n ? buf_view(&text) : own;
    if (renderer)
        t = chat_template_named(renderer, source, e);
    else if (chat_named_stands_for(buf_view(&text), own))
        t = chat_template_new(own, e);
    else
        t = source.n ? chat_template_new(source, e) : chat_template_plain(e);
    buf_fini(&text);
    return t;
}

/* ---- reading ---- */

static void on_progress(void *ctx, uint64_t done, uint64_t all) {
    create_progress(ctx, done, all);
}

static void say_counts(struct creation *k, const char *what, const struct dataset *d) {
    struct buf b = {0};
    buf_printf(&b, "%s: %d examples (%s), %zu tokens, %zu of them to learn", what, d->n_example,
               example_format_name(d->count.first), d->n_tok, d->n_label);
    for (int i = EXAMPLE_FINE + 1; i < EXAMPLE_N_FAULT; i++)
        if (d->count.n_fault[i])
            buf_printf(&b, "; %d %s%s", d->count.n_fault[i],
                       example_fault_is_note((enum example_fault)i) ? "" : "left out: ",
                       example_fault_name((enum example_fault)i));
    if (!b.failed && b.p) create_say(k, b.p, NULL);
    buf_fini(&b);
}

static int read_one(struct creation *k, const char *what, const char *path, struct data_opts *o,
                    struct dataset *d, struct err *e) {
    char status[64];
    snprintf(status, sizeof status, "reading %s", what);
    struct create_bar bar = {k, status};
    o->ctx = &bar;
    create_say(k, status, NULL);
    if (dataset_read(d, path, o, e) != 0) return -1;
    say_counts(k, what, d);
    return 0;
}

static int check_kind(const struct tune_opts *o, const struct dataset *d, const char *path,
                      struct err *e) {
    const bool dpo = o->train.method == TRAIN_DPO;
    if (d->pairs == dpo) return 0;
    return err_set(e, ERR_USAGE,
                   d->pairs ? "%s: preferences (chosen, rejected); they are learned with method dpo"
                            : "%s: no preferences; method dpo learns from {\"prompt\", \"chosen\", "
                              "\"rejected\"}",
                   path);
}

/* A few examples are better all learned. */
enum { FEW = 20 };

static int part(struct creation *k, const struct tune_opts *o, struct tune_data *t, struct err *e) {
    struct data_leaks leaks;
    char text[160];
    if (t->valid_path[0]) {
        if (data_leaks_find(&t->train, &t->valid, &leaks, e) != 0) return -1;
        if (leaks.n_same || leaks.n_prompt) {
            snprintf(text, sizeof text,
                     "warning: %d validation examples are in the training data, %d more have a "
                     "prompt of it (the first: line %d); they judge too well",
                     leaks.n_same, leaks.n_prompt, leaks.line);
            create_say(k, text, NULL);
        }
        return data_part_all(&t->train, &t->part, e) == 0 ? data_part_all(&t->valid, &t->judge, e)
                                                          : -1;
    }
    const double share = o->val != 0 ? o->val : t->train.n_example < FEW ? 0 : 0.05;
    return data_part_split(&t->train, share > 0 ? share : 0, o->train.seed, &t->part, &t->judge, e);
}

/* ---- as the trainer has them ---- */

static void add_part(struct train_seq *out, const struct data_part *p) {
    const struct dataset *d = p->data;
    const int unit = d && d->pairs ? 2 : 1;
    for (int i = 0; i < p->n * unit; i++) {
        const struct data_seq *s = &d->seq[p->example[i / unit] * unit + i % unit];
        out[i] = (struct train_seq){d->tok + s->at, d->label + s->at, s->n};
    }
}

static int lay_out(struct tune_data *t, struct err *e) {
    const int unit = t->train.pairs ? 2 : 1;
    struct train_data *d = &t->d;
    d->n_seq = t->part.n * unit;
    d->n_valid = t->judge.n * unit;
    t->seq = calloc((size_t)d->n_seq + (size_t)d->n_valid + 1, sizeof *t->seq);
    if (!t->seq) return err_nomem(e, "training data");
    add_part(t->seq, &t->part);
    add_part(t->seq + d->n_seq, &t->judge);
    d->seq = t->seq;
    d->valid = t->seq + d->n_seq;
    d->n_bytes = dataset_bytes(&t->train) + dataset_bytes(&t->valid) +
                 (uint64_t)(d->n_seq + d->n_valid) * sizeof *t->seq;
    return 0;
}

int tune_data_read(struct creation *k, const struct tune_opts *o, const struct gguf *g,
                   const char *renderer, struct tune_data *t, struct err *e) {
    const struct layer *system = create_layer(k, LAYER_SYSTEM);
    struct buf text = {0};
    struct data_opts d = {.max_tokens = o->train.ctx,
                          .cut = o->cut,
                          .last_only = o->last_only,
                          .skip_bad = o->skip_bad,
                          .on_progress = on_progress,
                          .stop = k->o->stop};
    struct vocab *vocab = vocab_load(g, e);
    struct chat_template *chat = vocab ? open_template(k, g, renderer, e) : NULL;
    int rc = chat ? 0 : -1;
    if (rc == 0 && system) rc = create_layer_text(k, system, MODELFILE_MAX_BYTES, &text, e);
    d.vocab = vocab, d.chat = chat, d.system = buf_view(&text);
    if (rc == 0) rc = read_one(k, "training data", t->train_path, &d, &t->train, e);
    if (rc == 0) rc = check_kind(o, &t->train, t->shown, e);
    if (rc == 0 && t->valid_path[0])
        rc = read_one(k, "validation data", t->valid_path, &d, &t->valid, e);
    if (rc == 0 && t->valid_path[0]) rc = check_kind(o, &t->valid, "validation data", e);
    if (rc == 0) rc = part(k, o, t, e);
    if (rc == 0) rc = lay_out(t, e);
    buf_fini(&text);
    chat_template_free(chat);
    vocab_free(vocab);
    return rc;
}

void tune_data_fini(struct tune_data *t) {
    data_part_fini(&t->part);
    data_part_fini(&t->judge);
    dataset_fini(&t->train);
    dataset_fini(&t->valid);
    free(t->seq);
    *t = (struct tune_data){.shown = NULL};
}
