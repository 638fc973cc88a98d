/* What every test needs: where the golden data is, files whole in memory, temporary folders, and
 * running the built program as a user would. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Built with a sanitizer, as the program under test is: time and memory say nothing then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* CRIA_CAMPAIGN=1: all rounds, whole sizes, and figures printed; make test does a part of them. */
bool in_campaign(void);
/* A line for people, in a campaign only: with the load of the machine, without which times say
 * little. */
__attribute__((format(printf, 1, 2))) void campaign_say(const char *fmt, ...);

/* Path of a golden file: ../shared/golden/REL where that folder exists, else the part that the
 * project carries, tests/golden/REL (same layout, fewer files).  Static ring of buffers: valid for
 * the next 15 calls. */
const char *golden(const char *rel);
bool golden_is_full(void); /* the whole set is there */

/* Names in golden folder REL that end with SUFFIX, sorted; NULL-terminated; free with
 * names_free.  Fails the test when there are fewer than `at_least`. */
char **golden_names(const char *rel, const char *suffix, int at_least);
void names_free(char **names);

/* A whole file; the test fails when it cannot be read.  Free with free(). */
uint8_t *slurp(const char *path, size_t *n);
float *slurp_f32(const char *path, size_t *n_float);
json_t *slurp_json(const char *path);
/* Do these n bytes stand in the file?  One that is not there has none. */
bool file_has(const char *path, const void *bytes, size_t n);
bool database_has(const char *path, const char *text); /* of SQLite: there, or in its log */

/* Call fn for each line of a .jsonl file, parsed; returns how many lines. */
typedef void line_fn(void *ctx, int line, json_t *value);
int each_jsonl(const char *path, line_fn *fn, void *ctx);

/* A JSON string with its length, or the bytes of its _hex twin; NULL when both are absent. */
char *json_bytes(const json_t *obj, const char *key, size_t *n); /* free() */

/* A fresh folder under $TMPDIR, removed by temp_remove. */
char *temp_folder(void);
void temp_remove(char *dir);

/* Run the program that was built ($CRIA, else build/cria beside the tests) with args
 * (NULL-terminated), feeding input.  Kills it after timeout_s.  Returns the exit code, or 128 +
 * signal. */
struct ran {
    int code;
    struct buf out, err; /* ran_fini frees */
    double seconds;
    size_t peak_rss_bytes;
};
int run_cria(struct ran *r, const char *const *args, const void *input, size_t n_input,
             double timeout_s);
/* The same with another program. */
int run_program(struct ran *r, const char *exe, const char *const *args, const void *input,
                size_t n_input, double timeout_s);
void ran_fini(struct ran *r);

/* Engine children (engine/gen.h) are processes of that program, too. */
void use_program(void);
