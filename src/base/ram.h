/* How much memory a process may still take: what the machine has left and what each of its control
 * groups, and those above, leaves it. */
#pragma once

#include <stdint.h>

/* Read below `root` ("" for this machine); what is missing there sets no limit.  Pages of files
 * that can be dropped count as free.  0: nothing is known. */
uint64_t ram_available_bytes(const char *root);
