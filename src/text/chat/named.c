/* Nearest by edit distance, within a bound.  Of the table of distances only a band around the
 * diagonal can lead below the bound, so a comparison costs 2 * BOUND + 1 cells a character, and
 * texts whose lengths differ by more than the bound cost nothing. */
#include "text/chat/named.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
    BOUND = 100,      /* edits; fewer are near */
    MAX_CHARS = 8192, /* longer than any known text and the bound */
    BAND = 2 * BOUND + 1,
};

#define STOP(...) "{\"stop\":[" __VA_ARGS__ "]}"

/* System texts are gathered and stand before the next user's. */
#define GATHER "{{- if eq .Role \"system\" }}{{ $rule = .Content }}"

static const struct chat_named named[] = {
    {"alpaca",
     "{{- $rule := \"\" }}{{ range .Messages }}" GATHER
     "{{- else if eq .Role \"user\" }}{{ if $rule }}{{ $rule }}\n\n{{ $rule = \"\" }}{{ end -}}\n"
     "### Instruction:\n{{ .Content }}\n\n"
     "{{ else if eq .Role \"assistant\" }}### Response:\n{{ .Content }}\n\n"
     "{{ end }}{{ end }}### Response:\n",
     STOP("\"### Instruction:\",\"### Response\"")},
    {"chatml",
     "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
     "{{ end }}<|im_start|>assistant\n",
     STOP("\"<|im_start|>\",\"<|im_end|>\"")},
    {"chatqa",
     "{{ range .Messages }}{{ if eq .Role \"user\" }}User: {{ .Content }}\n\n"
     "{{ else if eq .Role \"assistant\" }}Assistant: {{ .Content }}\n\n"
     "{{ else if eq .Role \"system\" }}{{ .Content }}\n\n"
     "{{ end }}{{ end }}Assistant:",
     STOP("\"User:\",\"Assistant:\",\"<|begin_of_text|>\"")},
    {"command-r",
     "{{ range .Messages }}<|START_OF_TURN_TOKEN|>"
     "{{ if eq .Role \"user\" }}<|USER_TOKEN|>"
     "{{ else if eq .Role \"assistant\" }}<|CHATBOT_TOKEN|>{{ else }}<|SYSTEM_TOKEN|>{{ end }}"
     "{{ .Content }}<|END_OF_TURN_TOKEN|>{{ end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
     STOP("\"<|START_OF_TURN_TOKEN|>\",\"<|END_OF_TURN_TOKEN|>\"")},
    {"falcon-instruct",
     "{{ range .Messages }}{{ if eq .Role \"user\" }}User:\n{{ .Content }}\n"
     "{{ else if eq .Role \"system\" }}System: {{ .Content }}\n"
     "{{ else if eq .Role \"assistant\" }}Falcon:\n{{ .Content }}\n"
     "{{ end }}{{ end }}Falcon:\n",
     STOP("\"User:\",\"Falcon:\",\"System:\"")},
    {"gemma-instruct",
     "{{- $rule := \"\" }}{{ range .Messages }}" GATHER
     "{{- else if eq .Role \"user\" }}<start_of_turn>user\n"
     "{{ if $rule }}{{ $rule }}\n{{ $rule = \"\" }}{{ end }}{{ .Content }}<end_of_turn>\n"
     "{{ else if eq .Role \"assistant\" }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n"
     "{{ end }}{{ end }}<start_of_turn>model\n",
     STOP("\"<start_of_turn>\",\"<end_of_turn>\"")},
    {"gemma3-instruct",
     "{{- $rule := \"\" }}{{ range .Messages }}" GATHER
     "{{- else if eq .Role \"user\" }}<start_of_turn>user\n"
     "{{ if $rule }}{{ $rule }}\n\n{{ $rule = \"\" }}{{ end }}{{ .Content }}<end_of_turn>\n"
     "{{ else if eq .Role \"assistant\" }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n"
     "{{ end }}{{ end }}<start_of_turn>model\n",
     STOP("\"<end_of_turn>\"")},
    {"granite-instruct",
     "{{ range .Messages }}{{ if eq .Role \"system\" }}System:\n{{ .Content }}\n\n"
     "{{ else if eq .Role \"user\" }}Question:\n{{ .Content }}\n\n"
     "{{ else if eq .Role \"assistant\" }}Answer:\n{{ .Content }}\n\n"
     "{{ end }}{{ end }}Answer:\n",
     STOP("\"System:\",\"Question:\",\"Answer:\"")},
    {"llama2-chat",
     "{{- $rule := \"\" }}[INST] {{ range .Messages }}" GATHER
     "{{- else if eq .Role \"user\" }}{{ if $rule }}<<SYS>>\n{{ $rule }}\n<</SYS>>\n\n"
     "{{ $rule = \"\" }}{{ end }}{{ .Content }} [/INST]"
     "{{ else if eq .Role \"assistant\" }} {{ .Content }}</s><s>[INST] {{ end }}{{ end }}",
     STOP("\"[INST]\",\"[/INST]\",\"<<SYS>>\",\"<</SYS>>\"")},
    {"llama3-instruct",
     "{{ range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
     "{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
     STOP("\"<|start_header_id|>\",\"<|end_header_id|>\",\"<|eot_id|>\"")},
    {"mistral-instruct",
     "[INST] {{ range .Messages }}{{ if eq .Role \"system\" }}{{ .Content }}\n\n"
     "{{ else if eq .Role \"user\" }}{{ .Content }}[/INST]"
     "{{ else if eq .Role \"assistant\" }} {{ .Content }}</s>[INST] {{ end }}{{ end }}",
     STOP("\"[INST]\",\"[/INST]\"")},
    {"openchat",
     "{{ range .Messages }}GPT4 Correct {{ if eq .Role \"user\" }}User: "
     "{{ else if eq .Role \"assistant\" }}Assistant: {{ else }}System: {{ end }}"
     "{{ .Content }}<|end_of_turn|>{{ end }}GPT4 Correct Assistant:",
     STOP("\"<|end_of_turn|>\"")},
    {"phi-3",
     "{{ range .Messages }}<|{{ .Role }}|>\n{{ .Content }}<|end|>\n{{ end }}<|assistant|>\n",
     STOP("\"<|end|>\",\"<|system|>\",\"<|user|>\",\"<|assistant|>\"")},
    {"solar-instruct",
     "{{ range .Messages }}{{ if eq .Role \"system\" }}### System:\n{{ .Content }}\n\n"
     "{{ else if eq .Role \"user\" }}### User:\n{{ .Content }}\n\n"
     "{{ else if eq .Role \"assistant\" }}### Assistant:\n{{ .Content }}\n\n"
     "{{ end }}{{ end }}### Assistant:\n",
     STOP("\"### System:\",\"### User:\",\"### Assistant:\"")},
    {"zephyr", "{{ range .Messages }}<|{{ .Role }}|>\n{{ .Content }}</s>\n{{ end }}<|assistant|>\n",
     STOP("\"<|system|>\",\"</s>\",\"<|user|>\",\"<|assistant|>\"")},
};

/* ---- Distance ----------------------------------------------------------------------------------
 */

/* Characters of at most MAX_CHARS; -1: more. */
static int decode(struct str s, uint32_t *out) {
    int n = 0;
    for (size_t at = 0; at < s.n; n++) {
        if (n == MAX_CHARS) return -1;
        at += (size_t)utf8_decode(s.p + at, s.n - at, &out[n]);
    }
    return n;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Edits between a and b, or `bound` when there are as many or more; bound <= BOUND.
 * cell[k] of row i is the distance of a[0..i) and b[0..j), j = i + k - BOUND. */
static int distance(const uint32_t *a, int n, const uint32_t *b, int n_b, int bound) {
    int cell[BAND + 1];
    if (abs(n - n_b) >= bound) return bound;
    for (int k = 0; k < BAND; k++)
        cell[k] = k < BOUND ? bound : k - BOUND;
    cell[BAND] = bound; /* beyond the band */
    for (int i = 1; i <= n; i++) {
        int left = bound, row = bound;
        for (int k = 0; k < BAND; k++) {
            const int j = i + k - BOUND;
            int d = bound;
            if (j == 0) d = i;
            if (j > 0 && j <= n_b)
                d = least(least(left, cell[k + 1]) + 1, cell[k] + (a[i - 1] != b[j - 1]));
            left = cell[k] = least(d, bound);
            row = least(row, left);
        }
        if (row >= bound) return bound;
    }
    return cell[n_b - n + BOUND];
}

/* The first of the nearest. */
static const struct chat_known *nearest(const uint32_t *a, int n, uint32_t *b) {
    const struct chat_known *best = NULL;
    int bound = BOUND;
    for (const struct chat_known *k = chat_known; k->name; k++) {
        const int n_b = decode(str_of(k->jinja), b);
        const int d = distance(a, n, b, n_b, bound);
        if (d < bound) bound = d, best = k;
    }
    return best;
}

const struct chat_named *chat_named_find(struct str jinja) {
    if (jinja.n == 0 || jinja.n > 4 * (size_t)MAX_CHARS) return NULL;
    uint32_t *a = malloc(2 * sizeof *a * MAX_CHARS);
    const int n = a ? decode(jinja, a) : -1;
    const struct chat_known *k = n < 0 ? NULL : nearest(a, n, a + MAX_CHARS);
    free(a);
    for (size_t i = 0; k && i < sizeof named / sizeof *named; i++)
        if (strcmp(named[i].name, k->name) == 0) return &named[i];
    return NULL;
}

bool chat_named_stands_for(struct str text, struct str jinja) {
    const struct chat_named *n = text.n ? chat_named_find(jinja) : NULL;
    return n && str_is(text, n->text);
}
