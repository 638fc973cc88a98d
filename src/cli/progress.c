/* A progress bar on stderr: label, percent, bar, amount, rate, time left.  Drawn only for people:
 * when stderr is a terminal, and at most ten times a second. */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/os.h"

enum { SHOW_EVERY_NS = 100 * 1000 * 1000, BAR_MAX = 40 };

/* 1234567 "B" -> "1.2 MB". */
static const char *scaled(char out[32], double v, const char *unit) {
    static const char *const prefix[] = {"", "k", "M", "G", "T"};
    size_t i = 0;
    while (fabs(v) >= 1000 && i < 4)
        v /= 1000, i++;
    snprintf(out, 32, "%.*f %s%s", i && v < 100 ? 1 : 0, v, prefix[i], unit);
    return out;
}

static void time_left(char out[32], double s) {
    const long n = s < 1 ? 1 : s > 359999 ? 359999 : lround(s);
    if (n < 60)
        snprintf(out, 32, "%lds", n);
    else if (n < 3600)
        snprintf(out, 32, "%ldm%02lds", n / 60, n % 60);
    else
        snprintf(out, 32, "%ldh%02ldm", n / 3600, n / 60 % 60);
}

bool cli_is_screen(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

int cli_columns(void) {
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

void cli_draw_line(const char *text) {
    const char *end = text;
    for (int room = cli_columns() - 1; *end; end++) { /* the last column would begin a line */
        const bool begins = ((unsigned char)*end & 0xc0) != 0x80;
        if (begins && room-- <= 0) break;
    }
    fprintf(stderr, "\r%.*s\x1b[K", (int)(end - text), text);
}

void progress_start(struct progress *p, const char *label, double total, const char *unit) {
    *p = (struct progress){.label = label, .total = total, .unit = unit, .start_ns = os_now_ns()};
    p->on = total > 0 && cli_is_screen();
    p->shown_ns = p->start_ns; /* work that ends at once shows nothing */
}

void progress_update(struct progress *p, double done) {
    if (!p->on) return;
    const long long now = os_now_ns();
    if (now - p->shown_ns < SHOW_EVERY_NS) return;
    p->shown_ns = now;

    const double share = done < 0 ? 0 : done > p->total ? 1 : done / p->total;
    const double seconds = (double)(now - p->start_ns) * 1e-9;
    const double rate = done / seconds;
    char have[32], all[32], speed[32], left[32] = "?", figures[160];
    if (rate > 0) time_left(left, (p->total - done) / rate);
    snprintf(figures, sizeof figures, "%s/%s  %s/s  %s", scaled(have, done, p->unit),
             scaled(all, p->total, p->unit), scaled(speed, rate, p->unit), left);

    char bar[BAR_MAX + 1];
    int width = cli_columns() - (int)(strlen(p->label) + strlen(figures)) - 12;
    width = width < 0 ? 0 : width > BAR_MAX ? BAR_MAX : width;
    const int full = (int)(share * width);
    memset(bar, '#', (size_t)full);
    memset(bar + full, '.', (size_t)(width - full));
    bar[width] = 0;
    char line[512];
    snprintf(line, sizeof line, "%s %3.0f%% [%s] %s", p->label, share * 100, bar, figures);
    cli_draw_line(line);
}

void progress_end(struct progress *p) {
    if (p->on && p->shown_ns != p->start_ns) fputs("\r\x1b[K", stderr);
    p->on = false;
}
