/* Where a fine-tune's checkpoints are, and what it goes on from.
 *
 *   name, base, data, recipe -> a text -> the folder of that text's hash (tune_work.c)
 *                                      -> compared with those of other runs that left checkpoints
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "create/tune_priv.h"
#include "train/checkpoint.h"

enum { MAX_SHOWN = 3, MAX_VALUES = 1000 };

/* ---- what a run is ---- */

/* All that makes it this run and no other. */
static int describe(const struct tuning *t, struct buf *what, struct err *e) {
    struct digest data;
    char name[NAME_TEXT];
    json_t *recipe = tune_recipe(&t->o, &t->plan);
    name_full(t->name, name);
    digest_from_hash(t->data.train.digest, &data);
    buf_printf(what, "%s\n%s\n%s\n", name, t->base_digest.hex, data.hex);
    digest_from_hash(t->data.valid.digest, &data);
    buf_printf(what, "%s\n%d %d\n", t->data.valid_path[0] ? data.hex : "", t->data.part.n,
               t->data.judge.n);
    if (t->from.n) buf_printf(what, "from %s\n", t->from_digest.hex);
    int rc = json_append("recipe", recipe, what, e);
    if (rc == 0 && what->failed) rc = err_nomem(e, "training");
    json_decref(recipe);
    return rc;
}

int tune_find_folder(struct tuning *t, struct err *e) {
    struct buf what = {0};
    int rc = describe(t, &what, e);
    if (rc == 0) rc = tune_folder(t->k->s, what.p, t->k->train_dir, e);
    buf_fini(&what);
    return rc;
}

/* ---- two of them ---- */

static struct str line_of(const char *text, int i) {
    const char *end;
    while (i-- > 0 && (end = strchr(text, '\n')))
        text = end + 1;
    end = strchr(text, '\n');
    return (struct str){text, end ? (size_t)(end - text) : strlen(text)};
}

static bool same_line(const char *a, const char *b, int i) {
    return str_eq(line_of(a, i), line_of(b, i));
}

/* Is it of the same model and base? */
static bool is_alike(const char *what, const char *other) {
    return same_line(what, other, 0) && same_line(what, other, 1);
}

static json_t *recipe_of(const char *what) {
    const char *last = strrchr(what, '\n');
    return json_read_object("recipe", str_of(last ? last + 1 : what), MAX_VALUES, NULL);
}

static void append_value(struct buf *out, const json_t *v) {
    if (json_is_string(v))
        buf_str(out, json_string_value(v));
    else if (json_is_real(v))
        buf_printf(out, "%.9g", json_real_value(v));
    else if (json_is_integer(v))
        buf_printf(out, "%lld", (long long)json_integer_value(v));
    else
        buf_str(out, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "none");
}

/* Settings of a that b has otherwise, or not at all.  Returns how many. */
static int differ(const json_t *a, const json_t *b, bool missing, int n, struct buf *out) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)a, key, v) {
        const json_t *other = json_object_get(b, key);
        if ((missing && other) || json_equal(v, other) || n++ >= MAX_SHOWN) continue;
        buf_printf(out, "%s%s ", out->n ? ", " : "", key);
        append_value(out, missing ? other : v);
        buf_str(out, " there, ");
        append_value(out, missing ? v : other);
        buf_str(out, " here");
    }
    return n;
}

/* In words how the run that was differs from the one that is asked for. */
static void compare(const char *was, const char *now, struct buf *out) {
    json_t *a = recipe_of(was), *b = recipe_of(now);
    if (!same_line(was, now, 1))
        buf_str(out, "another base");
    else if (!same_line(was, now, 2) || !same_line(was, now, 3))
        buf_str(out, "other data");
    else
        differ(b, a, true, differ(a, b, false, 0, out), out);
    if (out->n == 0) buf_str(out, "other settings");
    json_decref(a);
    json_decref(b);
}

/* ---- going on ---- */

/* For a plan the base may be a file that nobody has hashed yet. */
static int know_digests(struct tuning *t, struct err *e) {
    const struct gguf_bytes b = gguf_file_at(t->g, 0);
    return t->base_digest.hex[0] ? 0 : digest_of(b.p, b.n, &t->base_digest, e);
}

/* A checkpoint of this model and base that is not this run's, or any where the store is one run's:
 * how it differs. */
static bool find_alike(const struct tuning *t, const char *what, int64_t *step, struct buf *how) {
    struct tune_trace x;
    const bool found = tune_trace_find(t->k->s, what, t->k->o->one_run ? NULL : is_alike, &x);
    if (found) compare(buf_view(&x.what).p, what, how);
    *step = x.step;
    buf_fini(&x.what);
    return found && !how->failed;
}

static int nothing_to_resume(const struct tuning *t, const char *what, struct err *e) {
    struct buf how = {0};
    int64_t step;
    if (find_alike(t, what, &step, &how))
        err_set(e, ERR_NOT_FOUND,
                "training: nothing to resume: the checkpoint of step %lld that is there is of "
                "another run of this model (%s)",
                (long long)step, how.p);
    else
        err_set(e, ERR_NOT_FOUND,
                "training: nothing to resume: no checkpoint of this model, base, data and these "
                "settings");
    buf_fini(&how);
    return -1;
}

/* Where the store is one run's alone another run's checkpoint would go with it. */
static int keep_others(const struct tuning *t, const char *what, struct err *e) {
    struct tune_trace x;
    struct buf how = {0};
    int rc = 0;
    if (t->k->o->resume == CREATE_RESTART) {
        tune_trace_remove(t->k->s, what);
        return 0;
    }
    if (tune_trace_find(t->k->s, what, NULL, &x)) {
        compare(buf_view(&x.what).p, what, &how);
        rc = err_set(e, ERR_USAGE,
                     "%s: a checkpoint of another run is here (step %lld; %s); the command that "
                     "made it goes on from there, --restart discards it",
                     store_root(t->k->s), (long long)x.step, buf_view(&how).p);
    }
    buf_fini(&how);
    buf_fini(&x.what);
    return rc;
}

static int not_found(const struct tuning *t, struct err *e) {
    struct buf what = {0};
    int rc = describe(t, &what, e);
    if (rc == 0 && t->k->o->resume == CREATE_RESUME_MUST) rc = nothing_to_resume(t, what.p, e);
    if (rc == 0 && t->k->o->one_run) rc = keep_others(t, what.p, e);
    if (rc != 0) { /* nothing is in it, and it is ours: the trainer has its lock */
        tune_folder_remove(t->k->train_dir);
        t->k->train_dir[0] = 0;
    }
    buf_fini(&what);
    return rc;
}

int tune_resume(struct tuning *t, struct err *e) {
    char text[128];
    bool found = false;
    if (t->k->o->resume == CREATE_RESTART) return not_found(t, e);
    if (trainer_resume(t->trainer, &found, e) != 0) return -1;
    if (!found) return not_found(t, e);
    snprintf(text, sizeof text, "resuming from the checkpoint of step %d of %d",
             trainer_step(t->trainer), t->plan.n_step);
    create_say(t->k, text, NULL);
    return 0;
}

/* ---- a plan ---- */

static int say_found(const struct tuning *t, const char *what, struct err *e) {
    struct buf differs = {0};
    char path[STORE_PATH], text[320];
    if (tune_folder_path(t->k->s, what, path, e) != 0) return -1;
    int64_t step = checkpoint_newest(path);
    const bool own = step >= 0;
    if (!own && t->k->o->resume == CREATE_RESUME_MUST) return nothing_to_resume(t, what, e);
    if (!own && t->k->o->one_run) return keep_others(t, what, e);
    if (own)
        snprintf(text, sizeof text, "plan: goes on from the checkpoint of step %lld of %d",
                 (long long)step, t->plan.n_step);
    else if (find_alike(t, what, &step, &differs))
        snprintf(text, sizeof text,
                 "plan: from the beginning; the checkpoint of step %lld that is there is of "
                 "another run of this model (%.160s)",
                 (long long)step, differs.p);
    if (own || differs.n) create_say(t->k, text, NULL);
    buf_fini(&differs);
    return 0;
}

int tune_say_checkpoint(struct tuning *t, struct err *e) {
    struct tune_trace x;
    struct buf what = {0};
    if (t->k->o->resume == CREATE_RESTART) return 0;
    const bool any = tune_trace_find(t->k->s, "", NULL, &x);
    buf_fini(&x.what);
    if (!any && t->k->o->resume == CREATE_RESUME) return 0;
    int rc = know_digests(t, e);
    if (rc == 0) rc = describe(t, &what, e);
    if (rc == 0) rc = say_found(t, what.p, e);
    buf_fini(&what);
    return rc;
}
