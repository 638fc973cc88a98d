/* Built-in renderers: Jinja texts (renderers_data.c) by the names of Modelfiles. */
#pragma once

#include "base/err.h"
#include "base/str.h"

extern const char renderer_qwen3[];
extern const char renderer_qwen3_coder[];
extern const char renderer_lfm2[];
extern const char renderer_deepseek3[];
extern const char renderer_ministral[];
extern const char renderer_glm[];

/* The template's text for a RENDERER: the file's own where it is of that family (may be empty:
 * there is none), else a built-in one.  ERR_UNSUPPORTED: an unknown name, with the known ones, or a
 * family that needs the file's template. */
int renderer_source(const char *renderer, struct str file, struct str *out, struct err *e);
