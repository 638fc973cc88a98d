/* `cria train init -o MODEL.gguf`: a model with random weights, to be trained by `cria tune --full`
 * or by other programs. */
#include <stdio.h>

#include "base/buf.h"
#include "base/output.h"
#include "cli/commands.h"
#include "cli/train_model.h"

static const char *out, *tokenizer, *name;
static struct train_learn learn;
static struct scratch_shape shape;
static int seed;
static bool as_json;

const struct opt *cmd_train_init_options(void) {
    static const struct opt table[] = {
        {"out", 'o', OPT_STR, &out, 0, 0, "FILE", "the GGUF file to write"},
        {"tokenizer", 0, OPT_STR, &tokenizer, 0, 0, "FILE",
         "a GGUF whose tokenizer and chat template are taken; else they are learned from FILE..."},
        {"vocab", 0, OPT_INT, &learn.n_vocab, BPE_MIN_VOCAB, BPE_MAX_VOCAB, "N",
         "tokens of a tokenizer that is learned; default 4096"},
        TRAIN_SHAPE_OPTIONS(shape),
        {"name", 0, OPT_STR, &name, 0, 0, "TEXT", "general.name; default: as the file"},
        {"seed", 0, OPT_INT, &seed, 0, 0, "N", "of the random weights; default 0"},
        {"skip-bad", 0, OPT_FLAG, &learn.skip_bad, 0, 0, NULL,
         "leave out lines that are no examples instead of stopping"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static int check(struct err *e) {
    if (!out) return err_set(e, ERR_USAGE, "train init: --out is missing; a file is needed");
    if (tokenizer && (learn.n_file > 0 || learn.n_vocab > 0))
        return err_set(e, ERR_USAGE,
                       "train init: --tokenizer beside %s; either a tokenizer or texts to learn "
                       "one from are accepted",
                       learn.n_file > 0 ? "texts" : "--vocab");
    if (!tokenizer && learn.n_file == 0)
        return err_set(
            e, ERR_USAGE,
            "train init: no tokenizer; --tokenizer FILE, or texts to learn one from, are "
            "needed");
    for (int i = 0; i < learn.n_file; i++) {
        char path[STORE_PATH];
        train_data_path(learn.file[i], "train.jsonl", path);
        if (output_not_input(out, path, e) != 0) return -1;
    }
    if (output_not_input(out, tokenizer, e) != 0 || output_check(out, e) != 0) return -1;
    return scratch_shape_fill(&shape, e);
}

/* b: the tokenizer that was learned, or NULL. */
static void print(const struct bpe_tokens *b, int n_vocab) {
    struct buf text = {0};
    if (as_json) {
        cli_print_json(json_pack("{s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "out", out,
                                 "parameters", (json_int_t)scratch_n_param(&shape, n_vocab),
                                 "vocab", n_vocab, "layers", shape.n_layer, "embd", shape.n_embd,
                                 "heads", shape.n_head, "kv_heads", shape.n_kv_head, "ff",
                                 shape.n_ff, "ctx", shape.n_ctx, "untied", (int)shape.untied));
        return;
    }
    if (b) {
        train_describe_tokens(&learn, b, &text);
        buf_byte(&text, '\n');
    }
    train_describe_shape(&shape, n_vocab, &text);
    puts(text.p ? text.p : "");
    buf_fini(&text);
}

int cmd_train_init(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    char file_name[128];
    struct bpe_tokens b = {0};
    int n_vocab = 0;
    if (cli_parse(argc, argv, cmd_train_init_options(), args, &learn.n_file, e) != 0) return -1;
    learn.file = args;
    if (check(e) != 0) return -1;
    train_model_name(out, file_name);
    struct scratch_opts o = {
        .shape = shape, .name = name ? name : file_name, .seed = (uint64_t)(unsigned)seed};
    struct gguf *g = tokenizer ? gguf_open(tokenizer, e) : NULL;
    int rc =
        tokenizer ? (g ? scratch_n_vocab(g, &n_vocab, e) : -1) : train_learn_tokens(&learn, &b, e);
    if (g)
        o.tokenizer = g;
    else
        o.learnt = &b;
    if (rc == 0) rc = scratch_write(out, &o, e);
    if (rc == 0) print(g ? NULL : &b, g ? n_vocab : b.n);
    bpe_tokens_fini(&b);
    gguf_close(g);
    return rc;
}
