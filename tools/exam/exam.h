/* What the files of the exam share. */
#pragma once

#include "base/err.h"

/* Mean loss of path's examples (formats of train/data.h); lora: an adapter's file, or NULL. */
int exam_loss(const char *model, const char *lora, const char *path, double *loss, struct err *e);
