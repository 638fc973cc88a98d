/* See prepare.h.  IN is read twice when it is split: hashes of all prompts decide who goes where,
 * then lines are written as they come. */
#include "train/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/os.h"
#include "base/output.h"
#include "train/reader.h"

enum { MAX_TRIES = 100 };

/* ---- a file that is not there before it is whole ---- */

struct output {
    const char *path; /* borrowed; NULL: not open */
    char partial[PATH_MAX];
    FILE *f;
};

/* By chance, not by our process: in containers that is 1 every time, and a name that a killed one
 * left would be in the way of all others.  open, not mkstemp: the umask decides who may read it. */
static int open_new(struct output *o, const char *path, struct err *e) {
    for (int i = 0; i < MAX_TRIES; i++) {
        uint32_t tag = 0;
        if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag) return err_errno(e, path);
        const int n = snprintf(o->partial, sizeof o->partial, "%s.%08x.partial", path, tag);
        if (n >= (int)sizeof o->partial)
            return err_set(e, ERR_USAGE, "%s: the path is too long", path);
        const int fd = open(o->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) return fd;
        if (errno != EEXIST) break;
    }
    return err_errno(e, path);
}

static int out_open(struct output *o, const char *path, struct err *e) {
    const int fd = open_new(o, path, e);
    if (fd < 0) return -1;
    o->path = path;
    o->f = fdopen(fd, "w");
    if (o->f) return 0;
    close(fd);
    return err_nomem(e, path);
}

static int out_write(struct output *o, struct str line, struct err *e) {
    if (fwrite(line.p, 1, line.n, o->f) == line.n && putc('\n', o->f) != EOF) return 0;
    return err_errno(e, o->path);
}

/* All of it on the disk, still under its first name. */
static int out_flush(struct output *o, struct err *e) {
    const bool whole = fflush(o->f) == 0 && fsync(fileno(o->f)) == 0;
    const int why = errno;
    const bool closed = fclose(o->f) == 0;
    o->f = NULL;
    if (whole && closed) return 0;
    if (!whole) errno = why;
    return err_errno(e, o->path);
}

static int out_rename(struct output *o, struct err *e) {
    if (rename(o->partial, o->path) != 0) return err_errno(e, o->path);
    const char *path = o->path;
    o->path = NULL;
    return os_sync_folder(path) == 0 ? 0 : err_errno(e, path);
}

static void out_give_up(struct output *o) {
    if (o->f) fclose(o->f);
    if (o->path) unlink(o->partial);
}

/* ---- one pass ---- */

struct preparing {
    const char *in;
    struct prepare_result *r;
    struct data_opts read;
    bool *to_valid; /* [n_planned], owned, or NULL: none */
    int n_planned;
    struct output out, valid;
    struct buf line;
};

static int write_example(struct preparing *p, const struct example *x, int at, struct err *e) {
    const bool valid = at < p->n_planned && p->to_valid[at]; /* more: the file has grown */
    json_t *o = example_json(x);
    buf_reset(&p->line);
    int rc = json_append(p->in, o, &p->line, e);
    json_decref(o);
    if (rc == 0) rc = out_write(valid ? &p->valid : &p->out, buf_view(&p->line), e);
    *(valid ? &p->r->n_valid : &p->r->n_train) += 1;
    return rc;
}

static int write_all(struct preparing *p, struct err *e) {
    struct reader r;
    struct example x;
    int got, n = 0, rc = reader_open(&r, p->in, &p->read, &p->r->count, e);
    while (rc == 0 && (got = reader_next(&r, &x, e)) != 0) {
        rc = got > 0 ? write_example(p, &x, n++, e) : -1;
        example_fini(&x);
    }
    if (rc == 0) rc = reader_end(&r, n, e);
    reader_close(&r);
    return rc;
}

/* ---- the split ---- */

/* Who goes where, by a pass that only looks. */
static int plan_split(struct preparing *p, const struct prepare_opts *o, uint8_t *digest,
                      struct err *e) {
    struct data_opts quiet = p->read;
    struct dataset d;
    quiet.on_issue = NULL;
    int rc = dataset_read(&d, p->in, &quiet, e);
    if (rc == 0) {
        memcpy(digest, d.count.file_digest, SHA256_BYTES);
        p->n_planned = d.n_example;
        p->to_valid = malloc((size_t)d.n_example + 1);
        rc = p->to_valid ? 0 : err_nomem(e, p->in);
    }
    if (rc == 0 && data_choose(d.prompt_hash, d.n_example, o->split, o->seed, p->to_valid, e) < 0) {
        err_prefix(e, p->in);
        rc = -1;
    }
    dataset_fini(&d);
    return rc;
}

/* ---- files ---- */

static int check_output(const char *in, const char *out, struct err *e) {
    struct stat st;
    if (output_not_input(out, in, e) != 0) return -1;
    if (stat(out, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, ERR_USAGE, "%s: is no regular file; one is needed for the output", out);
    return output_check(out, e);
}

static int check_outputs(const char *in, const char *out, const char *valid_out, bool split,
                         struct err *e) {
    if (check_output(in, out, e) != 0) return -1;
    if (!split) return 0;
    if (strcmp(out, valid_out) == 0)
        return err_set(e, ERR_USAGE, "%s: is named twice; two files are needed", out);
    return check_output(in, valid_out, e);
}

static int prepare(struct preparing *p, const char *out, const char *valid_out,
                   const struct prepare_opts *o, struct err *e) {
    const bool split = o->split > 0;
    uint8_t digest[SHA256_BYTES];
    if (check_outputs(p->in, out, valid_out, split, e) != 0) return -1;
    if (split && plan_split(p, o, digest, e) != 0) return -1;
    if (out_open(&p->out, out, e) != 0) return -1;
    if (split && out_open(&p->valid, valid_out, e) != 0) return -1;
    if (write_all(p, e) != 0) return -1;
    if (split && memcmp(digest, p->r->count.file_digest, SHA256_BYTES) != 0)
        return err_set(e, ERR_FORMAT, "%s: changed while it was read; a file at rest is needed",
                       p->in);
    if (out_flush(&p->out, e) != 0 || (split && out_flush(&p->valid, e) != 0)) return -1;
    if (split && out_rename(&p->valid, e) != 0) return -1;
    return out_rename(&p->out, e);
}

int prepare_file(const char *in, const char *out, const char *valid_out,
                 const struct prepare_opts *o, struct prepare_result *r, struct err *e) {
    struct preparing p = {.in = in,
                          .r = r,
                          .read = {.system = o->system,
                                   .skip_bad = true,
                                   .on_issue = o->on_issue,
                                   .on_progress = o->on_progress,
                                   .ctx = o->ctx,
                                   .stop = o->stop}};
    *r = (struct prepare_result){0};
    const int rc = prepare(&p, out, valid_out, o, e);
    out_give_up(&p.out);
    out_give_up(&p.valid);
    free(p.to_valid);
    buf_fini(&p.line);
    return rc;
}
