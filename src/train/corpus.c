/* See corpus.h.  Files are read, not mapped: one that somebody cuts meanwhile would end the program
 * with SIGBUS. */
#include "train/corpus.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"
#include "train/example_priv.h"
#include "train/reader.h"

/* Plain text is added in pieces that end where a line does, so that memory does not grow with the
 * file.  No word is cut there, but where a piece would have to be longer. */
enum { PIECE_BYTES = 1 << 20 };

struct corpus {
    struct bpe_trainer *t;
    const char *path;
    const struct corpus_opts *o;
    struct corpus_stats *s;
    struct buf role;
    struct err *e;
};

static int add(struct corpus *c, struct str text) {
    c->s->n_bytes += text.n;
    return bpe_trainer_add(c->t, text, c->e);
}

static int go_on(const struct corpus *c, uint64_t done_bytes, uint64_t all_bytes) {
    if (c->o->on_progress) c->o->on_progress(c->o->ctx, done_bytes, all_bytes);
    if (c->o->stop && *c->o->stop) return err_set(c->e, ERR_CANCELLED, "interrupted");
    return 0;
}

/* ---- plain text ---- */

/* As pre-tokenizers have it: more than the blanks of JSON. */
static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Length of the next piece of text[0..n): up to the start of a line that begins with no blank, as
 * the pre-tokenizer joins blanks across lines; where there is none in a piece's bytes, it is cut
 * between characters, perhaps inside a word. */
static size_t piece_length(const char *text, size_t n) {
    if (n <= PIECE_BYTES) return n;
    for (size_t i = PIECE_BYTES; i > 0; i--)
        if (text[i - 1] == '\n' && !is_blank(text[i])) return i;
    const size_t whole = utf8_complete(text, PIECE_BYTES);
    return whole ? whole : PIECE_BYTES;
}

/* One that begins at `at` of the file. */
static int add_piece(struct corpus *c, struct str piece, uint64_t at) {
    const size_t good = utf8_valid_prefix(piece.p, piece.n);
    if (good < piece.n && c->s->n_invalid++ == 0) c->s->invalid_at = at + good;
    return add(c, piece);
}

/* The text in window, whose place in the file is told: a piece, and a byte to see how the next line
 * begins. */
static int add_pieces(struct corpus *c, int fd, uint64_t n_file, char *window) {
    size_t n = 0;
    for (uint64_t at = 0;;) {
        const ssize_t got = os_read_at(fd, window + n, PIECE_BYTES + 1 - n, at + n);
        if (got < 0) return err_errno(c->e, c->path);
        n += (size_t)got;
        if (n == 0) return 0;
        const size_t k = piece_length(window, n);
        if (add_piece(c, (struct str){window, k}, at) != 0) return -1;
        memmove(window, window + k, n - k);
        n -= k, at += k;
        if (go_on(c, at, n_file) != 0) return -1;
    }
}

static int add_plain(struct corpus *c) {
    struct stat st;
    const int fd = os_open_regular(c->path, c->e);
    if (fd < 0) return -1;
    char *window = malloc(PIECE_BYTES + 1);
    int rc = window ? 0 : err_nomem(c->e, c->path);
    if (rc == 0 && fstat(fd, &st) != 0) rc = err_errno(c->e, c->path);
    if (rc == 0 && st.st_size == 0)
        rc = err_set(c->e, ERR_FORMAT, "%s: the file is empty", c->path);
    if (rc == 0) rc = add_pieces(c, fd, (uint64_t)st.st_size, window);
    free(window);
    close(fd);
    return rc;
}

/* ---- examples ---- */

/* Every text in v.  A role is followed by a newline, as in a prompt. */
static int add_json(struct corpus *c, const json_t *v) {
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(v)) return add(c, (struct str){json_string_value(v), json_string_length(v)});
    json_array_foreach((json_t *)v, i, item) if (add_json(c, item) != 0) return -1;
    json_object_foreach((json_t *)v, key, item) {
        if (strcmp(key, "role") != 0 || !json_is_string(item)) {
            if (add_json(c, item) != 0) return -1;
            continue;
        }
        buf_reset(&c->role);
        buf_append(&c->role, json_string_value(item), json_string_length(item));
        buf_byte(&c->role, '\n');
        if (c->role.failed) return err_nomem(c->e, c->path);
        if (add(c, buf_view(&c->role)) != 0) return -1;
    }
    return 0;
}

static int add_example(struct corpus *c, const struct example *x) {
    const json_t *const part[] = {x->messages, x->tools, x->chosen, x->rejected, x->text};
    c->s->n_example++;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i] && add_json(c, part[i]) != 0) return -1;
    return 0;
}

static int add_examples(struct corpus *c) {
    const struct data_opts o = {.system = c->o->system,
                                .skip_bad = c->o->skip_bad,
                                .on_progress = c->o->on_progress,
                                .ctx = c->o->ctx,
                                .stop = c->o->stop};
    struct data_counts count;
    struct reader r;
    struct example x;
    int got = reader_open(&r, c->path, &o, &count, c->e);
    if (got == 0) got = 1;
    while (got == 1 && (got = reader_next(&r, &x, c->e)) == 1) {
        if (add_example(c, &x) != 0) got = -1;
        example_fini(&x);
    }
    if (got == 0) got = reader_end(&r, r.n_given, c->e);
    for (int f = 0; f < EXAMPLE_N_FAULT; f++)
        if (example_fault_is_error(f)) c->s->n_skipped += count.n_fault[f];
    reader_close(&r);
    return got;
}

/* ---- which of them ---- */

static bool ends_with(const char *path, const char *suffix) {
    const size_t n = strlen(path), m = strlen(suffix);
    return n > m && strcasecmp(path + n - m, suffix) == 0;
}

static bool is_object(struct str line) {
    while (line.n > 0 && example_is_blank((struct str){line.p, 1}))
        line.p++, line.n--;
    if (line.n == 0 || line.p[0] != '{') return false;
    json_t *v = json_loadb(line.p, line.n, 0, NULL);
    json_decref(v);
    return v != NULL;
}

/* Does the file begin with a JSON object on a line of its own?  -1: it cannot be read. */
static int begins_with_object(const char *path, struct err *e) {
    struct lines l;
    struct str line = STR("");
    int rc = lines_open(&l, path, e);
    enum lines_got got = LINES_LINE;
    while (rc == 0 && got == LINES_LINE && example_is_blank(line))
        got = lines_next(&l, &line, e);
    if (got == LINES_FAILED) rc = -1;
    if (rc == 0) rc = got == LINES_LINE && is_object(line);
    lines_close(&l);
    return rc;
}

int corpus_add(struct bpe_trainer *t, const char *path, const struct corpus_opts *o,
               struct corpus_stats *s, struct err *e) {
    struct corpus c = {.t = t, .path = path, .o = o, .s = s, .e = e};
    const bool named = ends_with(path, ".jsonl") || ends_with(path, ".ndjson");
    const int jsonl = named ? 1 : begins_with_object(path, e);
    const int rc = jsonl < 0 ? -1 : jsonl ? add_examples(&c) : add_plain(&c);
    buf_fini(&c.role);
    return rc;
}
