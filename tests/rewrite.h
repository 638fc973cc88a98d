/* A model file with another chat template: tests of conversations start from a golden model, which
 * has none. */
#pragma once

/* The template of ChatML models, as their files have it. */
extern const char REWRITE_CHATML[];

/* Copy the model SRC to DST with this template; the test fails on error. */
void rewrite_template(const char *src, const char *dst, const char *chat_template);
