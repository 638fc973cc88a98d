/* See child_self.h. */
#include "engine/child_self.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/log.h"
#include "base/os.h"
#include "base/sha256.h"

void child_ignore_signals(void) {
    static const int sig[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ, SIGTSTP, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof sig / sizeof *sig; i++)
        signal(sig[i], SIG_IGN);
}

void child_offer_to_die(int score) {
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (dprintf(fd, "%d", score) < 0) log_msg(LOG_DEBUG, "oom_score_adj cannot be set");
    close(fd);
}

void child_read_ahead(void) {
    struct sha256 h;
    uint8_t digest[SHA256_BYTES];
    sha256_init(&h); /* libcrypto's configuration */
    if (sha256_final(&h, digest) != 0) log_msg(LOG_WARN, "no SHA-256");
    tzset();
    cores_here();
    os_rss_bytes();
}

/* Beyond what it keeps to: stacks, the allocator, the libraries. */
uint64_t child_data_limit(uint64_t max_bytes) {
    const uint64_t thread = 16 << 20, beside = 512 << 20;
    return max_bytes ? max_bytes + beside + thread * (uint64_t)cores_here()->n_logical : 0;
}

int child_shut(const char *folder, int socket, uint64_t max_bytes, struct sandbox_state *got,
               struct err *e) {
    child_read_ahead();
    child_offer_to_die(300);
    if (chdir("/") != 0) return err_errno(e, "engine process");
    const struct sandbox_opts s = {
        .folder = folder,
        .pin = cores_setting_pin(e) == 1,
        .socket = socket,
        .max_data_bytes = child_data_limit(max_bytes),
    };
    return sandbox_enter(&s, got, e);
}
