/* An isolated server: policy/isolation.h, with the files and folders that its settings name. */
#pragma once

#include "policy/isolation.h"
#include "server/server.h"
#include "server/settings.h"

/* The files of a server with these options and settings; those that it makes at need are made, for
 * what is not there cannot be permitted. */
void isolate_files(struct isolation_files *f, const struct server_opts *o, const struct settings *t,
                   struct store *store);

/* Shut a server in whose sockets are bound; what is in force is in its log and in s->walls. */
int isolate(struct server *s, struct err *e);
