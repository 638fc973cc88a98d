/* See ram.h.  Read are
 *
 *   /proc/meminfo          MemAvailable
 *   /proc/self/cgroup      "0::/path" (version 2), "4:memory:/path" (version 1)
 *   <mount>/path           memory.max, memory.current, memory.stat: inactive_file (version 2);
 *                          memory.limit_in_bytes, memory.usage_in_bytes, total_inactive_file (1)
 *
 * (admin-guide/cgroup-v2 and cgroup-v1/memory of the kernel's documentation).  In a container the
 * path may not be there, only the mount: it is asked, too. */
#include "base/ram.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The number behind KEY at the beginning of a line; KEY NULL: the file's first word.  False when
 * there is none ("max"). */
static bool number_in(const char *path, const char *key, uint64_t *out) {
    char line[256];
    unsigned long long v;
    const size_t n = key ? strlen(key) : 0;
    bool found = false;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f))
        found = (!key || strncmp(line, key, n) == 0) && sscanf(line + n, "%llu", &v) == 1;
    fclose(f);
    if (found) *out = v;
    return found;
}

static bool number_of(const char *dir, const char *file, const char *key, uint64_t *out) {
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    return n > 0 && n < (int)sizeof path && number_in(path, key, out);
}

/* What one group leaves. */
static void ask_group(const char *dir, bool v2, uint64_t *least) {
    uint64_t max, used = 0, cached = 0;
    if (!number_of(dir, v2 ? "memory.max" : "memory.limit_in_bytes", NULL, &max)) return;
    number_of(dir, v2 ? "memory.current" : "memory.usage_in_bytes", NULL, &used);
    number_of(dir, "memory.stat", v2 ? "inactive_file " : "total_inactive_file ", &cached);
    used -= cached < used ? cached : used;
    const uint64_t left = used < max ? max - used : 0;
    if (left < *least) *least = left;
}

/* The group and those above it, up to the mount. */
static void ask_groups(const char *root, const char *mount, const char *group, bool v2,
                       uint64_t *least) {
    char dir[PATH_MAX];
    const int n_mount = snprintf(dir, sizeof dir, "%s%s", root, mount);
    if (n_mount < 0 || n_mount >= (int)sizeof dir) return;
    ask_group(dir, v2, least);
    if (strstr(group, "..")) return; /* above our root: not to be seen from here */
    const int n = snprintf(dir, sizeof dir, "%s%s%s", root, mount, group);
    if (n < 0 || n >= (int)sizeof dir) return;
    for (char *slash; (int)strlen(dir) > n_mount; *slash = 0) {
        ask_group(dir, v2, least);
        slash = strrchr(dir, '/');
    }
}

uint64_t ram_available_bytes(const char *root) {
    char path[PATH_MAX], line[PATH_MAX];
    uint64_t least = UINT64_MAX, kb;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (number_in(path, "MemAvailable:", &kb)) least = kb * 1024;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        const char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group) continue;
        if (strncmp(list, "::", 2) == 0)
            ask_groups(root, "/sys/fs/cgroup", group + 1, true, &least);
        else if (strncmp(list, ":memory:", 8) == 0)
            ask_groups(root, "/sys/fs/cgroup/memory", group + 1, false, &least);
    }
    if (f) fclose(f);
    return least == UINT64_MAX ? 0 : least;
}
