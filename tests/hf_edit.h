/* A written Hugging Face folder changed in one way, as a test needs it.  A test that these cannot
 * do what they are asked fails. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* The value at KEY of DIR/FILE, a JSON object, becomes v (taken; NULL: is removed).  KEY leads
 * through objects with dots: "text_config.head_dim". */
void hf_set(const char *dir, const char *file, const char *key, json_t *v);
/* The whole file. */
json_t *hf_get(const char *dir, const char *file);
void hf_replace(const char *dir, const char *file, json_t *v); /* taken */
void hf_text(const char *dir, const char *file, const char *text);
void hf_bytes(const char *dir, const char *file, const void *bytes, size_t n);
void hf_remove(const char *dir, const char *file);

/* Tensors of DIR/FILE: names that begin with FROM begin with TO instead. */
void hf_rename_tensors(const char *dir, const char *file, const char *from, const char *to);
void hf_drop_tensor(const char *dir, const char *file, const char *name);
/* One more, of BF16 or F32 zeros; d1 0: a vector.  One that is there is replaced. */
void hf_add_tensor(const char *dir, const char *file, const char *name, const char *type, int d0,
                   int d1);
