/* /api/train through real HTTP: a model is trained in a process of its own and answers, jobs are
 * listed, followed, cancelled, go on; what is wrong is refused by name; a process that dies costs
 * its job and nothing else. */
#include "train_rig.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sandbox.h"
#include "server/server.h"

enum { PATIENCE = 120 }; /* seconds: a job gives way to whatever else the machine does */

static struct serve S;
static char digest[80];

#define SHORT "\"epochs\":30,\"lr\":0.01,\"ctx\":64,\"batch\":4,\"val\":0"

static int start(void **state) {
    (void)state;
    serve_start(&S, NULL, NULL);
    train_base(&S);
    train_examples(&S, 8, digest);
    return 0;
}

static int stop(void **state) {
    (void)state;
    return serve_stop(&S);
}

static json_t *lines_of(const char *method, const char *path, const char *body, int status) {
    struct answer a;
    ask(&S, &a, method, path, NULL, body);
    if (a.status != status || !a.whole) fail_msg("%s: %d %s", path, a.status, a.body.p);
    if (strstr(a.body.p, "000000001") || strstr(a.body.p, "999999999")) fail_msg("%s", a.body.p);
    json_t *lines = answer_stream(&a);
    answer_fini(&a);
    return lines;
}

/* Folders of checkpoints, or of creates, that are left. */
static int left_over(void) {
    char path[800];
    int n = 0;
    snprintf(path, sizeof path, "%s/models/.cria", S.dir);
    DIR *d = opendir(path);
    for (struct dirent *x; d && (x = readdir(d));)
        n += strncmp(x->d_name, "train-", 6) == 0 || strncmp(x->d_name, "create-", 7) == 0;
    if (d) closedir(d);
    return n;
}

static int n_models(void) {
    json_t *all = ask_json(&S, "GET", "/api/tags", 200, "%s", "");
    const int n = (int)json_array_size(json_object_get(all, "models"));
    json_decref(all);
    return n;
}

/* What the model says to "number 3", at once. */
static void answer_of(const char *model, char out[64]) {
    json_t *j = ask_json(&S, "POST", "/api/generate", 200,
                         "{\"model\":\"%s\",\"prompt\":\"number 3\",\"stream\":false,"
                         "\"options\":{\"temperature\":0,\"num_predict\":9}}",
                         model);
    snprintf(out, 64, "%s", text_of(j, "response"));
    json_decref(j);
}

static void remove_model(const char *name) {
    json_decref(ask_json(&S, "DELETE", "/api/delete", 200, "{\"model\":\"%s\"}", name));
}

static void id_of(const json_t *job, char out[64]) {
    snprintf(out, 64, "/api/train/%s", text_of(job, "id"));
}

/* ---- it trains ---- */

/* Its lines tell a story in order, each a JSON object; the numbers go down. */
static void check_lines(const json_t *lines) {
    static const char *const events[] = {"job", "plan", "start", "step", "checkpoint", "end"};
    size_t at = 0;
    for (size_t i = 0; i < 6; i++) {
        const json_t *l = train_line(lines, "event", events[i]);
        if (!l) fail_msg("no event %s", events[i]);
        while (at < json_array_size(lines) && json_array_get(lines, at) != l)
            at++;
        if (at == json_array_size(lines)) fail_msg("event %s is too early", events[i]);
    }
    const json_t *first = train_line(lines, "event", "step");
    const double loss = json_number_value(json_object_get(first, "loss"));
    json_t *job = train_job(&S);
    assert_int_equal(json_integer_value(json_object_get(job, "step")), 60);
    assert_true(json_number_value(json_object_get(job, "loss")) < loss / 4);
    json_decref(job);
    const json_t *last = json_array_get(lines, json_array_size(lines) - 1);
    assert_string_equal(text_of(last, "status"), "success");
}

static void trains_and_answers(void **state) {
    (void)state;
    char text[64], was[64], path[64];
    char *body = train_body("tuned", digest, SHORT, ",\"parameters\":{\"temperature\":0}");
    json_t *lines = lines_of("POST", "/api/train", body, 200);
    check_lines(lines);
    answer_of("base", was);
    answer_of("tuned", text);
    if (strncmp(text, "it is", 5) != 0 || strcmp(text, was) == 0) fail_msg("it says: %s", text);

    struct answer a; /* numbers as people write them */
    ask(&S, &a, "GET", "/api/train", NULL, NULL);
    if (strstr(a.body.p, "000000001") || strstr(a.body.p, "999999999")) fail_msg("%s", a.body.p);
    answer_fini(&a);

    json_t *job = train_job(&S);
    assert_string_equal(text_of(job, "state"), "finished");
    assert_string_equal(text_of(job, "model"), "tuned:latest");
    assert_string_equal(text_of(job, "from"), "base");
    assert_true(json_integer_value(json_object_get(job, "memory")) > 0);
    id_of(job, path);
    json_t *one = ask_json(&S, "GET", path, 200, "%s", "");
    assert_true(json_equal(one, job));
    /* Who comes late hears the same, but for the steps between. */
    strcat(path, "?stream=true");
    json_t *again = lines_of("GET", path, NULL, 200);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *l = json_array_get(lines, i);
        if (strcmp(text_of(l, "event"), "step") == 0 || json_object_get(l, "total")) continue;
        size_t k = 0;
        while (k < json_array_size(again) && !json_equal(l, json_array_get(again, k)))
            k++;
        if (k == json_array_size(again)) fail_msg("not said again: %s", json_dumps(l, 0));
    }
    assert_int_equal(train_count(again, "event", "step"), 1);

    json_t *show = ask_json(&S, "POST", "/api/show", 200, "{\"model\":\"tuned\"}");
    assert_non_null(strstr(text_of(show, "parameters"), "temperature"));
    assert_int_equal(left_over(), 0);
    assert_int_equal(train_process(&S), 0);
    json_decref(show), json_decref(again), json_decref(one), json_decref(job), json_decref(lines);
    free(body);
    remove_model("tuned");
}

static void without_stream(void **state) {
    (void)state;
    char *body = train_body("merged", digest, SHORT ",\"steps\":3",
                            ",\"stream\":false,\"merge\":true,\"system\":\"be kind\"");
    json_t *j = ask_json(&S, "POST", "/api/train", 200, "%s", body);
    assert_string_equal(text_of(j, "state"), "finished");
    assert_int_equal(json_integer_value(json_object_get(j, "steps")), 3);
    char path[64];
    id_of(j, path);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", "")); /* it is forgotten */
    json_decref(ask_json(&S, "DELETE", path, 404, "%s", ""));
    json_decref(ask_json(&S, "GET", path, 404, "%s", ""));
    json_t *show = ask_json(&S, "POST", "/api/show", 200, "{\"model\":\"merged\"}");
    assert_string_equal(text_of(show, "system"), "be kind");
    json_decref(show), json_decref(j);
    free(body);
    remove_model("merged");
}

/* ---- what is wrong ---- */

static void wrong_requests(void **state) {
    (void)state;
    static const struct {
        const char *key, *value; /* JSON with ' for " */
        int status;
        const char *says;
    } cases[] = {
        {"from", "'nobody'", 404, "model 'nobody' not found"},
        {"from", "'/etc/passwd'", 400, "from"},
        {"from", "'../base'", 400, "from"},
        {"data", "'sha256:12'", 400, "data: invalid digest"},
        {"data", "'/etc/passwd'", 400, "data: invalid digest"},
        {"data", "'sha256:0000000000000000000000000000000000000000000000000000000000000000'", 404,
         "data: no such blob"},
        {"valid", "'sha256:0000000000000000000000000000000000000000000000000000000000000000'", 404,
         "valid: no such blob"},
        {"options", "{'epoch':1}", 400, "options.epoch"},
        {"options", "{'lr':-1}", 400, "options.lr"},
        {"options", "{'lr':'fast'}", 400, "options.lr"},
        {"options", "{'lr':{}}", 400, "options.lr"},
        {"options", "{'lr':[1]}", 400, "options.lr"},
        {"options", "{'rank':0}", 400, "options.rank"},
        {"options", "{'rank':1.5}", 400, "options.rank"},
        {"options", "{'targets':['q','x']}", 400, "options.targets"},
        {"options", "{'method':'magic'}", 400, "options.method"},
        {"options", "{'method':'qat'}", 400, "type"},
        {"options", "{'method':'dpo'}", 400, "no preferences"},
        {"options", "{'last_only':7}", 400, "options.last_only"},
        {"parameters", "{'topk':1}", 400, "topk"},
        {"merge", "'Q99'", 400, "Q99"},
        {"template", "'{{ if }}'", 400, "template"},
        {"model", "'x@sha256:0000000000000000000000000000000000000000000000000000000000000000'",
         400, "model"},
    };
    const int n = n_models();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = train_body("wrong", digest, SHORT, "");
        json_t *body = json_loads(text, 0, NULL);
        json_object_set_new(body, cases[i].key, api_quoted(cases[i].value));
        free(text);
        text = json_dumps(body, 0);
        struct buf error = {0};
        const int status = api_status(&S, "POST", "/api/train", text, &error);
        if (status != cases[i].status || !strstr(error.p, cases[i].says))
            fail_msg("%s: %d %s", text, status, error.p);
        buf_fini(&error);
        json_decref(body);
        free(text);
    }
    assert_int_equal(n_models(), n);
    assert_int_equal(left_over(), 0);
}

/* Found by the process that trains: before the stream, with the line, without a path. */
static void wrong_data(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"instruction\":\"a\",\"response\":\"b\"}\n{\"instruction\":", "2"},
        {"nonsense\n", "1"},
        {"\n\n", "data"},
        {"{\"instruction\":\"a\",\"response\":\"\xff\"}\n", "1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char at[80];
        struct buf error = {0};
        train_blob(&S, cases[i].text, at);
        char *body = train_body("wrong", at, SHORT, "");
        const int status = api_status(&S, "POST", "/api/train", body, &error);
        if (status != 400 || !strstr(error.p, cases[i].says) || strstr(error.p, "sha256") ||
            strstr(error.p, S.dir))
            fail_msg("%s: %d %s", cases[i].text, status, error.p);
        json_t *job = train_job(&S);
        assert_string_equal(text_of(job, "state"), "failed");
        assert_string_equal(text_of(job, "error"), error.p);
        json_decref(job);
        buf_fini(&error);
        free(body);
    }
    assert_int_equal(left_over(), 0);
}

/* A setting in the wrong place is not passed over. */
static void unknown_field(void **state) {
    (void)state;
    struct answer a;
    char *body = train_body("x", digest, SHORT, ",\"epochs\":3");
    ask(&S, &a, "POST", "/api/train", NULL, body);
    assert_int_equal(a.status, 400);
    if (!strstr(a.body.p, "epochs: this field is not known here; settings of training are fields "
                          "of options"))
        fail_msg("%s", a.body.p);
    assert_null(answer_header(&a, "X-Cria-Ignored"));
    answer_fini(&a);
    free(body);
    assert_int_equal(left_over(), 0);
}

/* ---- jobs that take long ---- */

/* A long job, by a client that follows it in w. */
static void begin_long(struct wire *w, const char *model, char path[64]) {
    struct answer a;
    char *body = train_body(model, digest, TRAIN_LONG, "");
    wire_open(w, &S);
    wire_ask(w, "POST", "/api/train", NULL, body);
    assert_true(wire_head(w, &a, PATIENCE));
    assert_int_equal(a.status, 200);
    answer_fini(&a);
    free(body);
    json_t *job = train_job(&S);
    id_of(job, path);
    json_decref(job);
}

/* All lines up to the end. */
static json_t *rest_of(struct wire *w) {
    struct buf line = {0};
    json_t *all = json_array();
    int rc;
    while ((rc = wire_line(w, &line, PATIENCE)) == 1)
        if (line.n) json_array_append_new(all, json_loads(line.p, 0, NULL));
    assert_int_equal(rc, 0);
    buf_fini(&line);
    return all;
}

static const char *last_error(const json_t *lines) {
    return text_of(json_array_get(lines, json_array_size(lines) - 1), "error");
}

static void one_at_a_time(void **state) {
    (void)state;
    struct wire w, second;
    struct answer a;
    struct buf error = {0};
    char path[64];
    begin_long(&w, "long", path);
    wire_reset(&w); /* the client leaves; the job stays */
    train_wait(&S, "running", 5);
    char *other = train_body("other", digest, TRAIN_LONG, "");
    assert_int_equal(api_status(&S, "POST", "/api/train", other, &error), 409);
    assert_non_null(strstr(error.p, path + strlen("/api/train/")));
    assert_non_null(strstr(error.p, "long"));
    free(other);

    /* The same request follows the job that runs. */
    char *same = train_body("long", digest, TRAIN_LONG, "");
    wire_open(&second, &S);
    wire_ask(&second, "POST", "/api/train", NULL, same);
    assert_true(wire_head(&second, &a, PATIENCE));
    answer_fini(&a);
    json_t *all = ask_json(&S, "GET", "/api/train", 200, "%s", "");
    int n = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(all, "jobs")); i++) {
        const json_t *job = json_array_get(json_object_get(all, "jobs"), i);
        n += strcmp(text_of(job, "state"), "running") == 0;
    }
    assert_int_equal(n, 1);
    json_decref(all);

    json_t *job = ask_json(&S, "DELETE", path, 200, "%s", "");
    assert_string_equal(text_of(job, "state"), "cancelled");
    const int step = (int)json_integer_value(json_object_get(job, "step"));
    json_decref(job);
    json_t *lines = rest_of(&second);
    assert_non_null(train_line(lines, "event", "job"));
    assert_non_null(strstr(last_error(lines), "cancelled"));
    json_decref(lines);
    wire_close(&second);
    assert_int_equal(left_over(), 1); /* its checkpoint */
    assert_int_equal(n_models(), 1);

    /* And later goes on. */
    begin_long(&second, "long", path);
    struct buf line = {0};
    int at = -1;
    while (at < 0 && wire_line(&second, &line, PATIENCE) == 1)
        if (strstr(line.p, "resuming from the checkpoint"))
            sscanf(strstr(line.p, "of step"), "of step %d", &at);
    assert_true(at >= step && at > 0);
    buf_fini(&line);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
    wire_close(&second);

    /* Unless it shall not. */
    free(same);
    same = train_body("long", digest, TRAIN_LONG ",\"steps\":2", ",\"restart\":true");
    lines = lines_of("POST", "/api/train", same, 200);
    assert_null(train_line(lines, "status", "resuming"));
    json_decref(lines);
    free(same);
    buf_fini(&error);
    remove_model("long");
}

/* The adapter, as the lines name its layer: "creating new layer sha256:...". */
static void adapter_of(const char *model, const char *options, char out[120]) {
    char *body = train_body(model, digest, options, "");
    json_t *lines = lines_of("POST", "/api/train", body, 200);
    const json_t *layer = train_line(lines, "status", "creating new layer");
    if (!layer) fail_msg("%s: no layer", model);
    snprintf(out, 120, "%s", text_of(layer, "status"));
    json_decref(lines);
    free(body);
}

static void the_same_after_a_break(void **state) {
    (void)state;
    static const char options[] = TRAIN_LONG ",\"steps\":1500";
    char whole[120], broken[120], path[64];
    struct answer a;
    struct wire w;
    adapter_of("whole", options, whole);
    char *body = train_body("broken", digest, options, "");
    wire_open(&w, &S);
    wire_ask(&w, "POST", "/api/train", NULL, body);
    assert_true(wire_head(&w, &a, PATIENCE) && a.status == 200);
    answer_fini(&a);
    json_t *job = train_job(&S);
    id_of(job, path);
    json_decref(job);
    train_wait(&S, "running", 100);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
    json_t *lines = rest_of(&w);
    assert_null(train_line(lines, "status", "success"));
    json_decref(lines);
    wire_close(&w);
    free(body);
    adapter_of("broken", options, broken);
    assert_string_equal(whole, broken);
    remove_model("whole"), remove_model("broken");
}

static void cancelled_before_it_runs(void **state) {
    (void)state;
    struct wire w;
    struct answer a;
    char path[64];
    char *body = train_body("early", digest, TRAIN_LONG, "");
    wire_open(&w, &S);
    wire_ask(&w, "POST", "/api/train", NULL, body);
    json_t *job = NULL;
    while (!job || strcmp(text_of(job, "model"), "early:latest") != 0) {
        json_decref(job);
        job = train_job(&S);
    }
    id_of(job, path);
    json_decref(job);
    job = ask_json(&S, "DELETE", path, 200, "%s", "");
    assert_string_equal(text_of(job, "state"), "cancelled");
    json_decref(job);
    assert_true(wire_head(&w, &a, PATIENCE)); /* 200 when the plan was quicker */
    assert_true(a.status == 499 || a.status == 200);
    answer_fini(&a);
    wire_close(&w);
    free(body);
}

/* ---- the process ---- */

static long status_number(pid_t pid, const char *name) {
    char path[64], line[256];
    long v = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0) v = strtol(line + strlen(name), NULL, 10);
    if (f) fclose(f);
    return v;
}

static void harmless_and_last(void **state) {
    (void)state;
    struct wire w;
    char path[64];
    begin_long(&w, "calm", path);
    train_wait(&S, "running", 1);
    const pid_t pid = train_process(&S);
    assert_true(pid > 0);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), 19);
    assert_int_equal(sched_getscheduler(pid), SCHED_BATCH);
    assert_int_equal(status_number(pid, "NoNewPrivs:"), 1);
    if (sandbox_offered().seccomp) assert_int_equal(status_number(pid, "Seccomp:"), 2);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
    wire_close(&w);
}

/* What the process may read, and no more: a base that stayed where it was, blobs on another disk.
 */
static void files_elsewhere(void **state) {
    (void)state;
    struct serve was = S;
    char *dir = temp_folder(), path[900], set[900], here[80];
    struct ran r;
    size_t n;
    struct err e;
    snprintf(path, sizeof path, "%s/models", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/disk", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(set, sizeof set, "%s/models/blobs", dir);
    assert_int_equal(symlink(path, set), 0);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    uint8_t *bytes = slurp(golden("train/models/llama-untied.gguf"), &n);
    assert_int_equal(os_write_file(path, bytes, n, &e), 0);
    free(bytes);
    snprintf(path, sizeof path, "%s/Modelfile", dir);
    assert_int_equal(os_write_file(path, "FROM m.gguf\n", 12, &e), 0);
    snprintf(set, sizeof set, "CRIA_MODELS=%s/models", dir);
    setenv("CRIA_MODELS", set + strlen("CRIA_MODELS="), 1);
    setenv("CRIA_HOST", "127.0.0.1:9", 1);
    run_cria(&r, (const char *[]){"create", "base", "--link", "-f", path, NULL}, NULL, 0, 60);
    if (r.code != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    unsetenv("CRIA_MODELS"), unsetenv("CRIA_HOST");

    serve_start(&S, NULL, (const char *const[]){set, NULL});
    train_examples(&S, 8, here);
    char *body = train_body("tuned", here, SHORT ",\"steps\":2", "");
    json_t *lines = lines_of("POST", "/api/train", body, 200);
    if (!train_line(lines, "status", "success")) fail_msg("%s", last_error(lines));
    json_decref(lines);
    free(body);
    assert_int_equal(serve_stop(&S), 0);
    temp_remove(dir);
    S = was;
}

static void killed(void **state) {
    (void)state;
    struct wire w;
    struct buf error = {0};
    char path[64];
    const int n = n_models();
    begin_long(&w, "victim", path);
    train_wait(&S, "running", 45);
    kill(train_process(&S), SIGKILL);
    json_t *lines = rest_of(&w);
    assert_non_null(strstr(last_error(lines), "signal 9"));
    train_wait(&S, "failed", 45);
    assert_int_equal(n_models(), n);
    assert_int_equal(api_status(&S, "POST", "/api/show", "{\"model\":\"victim\"}", &error), 404);
    json_decref(lines);
    wire_close(&w);
    /* The same goes on from the last checkpoint that it made by itself. */
    struct buf line = {0};
    int at = 0;
    begin_long(&w, "victim", path);
    while (!at && wire_line(&w, &line, PATIENCE) == 1)
        if (strstr(line.p, "resuming from the checkpoint"))
            sscanf(strstr(line.p, "of step"), "of step %d", &at);
    assert_true(at >= 40);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
    wire_close(&w);
    buf_fini(&line);
    /* The server is well, and the next job is, too. */
    char *body = train_body("next", digest, SHORT ",\"steps\":2", "");
    lines = lines_of("POST", "/api/train", body, 200);
    assert_non_null(train_line(lines, "status", "success"));
    json_decref(lines);
    free(body);
    buf_fini(&error);
    remove_model("next");
}

/* ---- memory ---- */

/* What a job of TRAIN_LONG is planned with; it is cancelled. */
static json_int_t plan_of_long(const char *data) {
    struct wire w;
    struct answer a;
    char path[64];
    char *body = train_body("planned", data, TRAIN_LONG, "");
    wire_open(&w, &S);
    wire_ask(&w, "POST", "/api/train", NULL, body);
    assert_true(wire_head(&w, &a, PATIENCE) && a.status == 200);
    answer_fini(&a);
    json_t *job = train_job(&S);
    const json_int_t bytes = json_integer_value(json_object_get(job, "memory"));
    id_of(job, path);
    json_decref(job);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
    wire_close(&w);
    free(body);
    return bytes;
}

/* The limit holds a job or a model, not both: what they take depends on the processor. */
static void over_memory(void **state) {
    (void)state;
    if (SANITIZED) return; /* the program alone is larger */
    struct serve was = S;
    struct buf error = {0};
    char here[80], text[64], limit[64];
    const json_int_t planned = plan_of_long(digest);
    answer_of("base", text);
    json_t *all = ask_json(&S, "GET", "/api/ps", 200, "%s", "");
    const json_int_t loaded = json_integer_value(
        json_object_get(json_array_get(json_object_get(all, "models"), 0), "size"));
    json_decref(all);
    assert_true(planned > 13 << 20 && loaded > 1 << 20);
    snprintf(limit, sizeof limit, "CRIA_MEMORY=%lld",
             (long long)(planned + loaded / 2 + SERVER_OWN_BYTES));
    serve_start(&S, NULL, (const char *const[]){limit, NULL});
    train_base(&S);
    train_examples(&S, 8, here);
    char *body = train_body("big", here, "\"method\":\"lora\",\"rank\":512,\"alpha\":8", "");
    assert_int_equal(api_status(&S, "POST", "/api/train", body, &error), 400);
    if (!strstr(error.p, "what would fit: ") || !strstr(error.p, "rank ")) fail_msg("%s", error.p);
    free(body);

    /* An idle model makes room. */
    answer_of("base", text);
    pid_t pid[4];
    assert_int_equal(serve_children(&S, pid, 4, NULL), 1);
    body = train_body("fits", here, TRAIN_LONG, "");
    struct wire w;
    struct answer a;
    wire_open(&w, &S);
    wire_ask(&w, "POST", "/api/train", NULL, body);
    assert_true(wire_head(&w, &a, PATIENCE));
    if (a.status != 200) fail_msg("%d", a.status);
    answer_fini(&a);
    json_t *job = train_job(&S);
    const json_int_t bytes = json_integer_value(json_object_get(job, "memory"));
    assert_true(bytes > 13 << 20 && bytes <= planned + loaded / 2);
    char path[64];
    id_of(job, path);
    json_decref(job);
    /* And what the job has no model gets. */
    assert_int_equal(
        api_status(&S, "POST", "/api/generate", "{\"model\":\"base\",\"prompt\":\"a\"}", &error),
        500);
    assert_non_null(strstr(error.p, "memory"));
    char holds[96];
    snprintf(holds, sizeof holds, "; training job %s holds %.1f MB", path + strlen("/api/train/"),
             (double)bytes * 1e-6);
    if (!strstr(error.p, holds)) fail_msg("'%s' is not in: %s", holds, error.p);
    json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
    wire_close(&w);
    free(body);
    buf_fini(&error);
    assert_int_equal(serve_stop(&S), 0);
    S = was;
}

/* ---- the server's end ---- */

static void server_ends(void **state) {
    (void)state;
    struct serve was = S;
    char *models = temp_folder(), set[800], here[80], path[64];
    snprintf(set, sizeof set, "CRIA_MODELS=%s", models);
    for (int sig = 0; sig < 2; sig++) { /* told to end, and killed */
        serve_start(&S, NULL, (const char *const[]){set, NULL});
        train_base(&S);
        train_examples(&S, 8, here);
        struct wire w;
        begin_long(&w, "long", path);
        train_wait(&S, "running", 5);
        const pid_t pid = train_process(&S);
        if (sig == 0) {
            serve_signal(&S, SIGTERM);
            assert_true(serve_ended(&S, PATIENCE));
            assert_int_equal(S.code, 0);
        }
        serve_kill(&S);
        bool alive = true;
        for (int i = 0; i < 100 * PATIENCE && alive; i++) {
            alive = kill(pid, 0) == 0;
            if (alive) usleep(10000);
        }
        assert_false(alive);
        wire_close(&w);
        /* With its checkpoint. */
        serve_start(&S, NULL, (const char *const[]){set, NULL});
        begin_long(&w, "long", path);
        struct buf line = {0};
        bool resumed = false;
        while (!resumed && wire_line(&w, &line, PATIENCE) == 1)
            resumed = strstr(line.p, "resuming from the checkpoint") != NULL;
        assert_true(resumed);
        buf_fini(&line);
        json_decref(ask_json(&S, "DELETE", path, 200, "%s", ""));
        wire_close(&w);
        assert_int_equal(serve_stop(&S), 0);
    }
    temp_remove(models);
    S = was;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_and_answers),
        cmocka_unit_test(without_stream),
        cmocka_unit_test(wrong_requests),
        cmocka_unit_test(wrong_data),
        cmocka_unit_test(unknown_field),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(the_same_after_a_break),
        cmocka_unit_test(cancelled_before_it_runs),
        cmocka_unit_test(harmless_and_last),
        cmocka_unit_test(files_elsewhere),
        cmocka_unit_test(killed),
        cmocka_unit_test(over_memory),
        cmocka_unit_test(server_ends),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
