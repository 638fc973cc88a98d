/* See param.h. */
#include "server/param.h"

#include <stdio.h>
#include <string.h>

#include "server/field.h"

/* Names of engine/gen.h, and what the routes call them; the first that was sent is meant. */
static const struct {
    const char *engine, *sent; /* sent: with blanks between */
    bool both;                 /* some route has the engine's name, too */
} other_name[] = {
    {"options.num_predict", "max_tokens max_completion_tokens max_output_tokens", false},
    {"format", "response_format text", false},
    {"think", "reasoning_effort reasoning chat_template_kwargs", false},
    {"template_vars", "chat_template_kwargs", false},
    {"tokens", "prompt", false},
    {"messages", "input prompt", true},
    {"continue", "messages input", false},
    {"truncate", "truncation", true},
};

/* The part before the first '.' or '['. */
static bool was_sent(const json_t *body, const char *field) {
    char first[ERR_FIELD];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(field, ".["), field);
    return json_object_get(body, first) != NULL;
}

/* The first word of the list that is a key of body. */
static bool take_sent(const json_t *body, const char *list, char out[ERR_FIELD]) {
    while (*list) {
        const size_t n = strcspn(list, " ");
        snprintf(out, ERR_FIELD, "%.*s", (int)n, list);
        if (json_object_get(body, out)) return true;
        list += n + (list[n] == ' ');
    }
    out[0] = 0;
    return false;
}

/* An option may have come under its own name, or among "options". */
static bool take_option(const json_t *body, const char *field, char out[ERR_FIELD]) {
    const char *name = field + strlen("options.");
    const bool inside = json_object_get(json_object_get(body, "options"), name) != NULL;
    snprintf(out, ERR_FIELD, "%s", inside ? field : json_object_get(body, name) ? name : "");
    return *out;
}

/* The engine's tools are the client's, in the same places: no other kinds, no choice among them. */
static bool has_its_tools(const json_t *body) {
    const json_t *tool, *choice = json_object_get(body, "tool_choice");
    const char *type = json_string_value(json_object_get(choice, "type"));
    size_t i;
    if (type && strcmp(type, "allowed_tools") == 0) return false;
    json_array_foreach(json_object_get(body, "tools"), i, tool) {
        type = json_string_value(json_object_get(tool, "type"));
        if (type && strcmp(type, "function") != 0 && strcmp(type, "custom") != 0) return false;
    }
    return true;
}

/* "tools[i].function.parameters", where functions are not nested "tools[i].parameters". */
static bool take_tool(const json_t *body, const char *field, char out[ERR_FIELD]) {
    unsigned i;
    char rest[32];
    if (sscanf(field, "tools[%u].function.%31s", &i, rest) != 2) return false;
    const json_t *tool = json_array_get(json_object_get(body, "tools"), i);
    const bool nested = json_object_get(tool, "function");
    if (tool && has_its_tools(body))
        snprintf(out, ERR_FIELD, "tools[%u].%s%s", i, nested ? "function." : "", rest);
    else
        snprintf(out, ERR_FIELD, "tools");
    return true;
}

void param_of(const json_t *body, const char *field, char out[ERR_FIELD]) {
    const bool option = strncmp(field, "options.", 8) == 0;
    if (option && take_option(body, field, out)) return;
    if (take_tool(body, field, out)) return;
    for (size_t i = 0; i < sizeof other_name / sizeof *other_name; i++)
        if (strcmp(field, other_name[i].engine) == 0 && !was_sent(body, field)) {
            if (take_sent(body, other_name[i].sent, out) || !other_name[i].both) return;
            break;
        }
    snprintf(out, ERR_FIELD, "%s", option ? "" : field);
}
