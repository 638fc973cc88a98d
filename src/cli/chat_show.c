/* See chat_show.h. */
#include "cli/chat_show.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

static json_t *stamp(const struct chat *c) {
    struct timespec now;
    struct tm tm;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%06ldZ", now.tv_nsec / 1000);
    return json_pack("{s:s, s:s}", "model", c->name ? c->name : c->path, "created_at", text);
}

static void print_piece(const struct chat *c, const struct talk_piece *p) {
    const bool thinking = p->kind == TALK_THINKING;
    json_t *j = stamp(c);
    json_object_set_new(j, "response", json_stringn(p->text.p, thinking ? 0 : p->text.n));
    if (thinking) json_object_set_new(j, "thinking", json_stringn(p->text.p, p->text.n));
    if (p->kind == TALK_CALL)
        json_object_set_new(j, "tool_calls", json_pack("[O]", (json_t *)(uintptr_t)p->call));
    json_object_set_new(j, "done", json_false());
    cli_print_json(j);
    fflush(stdout);
}

/* Thinking stands between two lines, as Ollama shows it. */
static void switch_to(struct chat_show *s, bool thinking) {
    if (s->thinking == thinking) return;
    s->thinking = thinking;
    if (s->chat->hide_thinking) return;
    display_text(&s->chat->display,
                 thinking ? STR("Thinking...\n") : STR("\n...done thinking.\n\n"));
}

int chat_show_piece(void *ctx, const struct talk_piece *p) {
    struct chat_show *s = ctx;
    struct chat *c = s->chat;
    if (p->kind == TALK_TEXT) buf_append(&s->said, p->text.p, p->text.n);
    if (c->json) {
        print_piece(c, p);
    } else {
        switch_to(s, p->kind == TALK_THINKING);
        if (p->kind != TALK_CALL && !(s->thinking && c->hide_thinking))
            display_text(&c->display, p->text);
    }
    return ferror(stdout); /* a full disk: nobody will read the rest */
}

/* As Go prints a duration, which is what Ollama shows: 1.5s, 12.345ms, 2m3.5s. */
static const char *duration(char out[48], int64_t ns) {
    const char *unit = ns < 1000 ? "ns" : ns < 1000000 ? "\u00b5s" : ns < 1000000000 ? "ms" : "s";
    const double per = ns < 1000 ? 1 : ns < 1000000 ? 1e3 : ns < 1000000000 ? 1e6 : 1e9;
    const long minutes = (long)(ns / 60000000000);
    double v = (double)(ns - minutes * 60000000000) / per;
    if (minutes > 0) v = (double)(ns - minutes * 60000000000) * 1e-9;
    char number[20];
    snprintf(number, sizeof number, "%.*f", per == 1 ? 0 : per == 1e9 ? 9 : per == 1e6 ? 6 : 3, v);
    if (strchr(number, '.')) { /* without the zeros at the end */
        size_t n = strlen(number);
        while (number[n - 1] == '0')
            n--;
        if (number[n - 1] == '.') n--;
        number[n] = 0;
    }
    if (minutes >= 60)
        snprintf(out, 48, "%ldh%ldm%ss", minutes / 60, minutes % 60, number);
    else if (minutes > 0)
        snprintf(out, 48, "%ldm%ss", minutes, number);
    else
        snprintf(out, 48, "%s%s", number, unit);
    return out;
}

static double rate(int n, int64_t ns) {
    return ns > 0 ? n / ((double)ns * 1e-9) : 0.0;
}

static void print_timings(const struct talk_end *end) {
    const struct gen_stats *st = &end->stats;
    char d[48];
    fprintf(stderr, "total duration:       %s\n", duration(d, end->total_ns));
    fprintf(stderr, "load duration:        %s\n", duration(d, end->load_ns));
    fprintf(stderr, "prompt eval count:    %d token(s)\n", st->n_prompt);
    fprintf(stderr, "prompt cached count:  %d token(s)\n", st->n_cached);
    fprintf(stderr, "prompt eval duration: %s\n", duration(d, st->prompt_ns));
    fprintf(stderr, "prompt eval rate:     %.2f tokens/s\n",
            rate(st->n_prompt - st->n_cached, st->prompt_ns));
    fprintf(stderr, "eval count:           %d token(s)\n", st->n_eval);
    fprintf(stderr, "eval duration:        %s\n", duration(d, st->eval_ns));
    fprintf(stderr, "eval rate:            %.2f tokens/s\n", rate(st->n_eval, st->eval_ns));
    if (st->n_drafted > 0)
        fprintf(stderr, "draft count:          %d token(s), %d accepted\n", st->n_drafted,
                st->n_accepted);
}

/* The last JSON line: Ollama's fields, and how much of the prompt was cached. */
static void print_json_end(const struct chat *c, const struct talk_end *end) {
    static const char *const reason[] = {"stop", "length", "stop", "cancelled"};
    const struct gen_stats *st = &end->stats;
    json_t *j = stamp(c), *rest;
    rest = json_pack("{s:s, s:b, s:s, s:I, s:I, s:i, s:i, s:I, s:i, s:I}", "response", "", "done",
                     1, "done_reason", reason[end->why], "total_duration",
                     (json_int_t)end->total_ns, "load_duration", (json_int_t)end->load_ns,
                     "prompt_eval_count", st->n_prompt, "prompt_cached_count", st->n_cached,
                     "prompt_eval_duration", (json_int_t)st->prompt_ns, "eval_count", st->n_eval,
                     "eval_duration", (json_int_t)st->eval_ns);
    json_object_update(j, rest);
    json_decref(rest);
    if (st->n_drafted > 0) {
        json_object_set_new(j, "draft_count", json_integer(st->n_drafted));
        json_object_set_new(j, "draft_accepted_count", json_integer(st->n_accepted));
    }
    cli_print_json(j);
}

void chat_show_end(struct chat_show *s, const struct talk_end *end) {
    struct chat *c = s->chat;
    if (!c->json) {
        switch_to(s, false);
        display_end_line(&c->display);
    }
    if (!end) return;
    if (end->stats.n_truncated > 0)
        fprintf(stderr,
                "(the context is full: the conversation's oldest %d tokens were left out)\n",
                end->stats.n_truncated);
    if (c->json) print_json_end(c, end);
    if (!c->verbose) return;
    fputs("\n", stderr);
    print_timings(end);
}
