/* The response cache below the server: keys, records, and both stores with the same questions; then
 * what is each one's own: a file that is damaged or killed at, a Redis that comes and goes. */
#include "cache_rig.h"
#include "server_rig.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/answer_cache.h"
#include "policy/answer_redis_url.h"

static char *dir;
static struct server redis;
static char redis_url[80];

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    signal(SIGPIPE, SIG_IGN);
    redis_start(&redis, dir, "redis", "p@ss word");
    snprintf(redis_url, sizeof redis_url, "redis://:p%%40ss%%20word@127.0.0.1:%d/3", redis.port);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    server_stop(&redis);
    temp_remove(dir);
    return 0;
}

/* ---- a clock of ours ---- */

static atomic_llong shift_us;

static int64_t wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + atomic_load(&shift_us);
}

/* ---- answers ---- */

static const char gen_text[] = "{\"op\":\"chat\",\"messages\":[]}";

static json_t *gen(void) {
    return json_loads(gen_text, 0, NULL);
}

/* One that says `text`, padded with n_pad bytes that do not pack. */
static struct answer_record answer(const char *text, size_t n_pad) {
    struct answer_record r = {0};
    const int32_t id[] = {3, 7};
    char *pad = malloc(n_pad + 1);
    unsigned x = 12345;
    for (size_t i = 0; i < n_pad; i++)
        pad[i] = (char)(' ' + ((x = x * 1103515245 + 12345) >> 16) % 90);
    const struct gen_event ev[] = {
        {.kind = GEN_PROMPT, .stats = {.n_prompt = 5, .n_cached = 2}, .token = id, .n_token = 2},
        {.kind = GEN_TEXT, .text = str_of(text), .token = id, .n_token = 1},
        {.kind = GEN_THINKING, .text = {pad, n_pad}, .n_token = 4}, /* whose ids are not told */
        {.kind = GEN_FINISH, .why = GEN_LENGTH, .stop = STR("###")},
        {.kind = GEN_END, .stats = {.n_prompt = 5, .n_cached = 2, .n_eval = 9, .eval_ns = 77}}};
    for (size_t i = 0; i < sizeof ev / sizeof *ev; i++)
        answer_record_add(&r, &ev[i]);
    free(pad);
    assert_true(r.whole);
    return r;
}

static void key_of(int i, uint8_t key[ANSWER_KEY_BYTES]) {
    memset(key, 0, ANSWER_KEY_BYTES);
    key[0] = (uint8_t)(i >> 8);
    key[1] = (uint8_t)i;
    key[31] = 0xab;
}

static void put_for(struct answer_cache *c, int i, const char *tenant, const char *model,
                    int64_t ttl_s, size_t n_pad) {
    uint8_t key[ANSWER_KEY_BYTES];
    char text[32];
    snprintf(text, sizeof text, "answer %d", i);
    struct answer_record r = answer(text, n_pad);
    key_of(i, key);
    answer_cache_put(c, key, &(struct answer_label){tenant, model}, ttl_s, &r);
    assert_null(r.bytes.p);
}

static void put(struct answer_cache *c, int i) {
    put_for(c, i, "", "m:latest", 3600, 0);
}

struct heard {
    char text[64];
    int n;
    struct gen_stats stats;
    enum gen_why why;
    bool stop, ids, counted;
};

static void hear(void *ctx, const struct gen_event *ev) {
    struct heard *h = ctx;
    h->n++;
    if (ev->kind == GEN_TEXT)
        snprintf(h->text, sizeof h->text, "%.*s", (int)ev->text.n, ev->text.p);
    if (ev->kind == GEN_TEXT) h->ids = ev->n_token == 1 && ev->token[0] == 3;
    if (ev->kind == GEN_THINKING) h->counted = ev->n_token == 4 && !ev->token;
    if (ev->kind == GEN_FINISH) h->why = ev->why, h->stop = str_is(ev->stop, "###");
    if (ev->kind == GEN_END) h->stats = ev->stats;
}

/* Is it there, whole and the right one? */
static bool get_for(struct answer_cache *c, int i, const char *tenant) {
    uint8_t key[ANSWER_KEY_BYTES];
    char text[32];
    struct answer_record r = {0};
    struct heard h = {0};
    int64_t age;
    json_t *g = gen();
    key_of(i, key);
    const bool found = answer_cache_get(c, key, tenant, g, &r, &age);
    if (found) {
        answer_record_play(&r, g, hear, &h);
        snprintf(text, sizeof text, "answer %d", i);
        assert_string_equal(h.text, text);
        assert_int_equal(h.n, 5);
        assert_int_equal(h.stats.n_eval, 9);
        assert_int_equal(h.stats.n_cached, 2);
        assert_int_equal(h.stats.eval_ns, 77);
        assert_int_equal(h.why, GEN_LENGTH);
        assert_true(h.stop && h.ids && h.counted);
        assert_true(age >= 0);
    } else {
        assert_null(r.bytes.p);
    }
    answer_record_fini(&r);
    json_decref(g);
    return found;
}

static bool get(struct answer_cache *c, int i) {
    return get_for(c, i, "");
}

static struct answer_cache *open_with(const char *url, const char *folder, uint64_t max_bytes) {
    struct err e;
    const struct answer_cache_opts o = {
        .url = url, .folder = folder, .max_bytes = max_bytes, .wall_us = wall};
    struct answer_cache *c = answer_cache_open(&o, &e);
    if (!c) fail_msg("%s", e.msg);
    return c;
}

static struct answer_cache_stats stats_of(struct answer_cache *c) {
    struct answer_cache_stats s;
    answer_cache_flush(c);
    answer_cache_stats(c, true, &s);
    return s;
}

/* ---- both stores ---- */

static void questions(struct answer_cache *c, const char *store) {
    struct err e = {0};
    int64_t n;
    assert_string_equal(stats_of(c).store, store);
    assert_false(get(c, 1));
    put(c, 1);
    assert_true(get(c, 1)); /* also before it is written */
    answer_cache_flush(c);
    assert_true(get(c, 1));
    put_for(c, 1, "", "m:latest", 3600, 100); /* the same again: in its place */
    assert_int_equal(stats_of(c).n, 1);

    put_for(c, 2, "anna", "m:latest", 3600, 0);
    answer_cache_flush(c);
    assert_true(get_for(c, 2, "anna"));
    assert_int_equal(stats_of(c).n_error, 0);
    assert_false(get_for(c, 2, "ben")); /* one who knows the key, even */
    assert_int_equal(stats_of(c).n_error, 1);

    for (int i = 256; i < 300; i++)
        put_for(c, i, "", i % 2 ? "odd:1b" : "even:1b", 3600, 0);
    assert_int_equal(stats_of(c).n, 45);
    assert_true(stats_of(c).n_bytes > 45 * 100);
    assert_int_equal(answer_cache_drop(c, &(struct answer_filter){.model = "odd:1b"}, &n, &e), 0);
    assert_int_equal(n, 22);
    assert_false(get(c, 257));
    assert_true(get(c, 256));
    /* Keys 0x0100... to 0x010f... */
    assert_int_equal(answer_cache_drop(c, &(struct answer_filter){.prefix = "010"}, &n, &e), 0);
    assert_int_equal(n, 8);
    assert_false(get(c, 256));
    assert_true(get(c, 272));
    assert_int_equal(answer_cache_drop(c, &(struct answer_filter){0}, &n, &e), 0);
    assert_int_equal(n, 15);
    assert_int_equal(stats_of(c).n, 0);
}

static void file_answers(void **state) {
    (void)state;
    struct answer_cache *c = open_with(NULL, dir, 64 << 20);
    questions(c, "sqlite");
    put(c, 5);
    answer_cache_close(c); /* what waits is written */
    c = open_with(NULL, dir, 64 << 20);
    assert_true(get(c, 5));
    answer_cache_close(c);
}

static void redis_answers(void **state) {
    (void)state;
    struct answer_cache *c = open_with(redis_url, NULL, 0), *other = open_with(redis_url, NULL, 0);
    questions(c, "redis");
    put(c, 5);
    answer_cache_flush(c);
    assert_true(get(other, 5)); /* another replica has it */
    answer_cache_close(c);
    answer_cache_close(other);
}

/* ---- time ---- */

static void ages(const char *url, const char *folder) {
    struct answer_cache *c = open_with(url, folder, 1 << 20);
    put_for(c, 1, "", "m", 2, 0);
    put_for(c, 2, "", "m", 3600, 0);
    answer_cache_flush(c);
    assert_true(get(c, 1));
    sleep(3);
    assert_false(get(c, 1));
    assert_true(get(c, 2));
    atomic_fetch_add(&shift_us, 3599 * 1000000LL); /* the clock jumps, or the machine slept */
    assert_false(get(c, 2));
    answer_cache_close(c);
    atomic_store(&shift_us, 0);
}

static void file_ages(void **state) {
    (void)state;
    ages(NULL, dir);
}

static void redis_ages(void **state) {
    (void)state;
    ages(redis_url, NULL);
}

/* A clock that is set back gives no answer more time: not while the server runs, and not when it is
 * started again. */
static void clock_set_back(void **state) {
    (void)state;
    struct answer_cache *c = open_with(NULL, dir, 1 << 20);
    put_for(c, 10, "", "m", 2, 0);
    put_for(c, 11, "", "m", 3600, 0);
    answer_cache_flush(c);
    atomic_store(&shift_us, -86400 * 1000000LL);
    assert_true(get(c, 10));
    sleep(3);
    assert_false(get(c, 10));
    assert_true(get(c, 11));
    answer_cache_close(c);
    c = open_with(NULL, dir, 1 << 20);
    assert_false(get(c, 11)); /* it claims to be made tomorrow */
    atomic_store(&shift_us, 0);
    answer_cache_close(c);
}

/* ---- size ---- */

/* The least recently used leave; what was read lately stays. */
static void least_recently_used(void **state) {
    (void)state;
    struct err e;
    int64_t n;
    struct answer_cache *c = open_with(NULL, dir, 64 << 10);
    answer_cache_drop(c, &(struct answer_filter){0}, &n, &e);
    for (int i = 0; i < 10; i++)
        put_for(c, i, "", "m", 3600, 6000);
    answer_cache_flush(c);
    assert_true(get(c, 0));
    assert_true(get(c, 3));
    answer_cache_flush(c);
    for (int i = 10; i < 17; i++)
        put_for(c, i, "", "m", 3600, 6000);
    const struct answer_cache_stats s = stats_of(c);
    assert_true(s.n_bytes <= 64 << 10);
    assert_true(s.n_gone >= 4);
    assert_true(get(c, 0) && get(c, 3) && get(c, 16));
    assert_false(get(c, 1) || get(c, 2) || get(c, 4));
    /* One that would take a quarter is not kept: no error, nothing leaves for it. */
    const int64_t before = stats_of(c).n;
    put_for(c, 50, "", "m", 3600, 40000);
    answer_cache_flush(c);
    assert_false(get(c, 50));
    assert_int_equal(stats_of(c).n, before);
    answer_cache_close(c);
}

/* ---- what is no answer ---- */

static void not_kept(void **state) {
    (void)state;
    struct answer_cache *c = open_with(NULL, dir, 1 << 20);
    struct answer_record r = answer("x", 0), cut = {0}, failed = {0};
    uint8_t key[ANSWER_KEY_BYTES];
    const struct answer_label label = {"", "m"};
    key_of(77, key);
    answer_cache_put(c, key, &label, 0, &r); /* for no time */
    answer_record_add(&cut, &(struct gen_event){.kind = GEN_TEXT, .text = STR("x")});
    answer_cache_put(c, key, &label, 10, &cut);
    answer_record_add(&failed, &(struct gen_event){.kind = GEN_FINISH, .why = GEN_CANCELLED});
    answer_record_add(&failed, &(struct gen_event){.kind = GEN_END});
    assert_false(failed.whole);
    answer_cache_put(c, key, &label, 10, &failed);
    struct answer_record error = {0};
    answer_record_add(&error, &(struct gen_event){.kind = GEN_END, .err = {ERR_IO, "broken", ""}});
    assert_false(error.whole);
    answer_record_fini(&error);
    answer_cache_flush(c);
    assert_false(get(c, 77));
    answer_cache_close(c);
}

/* Whatever bytes stand in a store: no answer is made of them. */
static void damaged_answers(void **state) {
    (void)state;
    struct answer_record r = answer("text", 300), back = {0};
    struct buf packed = {0}, sealed = {0};
    struct answer_seal seal;
    struct str value;
    struct err e;
    json_t *g = gen();
    assert_int_equal(answer_pack(&r, &packed, &e), 0);
    assert_int_equal(
        answer_seal(&(struct answer_seal){"t", "m", 1, 2}, buf_view(&packed), &sealed, &e), 0);
    assert_int_equal(answer_unseal(buf_view(&sealed), "t", &seal, &value, &e), 0);
    assert_true(answer_seal_names(buf_view(&sealed), "m"));
    for (size_t n = 0; n < sealed.n; n++)
        assert_int_equal(answer_unseal((struct str){sealed.p, n}, "t", &seal, &value, &e), -1);
    for (size_t i = 0; i < sealed.n; i++) {
        sealed.p[i] ^= 0x10;
        assert_int_equal(answer_unseal(buf_view(&sealed), "t", &seal, &value, &e), -1);
        sealed.p[i] ^= 0x10;
    }
    /* Behind the check sum, as somebody might write it who may write there. */
    for (size_t i = 0; i < packed.n; i++) {
        packed.p[i] ^= 0x21;
        answer_unpack(buf_view(&packed), g, &back, &e);
        answer_record_fini(&back);
        packed.p[i] ^= 0x21;
    }
    json_object_set_new(g, "op", json_string("embed")); /* no text comes of that */
    assert_int_equal(answer_unpack(buf_view(&packed), g, &back, &e), -1);
    answer_record_fini(&back);
    answer_record_fini(&r);
    json_decref(g);
    buf_fini(&packed);
    buf_fini(&sealed);
}

/* ---- the file ---- */

static char *fresh(const char *name) {
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    mkdir(path, 0700);
    return path;
}

static const char *in(const char *folder, const char *name) {
    static char path[2][800];
    static int k;
    k = !k;
    snprintf(path[k], sizeof path[k], "%s/%s", folder, name);
    return path[k];
}

static void write_at(const char *path, long at, const char *text, size_t n) {
    FILE *f = fopen(path, at ? "r+b" : "wb");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    fwrite(text, 1, n, f);
    fclose(f);
}

struct putting {
    struct answer_cache *c;
    atomic_bool over;
};

static void *put_all_the_time(void *arg) {
    struct putting *p = arg;
    for (int i = 0; !p->over; i++) {
        put_for(p->c, 1000 + i % 500, "", "other", 3600, 3000);
        if (i % 64 == 0) answer_cache_flush(p->c);
    }
    return NULL;
}

/* What is removed is in no file any more, neither in the database nor in its log, while others are
 * written. */
static void removed_for_good(void **state) {
    (void)state;
    struct putting p = {.c = open_with(NULL, fresh("gone"), 64 << 20)};
    char file[700];
    snprintf(file, sizeof file, "%s/gone/answers.db", dir);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, put_all_the_time, &p), 0);
    for (int round = 0; round < 60; round++) {
        const struct answer_filter f = {.model = "marked-model"};
        struct err e;
        int64_t n = 0;
        for (int i = 0; i < 10; i++)
            put_for(p.c, i, "", f.model, 3600, 0);
        answer_cache_flush(p.c);
        assert_int_equal(answer_cache_drop(p.c, &f, &n, &e), 0);
        assert_int_equal(n, 10);
        if (database_has(file, f.model)) fail_msg("round %d: it is still there", round);
    }
    p.over = true;
    pthread_join(t, NULL);
    answer_cache_close(p.c);
}

static void file_is_private(void **state) {
    (void)state;
    struct stat st;
    char *folder = fresh("private");
    rmdir(folder);
    struct answer_cache *c = open_with(NULL, folder, 1 << 20);
    put(c, 1);
    answer_cache_flush(c);
    static const char *const name[] = {"answers.db", "answers.db-wal", "answers.db-shm"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(in(folder, name[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    answer_cache_close(c);
}

static void damaged_file(void **state) {
    (void)state;
    char *folder = fresh("damaged");
    write_at(in(folder, "answers.db"), 0, "this is no database, whatever it is called", 42);
    struct answer_cache *c = open_with(NULL, folder, 1 << 20);
    assert_int_equal(access(in(folder, "answers.db.damaged"), F_OK), 0);
    for (int i = 0; i < 200; i++)
        put(c, i);
    answer_cache_flush(c);
    assert_true(get(c, 7));
    answer_cache_close(c);
    unlink(in(folder, "answers.db.damaged"));

    /* While it is open: pages of noise under the running cache. */
    c = open_with(NULL, folder, 1 << 20);
    char *noise = malloc(4 << 20);
    struct stat st;
    memset(noise, 0x5a, 4 << 20);
    assert_int_equal(stat(in(folder, "answers.db"), &st), 0);
    assert_true(st.st_size > 8192);
    write_at(in(folder, "answers.db"), 100, noise, (size_t)st.st_size - 100);
    free(noise);
    int n_found = 0;
    for (int i = 0; i < 200; i++)
        n_found += get(c, i);
    for (int i = 0; i < 100; i++) /* and it takes answers again */
        put(c, 1000 + i);
    answer_cache_flush(c);
    for (int i = 0; i < 100; i++)
        put(c, 1000 + i);
    answer_cache_flush(c);
    assert_true(get(c, 1007));
    assert_true(n_found < 200);
    assert_true(stats_of(c).n_error > 0);
    assert_int_equal(access(in(folder, "answers.db.damaged"), F_OK), 0);
    answer_cache_close(c);
}

/* Writers that are killed at any moment: the file is sound, and what was written before stays. */
static void killed_writers(void **state) {
    (void)state;
    char *folder = fresh("killed");
    const int n_round = SANITIZED ? 5 : 20;
    for (int round = 0; round < n_round; round++) {
        struct answer_cache *c = open_with(NULL, folder, 64 << 20);
        put(c, 5000 + round);
        answer_cache_close(c);
        const pid_t pid = fork();
        if (pid == 0) {
            c = open_with(NULL, folder, 64 << 20);
            for (int i = 0;; i = (i + 1) % 4000) {
                put_for(c, i, "", "m", 3600, 2000);
                if (i % 50 == 0) answer_cache_flush(c);
            }
        }
        usleep(10000 + 7919 * (unsigned)round % 90000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        sqlite3 *db;
        sqlite3_stmt *st;
        assert_int_equal(sqlite3_open(in(folder, "answers.db"), &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        assert_string_equal((const char *)sqlite3_column_text(st, 0), "ok");
        sqlite3_finalize(st);
        assert_int_equal(sqlite3_prepare_v2(db,
                                            "SELECT n = (SELECT count(*) FROM answer) AND n_bytes ="
                                            " (SELECT sum(n_bytes) FROM answer) FROM total",
                                            -1, &st, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(st, 0), 1);
        sqlite3_finalize(st);
        sqlite3_close(db);
        c = open_with(NULL, folder, 64 << 20);
        for (int i = 0; i <= round; i++)
            assert_true(get(c, 5000 + i));
        for (int i = 0; i < 4000; i++)
            get(c, i); /* asserts that what is there is whole */
        assert_int_equal(stats_of(c).n_error, 0);
        answer_cache_close(c);
    }
}

/* ---- Redis comes and goes ---- */

struct load {
    struct answer_cache *c;
    int first;
    atomic_int *stop;
    int n, n_hit;
    double worst_s;
};

static void *keep_asking(void *arg) {
    struct load *l = arg;
    for (int i = 0; !atomic_load(l->stop); i = (i + 1) % 50, l->n++) {
        const int64_t t0 = os_now_ns();
        l->n_hit += get(l->c, l->first + i);
        put(l->c, l->first + i);
        const double s = (double)(os_now_ns() - t0) * 1e-9;
        if (s > l->worst_s) l->worst_s = s;
        usleep(500);
    }
    return NULL;
}

/* Killed, not there, stopped (it accepts and says nothing), there again: nobody waits long, all of
 * it is counted, and afterwards it is used again. */
static void redis_goes(void **state) {
    (void)state;
    enum { N = 4 };
    struct server own = {0};
    char url[64];
    redis_start(&own, dir, "going", NULL);
    snprintf(url, sizeof url, "redis://localhost:%d", own.port);
    struct answer_cache *c = open_with(url, NULL, 0);
    atomic_int stop = 0;
    struct load load[N];
    pthread_t thread[N];
    for (int i = 0; i < N; i++) {
        load[i] = (struct load){c, 100 * i, &stop, 0, 0, 0};
        pthread_create(&thread[i], NULL, keep_asking, &load[i]);
    }
    usleep(300000);
    server_kill(&own);
    usleep(700000);
    const struct answer_cache_stats down = stats_of(c);
    assert_true(down.n_error > 0);
    assert_int_equal(down.n, -1);
    redis_start(&own, dir, "going", NULL);
    usleep(700000);
    kill(own.pid, SIGSTOP);
    usleep(700000);
    kill(own.pid, SIGCONT);
    sleep(3); /* the longest pause is two seconds */
    const int64_t put_before = stats_of(c).n_put;
    usleep(500000);
    atomic_store(&stop, 1);
    int n_hit = 0;
    for (int i = 0; i < N; i++) {
        pthread_join(thread[i], NULL);
        assert_true(load[i].n > 100);
        assert_true(load[i].worst_s < (SANITIZED ? 3 : 1));
        n_hit += load[i].n_hit;
    }
    assert_true(n_hit > 100);
    assert_true(stats_of(c).n_put > put_before);
    assert_true(stats_of(c).n > 0);
    answer_cache_close(c);
    server_stop(&own);
}

static void redis_refuses(void **state) {
    (void)state;
    char url[80];
    snprintf(url, sizeof url, "redis://:wrong@127.0.0.1:%d/0", redis.port);
    struct answer_cache *c = open_with(url, NULL, 0);
    put(c, 1);
    answer_cache_flush(c);
    assert_false(get(c, 1));
    assert_true(stats_of(c).n_error > 0);
    answer_cache_close(c);
}

static void addresses(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "redis://",
                                      "http://h",
                                      "redis://:6379",
                                      "redis://h:0",
                                      "redis://h:65536",
                                      "redis://h:6379x",
                                      "redis://h/x",
                                      "redis://h/-1",
                                      "redis://pw@h",
                                      "redis://:p%@h",
                                      "redis://:p%4@h",
                                      "redis://:p%00@h",
                                      "redis://:p%zz@h",
                                      "redis://[::1",
                                      "redis://[::1]x",
                                      "rediss://h"};
    struct answer_redis_url u;
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (answer_redis_url(bad[i], &u, &e) == 0) fail_msg("%s is accepted", bad[i]);
    assert_int_equal(answer_redis_url("redis://me:s%3Acret@[::1]:7000/12", &u, &e), 0);
    assert_string_equal(u.host, "::1");
    assert_string_equal(u.user, "me");
    assert_string_equal(u.password, "s:cret");
    assert_int_equal(u.port, 7000);
    assert_int_equal(u.db, 12);
    assert_int_equal(answer_redis_url("redis://cache.example/", &u, &e), 0);
    assert_int_equal(u.port, 6379);
    assert_string_equal(u.password, "");
    assert_int_equal(answer_redis_url("redis://:hidden@h:x", &u, &e), -1);
    assert_null(strstr(e.msg, "hidden"));
}

/* ---- keys ---- */

static struct answer_key key_with(const char *g, const char *params, const char *tenant,
                                  const char *day) {
    struct answer_key k;
    struct err e;
    json_error_t je;
    json_t *j = json_loads(g, 0, &je), *p = params ? json_loads(params, 0, &je) : NULL;
    assert_non_null(j);
    const struct answer_inputs in = {.model = "0123",
                                     .tenant = tenant,
                                     .way = "/api/chat",
                                     .settings = "",
                                     .day = day,
                                     .filter = "",
                                     .gen = j,
                                     .params = p};
    if (answer_key(&in, &k, &e) != 0) fail_msg("%s: %s", g, e.msg);
    json_decref(j);
    json_decref(p);
    return k;
}

static bool same(const char *a, const char *params_a, const char *b, const char *params_b) {
    const struct answer_key x = key_with(a, params_a, "", ""), y = key_with(b, params_b, "", "");
    return memcmp(x.bytes, y.bytes, sizeof x.bytes) == 0;
}

#define M "\"op\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void equal_effects(void **state) {
    (void)state;
    static const char *const equal[][4] = {
        {"{" M "}", NULL, "{\"messages\":[{\"content\":\"hi\",\"role\":\"user\"}],\"op\":\"chat\"}",
         NULL},
        {"{" M ",\"options\":{\"temperature\":0}}", NULL, "{" M "}", "{\"temperature\":0.0}"},
        {"{" M ",\"options\":{\"temperature\":0.8}}", NULL, "{" M ",\"options\":{}}", NULL},
        {"{" M ",\"options\":{\"top_k\":7,\"seed\":1}}", "{\"top_k\":9}",
         "{" M ",\"options\":{\"seed\":1.0,\"top_k\":7}}", NULL},
        {"{" M ",\"options\":{\"num_thread\":3,\"num_batch\":64}}", NULL, "{" M "}", NULL},
        {"{" M ",\"options\":{\"temperature\":0,\"seed\":4}}", NULL,
         "{" M ",\"options\":{\"temperature\":0,\"seed\":5}}", NULL},
        {"{" M ",\"options\":{\"colour\":3},\"think\":null}", NULL, "{" M "}", NULL},
        {"{" M ",\"user\":\"a\"}", NULL, "{" M ",\"user\":\"b\"}", NULL},
        {"{" M ",\"options\":{\"stop\":\"x\"}}", NULL, "{" M ",\"options\":{\"stop\":[\"x\"]}}",
         NULL},
        {"{" M ",\"options\":{\"num_draft\":2}}", NULL,
         "{" M ",\"options\":{\"draft_num_predict\":2}}", NULL},
    };
    static const char *const other[][4] = {
        {"{" M ",\"options\":{\"seed\":4}}", NULL, "{" M ",\"options\":{\"seed\":5}}", NULL},
        {"{" M ",\"options\":{\"temperature\":0.7}}", NULL,
         "{" M ",\"options\":{\"temperature\":0.70001}}", NULL},
        {"{" M ",\"options\":{\"stop\":[\"a\",\"b\"]}}", NULL,
         "{" M ",\"options\":{\"stop\":[\"a\\nstop b\"]}}", NULL},
        {"{" M ",\"options\":{\"num_ctx\":512}}", NULL, "{" M "}", NULL},
        {"{" M ",\"think\":true}", NULL, "{" M "}", NULL},
        {"{" M ",\"n\":2}", NULL, "{" M "}", NULL},
        {"{" M ",\"logprobs\":true}", NULL, "{" M "}", NULL},
        {"{" M ",\"adapter\":\"x\"}", NULL, "{" M "}", NULL},
        /* A schema's properties are written in their order; templates print tools in theirs. */
        {"{" M ",\"format\":{\"properties\":{\"a\":{},\"b\":{}}}}", NULL,
         "{" M ",\"format\":{\"properties\":{\"b\":{},\"a\":{}}}}", NULL},
        {"{" M ",\"options\":{\"shift\":false}}", NULL, "{" M ",\"shift\":false}", NULL},
        {"{" M ",\"messages\":[]}", NULL, "{" M "}", NULL},
    };
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        if (!same(equal[i][0], equal[i][1], equal[i][2], equal[i][3]))
            fail_msg("%s %s", equal[i][0], equal[i][2]);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (same(other[i][0], other[i][1], other[i][2], other[i][3]))
            fail_msg("%s %s", other[i][0], other[i][2]);
    const struct answer_key a = key_with("{" M "}", NULL, "", ""),
                            b = key_with("{" M "}", NULL, "anna", ""),
                            c = key_with("{" M "}", NULL, "", "2026-11-27");
    assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
    assert_memory_not_equal(a.bytes, c.bytes, sizeof a.bytes);
}

static void reproducible(void **state) {
    (void)state;
    assert_false(key_with("{" M "}", NULL, "", "").reproducible);
    assert_true(key_with("{" M "}", "{\"temperature\":0}", "", "").reproducible);
    assert_true(key_with("{" M ",\"options\":{\"seed\":0}}", NULL, "", "").reproducible);
    assert_false(key_with("{" M ",\"options\":{\"seed\":-1}}", NULL, "", "").reproducible);
    assert_false(key_with("{" M ",\"options\":{\"temperature\":1}}", "{\"temperature\":0}", "", "")
                     .reproducible);
    assert_true(key_with("{\"op\":\"embed\",\"input\":[\"x\"]}", NULL, "", "").reproducible);
    assert_true(answer_tells_day(STR("{{ strftime_now('%d') }}").p, 24));
    assert_false(answer_tells_day("{{ .Prompt }}", 13));
}

/* ---- speed ---- */

/* While another thread writes. */
static void hits_are_quick(void **state) {
    (void)state;
    enum { N = 1000 };
    static int64_t ns[N];
    struct answer_cache *c = open_with(NULL, fresh("quick"), 64 << 20);
    for (int i = 0; i < 100; i++)
        put_for(c, i, "", "m", 3600, 2000);
    answer_cache_flush(c);
    for (int i = 0; i < N; i++) {
        if (i % 10 == 0) put_for(c, 200 + i, "", "m", 3600, 2000);
        const int64_t t0 = os_now_ns();
        assert_true(get(c, i % 100));
        ns[i] = os_now_ns() - t0;
    }
    qsort(ns, N, sizeof *ns, cache_by_size);
    printf("a hit in the file: p50 %.3f ms, p99 %.3f ms\n", (double)ns[N / 2] * 1e-6,
           (double)ns[N * 99 / 100] * 1e-6);
    if (!SANITIZED) assert_true(ns[N * 99 / 100] < 20 * 1000000);
    answer_cache_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_effects),       cmocka_unit_test(reproducible),
        cmocka_unit_test(addresses),           cmocka_unit_test(file_answers),
        cmocka_unit_test(redis_answers),       cmocka_unit_test(file_ages),
        cmocka_unit_test(redis_ages),          cmocka_unit_test(clock_set_back),
        cmocka_unit_test(least_recently_used), cmocka_unit_test(not_kept),
        cmocka_unit_test(damaged_answers),     cmocka_unit_test(removed_for_good),
        cmocka_unit_test(file_is_private),     cmocka_unit_test(damaged_file),
        cmocka_unit_test(killed_writers),      cmocka_unit_test(redis_goes),
        cmocka_unit_test(redis_refuses),       cmocka_unit_test(hits_are_quick),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
