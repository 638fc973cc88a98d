/* The guide: the small model that ships with the program and answers questions about it
 * (models/guide/README.md).  `cria run` uses it when no model is named. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Does the first argument of `cria run` name a model?  A question has blanks, a name has none. */
bool guide_is_model(const char *arg);

/* Where its file is: with an installed program in ../share/cria, with a built one in the source
 * tree's models.  ERR_USAGE says what to do instead. */
int guide_path(char *path, size_t n, struct err *e);
