/* Fuzz target: training data from strangers.  The bytes as a file: its lines are those between the
 * newlines.  What is an example is written in its one form and read again: the same. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "train/example.h"
#include "train/lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static void round_trip(const struct example *x) {
    struct example again;
    struct err e;
    int column;
    json_t *o = example_json(x);
    char *z = json_dumps(o, JSON_COMPACT);
    require(z != NULL);
    require(example_read((struct str){z, strlen(z)}, STR("other"), &again, &column, &e) ==
            EXAMPLE_FINE);
    require((x->text != NULL) == (again.text != NULL));
    require((x->chosen != NULL) == (again.chosen != NULL));
    json_t *p = example_json(&again);
    const json_t *first = json_array_get(x->messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    /* To a system message in front, or a text, none is added. */
    if (x->text || (role && strcmp(role, "system") == 0)) {
        require(json_equal(o, p));
        require(example_hash(x) == example_hash(&again));
        require(example_prompt_hash(x) == example_prompt_hash(&again));
    }
    free(z);
    json_decref(o);
    json_decref(p);
    example_fini(&again);
}

static void read_line(struct str line) {
    struct example x;
    struct err e = {0};
    int column;
    const enum example_fault f = example_read(line, STR("system"), &x, &column, &e);
    if (f == EXAMPLE_FINE)
        round_trip(&x);
    else
        require(e.msg[0] && f <= EXAMPLE_MASKED && column >= 0 && (size_t)column <= line.n + 1);
    example_fini(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[64];
    struct lines l;
    struct str line;
    struct err e = {0};
    size_t at = 0;
    const int fd = memfd_create("data", MFD_CLOEXEC);
    require(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    require(lines_open(&l, path, &e) == 0);
    while (lines_next(&l, &line, &e) == LINES_LINE) {
        const uint8_t *end = memchr(bytes + at, '\n', n - at);
        const size_t len = (end ? (size_t)(end - bytes) : n) - at;
        require(line.n <= len && line.n + 4 >= len); /* a mark in front, CR behind */
        at += len + (end != NULL);
        read_line(line);
    }
    require(at == n && l.n_bytes == n);
    lines_close(&l);
    close(fd);
    return 0;
}
