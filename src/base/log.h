/* Messages for whoever runs the program: to stderr, one line each, control bytes escaped.
 * Level from CRIA_DEBUG / OLLAMA_DEBUG: unset = warnings, 1 = info, 2 = debug. */
#pragma once

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

__attribute__((format(printf, 2, 3))) void log_msg(enum log_level level, const char *fmt, ...);
