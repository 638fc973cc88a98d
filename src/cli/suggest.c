/* "did you mean": edit distance (Levenshtein) between what was typed and what exists. */
#include "cli/cli.h"

#include <string.h>

enum { SUGGEST_MAX_BYTES = 40 };

static size_t min3(size_t a, size_t b, size_t c) {
    const size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* One row of the classic table at a time. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t row[SUGGEST_MAX_BYTES + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[m];
}

void suggest_offer(struct suggest *s, const char *name) {
    const size_t n = strlen(s->word), m = strlen(name);
    if (n == 0 || n > SUGGEST_MAX_BYTES || m > SUGGEST_MAX_BYTES) return;
    /* The beginning of a name counts as one slip, however long the rest is. */
    const size_t d =
        n >= 2 && n < m && memcmp(s->word, name, n) == 0 ? 1 : edit_distance(s->word, n, name, m);
    const size_t accepted = n <= 3 ? 1 : n <= 6 ? 2 : 3;
    if (d > accepted || (s->best && d >= s->distance)) return;
    s->best = name;
    s->distance = d;
}
