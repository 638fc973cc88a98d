/* Sizes and times in words, as Ollama words them. */
#pragma once

#include <stdint.h>

enum { HUMAN_TEXT = 48 };

/* Decimal units: "512 B", "1.9 GB", "22 GB". */
void human_bytes(uint64_t n, char out[HUMAN_TEXT]);

/* "3 weeks ago", "About an hour ago"; from now on: "4 minutes from now". */
void human_time(int64_t then_s, int64_t now_s, char out[HUMAN_TEXT]);
