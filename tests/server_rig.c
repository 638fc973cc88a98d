/* See server_rig.h. */
#include "server_rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

int server_free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    close(fd);
    return ntohs(a.sin_port);
}

bool server_answers(int port) {
    const struct sockaddr_in a = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool ok = connect(fd, (const struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return ok;
}

/* Run it, what it says into OUT, and wait until its port answers. */
static void start(struct server *p, const char *out, const char *const *argv) {
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not stop it */
        const char *path = getenv("PATH");
        char longer[4096]; /* Debian keeps servers out of users' way */
        snprintf(longer, sizeof longer, "%s:/usr/sbin:/usr/local/sbin", path ? path : "/usr/bin");
        setenv("PATH", longer, 1);
        const int fd = open(out, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    for (int i = 0; i < 1000 && !server_answers(p->port); i++) {
        if (waitpid(p->pid, NULL, WNOHANG) != 0) {
            p->pid = 0;
            fail_msg("%s does not run (see %s); ./quickstart test installs it", argv[0], out);
        }
        usleep(10000);
    }
}

static void begin(struct server *p, const char *dir, const char *name) {
    snprintf(p->dir, sizeof p->dir, "%s", dir);
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->log, sizeof p->log, "%s/%s.log", dir, name);
    if (!p->port) p->port = server_free_port();
}

static void write_text(const char *path, const struct buf *b) {
    struct err e;
    if (os_write_file(path, b->p, b->n, &e) != 0) fail_msg("%s", e.msg);
}

void registry_start(struct server *p, const char *dir, const char *name, const char *more) {
    struct buf b = {0};
    char path[700];
    *p = (struct server){0};
    begin(p, dir, name);
    snprintf(path, sizeof path, "%s/%s.yml", dir, name);
    buf_printf(&b,
               "version: 0.1\nlog: {level: error}\n"
               "storage: {filesystem: {rootdirectory: %s/%s}}\nhttp:\n  addr: 127.0.0.1:%d\n%s",
               dir, name, p->port, more);
    write_text(path, &b);
    buf_fini(&b);
    start(p, p->log, (const char *const[]){"docker-registry", "serve", path, NULL});
}

void nginx_again(struct server *p) {
    char path[700], out[700];
    snprintf(path, sizeof path, "%s/%s.conf", p->dir, p->name);
    snprintf(out, sizeof out, "%s/%s.err", p->dir, p->name);
    start(p, out, (const char *const[]){"nginx", "-e", out, "-c", path, NULL});
}

void nginx_start(struct server *p, const char *dir, const char *name, const char *http) {
    static const char *const temps[] = {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"};
    struct buf b = {0};
    char path[700];
    begin(p, dir, name);
    /* One process: what is killed is what holds the connections. */
    buf_printf(&b,
               "daemon off;\nmaster_process off;\npid %s/%s.pid;\nworker_processes 1;\n"
               "events { worker_connections 256; }\nhttp {\n"
               "log_format seen '$request_method $request_uri $status bytes=$body_bytes_sent "
               "auth=$http_authorization range=$http_range';\naccess_log %s seen;\n",
               dir, name, p->log);
    for (size_t i = 0; i < sizeof temps / sizeof *temps; i++)
        buf_printf(&b, "%s_temp_path %s/%s_%s;\n", temps[i], dir, name, temps[i]);
    for (const char *at = http; *at;) {
        const char *next = strstr(at, "$port");
        buf_append(&b, at, next ? (size_t)(next - at) : strlen(at));
        if (next) buf_printf(&b, "%d", p->port);
        at = next ? next + strlen("$port") : at + strlen(at);
    }
    buf_str(&b, "}\n");
    snprintf(path, sizeof path, "%s/%s.conf", dir, name);
    write_text(path, &b);
    buf_fini(&b);
    nginx_again(p);
}

void haproxy_start(struct server *p, const char *dir, const char *name, const char *backend) {
    struct buf b = {0};
    char path[700];
    *p = (struct server){0};
    begin(p, dir, name);
    buf_printf(&b,
               "global\n log stdout format raw local0\n"
               "defaults\n mode http\n log global\n log-format \"%%HU %%s %%ST\"\n"
               " timeout connect 5s\n timeout client 5s\n timeout server 5s\n retries 0\n"
               "frontend f\n bind 127.0.0.1:%d\n default_backend b\nbackend b\n%s",
               p->port, backend);
    snprintf(path, sizeof path, "%s/%s.cfg", dir, name);
    write_text(path, &b);
    buf_fini(&b);
    start(p, p->log, (const char *const[]){"haproxy", "-db", "-f", path, NULL});
}

void redis_start(struct server *p, const char *dir, const char *name, const char *password) {
    char port[16];
    begin(p, dir, name);
    snprintf(port, sizeof port, "%d", p->port);
    start(p, p->log,
          (const char *const[]){"redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "",
                                "--appendonly", "no", "--dir", dir,
                                password ? "--requirepass" : NULL, password, NULL});
}

static void end(struct server *p, int sig) {
    if (p->pid > 0) {
        kill(p->pid, sig);
        waitpid(p->pid, NULL, 0);
    }
    p->pid = 0;
}

void server_stop(struct server *p) {
    end(p, SIGTERM);
}

void server_kill(struct server *p) {
    end(p, SIGKILL);
}

static int lines_with(const char *path, const char *a, const char *b) {
    size_t n_bytes;
    int n = 0;
    char *text = (char *)slurp(path, &n_bytes), *rest = text;
    if (n_bytes) text[n_bytes - 1] = 0;
    for (char *line; n_bytes && (line = strsep(&rest, "\n"));)
        n += strstr(line, a) && strstr(line, b);
    free(text);
    return n;
}

int server_lines(const struct server *p, const char *a, const char *b, int at_least) {
    int n = lines_with(p->log, a, b);
    for (int i = 0; i < 200 && n < at_least; i++) {
        usleep(10000);
        n = lines_with(p->log, a, b);
    }
    return n;
}

void make_certificates(const char *dir) {
    char line[3000];
    snprintf(line, sizeof line,
             "cd %s && ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2' && "
             "openssl req -x509 $ec -subj /CN=authority -keyout ca.key -out ca.pem 2>tls.log && "
             "openssl req -new $ec -subj /CN=localhost -keyout key.pem -out cert.req 2>>tls.log && "
             "echo subjectAltName=DNS:localhost >san && openssl x509 -req -in cert.req -days 2 "
             "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -out cert.pem 2>>tls.log",
             dir);
    if (system(line) != 0) fail_msg("openssl made no certificates; ./quickstart test installs it");
}
