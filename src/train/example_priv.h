/* What the files of examples share. */
#pragma once

#include "train/example.h"

enum { EXAMPLE_MAX_VALUES = 200000 }; /* of one JSON text: jansson takes some 100 bytes for each */

/* A list of messages as training data has them, in the form of engine/gen.h; NULL with ERR_FORMAT
 * "messages[2]: ...", where `key` is "messages".  A text is one message of this role.  weight0
 * (NULL: of no interest) gets the indices of answers with "weight": 0. */
json_t *example_messages(const char *key, const json_t *value, const char *role, json_t *weight0,
                         struct err *e);
/* A list of tools, perhaps as JSON text; NULL (not owned by anybody) with ERR_FORMAT. */
json_t *example_tools(const json_t *value, struct err *e);

json_t *example_get(const json_t *object, const char *key); /* NULL: not there, or null */
struct str example_str(const json_t *string);               /* empty: no string */
bool example_is_blank(struct str text);
bool example_is_role(const json_t *message, const char *role);
/* Is there more in it than blanks, or a call? */
bool example_says_something(const json_t *message);
