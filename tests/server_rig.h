/* Real servers on loopback, in processes of their own with all their files in a folder: Debian's
 * docker-registry, nginx and HAProxy before others, Redis. */
#pragma once

#include <sys/types.h>

#include "support.h"

struct server {
    pid_t pid;
    int port;
    char dir[600], name[64]; /* dir/name.log has what it says */
    char log[700];
};

int server_free_port(void);
bool server_answers(int port); /* somebody listens there */

/* A registry; more: lines of its configuration, below "http:" (two blanks) or at the beginning of a
 * line.  Its files are in dir/name. */
void registry_start(struct server *p, const char *dir, const char *name, const char *more);

/* nginx with this text in its "http" block.  $port in it stands for p->port; p->log gets a line
 * "METHOD URI STATUS bytes=N auth=AUTHORIZATION range=RANGE" for each request.  p->port 0: a free
 * one. */
void nginx_start(struct server *p, const char *dir, const char *name, const char *http);
/* Again with the same configuration, after it was killed. */
void nginx_again(struct server *p);

/* HAProxy with a "frontend" on p->port and these lines in its "backend"; p->log gets a line "URI
 * SERVER STATUS" for each request, SERVER "<NOSRV>" when it was not passed on. */
void haproxy_start(struct server *p, const char *dir, const char *name, const char *backend);

/* Redis that keeps nothing on disk; with the password, unless that is NULL.  p->port 0: a free one;
 * else again on that one. */
void redis_start(struct server *p, const char *dir, const char *name, const char *password);

void server_stop(struct server *p);
void server_kill(struct server *p); /* at once: connections break */

/* Lines of a log with both texts; waits up to two seconds for as many as these. */
int server_lines(const struct server *p, const char *a, const char *b, int at_least);

/* ca.pem, and key.pem with cert.pem for localhost (not for 127.0.0.1) that it signed, in dir. */
void make_certificates(const char *dir);
