/* exam [--lora FILE] [--json] [--loss] [--show N] MODEL.gguf QUESTIONS.jsonl
 *
 * Asks the user's message of every line {"messages":[user, assistant]}, greedily and one at a time,
 * and compares with the assistant's: how many answers are the same, letter by letter.  --json:
 * answers are JSON objects; how many are valid, and the F1 of their fields (a field counts as found
 * when key and value are those of the right answer).  --loss: asks nothing, gives the answers' mean
 * loss.  Prints one JSON line; --show: the first N wrong answers on stderr.  For
 * tests/quality_campaign. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cria.h"
#include "exam.h"

enum { MAX_LINE = 1 << 16, MAX_ANSWER = 4096, MAX_PROMPT = 4096 };

static struct {
    const char *model, *questions, *lora;
    bool json, loss;
    int show;
} opt;

struct score {
    int n_asked, n_same, n_valid;
    long n_right, n_given, n_wanted; /* fields */
};

struct text {
    char s[MAX_ANSWER];
    size_t n;
};

static int add_piece(void *user, const char *text, size_t n_bytes, int32_t token) {
    struct text *t = user;
    (void)token;
    if (t->n + n_bytes >= sizeof t->s) return 1; /* an answer of this length is wrong anyway */
    memcpy(t->s + t->n, text, n_bytes + 1);
    t->n += n_bytes;
    return 0;
}

static int ask(cria_model *m, cria_session *s, const char *question, struct text *answer,
               cria_error *e) {
    const cria_message message = {"user", question};
    int32_t tok[MAX_PROMPT];
    cria_generate_options o;
    cria_result r;
    const long n = cria_chat_tokens(m, &message, 1, tok, MAX_PROMPT, e);
    if (n < 0 || n > MAX_PROMPT) return -1;
    cria_generate_options_init(&o, sizeof o);
    o.temperature = 0;
    o.n_predict = 128;
    answer->n = 0, answer->s[0] = 0;
    return cria_generate_tokens(s, tok, (size_t)n, &o, add_piece, answer, &r, e);
}

static void score_fields(struct score *s, const char *got, const char *want) {
    json_t *g = json_loads(got, JSON_REJECT_DUPLICATES, NULL), *w = json_loads(want, 0, NULL);
    const char *key;
    json_t *v;
    s->n_valid += json_is_object(g);
    s->n_given += json_is_object(g) ? (long)json_object_size(g) : 0;
    s->n_wanted += (long)json_object_size(w);
    json_object_foreach(w, key, v) s->n_right += json_equal(json_object_get(g, key), v);
    json_decref(g);
    json_decref(w);
}

static const char *message(const json_t *line, size_t i) {
    return json_string_value(
        json_object_get(json_array_get(json_object_get(line, "messages"), i), "content"));
}

static int one(cria_model *m, cria_session *s, const char *line, struct score *score,
               cria_error *e) {
    json_t *j = json_loads(line, 0, NULL);
    struct text got;
    const char *question = message(j, 0), *want = message(j, 1);
    int rc = question && want ? 0 : -1;
    if (rc != 0)
        snprintf(e->message, sizeof e->message, "%s: line %d is no question and answer",
                 opt.questions, score->n_asked + 1);
    if (rc == 0) rc = ask(m, s, question, &got, e);
    if (rc == 0) {
        const bool same = strcmp(got.s, want) == 0;
        score->n_asked++;
        score->n_same += same;
        if (opt.json) score_fields(score, got.s, want);
        if (!same && score->n_asked - score->n_same <= opt.show)
            fprintf(stderr, "? %s\n  %s\n  not %s\n", question, want, got.s);
    }
    json_decref(j);
    return rc;
}

static int all(cria_model *m, cria_session *s, struct score *score, cria_error *e) {
    FILE *f = fopen(opt.questions, "r");
    char *line = malloc(MAX_LINE);
    int rc = f && line ? 0 : -1;
    if (rc != 0) snprintf(e->message, sizeof e->message, "%s: cannot be read", opt.questions);
    while (rc == 0 && fgets(line, MAX_LINE, f))
        rc = one(m, s, line, score, e);
    free(line);
    if (f) fclose(f);
    return rc;
}

static void print(const struct score *s) {
    const double n = s->n_asked ? s->n_asked : 1;
    printf("{\"asked\":%d,\"exact\":%.4f", s->n_asked, s->n_same / n);
    const double both = (double)(s->n_given + s->n_wanted);
    if (opt.json)
        printf(",\"valid\":%.4f,\"f1\":%.4f", s->n_valid / n,
               both > 0 ? 2 * (double)s->n_right / both : 0);
    puts("}");
}

static int parse(int argc, char **argv) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            opt.json = true;
        else if (strcmp(argv[i], "--loss") == 0)
            opt.loss = true;
        else if (strcmp(argv[i], "--lora") == 0 && i + 1 < argc)
            opt.lora = argv[++i];
        else if (strcmp(argv[i], "--show") == 0 && i + 1 < argc)
            opt.show = atoi(argv[++i]);
        else
            return -1;
    }
    if (argc - i != 2) return -1;
    opt.model = argv[i];
    opt.questions = argv[i + 1];
    return 0;
}

static int ask_all(cria_error *e) {
    cria_model_options o;
    struct score score = {0};
    cria_model_options_init(&o, sizeof o);
    o.lora = opt.lora;
    cria_model *m = cria_model_open(opt.model, &o, e);
    cria_session *s = m ? cria_session_new(m, e) : NULL;
    const int rc = s ? all(m, s, &score, e) : -1;
    if (rc == 0) print(&score);
    cria_session_free(s);
    cria_model_close(m);
    return rc;
}

static int measure_loss(cria_error *e) {
    struct err err = {0};
    double loss;
    const int rc = exam_loss(opt.model, opt.lora, opt.questions, &loss, &err);
    if (rc == 0) printf("{\"loss\":%.6f}\n", loss);
    snprintf(e->message, sizeof e->message, "%s", err.msg);
    return rc;
}

int main(int argc, char **argv) {
    cria_error e = {0};
    if (parse(argc, argv) != 0) {
        fputs("Usage: exam [--lora FILE] [--json] [--loss] [--show N] MODEL.gguf QUESTIONS.jsonl\n",
              stderr);
        return 2;
    }
    const int rc = opt.loss ? measure_loss(&e) : ask_all(&e);
    if (rc != 0) fprintf(stderr, "Error: %s\n", e.message);
    return rc == 0 ? 0 : 1;
}
