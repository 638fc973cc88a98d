/* What pii_phone.c knows of countries. */
#pragma once

struct phone_country {
    const char *code;  /* "49" */
    const char *first; /* what the national number may begin with */
    int min, max;      /* its digits */
};
extern const struct phone_country phone_countries[]; /* a NULL code ends it */

/* The other codes of two and three digits, each between blanks. */
extern const char phone_codes[];

/* Forms that say by themselves that a number is a telephone's.  d: a digit; N: 2 to 9; [..]: one of
 * these; "~": a blank, a dash or a dot, the same all over; "_": perhaps a blank; NULL ends it. */
extern const char *const phone_forms[];
