/* A network namespace of one's own (network_namespaces(7)): there is nothing in it but a loopback
 * interface that is down.  Sockets that are open stay in the old one, so that a server goes on
 * accepting.  Root may have one; others get it inside of a user namespace in which they are who
 * they are outside (user_namespaces(7)), where the kernel and whatever starts us allow that. */
#include "base/sandbox.h"

#ifdef __linux__
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nothing but "lo": a service manager or a container engine has seen to it. */
static bool is_empty_already(void) {
    char line[256];
    int n = 0, n_loopback = 0;
    FILE *f = fopen("/proc/self/net/dev", "re");
    if (!f) return false;
    while (fgets(line, sizeof line, f)) {
        const char *name = line + strspn(line, " ");
        const size_t len = strcspn(name, ":");
        if (name[len] != ':') continue; /* the two lines of titles */
        n++;
        n_loopback += len == 2 && memcmp(name, "lo", 2) == 0;
    }
    fclose(f);
    return n == n_loopback;
}

static bool write_text(const char *path, const char *text) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const size_t n = strlen(text);
    const bool good = write(fd, text, n) == (ssize_t)n;
    close(fd);
    return good;
}

static bool leave(void) {
    const unsigned uid = geteuid(), gid = getegid();
    char users[48], groups[48];
    if (unshare(CLONE_NEWNET) == 0) return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    snprintf(users, sizeof users, "%u %u 1", uid, uid);
    snprintf(groups, sizeof groups, "%u %u 1", gid, gid);
    return write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", users) &&
           write_text("/proc/self/gid_map", groups);
}

/* Tried by another process first: one that is nobody in its new namespace cannot go back. */
static bool may_leave(void) {
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0) _exit(leave() ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

bool sandbox_network_offered(void) {
    return may_leave() || is_empty_already();
}

/* Also out of one that is empty, if possible: on a machine without a network it has what listens on
 * loopback. */
bool sandbox_leave_network(void) {
    return (may_leave() && leave()) || is_empty_already();
}

#else
bool sandbox_network_offered(void) {
    return false;
}

bool sandbox_leave_network(void) {
    return false;
}
#endif
