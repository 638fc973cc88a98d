/* Who may connect, and how often: the connections of one address, an IPv6 network, this machine;
 * and a Unix socket that another user tries to reach from the moment it is there (SECURITY.md H15).
 * As an address must be another machine's, the server and its clients have a network of their own.
 */
#include "serve_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct serve s;

/* ---- a network of its own ---- */

static const char *const four = "192.0.2.1";
static const char *const six[] = {"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"};

static void name_loopback(void) {
    struct ifreq r = {.ifr_name = "lo"};
    struct sockaddr_in *a = (struct sockaddr_in *)(void *)&r.ifr_addr;
    const int fd = socket(AF_INET, SOCK_DGRAM, 0), fd6 = socket(AF_INET6, SOCK_DGRAM, 0);
    assert_int_equal(ioctl(fd, SIOCGIFINDEX, &r), 0);
    const int index = r.ifr_ifindex;
    r.ifr_flags = IFF_UP;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &r), 0);
    for (int i = 0; i < 4; i++) {
        struct in6_ifreq q = {.ifr6_prefixlen = 128, .ifr6_ifindex = index};
        inet_pton(AF_INET6, six[i], &q.ifr6_addr);
        assert_int_equal(ioctl(fd6, SIOCSIFADDR, &q), 0);
    }
    snprintf(r.ifr_name, sizeof r.ifr_name, "lo:1");
    *a = (struct sockaddr_in){.sin_family = AF_INET};
    inet_pton(AF_INET, four, &a->sin_addr);
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &r), 0);
    close(fd), close(fd6);
}

/* From this address to itself, at the server's port. */
static int connect_as(const char *ip) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s.port)};
    struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)s.port)};
    const struct timeval tv = {5, 0};
    int fd;
    if (inet_pton(AF_INET, ip, &a.sin_addr) == 1) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    } else {
        assert_int_equal(inet_pton(AF_INET6, ip, &b.sin6_addr), 1);
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&b, sizeof b), 0);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

/* A kept connection that is answered, or -1 when it is closed without. */
static int served(const char *ip) {
    static const char q[] = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char a[1000];
    const int fd = connect_as(ip);
    if (send(fd, q, sizeof q - 1, MSG_NOSIGNAL) == sizeof q - 1 && recv(fd, a, sizeof a, 0) > 0)
        return fd;
    close(fd);
    return -1;
}

static void start(const char *peers) {
    serve_start(&s, (const char *[]){"--listen", "[::]:0", "--allow-remote", NULL},
                (const char *[]){"CRIA_MAX_CONNECTIONS=16", peers, NULL});
}

/* A quarter of 16 for an address or a /64; no limit on this machine, where a proxy may be. */
static void a_quarter(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    int fd[5], local[6], pair[4], again = -1;
    start("CRIA_MAX_PEER_CONNECTIONS");
    for (int i = 0; i < 5; i++) {
        fd[i] = served(four);
        assert_int_equal(fd[i] >= 0, i < 4);
    }
    for (int i = 0; i < 6; i++)
        assert_true((local[i] = served(i % 2 ? "::1" : "127.0.0.1")) >= 0);
    for (int i = 0; i < 4; i++)
        assert_true((pair[i] = served(six[i % 2])) >= 0);
    assert_int_equal(served(six[2]), -1); /* the same /64 */
    const int other = served(six[3]);
    assert_true(other >= 0);
    close(pair[0]);
    for (int i = 0; i < 100 && again < 0; i++) /* once it has left */
        again = served(six[2]);
    assert_true(again >= 0);
    close(again), close(other);
    for (int i = 0; i < 6; i++)
        close(local[i]);
    for (int i = 0; i < 4; i++)
        close(fd[i]), close(i ? pair[i] : -1);
    assert_int_equal(serve_stop(&s), 0);
}

static void as_many_as_there_may_be(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    int fd[10];
    start("CRIA_MAX_PEER_CONNECTIONS=0");
    for (int i = 0; i < 10; i++)
        assert_true((fd[i] = served(i % 2 ? four : six[0])) >= 0);
    for (int i = 0; i < 10; i++)
        close(fd[i]);
    assert_int_equal(serve_stop(&s), 0);
}

/* A number is for all, loopback too. */
static void two(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    static const char *const ip[] = {"192.0.2.1", "127.0.0.1", "2001:db8::1"};
    int fd[9];
    start("CRIA_MAX_PEER_CONNECTIONS=2");
    for (int i = 0; i < 9; i++) {
        fd[i] = served(ip[i / 3]);
        assert_int_equal(fd[i] >= 0, i % 3 < 2);
    }
    for (int i = 0; i < 9; i++)
        if (fd[i] >= 0) close(fd[i]);
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- the racing connector ---- */

struct seen {
    long there, wide, reached; /* looks that found the socket; open to others; connections */
};

static volatile sig_atomic_t stop;

static void on_term(int sig) {
    (void)sig;
    stop = 1;
}

static _Noreturn void race(const char *path, int report) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct seen n = {0};
    struct stat st;
    signal(SIGTERM, on_term);
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* behind setuid, which forgets it */
    if (strlen(path) >= sizeof a.sun_path) _exit(1);
    strcpy(a.sun_path, path);
    while (!stop) {
        if (stat(path, &st) == 0) n.there++, n.wide += (st.st_mode & 077) != 0;
        if (geteuid() != 65534) continue; /* our own user may connect */
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        n.reached += connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
        close(fd);
    }
    if (write(report, &n, sizeof n) != sizeof n) _exit(1);
    _exit(0);
}

/* Servers come, go and die; the socket is there anew each time. */
static void racing_connector(void **state) {
    (void)state;
    char *dir = temp_folder(), path[700], listen[720];
    struct seen n;
    int p[2], status;
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(listen, sizeof listen, "unix:%s", path);
    assert_int_equal(pipe(p), 0);
    if (geteuid() != 0) print_message("not root: the socket's mode is watched, nobody connects\n");
    const pid_t racer = fork();
    if (racer == 0) race(path, p[1]);
    umask(0);
    for (int i = 0; i < 10; i++) {
        serve_start(&s, (const char *[]){"--listen", listen, NULL}, NULL);
        if (i % 2)
            serve_kill(&s);
        else
            assert_int_equal(serve_stop(&s), 0);
    }
    umask(022);
    kill(racer, SIGTERM);
    assert_int_equal(read(p[0], &n, sizeof n), sizeof n);
    assert_int_equal(waitpid(racer, &status, 0), racer);
    assert_true(n.there > 100);
    if (n.wide || n.reached)
        fail_msg("%ld of %ld: open; reached %ld times", n.wide, n.there, n.reached);
    close(p[0]), close(p[1]);
    temp_remove(dir);
}

static int alone(void **state) {
    (void)state;
    const int flags = geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;
    if (unshare(flags) != 0) {
        fprintf(stderr, "no network of one's own: %s\n", strerror(errno));
        return -1;
    }
    name_loopback();
    return 0;
}

int main(void) {
    const struct CMUnitTest here[] = {cmocka_unit_test(racing_connector)};
    const struct CMUnitTest apart[] = {
        cmocka_unit_test(a_quarter),
        cmocka_unit_test(as_many_as_there_may_be),
        cmocka_unit_test(two),
    };
    return cmocka_run_group_tests(here, NULL, NULL) + cmocka_run_group_tests(apart, alone, NULL);
}
