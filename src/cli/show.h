/* What `cria show` prints of what create/show.h reads. */
#pragma once

#include "cli/remote.h"
#include "create/show.h"

/* Long arrays are shortened, in JSON to null, unless verbose. */
void show_json(const struct show_info *s, const struct gguf *g, bool verbose);
/* projector: its keys as of show_metadata_json with general.parameter_count, or NULL. */
void show_text(const struct show_info *s, const json_t *projector);
void show_metadata(const struct gguf *g);
void show_tensors(const struct gguf *g);

/* ---- show_table.c ---- */

/* A title and rows of up to three cells separated by tabs, aligned; nothing where there are none.
 * Takes rows. */
void show_section(const char *title, struct buf *rows);
/* The shortest decimal that reads back as the same float32, or double. */
void show_float(struct buf *b, double v, bool single);
/* A string on one line of at most 60 bytes. */
void show_cell(struct buf *b, struct str s);

/* ---- show_remote.c ---- */

/* What /api/show says of a model: texts are borrowed from the answer.  ERR_FORMAT. */
int show_read_remote(struct show_info *s, const json_t *answer, struct err *e);
/* As show_metadata, show_tensors and show_json of that answer, which must be a verbose one. */
void show_metadata_remote(const json_t *answer);
void show_tensors_remote(const json_t *answer);
void show_json_remote(const struct show_info *s, const json_t *answer, bool verbose);
