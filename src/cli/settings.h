/* The settings of a server, for commands that do without one what a server would do. */
#pragma once

#include "server/settings.h"

/* As a server here would take them: from the environment, and from `file` (NULL: the one that
 * holds, settings_file) where that has none.  What is said there of models is left out. */
int cli_settings(const char *file, struct settings *out, struct err *e);
