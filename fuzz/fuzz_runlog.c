/* Fuzz target: a run's log, and the pictures made of it.  Lists ascend; numbers in a picture are
 * numbers; no character of the run's name can end an element or a line. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "train/log.h"
#include "train/plot.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static void check_record(const struct run_record *r) {
    for (int i = 0; i < r->n_step; i++)
        require(r->step[i].step >= 0 && (i == 0 || r->step[i].step > r->step[i - 1].step));
    for (int i = 0; i < r->n_valid; i++)
        require(r->valid[i].step >= 0 && (i == 0 || r->valid[i].step > r->valid[i - 1].step));
    for (int i = 0; i < r->n_skip; i++)
        require(r->skip[i] >= 0 && (i == 0 || r->skip[i] > r->skip[i - 1]));
    require(r->n_start >= 0);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void check_svg(const struct run_record *r) {
    struct buf b = {0};
    require(plot_svg(r, NULL, &b, NULL) == 0 && strlen(b.p) == b.n);
    require(count(b.p, "<svg") == 1 && count(b.p, "</svg>\n") == 1);
    require(count(b.p, "<title>") == count(b.p, "</title>") && count(b.p, "<title>") >= 1);
    require(count(b.p, "<text") == count(b.p, "</text>"));
    for (const char *p = b.p; *p; p++)
        require((unsigned char)*p >= ' ' || *p == '\n');
    buf_fini(&b);
}

static void check_spark(const struct run_record *r) {
    struct buf b = {0};
    plot_spark(r, 20, &b);
    require(b.n > 0 && b.n < 200 && !memchr(b.p, '\n', b.n));
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct run_record r;
    struct err e = {0};
    if (n > 1 << 16) return 0;
    if (run_record_parse("run.jsonl", (struct str){(const char *)bytes, n}, &r, &e) == 0) {
        check_record(&r);
        check_svg(&r);
        check_spark(&r);
        run_record_fini(&r);
    } else {
        require(e.code != ERR_NONE && strncmp(e.msg, "run.jsonl:", 10) == 0);
        require(!r.step && !r.valid && !r.skip && !r.name);
    }
    return 0;
}
