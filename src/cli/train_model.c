/* See train_model.h. */
#include "cli/train_model.h"

#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/human.h"
#include "cli/text.h"

static void on_bytes(void *ctx, uint64_t done_bytes, uint64_t all_bytes) {
    struct progress *bar = ctx;
    if (bar->total == 0) progress_start(bar, "reading", (double)all_bytes, "B");
    progress_update(bar, (double)done_bytes);
}

static void say(const char *path, const char *what) {
    struct buf b = {0};
    text_escape(&b, str_of(path), false);
    fprintf(stderr, "%s: %s\n", b.p ? b.p : "", what);
    buf_fini(&b);
}

static void warn(const char *path, const struct corpus_stats *s) {
    char text[128];
    if (s->n_skipped > 0) {
        snprintf(text, sizeof text, "%d lines are no examples and were left out", s->n_skipped);
        say(path, text);
    }
    if (s->n_invalid > 0) {
        snprintf(text, sizeof text,
                 "wrong UTF-8, first at byte %llu; such bytes are learned as U+FFFD",
                 (unsigned long long)s->invalid_at);
        say(path, text);
    }
}

static int read_file(struct train_learn *l, const char *path, struct bpe_trainer *t,
                     struct err *e) {
    struct progress bar = {0};
    struct corpus_stats one = {0};
    const struct corpus_opts o = {.system = l->system,
                                  .skip_bad = l->skip_bad,
                                  .on_progress = on_bytes,
                                  .ctx = &bar,
                                  .stop = &cli_interrupted};
    const int rc = corpus_add(t, path, &o, &one, e);
    progress_end(&bar);
    if (rc != 0) return -1;
    warn(path, &one);
    l->stats.n_bytes += one.n_bytes;
    l->stats.n_example += one.n_example;
    l->stats.n_skipped += one.n_skipped;
    l->stats.n_invalid += one.n_invalid;
    return 0;
}

int train_learn_tokens(struct train_learn *l, struct bpe_tokens *out, struct err *e) {
    const struct bpe_opts o = {.n_vocab = l->n_vocab,
                               .extra = l->extra.v,
                               .n_extra = l->extra.n,
                               .stop = &cli_interrupted};
    *out = (struct bpe_tokens){0};
    l->stats = (struct corpus_stats){0};
    struct bpe_trainer *t = bpe_trainer_new(&o, e);
    int rc = t ? 0 : -1;
    for (int i = 0; rc == 0 && i < l->n_file; i++) {
        char path[STORE_PATH];
        train_data_path(l->file[i], "train.jsonl", path);
        rc = read_file(l, path, t, e);
    }
    if (rc == 0) rc = bpe_trainer_learn(t, out, e);
    bpe_trainer_free(t);
    return rc;
}

static double bytes_per_token(const struct train_learn *l, const struct bpe_tokens *b) {
    return b->n_piece ? (double)l->stats.n_bytes / (double)b->n_piece : 0;
}

void train_describe_tokens(const struct train_learn *l, const struct bpe_tokens *b,
                           struct buf *out) {
    char bytes[HUMAN_TEXT];
    human_bytes(l->stats.n_bytes, bytes);
    buf_printf(out,
               "%d tokens: 256 bytes, %d merges, %d control; %s of text, %llu tokens of it, %.2f "
               "bytes each",
               b->n, b->n_merge, b->n_control, bytes, (unsigned long long)b->n_piece,
               bytes_per_token(l, b));
    if (l->n_vocab > b->n) buf_printf(out, "; no pair comes twice any more");
}

void train_describe_shape(const struct scratch_shape *s, int n_vocab, struct buf *out) {
    buf_count(out, (double)scratch_n_param(s, n_vocab));
    buf_printf(out,
               " parameters: %d layers of %d, heads %d/%d, feed-forward %d, vocabulary %d, context "
               "%d",
               s->n_layer, s->n_embd, s->n_head, s->n_kv_head, s->n_ff, n_vocab, s->n_ctx);
}

json_t *train_tokens_json(const struct train_learn *l, const struct bpe_tokens *b) {
    return json_pack("{s:i, s:i, s:i, s:I, s:i, s:i, s:I, s:I, s:I, s:f}", "tokens", b->n, "merges",
                     b->n_merge, "control", b->n_control, "text_bytes",
                     (json_int_t)l->stats.n_bytes, "examples", l->stats.n_example, "skipped_lines",
                     l->stats.n_skipped, "words", (json_int_t)b->n_word, "distinct_words",
                     (json_int_t)b->n_distinct, "text_tokens", (json_int_t)b->n_piece,
                     "bytes_per_token", bytes_per_token(l, b));
}

bool train_data_path(const char *path, const char *in_folder, char out[STORE_PATH]) {
    struct stat st;
    const bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(out, STORE_PATH, folder ? "%s/%s" : "%s", path, in_folder);
    return !folder;
}

void train_model_name(const char *path, char out[128]) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 5 && strcasecmp(name + n - 5, ".gguf") == 0) n -= 5;
    snprintf(out, 128, "%.*s", (int)(n < 127 ? n : 127), name);
}
