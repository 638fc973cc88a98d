/* The part of YAML that docs/openapi.yaml is written in: block mappings and lists, flow ones on a
 * line, quoted and plain scalars, "|" and ">-" texts, comments.  Anything else fails the test. */
#pragma once

#include <jansson.h>

json_t *yaml_read(const char *path); /* new */
