/* The address of a Redis server: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], IPv6 in brackets. */
#pragma once

#include "base/err.h"

enum { ANSWER_URL_PART = 256 };

struct answer_redis_url {
    char host[ANSWER_URL_PART];                            /* without brackets */
    char user[ANSWER_URL_PART], password[ANSWER_URL_PART]; /* decoded; empty: none */
    int port, db;
};

/* ERR_USAGE; the message has no part of the password. */
int answer_redis_url(const char *url, struct answer_redis_url *out, struct err *e);
