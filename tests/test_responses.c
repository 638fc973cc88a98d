/* The database of kept responses: what comes back, whose it is, its bounds, writers at once, files
 * that are none of ours. */
#include "support.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/responses_db.h"

static char *dir;

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static struct responses_opts usual(void) {
    return (struct responses_opts){
        .folder = dir, .max_rows = 1000, .max_bytes = 1 << 20, .max_age_s = 3600};
}

static struct responses_db *open_with(struct responses_opts o) {
    struct err e;
    struct responses_db *d = responses_open(&o, &e);
    if (!d) fail_msg("%s", e.msg);
    return d;
}

/* ---- a write that is waited for ---- */

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int n;
    struct err err; /* of the last that failed */
};

static void on_written(void *ctx, const struct err *err) {
    struct wait *w = ctx;
    pthread_mutex_lock(&w->lock);
    if (err->code != ERR_NONE) w->err = *err;
    w->n++;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for(struct wait *w, int n) {
    pthread_mutex_lock(&w->lock);
    while (w->n < n)
        pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

#define WAIT                                                                                       \
    (struct wait) {                                                                                \
        .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER                        \
    }

/* A response with n bytes of conversation. */
static enum err_code put(struct responses_db *d, const char *owner, const char *id, size_t n) {
    struct wait w = WAIT;
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = 0;
    json_t *response = json_pack("{s:s, s:s}", "id", id, "status", "completed");
    json_t *items = json_pack("[{s:s, s:s}]", "role", "user", "content", text);
    responses_write(d, owner, response, items, on_written, &w);
    wait_for(&w, 1);
    json_decref(response);
    json_decref(items);
    free(text);
    return w.err.code;
}

static enum err_code get(struct responses_db *d, const char *owner, const char *id) {
    struct err e = {0};
    json_t *response, *items;
    if (responses_read(d, id, owner, &response, &items, &e) != 0) {
        assert_null(response);
        return e.code;
    }
    assert_string_equal(json_string_value(json_object_get(response, "id")), id);
    assert_int_equal(json_array_size(items), 1);
    json_decref(response);
    json_decref(items);
    return ERR_NONE;
}

/* ---- tests ---- */

/* An item is found by its id, by its owner only, and leaves with its response. */
static void items_by_id(void **state) {
    (void)state;
    struct err e = {0};
    struct wait w = WAIT;
    struct responses_db *d = open_with(usual());
    json_t *item = json_pack("{s:s, s:s}", "type", "message", "id", "msg_1"), *found;
    json_t *response = json_pack("{s:s, s:[O]}", "id", "resp_1", "output", item);
    json_t *items = json_pack("[{s:s, s:s}, O]", "role", "user", "content", "hi", item);
    responses_write(d, "anna", response, items, on_written, &w);
    wait_for(&w, 1);
    assert_int_equal(w.err.code, ERR_NONE);
    assert_int_equal(responses_read_item(d, "msg_1", "anna", &found, &e), 0);
    assert_true(json_equal(found, items));
    json_decref(found);
    assert_int_equal(responses_read_item(d, "msg_1", "ben", &found, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_null(found);
    assert_int_equal(responses_delete(d, "resp_1", "anna", &e), 0);
    assert_int_equal(responses_read_item(d, "msg_1", "anna", &found, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    json_decref(response);
    json_decref(items);
    json_decref(item);
    responses_close(d);
}

/* A model may write one, "\\u0000" in JSON. */
static void a_zero_in_an_answer(void **state) {
    (void)state;
    struct err e = {0};
    struct wait w = WAIT;
    struct responses_db *d = open_with(usual());
    json_t *item =
        json_pack("{s:s, s:s, s:s#}", "type", "message", "id", "msg_1", "text", "a\0b", 3);
    json_t *response = json_pack("{s:s, s:[O]}", "id", "resp_1", "output", item), *got, *got_items;
    json_t *items = json_pack("[O]", item);
    responses_write(d, "anna", response, items, on_written, &w);
    wait_for(&w, 1);
    assert_int_equal(w.err.code, ERR_NONE);
    if (responses_read(d, "resp_1", "anna", &got, &got_items, &e) != 0) fail_msg("%s", e.msg);
    assert_true(json_equal(got, response) && json_equal(got_items, items));
    json_decref(got), json_decref(got_items);
    json_decref(response), json_decref(items), json_decref(item);
    responses_close(d);
}

static void kept_read_deleted(void **state) {
    (void)state;
    struct err e = {0};
    struct stat st;
    char path[600];
    struct responses_db *d = open_with(usual());
    assert_int_equal(put(d, "anna", "resp_1", 10), ERR_NONE);
    assert_int_equal(put(d, "anna", "resp_2", 10), ERR_NONE);
    assert_int_equal(get(d, "anna", "resp_1"), ERR_NONE);
    assert_int_equal(get(d, "bob", "resp_1"), ERR_NOT_FOUND);
    assert_int_equal(get(d, "anna", "resp_'; DROP TABLE response; --"), ERR_NOT_FOUND);
    assert_int_equal(responses_delete(d, "resp_1", "bob", &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(responses_delete(d, "resp_1", "anna", &e), 0);
    assert_int_equal(responses_delete(d, "resp_1", "anna", &e), -1);
    assert_int_equal(get(d, "anna", "resp_1"), ERR_NOT_FOUND);
    responses_close(d);
    d = open_with(usual());
    assert_int_equal(get(d, "anna", "resp_2"), ERR_NONE); /* it outlives the process */
    responses_close(d);
    snprintf(path, sizeof path, "%s/responses.db", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* At once, while the server goes on: neither in the database nor in its log. */
static void what_is_deleted_leaves_no_bytes(void **state) {
    (void)state;
    struct err e;
    char file[600];
    struct responses_db *d = open_with(usual());
    snprintf(file, sizeof file, "%s/responses.db", dir);
    json_t *items = json_pack("[{s:s}]", "content", "SECRET-OF-ANNA");
    json_t *response = json_pack("{s:s}", "id", "resp_1");
    struct wait w = WAIT;
    responses_write(d, "", response, items, on_written, &w);
    wait_for(&w, 1);
    assert_int_equal(put(d, "", "resp_2", 10), ERR_NONE);
    assert_true(database_has(file, "SECRET-OF-ANNA"));
    assert_int_equal(responses_delete(d, "resp_1", "", &e), 0);
    for (int closed = 0; closed < 2; closed++) {
        assert_false(database_has(file, "SECRET-OF-ANNA"));
        if (!closed) assert_int_equal(get(d, "", "resp_2"), ERR_NONE);
        if (!closed) responses_close(d); /* the write-ahead log goes into the file */
    }
    json_decref(items);
    json_decref(response);
}

static void bounded_by_number(void **state) {
    (void)state;
    struct responses_opts o = usual();
    char id[32];
    o.max_rows = 5;
    struct responses_db *d = open_with(o);
    for (int i = 0; i < 12; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        assert_int_equal(put(d, "", id, 10), ERR_NONE);
    }
    for (int i = 0; i < 12; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        assert_int_equal(get(d, "", id), i < 7 ? ERR_NOT_FOUND : ERR_NONE);
    }
    responses_close(d);
}

static void bounded_by_bytes(void **state) {
    (void)state;
    struct responses_opts o = usual();
    char id[32];
    int n = 0;
    o.max_bytes = 100000;
    struct responses_db *d = open_with(o);
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        assert_int_equal(put(d, "", id, 10000), ERR_NONE);
    }
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        n += get(d, "", id) == ERR_NONE;
    }
    assert_int_equal(n, 9); /* 10,000 and what is around them */
    assert_int_equal(get(d, "", "resp_29"), ERR_NONE);
    assert_int_equal(put(d, "", "large", 30000), ERR_LIMIT); /* more than a quarter */
    assert_int_equal(get(d, "", "large"), ERR_NOT_FOUND);
    assert_int_equal(get(d, "", "resp_29"), ERR_NONE);
    responses_close(d);
}

/* The clock is turned forward by making the rows older. */
static void bounded_by_age(void **state) {
    (void)state;
    sqlite3 *db;
    char path[600];
    struct responses_db *d = open_with(usual());
    assert_int_equal(put(d, "", "resp_old", 10), ERR_NONE);
    snprintf(path, sizeof path, "%s/responses.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE response SET created = created - 3700", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(get(d, "", "resp_old"), ERR_NOT_FOUND); /* at once */
    assert_int_equal(put(d, "", "resp_new", 10), ERR_NONE);
    sqlite3_stmt *st;
    sqlite3_prepare_v2(db, "SELECT count(*) FROM response", -1, &st, NULL);
    sqlite3_step(st);
    assert_int_equal(sqlite3_column_int(st, 0), 1); /* and removed with the next */
    sqlite3_finalize(st);
    sqlite3_close(db);
    responses_close(d);
}

static void none_is_kept_when_so_set(void **state) {
    (void)state;
    struct responses_opts o = usual();
    o.max_rows = 0;
    struct responses_db *d = open_with(o);
    assert_int_equal(put(d, "", "resp_1", 10), ERR_LIMIT);
    assert_int_equal(get(d, "", "resp_1"), ERR_NOT_FOUND);
    responses_close(d);
}

static void write_file(const char *name, const void *bytes, size_t n) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void a_file_that_is_no_database_is_moved_away(void **state) {
    (void)state;
    char path[600];
    size_t n;
    write_file("responses.db", "this is a letter, not a database at all, of some length", 55);
    struct responses_db *d = open_with(usual());
    assert_int_equal(put(d, "", "resp_1", 10), ERR_NONE);
    assert_int_equal(get(d, "", "resp_1"), ERR_NONE);
    responses_close(d);
    snprintf(path, sizeof path, "%s/responses.db.damaged", dir);
    uint8_t *bytes = slurp(path, &n);
    assert_int_equal(n, 55);
    free(bytes);
}

static void a_link_is_not_followed(void **state) {
    (void)state;
    struct err e = {0};
    struct responses_opts o = usual();
    char path[600];
    write_file("elsewhere", "", 0);
    snprintf(path, sizeof path, "%s/responses.db", dir);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_null(responses_open(&o, &e));
    assert_int_equal(e.code, ERR_IO);
}

struct many {
    struct responses_db *d;
    int n_from;
};

static void *put_many(void *arg) {
    struct many *m = arg;
    char id[32];
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "resp_%d", m->n_from + i);
        if (put(m->d, "", id, 100) != ERR_NONE || get(m->d, "", id) != ERR_NONE) return arg;
    }
    return NULL;
}

/* Four threads, two of them as another process would: with the file opened a second time. */
static void many_at_once(void **state) {
    (void)state;
    pthread_t t[4];
    struct responses_db *d[2] = {open_with(usual()), open_with(usual())};
    struct many m[4];
    char id[32];
    for (int i = 0; i < 4; i++) {
        m[i] = (struct many){d[i % 2], i * 50};
        assert_int_equal(pthread_create(&t[i], NULL, put_many, &m[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    for (int i = 0; i < 200; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        assert_int_equal(get(d[0], "", id), ERR_NONE);
    }
    responses_close(d[0]);
    responses_close(d[1]);
}

/* What waits is written, and told, before the end. */
static void the_end_waits(void **state) {
    (void)state;
    struct responses_db *d = open_with(usual());
    struct wait w = WAIT;
    json_t *response[20], *items = json_pack("[{s:s}]", "role", "user");
    char id[32];
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        response[i] = json_pack("{s:s}", "id", id);
        responses_write(d, "", response[i], items, on_written, &w);
    }
    responses_close(d);
    assert_int_equal(w.n, 20);
    assert_int_equal(w.err.code, ERR_NONE);
    d = open_with(usual());
    assert_int_equal(get(d, "", "resp_19"), ERR_NONE);
    responses_close(d);
    for (int i = 0; i < 20; i++)
        json_decref(response[i]);
    json_decref(items);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_zero_in_an_answer),
        TEST(kept_read_deleted),
        TEST(items_by_id),
        TEST(what_is_deleted_leaves_no_bytes),
        TEST(bounded_by_number),
        TEST(bounded_by_bytes),
        TEST(bounded_by_age),
        TEST(none_is_kept_when_so_set),
        TEST(a_file_that_is_no_database_is_moved_away),
        TEST(a_link_is_not_followed),
        TEST(many_at_once),
        TEST(the_end_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
