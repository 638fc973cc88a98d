/* Lengths and forms by country: ITU-T E.164 national numbering plans (the ITU's list of national
 * numbering plans, and the forms that ITU-T E.123 and the countries' own rules show). */
#include "policy/pii_phone.h"

#include <stddef.h>

/* clang-format off */
const struct phone_country phone_countries[] = {
    {"1", "23456789", 10, 10},    /* North America */
    {"7", "3456789", 10, 10},     /* Russia, Kazakhstan */
    {"27", "123456789", 9, 9},    /* South Africa */
    {"30", "2346789", 10, 10},    /* Greece */
    {"31", "01235678", 9, 10},    /* Netherlands; 10 with the trunk 0 */
    {"32", "0123456789", 8, 9},   /* Belgium */
    {"33", "012345679", 9, 10},   /* France */
    {"34", "56789", 9, 9},        /* Spain */
    {"39", "0358", 6, 11},        /* Italy: the 0 belongs to it */
    {"41", "0234567889", 9, 10},  /* Switzerland */
    {"43", "0123456789", 7, 13},  /* Austria */
    {"44", "01235789", 9, 11},    /* United Kingdom */
    {"45", "23456789", 8, 8},     /* Denmark */
    {"46", "0123456789", 7, 10},  /* Sweden */
    {"47", "2345679", 8, 8},      /* Norway */
    {"48", "123456789", 9, 9},    /* Poland */
    {"49", "0123456789", 6, 12},  /* Germany */
    {"52", "123456789", 10, 11},  /* Mexico */
    {"55", "123456789", 10, 11},  /* Brazil */
    {"61", "0123478", 9, 10},     /* Australia */
    {"64", "02346789", 8, 10},    /* New Zealand */
    {"65", "3689", 8, 8},         /* Singapore */
    {"81", "0123456789", 9, 11},  /* Japan */
    {"82", "0123456789", 8, 11},  /* Korea */
    {"86", "01234567", 9, 12},    /* China */
    {"90", "2345", 10, 10},       /* Turkey */
    {"91", "123456789", 10, 10},  /* India */
    {"351", "2367989", 9, 9},     /* Portugal */
    {"353", "0125678949", 7, 10}, /* Ireland */
    {"358", "0123456789", 6, 11}, /* Finland */
    {"380", "3456789", 9, 9},     /* Ukraine */
    {"420", "234567", 9, 9},      /* Czechia */
    {NULL, NULL, 0, 0},
};

const char phone_codes[] =
    " 20 36 40 51 53 54 56 57 58 60 62 63 66 84 92 93 94 95 98 "
    "211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239 "
    "240 241 242 243 244 245 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 "
    "350 352 354 355 356 357 359 370 371 372 373 374 375 376 377 378 381 382 383 385 386 387 389 "
    "421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 "
    "670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 "
    "800 850 852 853 855 856 880 886 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 993 994 995 996 998 ";

const char *const phone_forms[] = {
    /* North America */
    "(Ndd)_Ndd-dddd", "(Ndd)_Ndd.dddd", "(Ndd)_Ndd dddd", "Ndd~Ndd~dddd", "1~Ndd~Ndd~dddd", "1_(Ndd)_Ndd-dddd", "Ndd/Ndd-dddd",
    /* United Kingdom, Ireland */
    "02d~dddd~dddd", "011d~ddd~dddd", "01d1~ddd~dddd", "01ddd~dddddd", "01ddd~ddd~ddd", "07ddd~dddddd", "07ddd~ddd~ddd", "03dd~ddd~dddd", "0800~ddd~dddd",
    "(0d)_dddd dddd", "(02d)_dddd dddd", "(0ddd)_ddd dddd", "(0dddd)_dddddd", "(0dddd)_ddd ddd", "08[3-9]~ddd~dddd", "0[18][0-9] ddd dddd",
    /* France, Belgium */
    "0[12345679]~dd~dd~dd~dd", "04dd~dd~dd~dd", "04dd/dd.dd.dd", "0d/ddd.dd.dd", "0dd/dd.dd.dd",
    /* Germany, Austria, Switzerland */
    "01[567]d ddddddd", "01[567]d-ddddddd", "01[567]d/ddddddd", "01[567]d dddddddd", "01[567]d-dddddddd", "01[567]d/dddddddd", "01[567]d ddd dddd",
    "01[567]d ddd dd dd", "01[567]d dd dd ddd", "01[567]d-ddd-dddd", "0[2-9]d/dddddd", "0[2-9]d/ddddddd", "0[2-9]d/dddddddd", "0[2-9]dd/dddddd", "0[2-9]dd/ddddddd", "0[2-9]dd/dddddddd",
    "(030)_dddddd", "(0[2-9]d)_ddd ddd", "(0[2-9]d)_dddddddd", "(0[2-9]d)_ddddddd", "(0[2-9]dd)_dddddd", "(0[2-9]dd)_ddddddd", "030 dddddddd", "030 ddddddd", "040 dddddddd", "089 dddddddd",
    "06[4-9]d ddddddd", "06[4-9]d/ddddddd", "0[2-7]d~ddd~dd~dd",
    /* Netherlands */
    "06-dddddddd", "06 dddddddd", "06~dd~dd~dd~dd", "0[1-578]d-ddddddd", "0[1-578]dd-dddddd", "06-dd dd dd dd",
    /* Spain, Portugal, Italy */
    "[67]dd dd dd dd", "[89]d ddd dd dd", "9dd dd dd dd", "3[2-9]d ddddddd", "3[2-9]d/ddddddd", "3[2-9]d-ddddddd", "3[2-9]d.ddddddd",
    /* Poland, Nordic countries, Finland */
    "[5-8]dd-ddd-ddd", "07d-ddd dd dd", "07d-ddd ddd d", "0d-ddd ddd dd", "04d ddd dddd", "050 ddd dddd",
    /* Russia, Turkey */
    "8_(ddd)_ddd-dd-dd", "8-ddd-ddd-dd-dd", "8 9dd ddd-dd-dd", "8 9dd ddd dd dd", "05dd~ddd~dd~dd", "05dd ddd dddd", "0_(5dd)_ddd dd dd", "0_(dd[1-9])_ddd dd dd", "(5dd)_ddd dd dd",
    /* Brazil, Mexico */
    "(dd)_9dddd-dddd", "(dd)_dddd-dddd", "(0dd)_9dddd-dddd", "dd 9dddd-dddd", "(dd)_dddd dddd", "(dd)_9dddd dddd",
    /* Australia, New Zealand, South Africa */
    "04dd~ddd~ddd", "02[0-9] ddd dddd", "0[678]d ddd dddd", "13dd ddd ddd",
    /* India, China, Japan, Korea */
    "0dd-dddddddd", "0ddd-dddddddd", "0ddd-ddddddd", "1[3-9]d~dddd~dddd", "0d-dddd-dddd", "0dd-ddd-dddd", "0dd-dddd-dddd", "0120-ddd-ddd", "0570-ddd-ddd", "0800-ddd-dddd", "0ddd-dd-dddd", "02-ddd-dddd", "1[568]dd-dddd",
    NULL,
};
