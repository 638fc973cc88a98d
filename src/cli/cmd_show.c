/* `cria show MODEL`: what is in a model, of a file, of the store here, or of a server. */
#include <stdio.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/model.h"
#include "cli/show.h"
#include "cli/text.h"
#include "create/create.h"
#include "engine/check.h"

static bool as_json, verbose, only_metadata, only_tensors;
static bool only_license, only_template, only_modelfile, only_parameters, only_system;

const struct opt *cmd_show_options(void) {
    static const struct opt table[] = {
        {"verbose", 'v', OPT_FLAG, &verbose, 0, 0, NULL, "also metadata and tensors; long arrays"},
        {"metadata", 0, OPT_FLAG, &only_metadata, 0, 0, NULL, "only the metadata"},
        {"tensors", 0, OPT_FLAG, &only_tensors, 0, 0, NULL, "only the tensors"},
        {"license", 0, OPT_FLAG, &only_license, 0, 0, NULL, "only the license"},
        {"modelfile", 0, OPT_FLAG, &only_modelfile, 0, 0, NULL, "only the Modelfile that makes it"},
        {"parameters", 0, OPT_FLAG, &only_parameters, 0, 0, NULL, "only the parameters"},
        {"template", 0, OPT_FLAG, &only_template, 0, 0, NULL, "only the chat template"},
        {"system", 0, OPT_FLAG, &only_system, 0, 0, NULL, "only the system message"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static int print_text(const char *where, struct str text, const char *what, struct err *e) {
    struct buf b = {0};
    if (text.n == 0) return err_set(e, ERR_NOT_FOUND, "%s: the file holds no %s", where, what);
    if (only_modelfile && !isatty(STDOUT_FILENO))
        buf_append(&b, text.p, text.n); /* for a file that makes the model again, to the byte */
    else
        text_escape(&b, text, true);
    if (b.failed) return err_nomem(e, where);
    fwrite(b.p, 1, b.n, stdout);
    if (b.p[b.n - 1] != '\n') putchar('\n');
    buf_fini(&b);
    return 0;
}

/* One text of the model; 1: none was asked for. */
static int show_only(const struct show_info *s, const char *where, struct err *e) {
    const struct {
        bool on;
        struct str text;
        const char *what;
    } only[] = {{only_license, s->license, "license"},
                {only_modelfile, s->modelfile, "Modelfile"},
                {only_parameters, s->parameters, "parameters"},
                {only_template, s->chat_template, "chat template"},
                {only_system, s->system, "system message"}};
    for (size_t i = 0; i < sizeof only / sizeof *only; i++) {
        if (!only[i].on) continue;
        /* A model of the store may do without; of a file that is asked for one it is an error. */
        if (s->name && only[i].text.n == 0) return 0;
        return print_text(where, only[i].text, only[i].what, e);
    }
    return 1;
}

static int show(struct show_info *s, const struct gguf *g, struct err *e) {
    const int rc = show_only(s, gguf_path(g), e);
    if (rc <= 0) return rc;
    const bool raw = only_metadata || only_tensors; /* a look inside, whatever it is */
    if (!raw && engine_check_model(g, e) != 0) return -1;
    if (as_json) {
        show_json(s, g, verbose);
        return 0;
    }
    if (!raw) {
        json_t *projector =
            s->projector ? show_metadata_json(s->projector, false, json_null()) : NULL;
        if (projector)
            json_object_set_new(projector, "general.parameter_count",
                                json_integer((json_int_t)show_count_values(s->projector)));
        show_text(s, projector);
        json_decref(projector);
    }
    if (verbose || only_metadata) show_metadata(g);
    if (verbose || only_tensors) show_tensors(g);
    return 0;
}

static int show_model(const struct cli_model *m, struct err *e) {
    struct show_info s;
    struct show_parts p = {.projector = NULL};
    struct gguf *g = gguf_open(m->r.path, e);
    int rc = m->store ? show_parts_open(&p, &m->r, e) : 0;
    if (!g) rc = -1;
    if (rc == 0 && m->store && (only_modelfile || as_json))
        rc = create_print_modelfile(m->store, &m->r.name, &p.modelfile, e);
    if (rc == 0) rc = show_read(&s, g, e);
    json_t *training = rc == 0 ? show_training(g) : NULL;
    if (rc == 0) {
        s.training = training;
        show_add_parts(&s, &p);
        snprintf(s.id, sizeof s.id, "%s", m->r.manifest.id.hex);
        rc = show(&s, g, e);
    }
    json_decref(training);
    show_parts_close(&p);
    gguf_close(g);
    return rc;
}

/* ---- a server's ---- */

static int show_answer(const char *name, const json_t *answer, struct err *e) {
    struct show_info s;
    struct name n;
    char shown[NAME_TEXT];
    if (name_parse(name, &n, e) != 0 || show_read_remote(&s, answer, e) != 0) return -1;
    name_short(&n, shown);
    s.name = shown;
    const int rc = show_only(&s, name, e);
    if (rc <= 0) return rc;
    if (as_json) {
        show_json_remote(&s, answer, verbose);
        return 0;
    }
    if (!only_metadata && !only_tensors) show_text(&s, json_object_get(answer, "projector_info"));
    if (verbose || only_metadata) show_metadata_remote(answer);
    if (verbose || only_tensors) show_tensors_remote(answer);
    return 0;
}

static int show_there(struct remote *r, const char *name, struct err *e) {
    const bool all = verbose || only_metadata || only_tensors || as_json;
    json_t *answer = NULL, *body = json_pack("{s:s, s:b}", "model", name, "verbose", all);
    if (!body) return err_set(e, ERR_USAGE, "show: a name that is no UTF-8 text");
    int rc = remote_ask(r, NET_POST, "/api/show", body, &answer, e);
    if (rc == 0) rc = show_answer(name, answer, e);
    json_decref(answer);
    json_decref(body);
    return rc;
}

int cmd_show(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    struct cli_model m;
    if (cli_parse(argc, argv, cmd_show_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("show", n_args, 1, 1, "MODEL", e) != 0) return -1;
    if (only_metadata + only_tensors + only_license + only_modelfile + only_parameters +
            only_template + only_system + as_json >
        1)
        return err_set(e, ERR_USAGE,
                       "show: more than one of --license, --modelfile, --parameters, --template, "
                       "--system, --metadata, --tensors, --json; at most one");
    struct remote *r = NULL;
    int rc = cli_is_file(args[0]) ? 0 : remote_find(NULL, &r, e);
    if (rc != 0) return rc;
    if (r) {
        rc = show_there(r, args[0], e);
    } else {
        rc = cli_model_open(&m, args[0], e);
        if (rc == 0) rc = show_model(&m, e);
        cli_model_close(&m);
    }
    remote_close(r);
    return rc;
}
