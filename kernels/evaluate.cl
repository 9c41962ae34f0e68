// How many sequences each of many candidate networks gets right; one work-item a candidate.
// Compile-time constants: as in step.cl, and STEPS, EARLY (stop at the first wrong sequence).
// limits: number of candidates, number of sequence groups to look at; activation: its factor.

typedef __global const float *Weights;

__kernel void evaluate(__global int *right, Weights parameters, __global const vec *inputs,
                       __global const vec *targets, __global const int *limits,
                       __global const float *activation) {
    const int item = get_global_id(0);
    if (item >= limits[0]) return;
    Weights p = parameters + item * PARAMETERS;
    const float factor = activation[0];
    int count = 0;
    for (int group = 0; group < limits[1]; group++) {
        __global const vec *x = inputs + group * (STEPS * INPUTS);
        __global const vec *y = targets + group * (STEPS * OUTPUTS);
        vec z[RECORD_Z], after[CARRY];
        ivec wrong = (ivec)0;
        #define START(n, O, S, W, B, S0, Z, NEXT, D, C) \
            for (int i = 0; i < S; i++) z[Z + n + i] = (vec)p[S0 + i];
        CELLS(START)
        for (int t = 0; t < STEPS; t++) {
            for (int i = 0; i < INPUTS; i++) z[i] = x[t * INPUTS + i];
            #define FORWARD(n, O, S, W, B, S0, Z, NEXT, D, C) \
                for (int j = 0; j < O + S; j++) { \
                    vec sum = (vec)p[B + j]; \
                    for (int i = 0; i < n + S; i++) sum += p[W + i * (O + S) + j] * z[Z + i]; \
                    const vec value = ameo(sum, factor, LEAK); \
                    if (j < O) z[NEXT + j] = value; else after[j - O] = value; \
                } \
                for (int j = 0; j < S; j++) z[Z + n + j] = after[j];
            CELLS(FORWARD)
            for (int o = 0; o < OUTPUTS; o++) {
                vec sum = (vec)p[HEAD_B + o];
                for (int i = 0; i < HEAD_N; i++) sum += p[HEAD_W + i * OUTPUTS + o] * z[HEAD_Z + i];
                const vec target = y[t * OUTPUTS + o];
                // not (> 0) rather than <= 0, so that NaN is wrong
                wrong |= MASK(target != 0.0f) & ~MASK(sum * target > 0.0f);
            }
        }
        int ok[LANES];
        bool all = true;
#if LANES == 1
        ok[0] = !wrong;
#else
        vstore8(wrong == 0, 0, ok);
#endif
        for (int lane = 0; lane < LANES; lane++) {
            if (ok[lane] && (all || !EARLY)) count++;
            all = all && ok[lane];
        }
        if (EARLY && !all) break;
    }
    right[item] = count;
}
