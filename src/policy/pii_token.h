/* Forms of keys and tokens, by prefix. */
#pragma once

enum token_alphabet { TOKEN_ALNUM, TOKEN_WORD, TOKEN_URL64, TOKEN_DOTTED, TOKEN_HEX, TOKEN_B64 };

struct token_form {
    const char *prefix;
    enum token_alphabet alphabet;
    int min, max; /* characters behind the prefix; max 0: any */
};
extern const struct token_form token_forms[]; /* pii_token_data.c; a NULL prefix ends it */
