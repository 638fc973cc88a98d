/* See human.h.  The rules, roundings included, are those of Ollama's format package. */
#include "cli/human.h"

#include <stdio.h>

void human_bytes(uint64_t n, char out[HUMAN_TEXT]) {
    static const char *const unit[] = {"KB", "MB", "GB", "TB"};
    if (n < 1000) {
        snprintf(out, HUMAN_TEXT, "%llu B", (unsigned long long)n);
        return;
    }
    double v = (double)n / 1000;
    int i = 0;
    for (uint64_t k = n / 1000; k >= 1000 && i < 3; k /= 1000)
        v /= 1000, i++;
    const uint64_t whole = (uint64_t)v;
    if (v >= 10 || v == (double)whole)
        snprintf(out, HUMAN_TEXT, "%llu %s", (unsigned long long)whole, unit[i]);
    else
        snprintf(out, HUMAN_TEXT, "%.1f %s", v, unit[i]);
}

static void duration(int64_t s, char out[HUMAN_TEXT]) {
    const int64_t minutes = s / 60, hours = (s + 1800) / 3600;
    if (s < 1)
        snprintf(out, HUMAN_TEXT, "Less than a second");
    else if (s == 1)
        snprintf(out, HUMAN_TEXT, "1 second");
    else if (s < 60)
        snprintf(out, HUMAN_TEXT, "%d seconds", (int)s);
    else if (minutes == 1)
        snprintf(out, HUMAN_TEXT, "About a minute");
    else if (minutes < 60)
        snprintf(out, HUMAN_TEXT, "%d minutes", (int)minutes);
    else if (hours == 1)
        snprintf(out, HUMAN_TEXT, "About an hour");
    else if (hours < 48)
        snprintf(out, HUMAN_TEXT, "%d hours", (int)hours);
    else if (hours < 24 * 7 * 2)
        snprintf(out, HUMAN_TEXT, "%d days", (int)(hours / 24));
    else if (hours < 24 * 30 * 2)
        snprintf(out, HUMAN_TEXT, "%d weeks", (int)(hours / 24 / 7));
    else if (hours < 24 * 365 * 2)
        snprintf(out, HUMAN_TEXT, "%d months", (int)(hours / 24 / 30));
    else
        snprintf(out, HUMAN_TEXT, "%lld years", (long long)(s / 3600 / 24 / 365));
}

void human_time(int64_t then_s, int64_t now_s, char out[HUMAN_TEXT]) {
    char span[HUMAN_TEXT];
    duration(then_s > now_s ? then_s - now_s : now_s - then_s, span);
    snprintf(out, HUMAN_TEXT, "%.30s %s", span, then_s > now_s ? "from now" : "ago");
}
