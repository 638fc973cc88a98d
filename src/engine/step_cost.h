/* What a forward costs on this machine, learned from an engine's own steps: of w rows that decode,
 * and of the rows of prompts beside them.  Speculation (speculate.h) and the scheduler (how much of
 * a prompt fits a step without holding up those who decode) ask here. */
#pragma once

#include <stdint.h>

enum { STEP_COST_MAX = 64 /* rows that are told apart; what more cost follows from them */ };

/* The zero value is ready. */
struct step_cost {
    double one_ns;                   /* a forward of one row; 0: not known yet */
    double ratio[STEP_COST_MAX + 1]; /* [w], in forwards of one; 0: not measured */
    int n_one;                       /* steps in one_ns */
    double prompt_row_ns;            /* a row of a prompt in a step; 0: not known yet */
};

void step_cost_add(struct step_cost *c, int w, int64_t ns);
double step_cost(const struct step_cost *c, int w); /* w >= 1 */
void step_cost_log(const struct step_cost *c);      /* at the debug level */

/* A step of w rows that decode and n of prompts; without both it says nothing. */
void step_cost_add_prompt(struct step_cost *c, int w, int n, int64_t ns);

/* How many rows of prompts, at least 1, make a step of w rows that decode no longer than
 * STEP_STRETCH times what it takes without. */
#define STEP_STRETCH 1.6
int step_cost_prompt_rows(const struct step_cost *c, int w);
