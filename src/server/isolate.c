/* See isolate.h. */
#include "server/isolate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/child_proc.h"
#include "engine/prefix_disk.h"
#include "server/front_priv.h"
#include "store/store.h"

static void add_link(void *ctx, const char *path) {
    isolation_files_add(ctx, path, SANDBOX_READ);
}

/* Its folders may be links to other disks; files of users that are linked to are read. */
static void add_store(struct isolation_files *f, struct store *s) {
    static const char *const folder[] = {"", "/blobs", "/manifests"};
    char path[STORE_PATH];
    struct err unused;
    store_lease_end(store_lease(s, &unused)); /* makes it */
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++) {
        snprintf(path, sizeof path, "%s%s", store_root(s), folder[i]);
        isolation_files_add(f, path, SANDBOX_WRITE);
    }
    store_each_link(s, add_link, f, &unused);
}

/* ~/.cria, or the folder that is set. */
static void add_state(struct isolation_files *f, const char *folder) {
    char path[PATH_MAX];
    const char *home = getenv("HOME");
    if (*folder)
        snprintf(path, sizeof path, "%s", folder);
    else if (!home || !*home || snprintf(path, sizeof path, "%s/.cria", home) >= (int)sizeof path)
        return;
    mkdir(path, 0700); /* it may be there */
    isolation_files_add(f, path, SANDBOX_WRITE);
}

/* Of prompts (CRIA_CACHE): the engine children's. */
static void add_prefix_cache(struct isolation_files *f) {
    char folder[PATH_MAX];
    if (!os_setting("CACHE", folder, sizeof folder)) return;
    prefix_disk_make(folder);
    isolation_files_add(f, folder, SANDBOX_WRITE);
}

/* What a setting says, "" where it says nothing; settings of parts that are not built are none. */
static const char *text_of(const struct settings *t, const char *name) {
    for (const struct setting *s = settings_table; s->name; s++)
        if (s->kind == SETTING_IS_TEXT && strcmp(s->name, name) == 0)
            return (const char *)t + s->offset;
    return "";
}

/* Databases that are not in ~/.cria: with their folders, where others are made beside them. */
static const char *const kept[] = {"AUDIT_FILE", "KEYS"};
static const char *const read_only[] = {"AUDIT_KEY_FILE", "AUDIT_SIGN_KEY", "AUDIT_PUBLIC_KEY",
                                        "FALLBACK_KEY_FILE"};
/* What they name is not asked: there is no way to it. */
static const char *const unused[] = {"CACHE_URL", "FALLBACK_URL"};

void isolate_files(struct isolation_files *f, const struct server_opts *o, const struct settings *t,
                   struct store *store) {
    char path[SETTINGS_PATH];
    const char *config = o->config ? o->config : settings_file(path);
    isolation_files_program(f);
    add_store(f, store);
    add_state(f, "");
    if (*t->responses) add_state(f, t->responses);
    add_prefix_cache(f);
    isolation_files_add_config(f, config, SANDBOX_READ);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        isolation_files_add_config(f, text_of(t, kept[i]), SANDBOX_WRITE);
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++)
        isolation_files_add_config(f, text_of(t, read_only[i]), SANDBOX_READ);
    isolation_files_add_config(f, o->tls_cert ? o->tls_cert : t->tls_cert, SANDBOX_READ);
    isolation_files_add_config(f, o->tls_key ? o->tls_key : t->tls_key, SANDBOX_READ);
    isolation_files_add_config(f, o->api_key_file ? o->api_key_file : t->api_key_file,
                               SANDBOX_READ);
}

/* A Unix socket is removed at the end where its folder is ours alone; what else is in /tmp or in a
 * home is not put at risk for that: a socket that is left is removed by the next start. */
static void add_socket_folders(struct isolation_files *f, const struct server *s) {
    const char *at, *home = getenv("HOME");
    for (int i = 0; (at = net_server_address(s->net, i)); i++) {
        char folder[PATH_MAX];
        struct stat st, of_home;
        if (strncmp(at, "unix:", 5) != 0) continue;
        snprintf(folder, sizeof folder, "%s", at + 5);
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder) continue;
        *slash = 0;
        if (stat(folder, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 022)) continue;
        if (home && stat(home, &of_home) == 0 && of_home.st_ino == st.st_ino) continue;
        isolation_files_add(f, folder, SANDBOX_REMOVE);
    }
}

int isolate(struct server *s, struct err *e) {
    struct isolation_files f = {0};
    struct sandbox_state got;
    char missing[200];
    isolate_files(&f, &s->o, &s->settings, s->store);
    add_socket_folders(&f, s);
    child_spawn_prepare();
    const int rc = isolation_enter(s->isolation, &f, &got, e);
    isolation_files_fini(&f);
    if (rc != 0) return -1;
    isolation_explain(&got, s->walls, sizeof s->walls);
    log_line(s->log, LOG_INFO, "isolated: %s", s->walls);
    isolation_missing(&got, missing, sizeof missing);
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (*text_of(&s->settings, unused[i]))
            log_line(s->log, LOG_WARN, "CRIA_%s has no effect: isolation is on", unused[i]);
    if (*missing)
        log_line(s->log, LOG_WARN, "isolation is not complete on this system; missing: %s",
                 missing);
    return 0;
}
