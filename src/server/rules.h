/* What holds for one model: its Modelfile's lines (FALLBACK, CACHE, POLICY), over them cria.conf's
 * section, and where neither says anything the settings. */
#pragma once

#include "policy/model_policy.h"
#include "server/server.h"

/* A model that is not in the store has what cria.conf says of it.  Fields stay unset where the
 * settings decide.  ERR_FORMAT for a stored line that does not parse. */
int rules_of(struct server *s, const struct name *n, struct model_policy *p, struct err *e);
