/* Fuzz target: parse a Modelfile.  What was parsed is printed and parsed again: the same commands,
 * unless printing says that a value cannot be written. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/modelfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static void same(const struct modelfile_line *a, const struct modelfile_line *b) {
    require(a->command == b->command && str_eq(a->value, b->value));
    require((a->name == NULL) == (b->name == NULL));
    require(a->name == NULL || strcmp(a->name, b->name) == 0);
}

/* Alone, behind a FROM of its own, so that one bad value does not hide the others. */
static void round_trip(const struct modelfile_line *l) {
    struct buf b = {0};
    struct modelfile back;
    struct err e = {0};
    buf_str(&b, "FROM x\n");
    if (modelfile_print(l, &b, &e) == 0) {
        buf_str(&b, "FROM y\n");
        require(modelfile_parse(buf_view(&b), &back, &e) == 0);
        require(back.n == 3);
        same(l, &back.line[1]);
        modelfile_fini(&back);
    } else {
        require(e.code == ERR_FORMAT);
    }
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct modelfile m;
    struct err e = {0};
    if (modelfile_parse((struct str){(const char *)bytes, n}, &m, &e) != 0) {
        require(e.code != ERR_NONE && e.msg[0]);
        modelfile_fini(&m);
        return 0;
    }
    int line = 1, n_from = 0;
    for (int i = 0; i < m.n; i++) {
        require(m.line[i].line >= line && strlen(m.line[i].value.p) == m.line[i].value.n);
        line = m.line[i].line;
        n_from += m.line[i].command == MF_FROM;
        round_trip(&m.line[i]);
    }
    require(n_from > 0);
    modelfile_fini(&m);
    return 0;
}
