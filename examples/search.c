/* Search by meaning: texts and their embeddings in SQLite, the nearest ones to a question out.
 *
 *     cc search.c $(pkg-config --cflags --libs libcria sqlite3) -lm -o search
 *     ./search model.gguf notes.db < notes.txt              one text a line, added to the table
 *     ./search model.gguf notes.db 'how do llamas swim?'    the five nearest */
#define _POSIX_C_SOURCE 200809L /* getline */
#include <cria.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
    cria_model *model;
    sqlite3 *db;
    float *vector; /* [n_embd], of length 1 */
    int n_embd;
};

static int fail(const char *what, const char *why) {
    fprintf(stderr, "search: %s: %s\n", what, why);
    return 1;
}

/* nearness(a, b): the cosine of two blobs of floats of length 1 is their dot product. */
static void nearness(sqlite3_context *c, int n, sqlite3_value **v) {
    const float *a = sqlite3_value_blob(v[0]), *b = sqlite3_value_blob(v[1]);
    const int bytes = sqlite3_value_bytes(v[0]);
    double sum = 0;
    if (n != 2 || !a || !b || bytes != sqlite3_value_bytes(v[1])) {
        sqlite3_result_error(c, "nearness: vectors of different models", -1);
        return;
    }
    for (int i = 0; i < bytes / (int)sizeof *a; i++)
        sum += (double)a[i] * (double)b[i];
    sqlite3_result_double(c, sum);
}

static int embed(struct search *s, const char *text) {
    cria_error error;
    if (cria_embed(s->model, text, strlen(text), CRIA_NORMALIZE, s->vector, (size_t)s->n_embd,
                   &error) >= 0)
        return 0;
    return fail("embed", error.message);
}

static int add_line(struct search *s, sqlite3_stmt *insert, char *line) {
    line[strcspn(line, "\r\n")] = 0;
    if (!*line) return 0;
    if (embed(s, line) != 0) return 1;
    sqlite3_bind_text(insert, 1, line, -1, SQLITE_STATIC);
    sqlite3_bind_blob(insert, 2, s->vector, s->n_embd * (int)sizeof(float), SQLITE_STATIC);
    const int rc = sqlite3_step(insert);
    sqlite3_reset(insert);
    return rc == SQLITE_DONE ? 0 : fail("insert", sqlite3_errmsg(s->db));
}

/* The lines of standard input, all of them or none. */
static int add(struct search *s) {
    sqlite3_stmt *insert;
    char *line = NULL;
    size_t cap = 0;
    int rc = 0, n = 0;
    if (sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(s->db, "INSERT INTO note (text, vector) VALUES (?, ?)", -1, &insert,
                           NULL) != SQLITE_OK)
        return fail("insert", sqlite3_errmsg(s->db));
    while (rc == 0 && getline(&line, &cap, stdin) >= 0)
        rc = add_line(s, insert, line), n++;
    free(line);
    sqlite3_finalize(insert);
    if (sqlite3_exec(s->db, rc == 0 ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        rc = fail("commit", sqlite3_errmsg(s->db));
    if (rc == 0) printf("%d lines read\n", n);
    return rc;
}

static int find(struct search *s, const char *question) {
    sqlite3_stmt *query;
    int rc;
    if (embed(s, question) != 0) return 1;
    if (sqlite3_prepare_v2(s->db,
                           "SELECT nearness(vector, ?) AS near, text FROM note "
                           "ORDER BY near DESC LIMIT 5",
                           -1, &query, NULL) != SQLITE_OK)
        return fail("select", sqlite3_errmsg(s->db));
    sqlite3_bind_blob(query, 1, s->vector, s->n_embd * (int)sizeof(float), SQLITE_STATIC);
    while ((rc = sqlite3_step(query)) == SQLITE_ROW)
        printf("%6.3f  %s\n", sqlite3_column_double(query, 0), sqlite3_column_text(query, 1));
    if (rc != SQLITE_DONE) fail("select", sqlite3_errmsg(s->db));
    sqlite3_finalize(query);
    return rc == SQLITE_DONE ? 0 : 1;
}

static int open_all(struct search *s, const char *model, const char *db) {
    cria_error error;
    s->model = cria_model_open(model, NULL, &error);
    if (!s->model) return fail("model", error.message);
    s->n_embd = cria_model_n_embd(s->model);
    s->vector = malloc((size_t)s->n_embd * sizeof *s->vector);
    if (!s->vector) return fail(model, "out of memory");
    if (sqlite3_open(db, &s->db) != SQLITE_OK ||
        sqlite3_create_function(s->db, "nearness", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                nearness, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(s->db,
                     "CREATE TABLE IF NOT EXISTS note (text TEXT NOT NULL, vector BLOB NOT NULL)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return fail(db, sqlite3_errmsg(s->db));
    return 0;
}

int main(int argc, char **argv) {
    struct search s = {0};
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: search MODEL.gguf FILE.db [QUESTION]\n");
        return 2;
    }
    int rc = open_all(&s, argv[1], argv[2]);
    if (rc == 0) rc = argc == 4 ? find(&s, argv[3]) : add(&s);
    sqlite3_close(s.db);
    free(s.vector);
    cria_model_close(s.model);
    return rc;
}
