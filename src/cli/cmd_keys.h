/* What the commands of `cria keys` share (cmd_keys*.c). */
#pragma once

#include "cli/commands.h"
#include "policy/keys_db.h"

/* The database: CRIA_KEYS, else of the file of CRIA_CONFIG, else ~/.cria/keys.db. */
struct keys_db *cli_keys_db(bool create, struct err *e);

/* A key as --json has it; text: the key itself, or NULL. */
json_t *cli_key_json(const struct key *k, const char *text);

/* A day (since 1970) or a moment as text, UTC. */
enum { CLI_DAY = 24 };
void cli_day(int64_t day, char out[CLI_DAY]);
void cli_moment(int64_t unix_s, char out[CLI_DAY]);
