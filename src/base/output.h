/* A file that a command will write, judged before the work for it is done. */
#pragma once

#include "base/err.h"

/* Can PATH be written?  ERR_NOT_FOUND names the folder that is missing; ERR_USAGE: PATH is a
 * folder, or what should be its folder is none; ERR_IO: the folder takes no files.  A file, a
 * device or a pipe that is there already is fine.  Nothing is made. */
int output_check(const char *path, struct err *e);

/* ERR_USAGE when OUT is the regular file IN, by whatever name: device and inode decide.  in NULL,
 * or one of them is not there: 0. */
int output_not_input(const char *out, const char *in, struct err *e);
