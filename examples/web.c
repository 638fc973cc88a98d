/* A web service with the model inside of it: answers as they come, one question at a time.
 *
 *     cc web.c $(pkg-config --cflags --libs libcria) -o web
 *     ./web model.gguf 8080
 *     curl -N http://127.0.0.1:8080/ --data 'Once upon a time'
 *
 * For many clients at once, conversations and tools ask `cria serve` (web.mjs). */
#define _GNU_SOURCE /* strcasestr */
#include <arpa/inet.h>
#include <cria.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { MAX_REQUEST = 65536 };

/* 0 while the client takes what it is sent. */
static int send_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return -1;
        p += k, n -= (size_t)k;
    }
    return 0;
}

/* A piece of the answer is a chunk of the body (RFC 9112 section 7.1). */
static int send_piece(void *user, const char *text, size_t n, int32_t token) {
    char head[32];
    const int fd = *(int *)user;
    (void)token;
    if (n == 0) return 0;
    const int n_head = snprintf(head, sizeof head, "%zx\r\n", n);
    if (send_all(fd, head, (size_t)n_head) != 0 || send_all(fd, text, n) != 0) return 1;
    return send_all(fd, "\r\n", 2) != 0;
}

/* The body of a POST whose length is told, in request; NULL: something else came. */
static char *read_question(int fd, char request[MAX_REQUEST + 1]) {
    size_t n = 0;
    for (;;) {
        const ssize_t k = recv(fd, request + n, MAX_REQUEST - n, 0);
        if (k <= 0) return NULL;
        request[n += (size_t)k] = 0;
        char *end = strstr(request, "\r\n\r\n");
        if (!end) continue;
        const char *length = strcasestr(request, "\r\nContent-Length:");
        if (strncmp(request, "POST ", 5) != 0 || !length || length > end) return NULL;
        if ((size_t)(request + n - (end + 4)) >= strtoul(length + 17, NULL, 10)) return end + 4;
    }
}

static void answer(int fd, cria_session *session) {
    static char request[MAX_REQUEST + 1];
    static const char bad[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
                              "Content-Length: 15\r\n\r\nPOST a question";
    static const char good[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                               "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    cria_generate_options options;
    cria_error error;
    const char *question = read_question(fd, request);
    if (!question || !*question) {
        send_all(fd, bad, sizeof bad - 1);
        return;
    }
    cria_generate_options_init(&options, sizeof options);
    options.n_predict = 256;
    if (send_all(fd, good, sizeof good - 1) != 0) return;
    if (cria_generate(session, question, &options, send_piece, &fd, NULL, &error) != 0)
        fprintf(stderr, "web: %s\n", error.message); /* without its end the answer is not whole */
    else
        send_all(fd, "0\r\n\r\n", 5);
}

/* On this machine alone. */
static int listen_on(int port) {
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    return bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0 ? fd : -1;
}

int main(int argc, char **argv) {
    cria_error error;
    if (argc != 3) {
        fprintf(stderr, "usage: web MODEL.gguf PORT\n");
        return 2;
    }
    cria_model *model = cria_model_open(argv[1], NULL, &error);
    cria_session *session = model ? cria_session_new(model, &error) : NULL;
    if (!session) {
        fprintf(stderr, "web: %s\n", error.message);
        return 1;
    }
    const int door = listen_on(atoi(argv[2]));
    if (door < 0) {
        perror("web");
        return 1;
    }
    printf("listening on port %s\n", argv[2]);
    fflush(stdout);
    for (;;) {
        const int fd = accept(door, NULL, NULL);
        if (fd < 0) continue;
        const struct timeval limit = {.tv_sec = 10}; /* nobody holds the others up for longer */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        answer(fd, session);
        close(fd);
    }
}
