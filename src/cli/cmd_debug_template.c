/* `cria debug template`: render a template over variables, one JSON object a line, as the reference
 * data's chat/ and gotmpl/ have them.  Each language is a line of the table below. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/text_json.h"
#include "text/chat/gotmpl.h"
#include "text/chat/jinja.h"
#include "text/chat/named.h"

enum { MAX_TEMPLATE = 16 << 20 }; /* the interpreters have smaller limits of their own */

static struct {
    const char *go, *jinja, *now;
    bool go_text, jinja_text, detect, turns;
} opts;

const struct opt *debug_template_options(void) {
    static const struct opt table[] = {
        {"detect", 0, OPT_FLAG, &opts.detect, 0, 0, NULL,
         "the named TEMPLATE that the Jinja in \"chat_template\" is"},
        {"go", 0, OPT_STR, &opts.go, 0, 0, "FILE", "a Go template: a Modelfile's TEMPLATE"},
        {"go-text", 0, OPT_FLAG, &opts.go_text, 0, 0, NULL, "Go templates in \"template_text\""},
        {"jinja", 0, OPT_STR, &opts.jinja, 0, 0, "FILE", "a Jinja template"},
        {"jinja-text", 0, OPT_FLAG, &opts.jinja_text, 0, 0, NULL,
         "Jinja templates in \"template_text\""},
        {"turns", 0, OPT_FLAG, &opts.turns, 0, 0, NULL,
         "run a Go template without .Messages once for each turn"},
        {"now", 0, OPT_STR, &opts.now, 0, 0, "TIME", "the clock: 2025-07-04T12:34:56"},
        {0},
    };
    return table;
}

/* Render source over the variables of a line. */
typedef int render_fn(struct str source, const json_t *vars, int64_t now_s, struct chat_prompt *out,
                      struct err *e);

static struct str text_of(const json_t *o, const char *key) {
    const json_t *j = json_object_get(o, key);
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

static int render_go(struct str source, const json_t *vars, int64_t now_s, struct chat_prompt *out,
                     struct err *e) {
    struct gotmpl *t = gotmpl_new(source, e);
    if (!t) return -1;
    const struct gotmpl_input in = {
        .messages = json_object_get(vars, "messages"),
        .tools = json_object_get(vars, "tools"),
        .prompt = text_of(vars, "prompt"),
        .suffix = text_of(vars, "suffix"),
        .think = json_is_true(json_object_get(vars, "think")),
        .think_level = text_of(vars, "think_level"),
        .think_set = json_is_true(json_object_get(vars, "is_think_set")),
        .now_s = now_s,
        .once = !opts.turns,
    };
    const int rc = gotmpl_render(t, &in, out, e);
    gotmpl_free(t);
    return rc;
}

/* Variables of reference cases are in the object "vars", those of conversations in the line. */
static int render_jinja(struct str source, const json_t *vars, int64_t now_s,
                        struct chat_prompt *out, struct err *e) {
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    const struct jinja_opts o = {.now_s = now_s, .trusted = trusted};
    const json_t *own = json_object_get(vars, "vars");
    struct jinja *t = jinja_new(opts.jinja ? opts.jinja : "template", source, e);
    const int rc = t ? jinja_render(t, json_is_object(own) ? own : vars, &o, out, e) : -1;
    jinja_free(t);
    return rc;
}

/* No rendering: the name. */
static int detect(struct str source, const json_t *vars, int64_t now_s, struct chat_prompt *out,
                  struct err *e) {
    (void)vars, (void)now_s;
    const struct chat_named *n = chat_named_find(source);
    if (!n) return err_set(e, ERR_NOT_FOUND, "no matching template found");
    chat_say(out, str_of(n->name));
    return 0;
}

/* The languages. */
struct language {
    const char *const *file;
    const bool *text;
    const char *in, *out; /* keys of a line with a template in it, and of what is printed */
    render_fn *render;
};
static const char *const none = NULL;
static const struct language languages[] = {
    {&opts.go, &opts.go_text, "template_text", "text", render_go},
    {&opts.jinja, &opts.jinja_text, "template_text", "text", render_jinja},
    {&none, &opts.detect, "chat_template", "name", detect},
};

static const struct language *find_language(struct err *e) {
    const struct language *found = NULL;
    int n = 0;
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++) {
        n += (*languages[i].file != NULL) + *languages[i].text;
        if (*languages[i].file || *languages[i].text) found = &languages[i];
    }
    if (n == 1) return found;
    err_set(e, ERR_USAGE,
            "debug template: found %d templates; one of --go FILE, --go-text, --jinja FILE, "
            "--jinja-text and --detect is needed",
            n);
    return NULL;
}

static int read_file(const char *path, struct buf *out, struct err *e) {
    FILE *f = fopen(path, "rb");
    char *room;
    if (!f) return err_errno(e, path);
    while (!feof(f) && !ferror(f) && out->n <= MAX_TEMPLATE && (room = buf_room(out, 65536)))
        out->n += fread(room, 1, 65536, f);
    const int rc = ferror(f) || out->failed ? err_errno(e, path) : 0;
    fclose(f);
    if (rc == 0 && out->n > MAX_TEMPLATE)
        return err_set(e, ERR_LIMIT, "%s: more than %d bytes; that much is accepted", path,
                       MAX_TEMPLATE);
    return rc;
}

static int parse_now(int64_t *now_s, struct err *e) {
    struct tm tm = {0};
    if (!opts.now) return 0;
    const char *end = strptime(opts.now, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end || *end)
        return err_set(e, ERR_USAGE,
                       "--now: found \"%s\"; a time like 2025-07-04T12:34:56 is accepted",
                       opts.now);
    *now_s = (int64_t)timegm(&tm);
    return 0;
}

static json_t *run_line(const struct language *l, const struct buf *file, int64_t now_s,
                        const char *line, size_t n) {
    struct err e = {0};
    json_error_t je;
    struct chat_prompt p = {0};
    json_t *in = json_loadb(line, n, JSON_ALLOW_NUL, &je), *out = json_object();
    int rc = 0;
    if (!json_is_object(in))
        rc = err_set(&e, ERR_FORMAT, "input: %s; one JSON object a line is needed",
                     in ? "found no object" : je.text);
    else if (*l->text && !json_is_string(json_object_get(in, l->in)))
        rc = err_set(&e, ERR_FORMAT, "input: %s is missing; a string is needed", l->in);
    else
        rc = l->render(*l->text ? text_of(in, l->in) : buf_view(file), in, now_s, &p, &e);
    if (rc == 0)
        text_json_set(out, l->out, buf_view(&p.text));
    else
        json_object_set_new(out, "error", json_string(e.msg));
    chat_prompt_fini(&p);
    json_decref(in);
    return out;
}

int debug_template(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    int64_t now_s = 0;
    struct buf file = {0};
    if (cli_parse(argc, argv, debug_template_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("debug template", n_args, 0, 0, "--go FILE or --jinja FILE", e) != 0)
        return -1;
    const struct language *l = find_language(e);
    if (!l || parse_now(&now_s, e) != 0) return -1;
    if (*l->file && read_file(*l->file, &file, e) != 0) return buf_fini(&file), -1;
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; !cli_interrupted && (n = getline(&line, &cap, stdin)) > 0;) {
        cli_print_json(run_line(l, &file, now_s, line, (size_t)n));
        fflush(stdout);
    }
    free(line);
    buf_fini(&file);
    return 0;
}
