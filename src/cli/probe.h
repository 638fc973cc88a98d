/* What the processes of `cria verify isolation` say to each other, lines of JSON:
 *
 *     {"process": "engine", "walls": "seccomp, Landlock ABI 7"}
 *     {"process": "engine", "try": "connect TCP", "answer": "EPERM", "refused": true}
 *     {"process": "engine", "end": true}
 *     {"error": text, "code": enum err_code}
 *
 * An attempt that ends its process (a program that was run in its place) leaves out what follows.
 */
#pragma once

#include <jansson.h>

#include "policy/isolation_probe.h"

/* Write the line; takes j over. */
void probe_say(int fd, json_t *j);
/* All attempts from inside this process, with the walls it has, as lines. */
void probe_all(int fd, const char *process, const char *walls, const struct isolation_targets *t);
void probe_say_error(int fd, const struct err *e);

/* What a child is to do: {"role": "engine" or "trainer", "store", "cache", ...}, and how it is
 * read.
 */
json_t *probe_order(const char *role, const char *store, const char *cache,
                    const struct isolation_targets *t);
void probe_targets(const json_t *order, struct isolation_targets *t);
