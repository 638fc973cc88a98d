/* Writing safetensors files, as the format's own library lays them out: tensors of larger elements
 * first, then by name; {"format": "pt"} in front; the header padded with blanks to a multiple of 8.
 * Equal tensors give equal bytes, whoever writes them. */
#pragma once

#include "gguf/safetensors.h"

/* The n tensors, in any order, to PATH, which appears only when it is whole.  Names must differ. */
int safetensors_write(const char *path, const struct st_tensor *t, int n, struct err *e);
