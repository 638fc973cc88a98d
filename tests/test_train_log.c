/* A run's log and its pictures: what was written is read, resumed runs overrule, broken lines are
 * named; the SVG is well-formed whatever is in it and shows values where its own axes say. */
#include "support.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"
#include "train/log.h"
#include "train/plot.h"
#include "train/rng.h"

static char *path_in(const char *dir) {
    static char path[600];
    snprintf(path, sizeof path, "%s/run.jsonl", dir);
    return path;
}

static struct run_log *open_log(const char *path) {
    struct err e;
    struct run_log *l = run_log_open(path, &e);
    if (!l) fail_msg("%s", e.msg);
    return l;
}

static struct run_step step_of(int64_t step, double loss) {
    return (struct run_step){.step = step,
                             .epoch = (double)step / 7,
                             .loss = loss,
                             .lr = 1e-4 / (double)step,
                             .grad_norm = 1.0 / 3,
                             .clip = 0.1,
                             .n_tok = 512 + step,
                             .tps = 61.25,
                             .seconds = 0.1 * (double)step};
}

static void put_step(struct run_log *l, int64_t step, double loss) {
    struct err e;
    const struct run_step s = step_of(step, loss);
    if (run_log_step(l, &s, &e) != 0) fail_msg("%s", e.msg);
}

static void read_ok(const char *path, struct run_record *r) {
    struct err e;
    if (run_record_read(path, r, &e) != 0) fail_msg("%s", e.msg);
}

/* ---- log ---- */

static bool same_step(const struct run_step *a, const struct run_step *b) {
    return a->step == b->step && a->epoch == b->epoch && a->loss == b->loss && a->lr == b->lr &&
           a->grad_norm == b->grad_norm && a->clip == b->clip && a->n_tok == b->n_tok &&
           a->tps == b->tps && a->seconds == b->seconds;
}

static void what_was_written_is_read(void **state) {
    (void)state;
    char *dir = temp_folder(), *path = path_in(dir);
    struct run_log *l = open_log(path);
    struct run_record r;
    struct err e;
    json_t *plan =
        json_pack("{s:s, s:{s:i}, s:i}", "name", "medical \"x\"", "lora", "rank", 16, "steps", 20);
    assert_int_equal(run_log_start(l, 0, plan, &e), 0);
    assert_int_equal(run_log_validation(l, 0, 3.5, true, &e), 0);
    for (int i = 1; i <= 20; i++) {
        put_step(l, i, 3 / (double)i);
        if (i % 5 == 0) assert_int_equal(run_log_validation(l, i, 3.0 / i, i != 10, &e), 0);
        if (i == 7) assert_int_equal(run_log_skip(l, 7, "loss \n9\xff is far out", &e), 0);
        if (i == 8) assert_int_equal(run_log_checkpoint(l, 8, "a/\xc3\xbc\"\\.ckpt", &e), 0);
    }
    assert_int_equal(run_log_end(l, 20, NULL, &e), 0);
    run_log_close(l);
    json_decref(plan);
    read_ok(path, &r);
    assert_int_equal(r.n_step, 20);
    for (int i = 0; i < 20; i++) {
        const struct run_step want = step_of(i + 1, 3 / (double)(i + 1));
        assert_true(same_step(&r.step[i], &want)); /* every bit of every number */
    }
    assert_int_equal(r.n_valid, 5);
    assert_int_equal(r.valid[4].step, 20);
    assert_true(r.valid[1].loss == 0.6);
    assert_int_equal(r.n_skip, 1);
    assert_int_equal(r.skip[0], 7);
    assert_int_equal(r.n_start, 1);
    assert_true(r.ended);
    assert_string_equal(r.name, "medical \"x\"");
    run_record_fini(&r);
    temp_remove(dir);
}

struct lines {
    int n, n_step;
};

static void check_line(void *ctx, int line, json_t *v) {
    struct lines *c = ctx;
    const char *event = json_string_value(json_object_get(v, "event"));
    assert_non_null(event);
    assert_true(json_is_integer(json_object_get(v, "step")));
    if (line == 1) {
        assert_string_equal(event, "start");
        assert_int_equal(strlen(json_string_value(json_object_get(v, "time"))), 20);
        assert_int_equal(json_integer_value(json_object_get(v, "rank")), 16);
    }
    if (line == 2) {
        static const char *const keys[] = {"epoch", "loss",   "lr",           "grad_norm",
                                           "clip",  "tokens", "tokens_per_s", "elapsed_s"};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            assert_true(json_is_number(json_object_get(v, keys[i])));
        assert_true(json_real_value(json_object_get(v, "loss")) == 2.5);
    }
    if (line == 3) assert_true(json_is_null(json_object_get(v, "loss")));
    c->n++;
    c->n_step += strcmp(event, "step") == 0;
}

/* Any JSON reader can follow it, while the run goes on. */
static void lines_are_json_at_once(void **state) {
    (void)state;
    char *dir = temp_folder(), *path = path_in(dir);
    struct run_log *l = open_log(path);
    struct err e;
    struct lines c = {0};
    json_t *plan = json_pack("{s:i}", "rank", 16);
    assert_int_equal(run_log_start(l, 0, plan, &e), 0);
    json_decref(plan);
    put_step(l, 1, 2.5);
    put_step(l, 2, NAN);
    each_jsonl(path, check_line, &c); /* not closed yet */
    assert_int_equal(c.n, 3);
    assert_int_equal(c.n_step, 2);
    run_log_close(l);
    run_log_close(NULL);
    assert_int_equal(run_log_skip(NULL, 1, "", &e), 0); /* no log is wanted */
    temp_remove(dir);
}

static void resumed_runs_overrule(void **state) {
    (void)state;
    char *dir = temp_folder(), *path = path_in(dir);
    struct run_log *l = open_log(path);
    struct run_record r;
    struct err e;
    run_log_start(l, 0, NULL, &e);
    for (int i = 1; i <= 30; i++) {
        put_step(l, i, 1);
        if (i % 10 == 0) run_log_validation(l, i, 1, true, &e);
        if (i % 15 == 0) run_log_skip(l, i, "x", &e);
    }
    run_log_end(l, 30, NULL, &e);
    run_log_close(l);
    l = open_log(path); /* killed; the checkpoint was of step 20 */
    run_log_start(l, 20, NULL, &e);
    read_ok(path, &r);
    assert_int_equal(r.n_step, 20);
    assert_int_equal(r.n_valid, 2);
    assert_int_equal(r.n_skip, 1);
    assert_int_equal(r.n_start, 2);
    assert_false(r.ended);
    assert_null(r.name);
    run_record_fini(&r);
    for (int i = 21; i <= 25; i++)
        put_step(l, i, 2);
    put_step(l, 24, 3); /* gone back without a word: the last line of a step counts */
    run_log_close(l);
    read_ok(path, &r);
    assert_int_equal(r.n_step, 24);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(r.step[i].step, i + 1);
        assert_true(r.step[i].loss == (i < 20 ? 1 : i < 23 ? 2 : 3));
    }
    run_record_fini(&r);
    l = open_log(path);
    run_log_start(l, 0, NULL, &e); /* begun anew */
    run_log_close(l);
    read_ok(path, &r);
    assert_int_equal(r.n_step + r.n_valid + r.n_skip, 0);
    run_record_fini(&r);
    temp_remove(dir);
}

static void append_text(const char *path, const char *text) {
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void torn_lines_are_healed(void **state) {
    (void)state;
    char *dir = temp_folder(), *path = path_in(dir);
    struct run_log *l = open_log(path);
    struct run_record r;
    struct err e;
    run_log_start(l, 0, NULL, &e);
    put_step(l, 1, 1);
    run_log_close(l);
    append_text(path, "{\"event\":\"step\",\"st"); /* kill -9 within a write */
    read_ok(path, &r);
    assert_int_equal(r.n_step, 1);
    run_record_fini(&r);
    l = open_log(path);
    run_log_start(l, 1, NULL, &e);
    put_step(l, 2, 1);
    run_log_close(l);
    read_ok(path, &r);
    assert_int_equal(r.n_step, 2);
    assert_int_equal(r.n_start, 2);
    run_record_fini(&r);
    temp_remove(dir);
}

static void broken_lines_are_named(void **state) {
    (void)state;
#define HEAD "{\"event\":\"start\",\"step\":0}\n"
    static const struct {
        const char *text, *say;
    } bad[] = {
        {HEAD "{\"event\":\"step\",\n" HEAD "x\n", "run.jsonl:4: no JSON object: "},
        {HEAD "\n\nnonsense\n{\"event\":\"step\",\"step\":1,\"loss\":1}\n",
         "run.jsonl:4: no JSON object: "},
        {HEAD "nonsense\n", "run.jsonl:2: no JSON object: '[' or '{' expected near 'nonsense'"},
        {HEAD "[1]\n[2]\n", "run.jsonl:2: no JSON object: another value"},
        {HEAD "{}{}\n" HEAD "{\n{\n" HEAD, "run.jsonl:4: no JSON object: "},
        {HEAD "[1]\n{}", "run.jsonl:3: found no \"event\"; every line of a run's log has one"},
        {"{\"event\":5}\n", "run.jsonl:1: found no \"event\"; every line of a run's log has one"},
        {"{\"event\":\"step\",\"loss\":1}\n",
         "run.jsonl:1: \"step\": there is none; a whole number from 0 on is needed"},
        {"{\"event\":\"step\",\"step\":-1,\"loss\":1}\n",
         "run.jsonl:1: \"step\": found something else; a whole number from 0 on is needed"},
        {"{\"event\":\"start\",\"step\":1.5}\n",
         "run.jsonl:1: \"step\": found something else; a whole number from 0 on is needed"},
        {"{\"event\":\"step\",\"step\":1}\n",
         "run.jsonl:1: \"loss\": there is none; a number or null is needed"},
        {HEAD "{\"event\":\"validation\",\"step\":1,\"loss\":\"1\"}\n",
         "run.jsonl:2: \"loss\": found something else; a number or null is needed"},
        {HEAD "{\"event\":\"skip\",\"step\":\"\"}\n",
         "run.jsonl:2: \"step\": found something else; a whole number from 0 on is needed"},
        {HEAD "{\"event\":\"step\",\"step\":1,\"step\":1,\"loss\":1}\n" HEAD "{}",
         "run.jsonl:4: found no \"event\"; every line of a run's log has one"},
        {HEAD "{\"event\":\"\xff\"}\n{\"event\":\"end\",\"step\":1}\n",
         "run.jsonl:2: no JSON object: "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct run_record r;
        struct err e = {0};
        if (run_record_parse("run.jsonl", str_of(bad[i].text), &r, &e) == 0)
            fail_msg("accepted: %s", bad[i].text);
        if (strncmp(e.msg, bad[i].say, strlen(bad[i].say)) != 0)
            fail_msg("said: %s\nnot:  %s", e.msg, bad[i].say);
        assert_int_equal(e.code, ERR_FORMAT);
        assert_int_equal(r.n_step, 0);
        assert_null(r.step);
    }
    struct run_record r;
    struct err e = {0};
    const char *unknown = HEAD "{\"event\":\"weather\",\"sun\":true}\r\n \t\n"
                               "{\"event\":\"step\",\"step\":1,\"loss\":null,\"more\":[{}]}";
    assert_int_equal(run_record_parse("run.jsonl", str_of(unknown), &r, &e), 0);
    assert_int_equal(r.n_step, 1);
    assert_true(isnan(r.step[0].loss) && isnan(r.step[0].lr) && r.step[0].n_tok == 0);
    run_record_fini(&r);
    assert_int_equal(run_record_read("no/such/run.jsonl", &r, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
#undef HEAD
}

/* In a child: the limit and the ignored signal stay with a process.  What was written before a disk
 * was full, and after it had room again, are whole lines. */
static void full_disk_leaves_whole_lines(void **state) {
    (void)state;
    char *dir = temp_folder(), *path = path_in(dir);
    struct run_record r;
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        const struct rlimit full = {500, RLIM_INFINITY}, empty = {RLIM_INFINITY, RLIM_INFINITY};
        struct run_log *l = run_log_open(path, &e);
        const struct run_step a = step_of(1, 1), b = step_of(2, 1), c = step_of(3, 1),
                              d = step_of(4, 1);
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &full);
        bool ok = l && run_log_step(l, &a, &e) == 0 && run_log_step(l, &b, &e) == 0;
        ok = ok && run_log_step(l, &c, &e) == -1 && e.code == ERR_IO;
        setrlimit(RLIMIT_FSIZE, &empty);
        ok = ok && run_log_step(l, &d, &e) == 0;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    read_ok(path, &r);
    assert_int_equal(r.n_step, 3);
    assert_int_equal(r.step[2].step, 4);
    run_record_fini(&r);
    struct err e = {0};
    assert_null(run_log_open(dir, &e)); /* a folder */
    assert_int_equal(e.code, ERR_IO);
    temp_remove(dir);
}

/* ---- SVG: a reader of what XML the writer may use ---- */

static void bad_xml(const char *svg, const char *at, const char *why) {
    fail_msg("offset %td: %s: %.60s", at - svg, why, at);
}

/* Text or an attribute's value, up to `end`: entities, valid characters. */
static const char *skip_text(const char *svg, const char *p, char end) {
    while (*p && *p != end) {
        uint32_t cp;
        const int n = utf8_decode_strict(p, strlen(p), &cp);
        if (n < 0 || (cp < ' ' && cp != '\n') || cp == '<' || cp == 0xfffe || cp == 0xffff)
            bad_xml(svg, p, "a character that XML does not have");
        if (cp == '&' && strncmp(p, "&amp;", 5) && strncmp(p, "&lt;", 4) && strncmp(p, "&gt;", 4) &&
            strncmp(p, "&quot;", 6) && strncmp(p, "&#39;", 5))
            bad_xml(svg, p, "an unknown entity");
        p += n;
    }
    if (*p != end) bad_xml(svg, p, "no end");
    return p;
}

static size_t name_len(const char *p) {
    return strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
}

/* Elements nest, attributes are quoted and come once, text is text. */
static void expect_well_formed(const char *svg) {
    struct {
        const char *p;
        size_t n;
    } open[32];
    int depth = 0, n_root = 0;
    const char *p = svg;
    while (*p) {
        if (*p != '<') {
            const char *end = skip_text(svg, p, depth ? '<' : '\n');
            if (!depth && end != p) bad_xml(svg, p, "text outside");
            p = depth ? end : end + 1;
            continue;
        }
        const bool closing = p[1] == '/';
        const char *name = p + 1 + closing;
        const size_t n = name_len(name);
        if (!n) bad_xml(svg, p, "a tag without a name");
        p = name + n;
        if (closing) {
            if (*p != '>' || !depth || open[depth - 1].n != n || memcmp(open[depth - 1].p, name, n))
                bad_xml(svg, name, "closes what is not open");
            depth--, p++;
            continue;
        }
        const char *first = p;
        while (*p == ' ') {
            const char *key = p + 1;
            const size_t k = name_len(key);
            if (!k || key[k] != '=' || key[k + 1] != '"') bad_xml(svg, p, "a bad attribute");
            for (const char *q = strstr(first, " "); q && q < p; q = strstr(q + 1, " "))
                if (!strncmp(q + 1, key, k + 2)) bad_xml(svg, p, "an attribute twice");
            p = skip_text(svg, key + k + 2, '"') + 1;
        }
        if (*p == '/')
            p++;
        else {
            assert_true(depth < 32);
            if (!depth) n_root++;
            open[depth].p = name, open[depth++].n = n;
        }
        if (*p != '>') bad_xml(svg, p, "no end of a tag");
        p++;
    }
    if (depth || n_root != 1) bad_xml(svg, p, "not one element with all in it");
}

/* Every number is one: "nan" and "inf" only within words. */
static void expect_numbers(const char *svg) {
    static const char *const bad[] = {"nan", "inf"};
    for (int i = 0; i < 2; i++)
        for (const char *p = svg + 1; (p = strstr(p, bad[i])); p++)
            if (!name_len(p - 1) || strchr("MLl-", p[-1])) bad_xml(svg, p, "no number");
}

static char *draw(const struct run_record *r, const char *title) {
    struct buf b = {0};
    struct err e;
    if (plot_svg(r, title, &b, &e) != 0) fail_msg("%s", e.msg);
    expect_well_formed(b.p);
    assert_non_null(strstr(b.p, "xmlns=\"http://www.w3.org/2000/svg\""));
    assert_null(strstr(b.p, "<script"));
    assert_null(strstr(b.p, "href"));
    expect_numbers(b.p);
    return b.p;
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

/* An axis as its labels tell: value = a + b * position. */
struct scale {
    double a, b, lo, hi; /* lo, hi: outermost labels */
    int n;
};

static struct scale scale_of(const char *svg, const char *class, char coordinate) {
    struct scale s = {.lo = INFINITY, .hi = -INFINITY};
    char tag[64], key[8];
    double at0 = 0, v0 = 0;
    snprintf(tag, sizeof tag, "<text class=\"%s\"", class);
    snprintf(key, sizeof key, " %c=\"", coordinate);
    for (const char *p = svg; (p = strstr(p, tag)); p++) {
        const double at = atof(strstr(p, key) + 4), v = atof(strchr(p, '>') + 1);
        if (s.n == 0) at0 = at, v0 = v;
        if (s.n == 1) s.b = (v - v0) / (at - at0), s.a = v0 - s.b * at0;
        if (s.n > 1 && fabs(s.a + s.b * at - v) > 1e-3 * fabs(v - v0))
            fail_msg("label %g of %s is not on the line of the others", v, class);
        s.lo = fmin(s.lo, v), s.hi = fmax(s.hi, v);
        s.n++;
    }
    assert_in_range(s.n, 2, 12);
    return s;
}

static double value_at(const struct scale *s, double at) {
    return s->a + s->b * at;
}

/* The path of that class: its n points, in values. */
static int points_of(const char *svg, const char *class, const struct scale *x,
                     const struct scale *y, double (*out)[2], int max) {
    char tag[64];
    int n = 0;
    snprintf(tag, sizeof tag, "<path class=\"%s\" d=\"", class);
    const char *g = strstr(svg, "<g "), *p = strstr(g, tag);
    assert_non_null(p);
    for (p += strlen(tag); *p != '"' && n < max;) {
        char *end;
        assert_true(*p == 'M' || *p == 'L');
        const double px = strtod(p + 1, &end), py = strtod(end, &end);
        out[n][0] = value_at(x, px), out[n++][1] = value_at(y, py);
        p = end;
    }
    return n;
}

static void add_step(struct run_record *r, int64_t step, double loss, double lr) {
    r->step = realloc(r->step, ((size_t)r->n_step + 1) * sizeof *r->step);
    r->step[r->n_step++] = (struct run_step){.step = step, .loss = loss, .lr = lr};
}

static void add_valid(struct run_record *r, int64_t step, double loss) {
    r->valid = realloc(r->valid, ((size_t)r->n_valid + 1) * sizeof *r->valid);
    r->valid[r->n_valid++] = (struct run_point){step, loss};
}

static void expect_near(const char *what, double got, double want, double limit) {
    if (!(fabs(got - want) <= limit)) fail_msg("%s: %g; %g is right", what, got, want);
}

static void values_land_where_axes_say(void **state) {
    (void)state;
    struct run_record r = {0};
    double p[64][2];
    for (int i = 1; i <= 30; i++)
        add_step(&r, 10 * i, 2 + 1.7 / i, 1e-4 * (31 - i) / 30);
    for (int i = 0; i < 3; i++)
        add_valid(&r, 100 * i, 3.9 - i);
    r.skip = malloc(sizeof *r.skip);
    r.skip[r.n_skip++] = 150;
    char *svg = draw(&r, "x");
    const struct scale x = scale_of(svg, "xtick", 'x'), y = scale_of(svg, "ytick", 'y'),
                       lr = scale_of(svg, "lrtick", 'y');
    assert_true(x.lo == 0 && x.hi == 300);
    assert_true(y.lo <= 1.9 && y.hi >= 3.9 && y.lo >= 1 &&
                y.hi <= 5); /* around all, not much more */
    assert_true(lr.lo == 0 && lr.hi >= 1e-4 && lr.hi <= 2e-4);
    assert_int_equal(points_of(svg, "train", &x, &y, p, 64), 30);
    for (int i = 0; i < 30; i++) {
        expect_near("step", p[i][0], 10 * (i + 1), 0.01);
        expect_near("loss", p[i][1], 2 + 1.7 / (i + 1), 0.0002);
    }
    assert_int_equal(points_of(svg, "lr", &x, &lr, p, 64), 30);
    for (int i = 0; i < 30; i++)
        expect_near("lr", p[i][1], 1e-4 * (30 - i) / 30, 1e-8);
    assert_int_equal(points_of(svg, "mean", &x, &y, p, 64), 30);
    expect_near("mean at the end", p[29][1],
                (r.step[27].loss + r.step[28].loss + r.step[29].loss) / 3, 0.0002);
    expect_near(
        "mean of five", p[10][1],
        (r.step[8].loss + r.step[9].loss + r.step[10].loss + r.step[11].loss + r.step[12].loss) / 5,
        0.0002);
    const char *c = strstr(strstr(svg, "<g "), "<circle");
    assert_int_equal(count(c, "<circle"), 3);
    for (int i = 0; i < 3; i++, c = strstr(c + 1, "<circle")) {
        expect_near("step", value_at(&x, atof(strstr(c, "cx=\"") + 4)), 100 * i, 0.01);
        expect_near("validation", value_at(&y, atof(strstr(c, "cy=\"") + 4)), 3.9 - i, 0.0002);
    }
    assert_non_null(strstr(svg, "step 150 was skipped"));
    assert_int_equal(count(svg, "class=\"skip\""), 1);
    assert_non_null(strstr(svg, "prefers-color-scheme:dark"));
    free(svg);
    run_record_fini(&r);
}

static void ticks_are_round(void **state) {
    (void)state;
    static const double ranges[][2] = {{0.0012, 0.0019}, {0.31, 0.57}, {2, 11},
                                       {97, 1340},       {3, 3},       {0, 0},
                                       {5, 5.0000001},   {1e-9, 2e-9}, {999990, 1e6}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        struct run_record r = {0};
        add_step(&r, 1, ranges[i][0], 0);
        add_step(&r, 7, ranges[i][1], 0);
        char *svg = draw(&r, NULL);
        const struct scale y = scale_of(svg, "ytick", 'y');
        const double tick = (y.hi - y.lo) / (y.n - 1),
                     f = tick / pow(10, floor(log10(tick) + 1e-6));
        if (ranges[i][1] > ranges[i][0] + 1e-6) {
            if (fabs(f - 1) > 1e-3 && fabs(f - 2) > 1e-3 && fabs(f - 5) > 1e-3)
                fail_msg("a tick every %g", tick);
            assert_in_range(y.n, 4, 9);
        }
        assert_true(y.hi > y.lo);
        assert_null(strstr(svg, "lrtick")); /* no rates, no axis for them */
        free(svg);
        run_record_fini(&r);
    }
}

static void hostile_text_is_escaped(void **state) {
    (void)state;
    static const char *const titles[] = {"</title><script>alert(1)</script>",
                                         "a & b < c > d \" e ' f",
                                         "\x01\x02\x1b[31m\x7f\n\t",
                                         "\xff\xfe \xc3 \xed\xa0\x80 \xef\xbf\xbe",
                                         "\xe2\x80\xae reversed",
                                         "]]> &amp; <![CDATA[ x",
                                         "\xc3\xbc\xe6\x97\xa5\xf0\x9f\xa6\x99",
                                         ""};
    struct run_record r = {0};
    for (int i = 1; i < 20; i++)
        add_step(&r, i, i, 1e-3);
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        free(draw(&r, titles[i]));
        r.name = strdup(titles[i]);
        free(draw(&r, NULL));
        free(r.name);
        r.name = NULL;
    }
    char *svg = draw(&r, "a & b < c \xc3\xbc");
    assert_int_equal(count(svg, ">a &amp; b &lt; c \xc3\xbc</t"), 2); /* title and heading */
    free(svg);
    svg = draw(&r, "\x1b");
    assert_int_equal(count(svg, ">\xef\xbf\xbd</t"), 2);
    free(svg);
    run_record_fini(&r);
}

static void odd_runs_are_drawn(void **state) {
    (void)state;
    struct run_record r = {0};
    char *svg = draw(&r, NULL); /* empty */
    assert_non_null(strstr(svg, "no steps yet"));
    assert_non_null(strstr(svg, "training run"));
    free(svg);
    add_step(&r, 1, NAN, NAN); /* nothing to show */
    add_step(&r, 2, INFINITY, 1e300);
    add_step(&r, 3, 1e300, -1e300);
    svg = draw(&r, NULL);
    assert_non_null(strstr(svg, "no steps yet"));
    free(svg);
    add_step(&r, INT64_MAX, 1, 1e-5); /* one point */
    svg = draw(&r, NULL);
    assert_null(strstr(svg, "no steps yet"));
    free(svg);
    r.n_step = 0;
    add_valid(&r, 0, 2); /* validation only */
    svg = draw(&r, NULL);
    assert_int_equal(count(strstr(svg, "<g "), "<circle"), 1);
    free(svg);
    run_record_fini(&r);
}

/* Losses that are no number, beyond all sense, far above the others. */
static void gaps_and_spikes(void **state) {
    (void)state;
    struct run_record r = {0};
    for (int i = 1; i <= 200; i++)
        add_step(&r, i, i == 50 ? NAN : i == 70 ? -1e300 : i == 120 ? 900 : 1 + 1.0 / i, 1e-3);
    char *svg = draw(&r, NULL);
    const struct scale y = scale_of(svg, "ytick", 'y');
    assert_true(y.hi <= 3); /* the spike leaves the frame, so that the rest is seen */
    const char *train = strstr(strstr(svg, "<g "), "class=\"train\"");
    assert_int_equal(count(train, "M") - count(strstr(train, "/>"), "M"), 3); /* gaps at 50, 70 */
    static double p[1000][2];
    const struct scale x = scale_of(svg, "xtick", 'x');
    const int n = points_of(svg, "mean", &x, &y, p, 1000);
    for (int i = 0; i < n; i++) /* nor is the mean carried away */
        if (p[i][0] > 100) expect_near("mean", p[i][1], 1, 0.02);
    free(svg);
    add_valid(&r, 120, 40); /* a validation is always seen */
    svg = draw(&r, NULL);
    assert_true(scale_of(svg, "ytick", 'y').hi >= 40);
    free(svg);
    run_record_fini(&r);
}

/* A long run: a picture of bounded size that still shows its extremes. */
static void long_runs_are_thinned(void **state) {
    (void)state;
    struct run_record r = {0};
    struct rng g;
    static double p[4000][2];
    double lo = INFINITY, hi = -INFINITY;
    rng_seed(&g, 1);
    r.step = calloc(100000, sizeof *r.step);
    for (int i = 0; i < 100000; i++) {
        const double loss = 3 + 0.3 * rng_normal(&g) - i * 1e-5;
        r.step[r.n_step++] = (struct run_step){.step = i + 1, .loss = loss, .lr = 1e-3};
        lo = fmin(lo, loss), hi = fmax(hi, loss);
    }
    char *svg = draw(&r, NULL);
    assert_true(strlen(svg) < 200000);
    const struct scale x = scale_of(svg, "xtick", 'x'), y = scale_of(svg, "ytick", 'y');
    const int n = points_of(svg, "train", &x, &y, p, 4000);
    double shown_lo = INFINITY, shown_hi = -INFINITY;
    assert_in_range(n, 1000, 3000);
    for (int i = 0; i < n; i++)
        shown_lo = fmin(shown_lo, p[i][1]), shown_hi = fmax(shown_hi, p[i][1]);
    expect_near("lowest", shown_lo, lo, 0.01);
    expect_near("highest", shown_hi, hi, 0.01);
    free(svg);
    run_record_fini(&r);
}

/* ---- spark ---- */

static void expect_spark(const struct run_record *r, int n_col, const char *want) {
    struct buf b = {0};
    plot_spark(r, n_col, &b);
    assert_string_equal(b.p, want);
    buf_fini(&b);
}

static void sparks(void **state) {
    (void)state;
    struct run_record r = {0};
    expect_spark(&r, 40, "no steps yet");
    add_step(&r, 1, NAN, 0);
    expect_spark(&r, 40, "no steps yet");
    r.n_step = 0;
    for (int i = 0; i < 8; i++)
        add_step(&r, i + 1, 8 - i, 0);
    expect_spark(&r, 40, "8 █▇▆▅▄▃▂▁ 1, lowest 1 at step 8");
    expect_spark(&r, 4, "8 █▆▃▁ 1, lowest 1 at step 8"); /* means of two */
    expect_spark(&r, 1, "8 ▁ 1, lowest 1 at step 8");
    expect_spark(&r, 0, "8 ▁ 1, lowest 1 at step 8");
    r.step[3].loss = NAN;
    r.step[5].loss = 0.25;
    r.step[7].loss = 1e300;
    expect_spark(&r, 8, "8 █▇▆ ▄▁▂  2, lowest 0.25 at step 6");
    run_record_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(lines_are_json_at_once),
        cmocka_unit_test(resumed_runs_overrule),
        cmocka_unit_test(torn_lines_are_healed),
        cmocka_unit_test(broken_lines_are_named),
        cmocka_unit_test(full_disk_leaves_whole_lines),
        cmocka_unit_test(values_land_where_axes_say),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(hostile_text_is_escaped),
        cmocka_unit_test(odd_runs_are_drawn),
        cmocka_unit_test(gaps_and_spikes),
        cmocka_unit_test(long_runs_are_thinned),
        cmocka_unit_test(sparks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
