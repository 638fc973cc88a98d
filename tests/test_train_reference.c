/* The float64 reference run of golden lora/train-BASE: five steps of AdamW on an adapter of attn_q
 * and attn_v, and single entries of the gradient of all weights. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/grad.h"
#include "train/loss.h"
#include "train/optim.h"

enum { N_STEP = 5, MAX_TOK = 256, MAX_TENSOR = 64 };

struct reference {
    json_t *j;
    float *data;
    char model[512];
    int32_t tok[MAX_TOK], label[MAX_TOK], start[2];
    struct batch b;
};

static void reference_open(struct reference *r) {
    char path[512];
    size_t n;
    r->j = slurp_json(golden("lora/train-llama32.json"));
    r->data = slurp_f32(golden("lora/train-llama32.f32"), &n);
    snprintf(path, sizeof path, "models/%s", json_string_value(json_object_get(r->j, "base")));
    snprintf(r->model, sizeof r->model, "%s", golden(path));
    const json_t *tok = json_object_get(r->j, "tokens");
    const int n_tok = (int)json_array_size(tok);
    assert_true(n_tok > 1 && n_tok <= MAX_TOK);
    for (int i = 0; i < n_tok; i++)
        r->tok[i] = (int32_t)json_integer_value(json_array_get(tok, (size_t)i));
    for (int i = 0; i < n_tok; i++)
        r->label[i] = i + 1 < n_tok ? r->tok[i + 1] : -1;
    r->start[0] = 0, r->start[1] = n_tok;
    r->b = (struct batch){n_tok, 1, r->tok, r->label, r->start};
}

static void reference_close(struct reference *r) {
    json_decref(r->j);
    free(r->data);
}

static double number(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

/* Tensor NAME of stage `what`; NULL when there is none. */
static const float *values(const struct reference *r, const char *what, const char *name) {
    const json_t *t, *list = json_object_get(r->j, "tensors");
    size_t i;
    json_array_foreach(
        list, i,
        t) if (!strcmp(json_string_value(json_object_get(t, "what")), what) &&
               !strcmp(json_string_value(json_object_get(t, "name")), name)) return r->data +
        json_integer_value(json_object_get(t, "offset"));
    return NULL;
}

static void check_plane(const struct reference *r, const char *what, const struct params *p,
                        const float *plane, double tolerance) {
    for (int i = 0; i < p->n_param; i++) {
        const struct param *t = &p->p[i];
        const float *want = values(r, what, t->name), *got = plane + t->at;
        double diff = 0, square = 0;
        assert_non_null(want);
        for (size_t k = 0; k < t->n; k++) {
            diff += pow((double)got[k] - (double)want[k], 2);
            square += pow((double)want[k], 2);
        }
        if (!(sqrt(diff) <= tolerance * sqrt(square) + 1e-9))
            fail_msg("%s of '%s': off by %g of %g", what, t->name, sqrt(diff), sqrt(square));
    }
}

/* Weights with an adapter: those whose first values are given. */
static int adapted(const struct reference *r, char name[MAX_TENSOR][96],
                   const char *list[MAX_TENSOR]) {
    const json_t *t, *tensors = json_object_get(r->j, "tensors");
    size_t i;
    int n = 0;
    json_array_foreach(tensors, i, t) {
        const char *s = json_string_value(json_object_get(t, "name"));
        if (strcmp(json_string_value(json_object_get(t, "what")), "init")) continue;
        if (!strstr(s, ".lora_a")) continue;
        assert_true(n < MAX_TENSOR);
        snprintf(name[n], sizeof name[n], "%.*s", (int)(strlen(s) - strlen(".lora_a")), s);
        list[n] = name[n], n++;
    }
    return n;
}

static double run(struct grad *g, const struct reference *r) {
    struct err e = {0};
    float coef[MAX_TOK];
    double nll[MAX_TOK];
    loss_coef(&r->b, batch_n_label(&r->b), coef);
    if (grad_run(g, &r->b, coef, nll, &e) != 0) fail_msg("%s", e.msg);
    return loss_sum(&r->b, nll) / batch_n_label(&r->b);
}

static void check_loss(const struct reference *r, int i, double got) {
    const json_t *list = json_object_get(r->j, "losses");
    const double want = json_number_value(json_array_get(list, (size_t)i));
    if (!(fabs(got - want) <= 2e-5 * want))
        fail_msg("loss before step %d is %.9g; %.9g is right", i + 1, got, want);
}

static void steps_of_an_adapter(void **state) {
    (void)state;
    struct reference r;
    struct err e = {0};
    char name[MAX_TENSOR][96];
    const char *list[MAX_TENSOR];
    reference_open(&r);
    const struct lora_opts lo = {.rank = (int)number(r.j, "rank"),
                                 .alpha = (float)number(r.j, "alpha"),
                                 .tensors = list,
                                 .n_tensors = adapted(&r, name, list)};
    const struct grad_opts o = {.lora = &lo, .max_rows = r.b.n, .kept_layers = 1};
    const struct adamw adam = {(float)number(r.j, "beta1"), (float)number(r.j, "beta2"),
                               (float)number(r.j, "eps"), (float)number(r.j, "weight_decay"), 0};
    struct team *team = team_new(2, &e);
    struct gguf *file = gguf_open(r.model, &e);
    struct grad *g = file ? grad_new(team, file, &o, &e) : NULL;
    if (!g) fail_msg("%s", e.msg);
    struct params *p = grad_params(g);
    assert_int_equal(p->n_param, 2 * lo.n_tensors);
    for (int i = 0; i < p->n_param; i++)
        memcpy(p->w + p->p[i].at, values(&r, "init", p->p[i].name), p->p[i].n * sizeof(float));
    for (int step = 0; step < N_STEP; step++) {
        check_loss(&r, step, run(g, &r));
        if (step == 0) check_plane(&r, "grad_step1", p, p->grad, 1e-4);
        if (step == 1) check_plane(&r, "grad_step2", p, p->grad, 1e-4);
        optim_step(team, p, &adam, step, number(r.j, "lr"), 0);
        grad_refresh(g);
    }
    check_loss(&r, N_STEP, run(g, &r));
    check_plane(&r, "final", p, p->w, 1e-4);
    grad_free(g);
    gguf_close(file);
    team_free(team);
    reference_close(&r);
}

static void entries_of_all_weights(void **state) {
    (void)state;
    struct reference r;
    struct err e = {0};
    reference_open(&r);
    const struct grad_opts o = {.max_rows = r.b.n, .kept_layers = 0};
    struct team *team = team_new(2, &e);
    struct gguf *file = gguf_open(r.model, &e);
    struct grad *g = file ? grad_new(team, file, &o, &e) : NULL;
    const json_t *x, *list = json_object_get(r.j, "full_grad");
    size_t i;
    if (!g) fail_msg("%s", e.msg);
    const double loss = run(g, &r), want_loss = number(r.j, "full_loss");
    assert_true(fabs(loss - want_loss) <= 1e-5 * want_loss);
    json_array_foreach(list, i, x) {
        const json_t *at = json_object_get(x, "index");
        const char *tensor = json_string_value(json_object_get(x, "tensor"));
        const struct param *p = params_find(grad_params(g), tensor);
        assert_non_null(p);
        size_t k = (size_t)json_integer_value(json_array_get(at, 0));
        if (json_array_size(at) == 2)
            k = k * (size_t)p->ne[0] + (size_t)json_integer_value(json_array_get(at, 1));
        const double want = number(x, "grad"), got = (double)grad_params(g)->grad[p->at + k];
        if (!(fabs(got - want) <= 1e-4 * fabs(want) + 2e-6))
            fail_msg("'%s' %zu: %.9g; %.9g is right", tensor, k, got, want);
    }
    assert_true(i > 30);
    grad_free(g);
    gguf_close(file);
    team_free(team);
    reference_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_an_adapter),
        cmocka_unit_test(entries_of_all_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
