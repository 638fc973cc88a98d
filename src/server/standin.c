/* Empty tables for what is not written yet: each part replaces its own here.  (The word
 * __TIME__ keeps ccache, which does not see __has_include, from taking an older object.) */
#include "server/route.h"

#define TABLE(name)                                                                                \
    const struct route name[] = {                                                                  \
        {0},                                                                                       \
    }

#if !__has_include("server/api_native.c")
TABLE(routes_native);
#endif
#if !__has_include("server/api_store.c")
TABLE(routes_store);
#endif
#if !__has_include("server/api_openai.c")
TABLE(routes_openai);
#endif
#if !__has_include("server/api_responses.c")
TABLE(routes_responses);
#endif
#if !__has_include("server/api_anthropic.c")
TABLE(routes_anthropic);
#endif
#if !__has_include("server/api_extra.c")
TABLE(routes_extra);
#endif
