/* A model after training of all weights, as a GGUF file. */
#pragma once

#include "gguf/read.h"
#include "train/params.h"

/* Write PATH, which appears only when it is whole: everything as in base, tensors that p has with
 * its values, as F32.  ERR_FORMAT names a tensor with a value that is not finite. */
int model_file_write(const char *path, const struct gguf *base, const struct params *p,
                     struct err *e);
