// How many sequences each of many candidate networks gets right; a work-item takes one candidate and
// one part of the sequences, PAIR groups of LANES at once. Compile-time constants: those of cell.cl.
// limits: number of candidates, number of sequence groups to look at, number of parts, steps of a
// sequence, whether to stop at the first wrong one and count those before it, and number of work-items;
// activation: its factor, and the noise on the states.

// Which of so many items one of so many work-items takes, or -1 if none. A CPU's threads take work-items
// in rows of up to 256, so that items have to be apart; those of a GPU have to be neighbours.
inline int item_of(const int id, const int ids, const int items) {
#if LANES == 1
    return id < items ? id : -1;
#else
    const int item = (long)id * items / ids;
    return id < ids && (long)(id + 1) * items / ids > item ? item : -1;
#endif
}

#define OPEN(u) \
    const int group##u = first + u < end ? first + u : end - 1; \
    Data x##u = inputs + group##u * (steps * INPUTS), y##u = targets + group##u * (steps * OUTPUTS); \
    ivec wrong##u = (ivec)0; \
    start(edges, p, OFF(records, u * RECORD));
#define READ(u) for (int i = 0; i < INPUTS; i++) AT(now, u * RECORD + i) = x##u[i];
#define DISTURB_ONE(u) disturb(edges, OFF(now, u * RECORD), noise, 0, steps, group##u, t);
#define COMPARE(u) wrong##u |= wrong_lanes(value[u], y##u[o]);
#define NEXT(u) x##u += INPUTS; y##u += OUTPUTS;
#define COUNT(u) if (!stopped && first + u < end) stopped = counted(wrong##u, &count, limits[4]);

__kernel void evaluate(__global int *right, __global vec *scratch, Weights parameters, Edges edges,
                       Data inputs, Data targets, __global const int *limits,
                       __global const float *activation) {
    const int parts = limits[2], item = item_of(get_global_id(0), limits[5], limits[0] * parts);
    if (item < 0) return;
    const int part = item % parts, steps = limits[3];
    Weights p = parameters + item / parts * PARAMETERS;
    edges += item / parts * LIST;
    const float factor = activation[0], noise = activation[1];
    const Slots records = scratch + (STRIDE == 1 ? item * 2 * PAIR * RECORD : item); // before, now
    int count = 0;
    bool stopped = false;
    const int end = part_at(limits[1], part + 1, parts);
    for (int first = part_at(limits[1], part, parts); first < end && !stopped; first += PAIR) {
        EACH_SET(OPEN)
        for (int t = 0; t < steps; t++) {
            const Slots before = OFF(records, t & 1 ? PAIR * RECORD : 0);
            const Slots now = OFF(records, t & 1 ? 0 : PAIR * RECORD);
            EACH_SET(READ)
            forward(edges, p, before, now, false, now, factor);
            if (noise > 0.0f) { EACH_SET(DISTURB_ONE) }
            for (int o = 0; o < OUTPUTS; o++) {
                vec value[PAIR];
                head(edges, p, now, o, value);
                EACH_SET(COMPARE)
            }
            EACH_SET(NEXT)
        }
        EACH_SET(COUNT)
    }
    right[item] = told(count, stopped);
}
