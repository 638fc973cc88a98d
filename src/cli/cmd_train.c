/* `cria train --data FILE --out MODEL.gguf`: a small model from nothing.
 *
 *   data -> a tokenizer (or --tokenizer) -> a model with random weights (train/scratch.h)
 *     -> the fine-tune of all its weights that `cria tune` does, in a store beside OUT
 * (train_work.h)
 *     -> F32, or quantized and compared with that -> OUT
 *
 * `cria train tokenizer` and `cria train init` are its first steps alone, in files of their own. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/output.h"
#include "cli/commands.h"
#include "cli/create_view.h"
#include "cli/human.h"
#include "cli/text.h"
#include "cli/train_model.h"
#include "cli/train_work.h"
#include "cli/tune_flags.h"
#include "engine/mix.h"

const struct command train_commands[] = {
    {"tokenizer", NULL, "FILE... -o TOK.gguf", "learn a tokenizer from texts", cmd_train_tokenizer,
     .options = cmd_train_tokenizer_options},
    {"init", NULL, "[FILE...] -o MODEL.gguf", "a model with random weights and its tokenizer",
     cmd_train_init, .options = cmd_train_init_options},
    {0},
};

enum { LARGE = 256 << 20 }; /* bytes of a model that is not written for nothing */

static struct tune_flags flags;
static const char *out, *tokenizer, *quantize, *name;
static struct train_learn learn;
static struct scratch_shape shape;
static bool qat;

const struct opt *cmd_train_options(void) {
    static const struct opt own[] = {
        {"out", 'o', OPT_STR, &out, 0, 0, "FILE", "the GGUF file to write"},
        {"tokenizer", 0, OPT_STR, &tokenizer, 0, 0, "FILE",
         "a GGUF whose tokenizer and chat template are taken; else one is learned from the data"},
        {"vocab", 0, OPT_INT, &learn.n_vocab, BPE_MIN_VOCAB, BPE_MAX_VOCAB, "N",
         "tokens of a tokenizer that is learned; default 4096"},
        TRAIN_SHAPE_OPTIONS(shape),
        {"quantize", 'q', OPT_STR, &quantize, 0, 0, "TYPE",
         "of the weights that are written, as Q8_0 or Q4_K_M; default F32"},
        {"qat", 0, OPT_FLAG, &qat, 0, 0, NULL,
         "with -q: train with weights rounded as they will be"},
        {"name", 0, OPT_STR, &name, 0, 0, "TEXT", "general.name; default: as the file"},
        {"skip-bad", 0, OPT_FLAG, &learn.skip_bad, 0, 0, NULL,
         "leave out lines that are no examples instead of stopping"},
    };
    enum { N_OWN = sizeof own / sizeof *own };
    static struct opt table[N_OWN + TUNE_COMMON + TUNE_MAX_SETTINGS + 1];
    tune_flags_table(TUNE_FROM_NOTHING, &flags, own, N_OWN, table);
    return table;
}

/* ---- what is asked for ---- */

/* What is written is nothing that is read. */
static int check_output(const char *path, struct err *e) {
    char train[STORE_PATH], valid[STORE_PATH];
    train_data_path(flags.data, "train.jsonl", train);
    train_data_path(flags.data, "valid.jsonl", valid);
    if (output_not_input(path, train, e) != 0 || output_not_input(path, valid, e) != 0 ||
        output_not_input(path, flags.valid, e) != 0 || output_not_input(path, tokenizer, e) != 0)
        return -1;
    return output_check(path, e);
}

static int check(struct err *e) {
    char known[400];
    if (tune_flags_check(TUNE_FROM_NOTHING, &flags, e) != 0) return -1;
    if (!out) return err_set(e, ERR_USAGE, "train: --out is missing; the file to write is needed");
    if (qat && !quantize)
        return err_set(e, ERR_USAGE,
                       "train: --quantize is missing; --qat needs the type to train for");
    if (tokenizer && learn.n_vocab > 0)
        return err_set(e, ERR_USAGE, "train: --tokenizer beside --vocab; one of them is accepted");
    if (quantize && (mix_by_name(quantize) < 0 || mix_base_type(mix_by_name(quantize)) < 0)) {
        mix_list(known, sizeof known);
        return err_set(e, ERR_USAGE, "--quantize: found \"%.60s\"; one of %s is accepted", quantize,
                       known);
    }
    if (check_output(out, e) != 0) return -1;
    if (flags.log && (strcmp(flags.log, out) == 0 || output_not_input(flags.log, out, NULL) != 0))
        return err_set(e, ERR_USAGE, "%s: both --out and --log; two files are needed", out);
    if (flags.log && check_output(flags.log, e) != 0) return -1;
    return scratch_shape_fill(&shape, e);
}

static int settings(struct tune_opts *t, struct err *e) {
    *t = (struct tune_opts){.skip_bad = learn.skip_bad, .type = qat ? quantize : NULL};
    if (tune_set(t, "method", "--method", qat ? "qat" : "full", e) != 0 ||
        tune_set(t, "epochs", "--epochs", "10", e) != 0 ||
        tune_set(t, "lr", "--lr", "1e-3", e) != 0)
        return -1;
    return tune_flags_set(TUNE_FROM_NOTHING, &flags, t, e);
}

/* ---- the model to begin with ---- */

static int learn_from_data(struct bpe_tokens *b, struct err *e) {
    learn.file = &flags.data;
    learn.n_file = 1;
    return train_learn_tokens(&learn, b, e);
}

static void say_base(struct create_view *v, const struct bpe_tokens *b, int n_vocab) {
    struct buf text = {0};
    if (b) {
        train_describe_tokens(&learn, b, &text);
        if (text.p) create_view_status(v, text.p, NULL, 0, 0);
        buf_reset(&text);
    }
    train_describe_shape(&shape, n_vocab, &text);
    if (text.p) create_view_status(v, text.p, NULL, 0, 0);
    buf_fini(&text);
}

/* The tokenizer, learned or read; scratch_opts for it. */
struct beginning {
    char name[128];
    struct bpe_tokens learnt;
    struct gguf *tokenizer;
    int n_vocab;
    struct scratch_opts o;
};

static int begin(struct beginning *b, const struct tune_opts *t, struct err *e) {
    *b = (struct beginning){.n_vocab = 0};
    if (tokenizer) {
        b->tokenizer = gguf_open(tokenizer, e);
        if (!b->tokenizer || scratch_n_vocab(b->tokenizer, &b->n_vocab, e) != 0) return -1;
    } else {
        if (learn_from_data(&b->learnt, e) != 0) return -1;
        b->n_vocab = b->learnt.n;
    }
    train_model_name(out, b->name);
    b->o = (struct scratch_opts){.shape = shape,
                                 .name = name ? name : b->name,
                                 .seed = t->train.seed,
                                 .learnt = b->tokenizer ? NULL : &b->learnt,
                                 .tokenizer = b->tokenizer};
    return 0;
}

static void beginning_fini(struct beginning *b) {
    bpe_tokens_fini(&b->learnt);
    gguf_close(b->tokenizer);
}

/* ---- training ---- */

/* What create says about layers and manifests is of no interest here. */
static void on_status(void *ctx, const char *status, const char *digest, uint64_t completed,
                      uint64_t total) {
    static const char *const of_stores[] = {"gathering", "parsing", "using",  "creating",
                                            "writing",   "success", "copying"};
    for (size_t i = 0; i < sizeof of_stores / sizeof *of_stores; i++)
        if (strncmp(status, of_stores[i], strlen(of_stores[i])) == 0) return;
    create_view_status(ctx, status, digest, completed, total);
}

/* base: the file to begin with.  quiet: a plan of which nothing is said. */
static int train(struct train_work *w, const char *base, const struct tune_opts *t, bool quiet,
                 struct create_view *v, struct err *e) {
    struct name n;
    struct modelfile_line line[3];
    struct modelfile m = {.line = line};
    struct create_opts o = tune_flags_create(&flags, t);
    o.one_run = true;
    if (quiet) o.plan_only = true;
    tune_flags_modelfile(&flags, base, &m);
    if (name_parse("trained", &n, e) != 0) return -1;
    return create_model(w->store, &n, &m, &o, quiet ? NULL : on_status, v, e);
}

/* What memory does not allow is known from the shapes: before gigabytes are written; and that the
 * folder is another run's, before its base is written over. */
static int write_base(struct train_work *w, struct beginning *b, const struct tune_opts *t,
                      struct err *e) {
    const uint64_t n_bytes = sizeof(float) * scratch_n_param(&shape, b->n_vocab);
    const bool large = t->train.memory_bytes && n_bytes > LARGE, again = w->was_there;
    b->o.hollow = true;
    if ((flags.dry_run || large || again) && scratch_write(w->plan, &b->o, e) != 0) return -1;
    if (flags.dry_run) return 0;
    const bool other = again && train_work_planned(w) == w->plan;
    if ((large || other) && train(w, train_work_planned(w), t, true, NULL, e) != 0) return -1;
    b->o.hollow = false;
    return scratch_write(w->base, &b->o, e);
}

static int make_base(struct train_work *w, const struct tune_opts *t, struct create_view *v,
                     struct err *e) {
    struct beginning b;
    int rc = begin(&b, t, e);
    if (rc == 0) say_base(v, tokenizer ? NULL : &b.learnt, b.n_vocab);
    if (rc == 0) rc = write_base(w, &b, t, e);
    beginning_fini(&b);
    return rc;
}

/* ---- what follows ---- */

/* In fewer bits, compared with the source on some of the data. */
static int make_small(struct train_work *w, const struct name *n, const char *from,
                      struct create_view *v, struct err *e) {
    char data[STORE_PATH];
    struct modelfile_line line[1];
    struct modelfile m = {.line = line};
    struct train_sample sample;
    train_data_path(flags.data, "train.jsonl", data);
    int rc = train_sample_read(&sample, from, flags.valid ? flags.valid : data, e);
    const struct create_opts o = {.folder = ".",
                                  .quantize = quantize,
                                  .quality = true,
                                  .quality_seq = sample.seq,
                                  .n_quality_seq = sample.n,
                                  .n_threads = flags.n_threads,
                                  .stop = &cli_interrupted};
    line[m.n++] = (struct modelfile_line){.command = MF_FROM, .value = str_of(from)};
    if (rc == 0) rc = create_model(w->store, n, &m, &o, on_status, v, e);
    train_sample_fini(&sample);
    return rc;
}

static int finish(struct train_work *w, struct create_view *v, struct err *e) {
    char path[STORE_PATH];
    struct name trained, small;
    int rc = name_parse("trained", &trained, e);
    if (rc == 0) rc = train_work_model(w, &trained, path, e);
    if (rc == 0 && quantize && !qat) {
        rc = name_parse("small", &small, e);
        if (rc == 0) rc = make_small(w, &small, path, v, e);
        if (rc == 0) rc = train_work_model(w, &small, path, e);
    }
    return rc == 0 ? train_work_deliver(w, &trained, path, out, e) : -1;
}

static void print_end(void) {
    struct stat st;
    struct buf b = {0};
    char size[HUMAN_TEXT];
    if (stat(out, &st) != 0) return;
    if (flags.as_json) {
        cli_print_json(json_pack("{s:s, s:I}", "out", out, "bytes", (json_int_t)st.st_size));
        return;
    }
    human_bytes((uint64_t)st.st_size, size);
    text_escape(&b, str_of(out), false);
    printf("%s: %s, %s\n", b.p ? b.p : "", size, quantize ? quantize : "F32");
    buf_fini(&b);
}

int cmd_train(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct tune_opts t;
    struct train_work w;
    if (cli_parse(argc, argv, cmd_train_options(), args, &n_args, e) != 0) return -1;
    if (settings(&t, e) != 0 ||
        cli_check_args("train", n_args, 0, 0, "--data FILE --out MODEL.gguf", e) != 0 ||
        check(e) != 0)
        return -1;
    t.train.ctx = shape.n_ctx;
    struct create_view v = {.as_json = flags.as_json};
    cli_catch_term();
    int rc = train_work_open(&w, out, e);
    if (rc == 0) rc = make_base(&w, &t, &v, e);
    if (rc == 0) rc = train(&w, flags.dry_run ? train_work_planned(&w) : w.base, &t, false, &v, e);
    if (rc == 0 && !flags.dry_run) rc = finish(&w, &v, e);
    const bool keep = (rc != 0 || flags.dry_run) && (w.was_there || v.checkpointed);
    create_view_end(&v, rc, argc, argv);
    train_work_close(&w, !keep);
    if (rc == 0 && !flags.dry_run) print_end();
    return rc;
}
