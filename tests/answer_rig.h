/* Answers and what was read of them, for the tests of answers. */
#pragma once

#include "text/chat/answer.h"

#define PARIS "{\"city\":\"Paris\"}"
#define CALL "C get_weather " PARIS

/* get_weather(city, days, unit), now(), deep(a, l, s): JSON with ' for ". */
extern const char tools_text[];

/* The pieces of an answer in one line: "T(text)", "H(thinking)", "C name {arguments}". */
struct log {
    struct buf out;
    int kind; /* of the last piece, so that neighbours become one */
    int n_call, n_text;
    char last_id[32];
};

/* Of `struct log`: an answer_fn. */
int on_piece(void *ctx, const struct answer_piece *p);

struct way {
    const char *parser;
    bool no_thinking, in_thinking, no_tools, ruled, must_call;
};

struct answer *open_answer(const struct way *w);
