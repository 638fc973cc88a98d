/* See train_rig.h. */
#include "train_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/digest.h"

void train_blob(const struct serve *s, const char *text, char digest[80]) {
    struct digest d;
    char name[DIGEST_TEXT];
    assert_int_equal(digest_of(text, strlen(text), &d, NULL), 0);
    digest_format(&d, name);
    snprintf(digest, 80, "%s", name);
    const int status = api_upload_bytes(s, digest, text, strlen(text));
    assert_true(status == 201 || status == 200);
}

void train_base(const struct serve *s) {
    char digest[80];
    const int status = api_upload(s, golden("train/models/llama-untied.gguf"), digest);
    assert_true(status == 201 || status == 200);
    json_decref(ask_json(s, "POST", "/api/create", 200,
                         "{\"model\":\"base\",\"files\":{\"m.gguf\":\"%s\"},\"stream\":false}",
                         digest));
}

void train_examples(const struct serve *s, int n, char digest[80]) {
    struct buf b = {0};
    for (int i = 0; i < n; i++)
        buf_printf(&b, "{\"instruction\":\"number %d\",\"response\":\"it is %d\"}\n", i,
                   i * 37 % 101);
    train_blob(s, b.p, digest);
    buf_fini(&b);
}

char *train_body(const char *model, const char *digest, const char *options, const char *more) {
    struct buf b = {0};
    buf_printf(&b, "{\"model\":\"%s\",\"from\":\"base\",\"data\":\"%s\",\"options\":{%s}%s}", model,
               digest, options, more);
    return b.p;
}

json_t *train_job(const struct serve *s) {
    json_t *all = ask_json(s, "GET", "/api/train", 200, "%s", "");
    json_t *job = json_incref(json_array_get(json_object_get(all, "jobs"), 0));
    json_decref(all);
    if (!job) fail_msg("no job");
    return job;
}

void train_wait(const struct serve *s, const char *state, int step) {
    for (int i = 0; i < 12000; i++) {
        json_t *j = train_job(s);
        const bool there = strcmp(text_of(j, "state"), state) == 0 &&
                           json_integer_value(json_object_get(j, "step")) >= step;
        const bool ended = json_object_get(j, "ended_at") != NULL;
        char *shown = json_dumps(j, 0);
        if (!there && ended) fail_msg("%s at step %d is waited for: %s", state, step, shown);
        free(shown);
        json_decref(j);
        if (there) return;
        usleep(10000);
    }
    fail_msg("no job is %s at step %d", state, step);
}

pid_t train_process(const struct serve *s) {
    pid_t pid[16];
    const int n = serve_children(s, pid, 16, NULL);
    for (int i = 0; i < n && i < 16; i++) {
        char path[64], line[64] = "";
        snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid[i]);
        FILE *f = fopen(path, "re");
        if (!f) continue;
        const size_t got = fread(line, 1, sizeof line - 1, f);
        fclose(f);
        const char *second = memchr(line, 0, got);
        if (second && strcmp(second + 1, "trainer") == 0) return pid[i];
    }
    return 0;
}

static bool is_line(const json_t *line, const char *key, const char *begins) {
    const char *v = json_string_value(json_object_get(line, key));
    return v && strncmp(v, begins, strlen(begins)) == 0;
}

const json_t *train_line(const json_t *lines, const char *key, const char *begins) {
    for (size_t i = 0; i < json_array_size(lines); i++)
        if (is_line(json_array_get(lines, i), key, begins)) return json_array_get(lines, i);
    return NULL;
}

int train_count(const json_t *lines, const char *key, const char *begins) {
    int n = 0;
    for (size_t i = 0; i < json_array_size(lines); i++)
        n += is_line(json_array_get(lines, i), key, begins);
    return n;
}
