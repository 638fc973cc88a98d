/* UTF-8, strictly (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { UTF8_BAD = 0xfffd };

/* Decode one character of p[0..n), n > 0.  Returns its length 1..4 and sets *cp; for a byte that
 * starts no valid character returns 1 and sets *cp to UTF8_BAD. */
int utf8_decode(const char *p, size_t n, uint32_t *cp);

/* Like utf8_decode, but tells a bad byte (-1) from a real U+FFFD (3) . */
int utf8_decode_strict(const char *p, size_t n, uint32_t *cp);

/* Encode cp into out[4]; returns 1..4.  What is no Unicode scalar value becomes U+FFFD. */
int utf8_encode(uint32_t cp, char out[4]);

/* How many of p[0..n) bytes can be shown now: all but an unfinished (yet still valid) character
 * at the end, at most 3 bytes.  Bytes that can no longer become valid count as showable. */
size_t utf8_complete(const char *p, size_t n);

/* Offset of the first byte that is not valid UTF-8, or n. */
size_t utf8_valid_prefix(const char *p, size_t n);

/* Length of the character at p[0..n), n > 0, if a terminal merely shows it; 0 for what is not valid
 * UTF-8, for control characters (C0, DEL, C1), line separators and those that reorder text. */
int utf8_printable(const char *p, size_t n);
