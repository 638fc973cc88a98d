/* A case of the golden training data (golden README "CASE.bin and CASE.json"): arrays by name. */
#pragma once

#include "support.h"

struct train_case {
    json_t *j;      /* CASE.json; owned */
    uint8_t *bytes; /* CASE.bin; owned */
    size_t n_bytes;
    char name[128];
};

/* "llama-untied.adamw".  Fails the test when it is not there. */
struct train_case case_open(const char *name);
/* The same from STEM.json and STEM.bin. */
struct train_case case_open_at(const char *stem);
void case_close(struct train_case *c);

/* Array `name` of that dtype ("f32", "f64", "i32"): borrowed, *n elements.  Fails the test when it
 * is missing or lies outside the file. */
const void *case_array(const struct train_case *c, const char *name, const char *dtype, size_t *n);

/* A number of "params" or "scalars"; entry i when it is a list. */
double case_number(const struct train_case *c, const char *key, int i);
