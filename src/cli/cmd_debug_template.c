/* `cria debug template --jinja FILE`: each line of standard input holds the variables of one
 * rendering, each line of output its text or error.  The format is that of the reference data's
 * chat/.  With --jinja-text the template is in the line, too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/text_json.h"
#include "text/chat/jinja.h"

static struct {
    const char *jinja, *now;
    bool jinja_text;
} opt;

const struct opt *debug_template_options(void) {
    static const struct opt table[] = {
        {"jinja", 0, OPT_STR, &opt.jinja, .arg = "FILE", .help = "a Jinja template"},
        {"jinja-text", 0, OPT_FLAG, &opt.jinja_text,
         .help = "Jinja templates are in the lines: template_text"},
        {"now", 0, OPT_STR, &opt.now, .arg = "TIME",
         .help = "the clock for strftime_now: 2025-07-04T12:34:56"},
        {0},
    };
    return table;
}

static int read_file(const char *path, struct buf *out, struct err *e) {
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    if (!f) return err_errno(e, path);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0 && out->n < (8 << 20);)
        buf_append(out, chunk, n);
    const int bad = ferror(f) ? err_errno(e, path) : out->failed ? err_nomem(e, path) : 0;
    fclose(f);
    return bad;
}

static int read_now(const char *text, int64_t *now, struct err *e) {
    struct tm tm = {0};
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : "";
    if (!end || *end)
        return err_set(e, ERR_USAGE,
                       "--now: found \"%s\"; a time like 2025-07-04T12:34:56 is accepted", text);
    *now = text ? (int64_t)timegm(&tm) : 0;
    return 0;
}

static int render(const struct jinja *t, const json_t *in, int64_t now, struct chat_prompt *p,
                  struct err *e) {
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    const struct jinja_opts o = {.now_s = now, .trusted = trusted};
    const json_t *vars = json_object_get(in, "vars"), *text = json_object_get(in, "template_text");
    if (t) return jinja_render(t, in, &o, p, e);
    if (!json_is_string(text))
        return err_set(e, ERR_FORMAT, "input: no template_text; a string is needed");
    struct jinja *own =
        jinja_new("template", (struct str){json_string_value(text), json_string_length(text)}, e);
    const int rc = own ? jinja_render(own, json_is_object(vars) ? vars : in, &o, p, e) : -1;
    jinja_free(own);
    return rc;
}

static json_t *run_line(const struct jinja *t, const char *line, size_t n, int64_t now) {
    struct err e = {0};
    json_error_t je;
    struct chat_prompt p = {0};
    json_t *in = json_loadb(line, n, JSON_ALLOW_NUL, &je), *out = json_object();
    int rc = 0;
    if (!json_is_object(in))
        rc = err_set(&e, ERR_FORMAT, "input: %s; one JSON object a line is needed", je.text);
    else
        rc = render(t, in, now, &p, &e);
    if (rc == 0)
        text_json_set(out, "text", buf_view(&p.text));
    else
        json_object_set_new(out, "error", json_string(e.msg));
    chat_prompt_fini(&p);
    json_decref(in);
    return out;
}

int debug_template(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    int64_t now = 0;
    struct buf source = {0};
    struct jinja *t = NULL;
    if (cli_parse(argc, argv, debug_template_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("debug template", n_args, 0, 0, "", e) != 0) return -1;
    if (read_now(opt.now, &now, e) != 0) return -1;
    if (!opt.jinja == !opt.jinja_text)
        return err_set(e, ERR_USAGE,
                       "debug template: one of --jinja FILE and --jinja-text is needed");
    int rc = opt.jinja ? read_file(opt.jinja, &source, e) : 0;
    if (rc == 0 && opt.jinja && !(t = jinja_new(opt.jinja, buf_view(&source), e))) rc = -1;
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; rc == 0 && !cli_interrupted && (n = getline(&line, &cap, stdin)) > 0;) {
        cli_print_json(run_line(t, line, (size_t)n, now));
        fflush(stdout);
    }
    free(line);
    jinja_free(t);
    buf_fini(&source);
    return rc;
}
