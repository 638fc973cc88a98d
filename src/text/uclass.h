/* Character classes and mappings that tokenizers share, over utf8proc. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

bool uclass_is_number(uint32_t cp);  /* \p{N} */
bool uclass_is_blank(uint32_t cp);   /* White_Space: TAB..CR, U+0085 and \p{Z} */
bool uclass_is_control(uint32_t cp); /* Cc Cf Co Cs; not the unassigned */
bool uclass_is_mark(uint32_t cp);    /* \p{M} */
bool uclass_is_punct(uint32_t cp);   /* \p{P} */
bool uclass_is_symbol(uint32_t cp);  /* \p{S} */
bool uclass_is_cjk(uint32_t cp);     /* ideographs, as BERT's tokenizer lists them */

/* Simple lower case; first character of the canonical decomposition (accents fall off). */
uint32_t uclass_lower(uint32_t cp);
uint32_t uclass_base(uint32_t cp);
