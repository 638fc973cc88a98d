/* The byte alphabet of byte-level BPE (GPT-2's encoder.py): every byte has a printable character,
 * itself where it is printable in Latin-1, else one of U+0100..U+0143. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The byte of a character, or -1 when it stands for none. */
int bytemap_byte(uint32_t ch);

/* Write n bytes in the alphabet's UTF-8; out has room for 2 n.  Returns the length. */
size_t bytemap_encode(const char *p, size_t n, char *out);
