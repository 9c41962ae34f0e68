// How many sequences each of many candidate networks gets right; one work-item a candidate.
// Compile-time constants: those of cell.cl, and EARLY (stop at the first wrong sequence).
// limits: number of candidates, number of sequence groups to look at; activation: its factor.

__kernel void evaluate(__global int *right, __global vec *scratch, Weights parameters, Data inputs,
                       Data targets, __global const int *limits, __global const float *activation) {
    const int item = get_global_id(0);
    if (item >= limits[0]) return;
    Weights p = parameters + item * PARAMETERS;
    const float factor = activation[0];
    const Slots records = scratch + (STRIDE == 1 ? item * 2 * RECORD : item); // before, now
    int count = 0;
    for (int group = 0; group < limits[1]; group++) {
        Data x = inputs + group * (STEPS * INPUTS);
        Data y = targets + group * (STEPS * OUTPUTS);
        ivec wrong = (ivec)0;
        start(p, records + RECORD * STRIDE);
        for (int t = 0; t < STEPS; t++) {
            const Slots before = records + (t & 1 ? 0 : RECORD) * STRIDE;
            const Slots now = records + (t & 1 ? RECORD : 0) * STRIDE;
            forward(p, x + t * INPUTS, before, now, false, now, factor);
            for (int o = 0; o < OUTPUTS; o++) {
                const vec target = y[t * OUTPUTS + o];
                // not (> 0) rather than <= 0, so that NaN is wrong
                wrong |= MASK(target != 0.0f) & ~MASK(head(p, now, o) * target > 0.0f);
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
