/* A model file with another chat template: tests of conversations start from a golden model, which
 * has none. */
#pragma once

/* The template of ChatML models, as their files have it. */
extern const char REWRITE_CHATML[];

struct gguf_writer;

/* Copy the model SRC to DST with the keys that `add` sets; the test fails on error. */
void rewrite_model(const char *src, const char *dst, void (*add)(struct gguf_writer *w, void *ctx),
                   void *ctx);
/* Copy the model SRC to DST with this template; the test fails on error. */
void rewrite_template(const char *src, const char *dst, const char *chat_template);
