// How many sequences each of many candidate networks gets right; a work-item takes one candidate and
// one part of the sequences. Compile-time constants: those of cell.cl. limits: number of candidates, number
// of sequence groups to look at, number of parts, steps of a sequence, and whether to stop at the first
// wrong one and count those before it; activation: its factor, and the noise on the states.

__kernel void evaluate(__global int *right, __global vec *scratch, Weights parameters, Data inputs,
                       Data targets, __global const int *limits, __global const float *activation) {
    const int item = get_global_id(0);
    const int parts = limits[2], part = item % parts, steps = limits[3];
    if (item >= limits[0] * parts) return;
    Weights p = parameters + item / parts * PARAMETERS;
    const float factor = activation[0], noise = activation[1];
    const Slots records = scratch + (STRIDE == 1 ? item * 2 * RECORD : item); // before, now
    int count = 0;
    bool stopped = false;
    const int end = part_at(limits[1], part + 1, parts);
    for (int group = part_at(limits[1], part, parts); group < end && !stopped; group++) {
        Data x = inputs + group * (steps * INPUTS);
        Data y = targets + group * (steps * OUTPUTS);
        ivec wrong = (ivec)0;
        start(p, OFF(records, RECORD));
        for (int t = 0; t < steps; t++) {
            const Slots before = OFF(records, t & 1 ? 0 : RECORD);
            const Slots now = OFF(records, t & 1 ? RECORD : 0);
            for (int i = 0; i < INPUTS; i++) AT(now, i) = x[t * INPUTS + i];
            forward(p, before, now, false, now, factor);
            if (noise > 0.0f) disturb(now, noise, 0, steps, group, t);
            for (int o = 0; o < OUTPUTS; o++) {
                wrong |= wrong_lanes(head(p, now, o), y[t * OUTPUTS + o]);
            }
        }
        stopped = counted(wrong, &count, limits[4]);
    }
    right[item] = told(count, stopped);
}
