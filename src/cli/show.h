/* What `cria show` prints of what create/show.h reads. */
#pragma once

#include "create/show.h"

/* Long arrays are shortened, in JSON to null, unless verbose. */
void show_json(const struct show_info *s, const struct gguf *g, bool verbose);
void show_text(const struct show_info *s, const struct gguf *g);
void show_metadata(const struct gguf *g);
void show_tensors(const struct gguf *g);
