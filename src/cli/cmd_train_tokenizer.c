/* `cria train tokenizer FILE... -o TOK.gguf`: a byte-level BPE tokenizer from texts. */
#include <stdio.h>

#include "base/os.h"
#include "base/output.h"
#include "cli/commands.h"
#include "cli/train_model.h"
#include "text/chat/chat.h"

enum { MAX_TEMPLATE_BYTES = 1 << 20 };

static const char *out, *template_path;
static struct train_learn learn;
static bool as_json;

const struct opt *cmd_train_tokenizer_options(void) {
    static const struct opt table[] = {
        {"out", 'o', OPT_STR, &out, 0, 0, "FILE", "the GGUF file to write"},
        {"vocab", 0, OPT_INT, &learn.n_vocab, BPE_MIN_VOCAB, BPE_MAX_VOCAB, "N",
         "tokens, 256 bytes and control tokens among them; default 4096"},
        {"special", 0, OPT_LIST, &learn.extra, 0, 0, "TEXT",
         "a control token more; repeat for others"},
        {"template", 0, OPT_STR, &template_path, 0, 0, "FILE",
         "the chat template of the file, in Jinja; default: ChatML"},
        {"skip-bad", 0, OPT_FLAG, &learn.skip_bad, 0, 0, NULL,
         "leave out lines that are no examples instead of stopping"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

/* A template that no reader here understands would be found out by the first chat only. */
static int read_template(struct buf *text, struct err *e) {
    if (os_read_file(template_path, MAX_TEMPLATE_BYTES, text, e) != 0) return -1;
    if (text->n > 0 && text->p[text->n - 1] == '\n') text->p[--text->n] = 0; /* the editor's */
    struct err why = {0};
    struct chat_template *t = chat_template_new(buf_view(text), &why);
    if (!t) return err_set(e, why.code, "%s: %s", template_path, why.msg);
    chat_template_free(t);
    return 0;
}

static int check_out(const char *const *file, struct err *e) {
    for (int i = 0; i < learn.n_file; i++) {
        char path[STORE_PATH];
        train_data_path(file[i], "train.jsonl", path);
        if (output_not_input(out, path, e) != 0) return -1;
    }
    return output_not_input(out, template_path, e) == 0 ? output_check(out, e) : -1;
}

int cmd_train_tokenizer(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    struct bpe_tokens b = {0};
    struct buf text = {0};
    if (cli_parse(argc, argv, cmd_train_tokenizer_options(), args, &learn.n_file, e) != 0)
        return -1;
    if (cli_check_args("train tokenizer", learn.n_file, 1, CLI_MAX_ARGS, "FILE... -o TOK.gguf",
                       e) != 0)
        return -1;
    if (!out)
        return err_set(e, ERR_USAGE,
                       "train tokenizer: --out is missing; a file to write is needed");
    learn.file = args;
    int rc = check_out(args, e);
    if (rc == 0 && template_path) rc = read_template(&text, e);
    if (rc == 0) rc = train_learn_tokens(&learn, &b, e);
    b.chat_template = buf_view(&text);
    if (rc == 0) rc = bpe_tokens_write(&b, out, e);
    if (rc == 0 && as_json) cli_print_json(train_tokens_json(&learn, &b));
    if (rc == 0 && !as_json) {
        buf_reset(&text);
        train_describe_tokens(&learn, &b, &text);
        puts(text.p ? text.p : "");
    }
    bpe_tokens_fini(&b);
    buf_fini(&text);
    return rc;
}
