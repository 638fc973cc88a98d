/* The settings this build reads from the environment.  A value that does not parse is an error:
 * a limit or a thread count that was quietly ignored would surprise later.  Those of a server are
 * server/settings.c's. */
#include "cli/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cores.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cpu/cpu.h"
#include "engine/engine.h"

static const struct {
    const char *name, *help;
    long min, max; /* of a whole number; min == max: checked by those who read it */
} settings[] = {
    {"THREADS", "threads; default: one per performance core, within the quota", 0, 0},
    {"PIN", "1: each thread stays on its core; for a machine of one's own", 0, 0},
    {"CPU", "use no more than these kernels: ref, avx2, avxvnni, avx512, neon, i8mm", 0, 0},
    {"CONTEXT_LENGTH", "tokens of context; default: at most 4096", 0, 0},
    {"KV_CACHE_TYPE", "f32, f16, bf16, q8_0 or q4_0; default: f16", 0, 0},
    {"MODELS", "folder of the models; default: ~/.cria/models", 0, 0},
    {"CACHE", "folder that keeps the beginnings of prompts, computed; default: none", 0, 0},
    {"CACHE_SIZE", "bytes that folder may take, as 512m or 4g; default: 2g", 0, 0},
    {"REGISTRIES", "the only ones that may be asked, as HOST[:PORT],...; default: any", 0, 0},
    {"STALL_TIMEOUT", "seconds without a byte that end a transfer; default: 30", 1, 3600},
    {"HOST",
     "the server that commands ask: ADDRESS:PORT, a URL, unix:PATH; default: 127.0.0.1:11434", 0,
     0},
    {"API_KEY", "key that commands show to it", 0, 0},
    {"EDITOR", "opened by Ctrl-G in a chat; default: VISUAL, EDITOR, vi", 0, 0},
    {"ISOLATION", "on: other machines are not asked, a chat's lines are not kept; default: off", 0,
     0},
    {"NOHISTORY", "1: a chat's lines are not kept", 0, 0},
    {"DEBUG", "1, 2: messages about what happens", 0, 2},
};
enum { N_SETTING = sizeof settings / sizeof *settings };

static int check(const char *name, long min, long max, struct err *e) {
    char v[4096], *end;
    if (min == max || !os_setting(name, v, sizeof v)) return 0;
    errno = 0;
    const long n = strtol(v, &end, 10);
    if (*end == 0 && errno == 0 && n >= min && n <= max) return 0;
    return err_set(e, ERR_USAGE,
                   "setting CRIA_%s: found \"%s\"; a whole number from %ld to %ld is accepted",
                   name, v, min, max);
}

int cli_check_settings(struct err *e) {
    for (int i = 0; i < N_SETTING; i++)
        if (check(settings[i].name, settings[i].min, settings[i].max, e) != 0) return -1;
    struct engine_opts unused = {0};
    if (engine_user_opts(&unused, e) != 0) return -1;
    if (cores_setting_threads(e) < 0 || cores_setting_pin(e) < 0) return -1;
    return cpu_check_setting(e);
}

int cli_settings(const char *file, struct settings *out, struct err *e) {
    char path[SETTINGS_PATH];
    struct conf of_models;
    const int rc = settings_read(out, &of_models, file ? file : settings_file(path), e);
    conf_free(&of_models);
    return rc;
}

void cli_help_settings(void) {
    puts("\nSettings (environment; OLLAMA_X is read where CRIA_X is not set):");
    for (int i = 0; i < N_SETTING; i++)
        if (settings[i].help) printf("  CRIA_%-19s%s\n", settings[i].name, settings[i].help);
}
