/* Programs that stand in for `cria engine`: this test itself, started under another name.  What a
 * child does is chosen by the name, as its environment is not the test's. */
#pragma once

#include <stdbool.h>

#include "engine/gen.h"

/* From now on gen_open_child starts ROLE:
 *
 *     proof         inside the sandbox tries what it must not do; opening fails, and the message
 *                   tells "call=errno ..."
 *     bad-NAME      attack NAME
 *     stream-N      a gen that answers with STREAM_TOKENS pieces of text, N a step
 *     hang          never says anything
 *     deaf          says that it is ready, then nothing
 *     linger        the same, then closes its end and stays
 *     leave         the same, then ends with code 3
 */
void rig_role(const char *role);
void rig_real(void); /* the program that was built, again */
void rig_fini(void);

enum { STREAM_TOKENS = 60000 };

/* In main: plays a role and never returns, when started for that. */
void rig_play(int argc, char **argv);

/* What a child may say that is wrong. */
struct attack {
    const char *name;
    const char *request; /* during this one; NULL: while it is opened */
    const char *says;    /* part of the message */
    void (*act)(void);
};
extern const struct attack rig_attacks[]; /* ends with a NULL name */

/* The child of this process that is an engine, or 0. */
int rig_child_pid(void);
/* Descriptors and threads of this process. */
int rig_count_fds(void);
int rig_count_threads(void);
