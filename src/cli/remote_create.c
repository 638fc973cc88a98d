/* See remote_create.h.
 *
 *   Modelfile -> FROM, ADAPTER, DRAFT that are files -> digest -> HEAD /api/blobs/sha256:...
 *                                                    -> POST there, unless it has it
 *             -> all the rest                        -> POST /api/create, or with a TRAINFILE, a
 *                                                       blob, too, /api/train; lines of progress */
#include "cli/remote_create.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "cli/remote_train.h"
#include "store/digest.h"
#include "store/params.h"

enum { PIECE_BYTES = 1 << 20, MAX_NAME = 100 };

struct sending {
    struct remote *r;
    const struct create_opts *o;
    json_t *body;
    create_event_fn *say;
    void *ctx;
    char job[64]; /* of training: its id, once it is known */
};

/* ---- one file ---- */

struct file {
    const struct sending *s;
    const char *path, *status;
    const char *digest; /* once it is known */
    int fd;
    uint64_t n_bytes, done;
};

static int64_t read_piece(void *ctx, void *bytes, size_t n, struct err *e) {
    struct file *f = ctx;
    const ssize_t got = pread(f->fd, bytes, n, (off_t)f->done);
    if (got < 0) return err_errno(e, f->path);
    if (got == 0 && f->done < f->n_bytes)
        return err_set(e, ERR_IO, "%s: it became shorter while it was read", f->path);
    f->done += (uint64_t)got;
    f->s->say(f->s->ctx, f->status, f->digest, f->done, f->n_bytes);
    return got;
}

static int rewind_file(void *ctx, struct err *e) {
    struct file *f = ctx;
    (void)e;
    f->done = 0;
    return 0;
}

static int hash(struct file *f, char out[DIGEST_TEXT], struct err *e) {
    static char piece[PIECE_BYTES];
    uint8_t sum[SHA256_BYTES];
    struct sha256 h;
    struct digest d;
    int rc = 0;
    sha256_init(&h);
    while (rc == 0 && f->done < f->n_bytes) {
        const int64_t n = read_piece(f, piece, sizeof piece, e);
        if (n < 0) rc = -1;
        if (rc == 0) sha256_add(&h, piece, (size_t)n);
        if (rc == 0 && *f->s->o->stop) rc = err_set(e, ERR_CANCELLED, "interrupted");
    }
    if (sha256_final(&h, sum) != 0 && rc == 0) rc = err_nomem(e, f->path);
    if (rc != 0) return -1;
    digest_from_hash(sum, &d);
    digest_format(&d, out);
    return 0;
}

static int send_blob(struct file *f, const char *digest, struct err *e) {
    char at[DIGEST_TEXT + 16], status[DIGEST_TEXT + 16];
    bool has;
    snprintf(at, sizeof at, "/api/blobs/%s", digest);
    if (remote_has(f->s->r, at, &has, e) != 0) return -1;
    if (has) return 0;
    snprintf(status, sizeof status, "copying file %s", digest);
    f->status = status, f->digest = digest, f->done = 0;
    const struct remote_body b = {read_piece, rewind_file, f, f->n_bytes};
    return remote_send(f->s->r, at, &b, e);
}

static int send_file(const struct sending *s, const char *path, char digest[DIGEST_TEXT],
                     struct err *e) {
    char status[MAX_NAME + 16];
    struct stat st;
    const char *slash = strrchr(path, '/');
    struct file f = {.s = s, .path = path, .status = status};
    snprintf(status, sizeof status, "hashing %.*s", MAX_NAME, slash ? slash + 1 : path);
    /* O_NONBLOCK: what became a fifo since it was looked at is not waited for. */
    f.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f.fd < 0 || fstat(f.fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_errno(e, path);
        if (f.fd >= 0) close(f.fd);
        return -1;
    }
    f.n_bytes = (uint64_t)st.st_size;
    const int rc = hash(&f, digest, e) == 0 ? send_blob(&f, digest, e) : -1;
    close(f.fd);
    return rc;
}

/* ---- files of a command ---- */

/* The name it goes by: one plain word, and not one that stands for another file. */
static void name_file(const char *path, const json_t *taken, char out[MAX_NAME + 8]) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const size_t n = strlen(base);
    char word[MAX_NAME + 1];
    snprintf(word, sizeof word, "%s", n > MAX_NAME ? base + n - MAX_NAME : base);
    for (char *c = word; *c; c++)
        if (!isalnum((unsigned char)*c) && (!strchr("._-+", *c) || c == word)) *c = '_';
    snprintf(out, MAX_NAME + 8, "%s", word);
    for (int i = 2; json_object_get(taken, out) && i < 1000; i++)
        snprintf(out, MAX_NAME + 8, "%d-%s", i, word);
}

static int send_path(const struct sending *s, const char *key, const char *path,
                     enum create_what what, struct err *e) {
    json_t *files = json_object_get(s->body, key);
    struct create_gathered g;
    char name[MAX_NAME + 8], digest[DIGEST_TEXT];
    int rc = create_gather(path, what, &g, e);
    if (!files) {
        files = json_object();
        json_object_set_new(s->body, key, files);
    }
    for (int i = 0; rc == 0 && i < g.n; i++) {
        name_file(g.path[i], files, name);
        rc = send_file(s, g.path[i], digest, e);
        if (rc == 0) json_object_set_new(files, name, json_string(digest));
    }
    create_gathered_fini(&g);
    return rc;
}

static int add_source(const struct sending *s, const struct modelfile_line *l, struct err *e) {
    const char *key = l->command == MF_FROM      ? "files"
                      : l->command == MF_ADAPTER ? "adapters"
                                                 : "draft_files";
    char path[STORE_PATH];
    enum create_what what;
    if (create_look(s->o->folder, l->value.p, path, &what, e) != 0) return -1;
    if (what != CREATE_NOTHING) return send_path(s, key, path, what, e);
    if (l->command != MF_FROM)
        return err_set(e, ERR_NOT_FOUND, "%.200s: no such file or folder; a server is sent a file",
                       l->value.p);
    if (json_object_get(s->body, "from"))
        return err_set(e, ERR_FORMAT, "a second model, '%.200s'; a second FROM may add a projector",
                       l->value.p);
    return json_object_set_new(s->body, "from", json_string(l->value.p)) == 0
               ? 0
               : err_set(e, ERR_FORMAT, "FROM: a name that is no UTF-8 text");
}

/* TRAINFILE goes before a valid.jsonl beside it: what VALIDFILE says stays. */
static int add_data(const struct sending *s, const struct modelfile_line *l, struct err *e) {
    const bool train = l->command == MF_TRAINFILE;
    char path[STORE_PATH], other[STORE_PATH] = "", digest[DIGEST_TEXT];
    if (remote_train_file(s->o->folder, l, path, train ? other : NULL, e) != 0 ||
        send_file(s, path, digest, e) != 0)
        return -1;
    json_object_set_new(s->body, train ? "data" : "valid", json_string(digest));
    if (!*other || json_object_get(s->body, "valid")) return 0;
    if (send_file(s, other, digest, e) != 0) return -1;
    json_object_set_new(s->body, "valid", json_string(digest));
    return 0;
}

/* ---- the other commands ---- */

static json_t *list_of(json_t *body, const char *key) {
    json_t *list = json_object_get(body, key);
    if (list) return list;
    list = json_array();
    json_object_set_new(body, key, list);
    return list;
}

static int add_text(json_t *body, const char *key, const struct modelfile_line *l, struct err *e) {
    if (l->value.n == 0)
        return err_set(e, ERR_UNSUPPORTED, "an empty text; a server takes it for none");
    json_t *text = json_stringn(l->value.p, l->value.n);
    return json_object_set_new(body, key, text) == 0
               ? 0
               : err_set(e, ERR_FORMAT, "%s: the text is no UTF-8", key);
}

static int add_parameter(const struct sending *s, const struct modelfile_line *l, struct err *e) {
    json_t *body = s->body, *all = json_object_get(body, "parameters");
    const struct param *p = param_find(l->name);
    if (remote_train_option(body, l)) return 0;
    if (!all) {
        all = json_object();
        json_object_set_new(body, "parameters", all);
    }
    if (p && p->use == PARAM_OLD) {
        char text[128];
        snprintf(text, sizeof text, "warning: parameter %s is deprecated; it is left out", l->name);
        s->say(s->ctx, text, NULL, 0, 0);
        return 0;
    }
    return param_set(all, l->name, l->value.p, e);
}

static int add_line(const struct sending *s, const struct modelfile_line *l, struct err *e) {
    json_t *body = s->body, *v;
    char key[sizeof "fallback"]; /* the longest of modelfile_extensions */
    switch (l->command) {
    case MF_FROM:
    case MF_ADAPTER:
    case MF_DRAFT: return add_source(s, l, e);
    case MF_TEMPLATE: return add_text(body, "template", l, e);
    case MF_SYSTEM: return add_text(body, "system", l, e);
    case MF_RENDERER: return add_text(body, "renderer", l, e);
    case MF_PARSER: return add_text(body, "parser", l, e);
    case MF_REQUIRES: return add_text(body, "requires", l, e);
    case MF_PARAMETER: return add_parameter(s, l, e);
    case MF_LICENSE:
        v = json_stringn(l->value.p, l->value.n);
        if (json_array_append_new(list_of(body, "license"), v) == 0) return 0;
        break;
    case MF_MESSAGE:
        v = json_pack("{s:s, s:s%}", "role", l->name, "content", l->value.p, l->value.n);
        if (json_array_append_new(list_of(body, "messages"), v) == 0) return 0;
        break;
    case MF_TRAINFILE:
    case MF_VALIDFILE: return add_data(s, l, e);
    case MF_EXTENSION:
        for (size_t i = 0; (key[i] = (char)tolower((unsigned char)l->name[i])); i++) {
        }
        return add_text(body, key, l, e);
    }
    return err_set(e, ERR_FORMAT, "the text is no UTF-8");
}

/* ---- all ---- */

static int hear(void *ctx, const json_t *line, struct err *e) {
    struct sending *s = ctx;
    if (remote_train_hear(line, s->o, s->ctx, s->job)) return 0;
    const char *status = json_string_value(json_object_get(line, "status"));
    const json_int_t total = json_integer_value(json_object_get(line, "total"));
    const json_int_t done = json_integer_value(json_object_get(line, "completed"));
    (void)e;
    if (status)
        s->say(s->ctx, status, json_string_value(json_object_get(line, "digest")),
               done > 0 ? (uint64_t)done : 0, total > 0 ? (uint64_t)total : 0);
    return 0;
}

static int add_all(const struct sending *s, const struct modelfile *m, struct err *e) {
    char where[32];
    s->say(s->ctx, "gathering model components", NULL, 0, 0);
    for (int i = 0; i < m->n; i++) {
        if (add_line(s, &m->line[i], e) == 0) continue;
        snprintf(where, sizeof where, "(line %d)", m->line[i].line);
        return err_prefix(e, where);
    }
    return 0;
}

int remote_create(struct remote *r, const char *name, const struct modelfile *m,
                  const struct create_opts *o, create_event_fn *say, void *ctx, struct err *e) {
    if (create_check(m, o, e) != 0) return -1;
    struct sending s = {.r = r, .o = o, .say = say, .ctx = ctx};
    const bool trains = remote_trains(m);
    s.body = json_pack("{s:s}", "model", name);
    int rc = s.body ? 0 : err_set(e, ERR_USAGE, "create: a name that is no UTF-8 text");
    if (rc == 0 && o->quantize) json_object_set_new(s.body, "quantize", json_string(o->quantize));
    if (rc == 0) rc = add_all(&s, m, e);
    if (rc == 0 && trains) rc = remote_train_settings(s.body, o, e);
    if (rc == 0) rc = remote_stream(r, trains ? "/api/train" : "/api/create", s.body, hear, &s, e);
    if (rc != 0 && e->code == ERR_CANCELLED) remote_train_cancel(r, s.job, o, ctx);
    json_decref(s.body);
    return rc;
}
