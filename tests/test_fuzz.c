/* The corpora of the fuzz targets, replayed: fuzz/corpus/NAME through $B/fuzz/replay_NAME. */
#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void corpora_replay(void **state) {
    (void)state;
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const char *slash = strrchr(cria, '/');
    char build[512];
    int n_target = 0;
    snprintf(build, sizeof build, "%.*s", slash ? (int)(slash - cria) : 1, slash ? cria : ".");
    DIR *d = opendir("fuzz/corpus");
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));) {
        char exe[1024], folder[512];
        struct ran r;
        if (x->d_name[0] == '.') continue;
        snprintf(exe, sizeof exe, "%s/fuzz/replay_%s", build, x->d_name);
        snprintf(folder, sizeof folder, "fuzz/corpus/%s", x->d_name);
        const char *const args[] = {folder, NULL};
        run_program(&r, exe, args, NULL, 0, 100);
        if (r.code != 0)
            fail_msg("%s: code %d: %s", exe, r.code,
                     r.err.n > 2000 ? r.err.p + r.err.n - 2000 : r.err.p);
        if (atoi(r.out.p) < 20) fail_msg("%s: only %s", folder, r.out.p);
        ran_fini(&r);
        n_target++;
    }
    closedir(d);
    assert_true(n_target >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpora_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
