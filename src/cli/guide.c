/* See guide.h. */
#include "cli/guide.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/model.h"

bool guide_is_model(const char *arg) {
    return cli_is_file(arg) || !strpbrk(arg, " \t\n");
}

int guide_path(char *path, size_t n, struct err *e) {
    static const char *const place[] = {"../share/cria", "../models", "../../models"};
    char program[4096];
    const ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    if (len <= 0) return err_errno(e, "/proc/self/exe");
    program[len] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        const int wrote = snprintf(path, n, "%s/%s/guide.gguf", program, place[i]);
        if (wrote > 0 && (size_t)wrote < n && access(path, R_OK) == 0) return 0;
    }
    return err_set(e, ERR_USAGE,
                   "no model is named, and the guide (share/cria/guide.gguf) is not beside the "
                   "program; accepted: MODEL [PROMPT...]");
}
