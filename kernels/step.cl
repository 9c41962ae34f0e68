// Loss and gradient of R restarts on one minibatch: the whole unrolled pass forward and backward.
//
// One work-item takes one restart and one chunk of the minibatch, PAIR x LANES sequences at a time:
//   forward   keeps every record, and A' of each neuron in the place of its delta
//   backward  turns A' into delta = dL/d(pre-activation), step by step, and after every BLOCK steps,
//             while they are in the cache, adds up
//   weights   dL/dW = sum over time of [x, s] (x) delta, as register tiles
//
// Compile-time constants (kernels/fused.py): those of cell.cl, and STEPS, UNIT (groups drawn together),
// FEATURES (of hints; 0 for none), RESTARTS, CHUNKS, GROUPS (of LANES sequences in the minibatch), BLOCK,
// SCALE (1 / (B T outputs)), PULL (1 / (B T states)), BACK (widest output), ROWS (work-items that update
// a restart), JOINED (both kernels as one) and SHARED (words that workers share of a restart).

#define SLOTS (PAIR * ((STEPS + 1) * RECORD + STEPS * DELTAS) + PARAMETERS)

// Where in `partial` the i-th sum of a work-item is.
#if LANES == 1
#define PARTIAL(item, i) ((i) * ITEMS + (item))
#else
#define PARTIAL(item, i) ((item) * (PARAMETERS + 1) + (i))
#endif

// Which group of the dataset is i-th in the minibatch of this step, as in `Recipe.minibatch`.
inline uint drawn(Edges edges, const uint seed, const uint pool, uint step, uint i) {
    uint h = seed + step * (GROUPS / UNIT) + i / UNIT;
    HASH(h);
    return h % pool * UNIT + i % UNIT;
}

// The partial sums of the `item`-th chunk of all restarts: gradient of that part of the minibatch, then its
// loss. `worker` is whose scratch is used. `numbers` are the seeds of minibatches and of noise, and the
// units in the dataset: no constants, so that a kernel is not compiled again for others.
inline void pass(const int item, const int worker, const uint step, __global float *partial,
                 __global vec *scratch,
                 Weights parameters, Data inputs, Data targets, Data features,
                 __global const int *code, __global const uint *numbers, Edges edges,
                 __global const float *schedule) {
    const int restart = item / CHUNKS, chunk = item % CHUNKS;
    Weights p = parameters + restart * PARAMETERS;
    edges += restart * LIST;
    Edges own_code = code + restart * CARRY;
    bool hinted = false;
    for (int i = 0; FEATURES && i < CARRY; i++) hinted = hinted || own_code[i] >= 0;
    const float factor = schedule[step * SCHEDULE + 4];
    const float noise = schedule[step * SCHEDULE + (hinted ? 7 : 5)];
    const float pull = 4.0f * schedule[step * SCHEDULE + 6] * PULL; // d(1-s^2)^2/ds = 4 s (s^2-1)

    const Slots records = scratch + (STRIDE == 1 ? worker * SLOTS : worker); // from time -1 on
    const Slots deltas = OFF(records, PAIR * (STEPS + 1) * RECORD);
    const Slots total = OFF(deltas, PAIR * STEPS * DELTAS);
    begin_total(edges, total);
    vec loss = (vec)0.0f;

    const int all = GROUPS / PAIR;
    bool add = false; // to `total` what is there
    for (int pair = all * chunk / CHUNKS; pair < all * (chunk + 1) / CHUNKS; pair++) {
        Data x[PAIR], y[PAIR], told[PAIR];
        for (int u = 0; u < PAIR; u++) {
            const uint sequence = drawn(edges, numbers[0], numbers[2], step, pair * PAIR + u);
            x[u] = inputs + sequence * (STEPS * INPUTS);
            y[u] = targets + sequence * (STEPS * OUTPUTS);
            told[u] = features + sequence * (STEPS * FEATURES);
            start(edges, p, OFF(records, u * RECORD));
        }
        for (int t = 0; t < STEPS; t++) {
            const Slots before = OFF(records, PAIR * t * RECORD), now = OFF(before, PAIR * RECORD);
            const Slots d = OFF(deltas, PAIR * t * DELTAS);
            for (int u = 0; u < PAIR; u++) {
                ask_for(x[u] + (t + AHEAD) * INPUTS, INPUTS);
                ask_for(y[u] + (t + AHEAD) * OUTPUTS, OUTPUTS);
                for (int i = 0; i < INPUTS; i++) AT(now, u * RECORD + i) = x[u][t * INPUTS + i];
            }
            forward(edges, p, before, now, true, d, factor);
            if (hinted) force(edges, own_code, told, now, d);
            for (int u = 0; u < PAIR; u++) told[u] += FEATURES;
            if (noise > 0.0f)
                for (int u = 0; u < PAIR; u++)
                    disturb(edges, OFF(now, u * RECORD), noise, numbers[1], STEPS,
                            step * GROUPS + pair * PAIR + u, t);
            for (int o = 0; o < OUTPUTS; o++) {
                vec value[PAIR];
                head(edges, p, now, o, value);
                for (int u = 0; u < PAIR; u++) {
                    const vec target = y[u][t * OUTPUTS + o];
                    const vec short_by = target * target - value[u] * target; // 0 for a don't-care
                    const vec hinge = pick(MASK(short_by > 0.0f), short_by, (vec)0.0f);
                    loss += hinge * hinge;
                    AT(d, u * DELTAS + RECORD + o) = (-2.0f * SCALE) * (hinge * target);
                }
            }
        }

        for (int u = 0; u < PAIR; u++) { // what the next pair begins with
            const uint next = drawn(edges, numbers[0], numbers[2], step, (pair + 1) % all * PAIR + u) * STEPS;
            ask_for(inputs + next * INPUTS, AHEAD * INPUTS);
            ask_for(targets + next * OUTPUTS, AHEAD * OUTPUTS);
            for (int i = 0; hinted && i < AHEAD * CARRY; i++) {
                const int feature = own_code[i / AHEAD];
                if (feature >= 0) ask_for(features + (next + i % AHEAD) * FEATURES + feature, 1);
            }
        }
        backward(edges, p, records, deltas, total, add, pull, hinted, own_code);
        add = true;
    }

    #define SUM_UP(i) partial[PARTIAL(item, i)] = lane_sum(AT(total, i));
    EACH_SUM
    partial[PARTIAL(item, PARAMETERS)] = lane_sum(loss) * SCALE;
}

// tanh, within 2e-7: t = (1 - e) / (1 + e) with e = exp(-2 |u|), for the built-in is no vector's.
inline vec bend(const vec u) {
    const float magic = 12582912.0f; // 1.5 x 2^23: what is added to it is rounded to its last bits
    const vec size = absolute(u);
    const vec x = pick(MASK(size > 20.0f), (vec)20.0f, size) * -2.88539008f; // -2 / ln 2
    const vec rounded = x + magic;
    const vec f = (x - (rounded - magic)) * 0.693147181f; // |f| <= ln(2) / 2
    const vec power = 1.0f + f * (1.0f + f * (0.5f + f * (0.166666667f + f * (0.0416666667f
        + f * (0.00833333333f + f * 0.00138888889f)))));
    const vec e = power * AS_VEC((AS_IVEC(rounded) << 23) + AS_IVEC((vec)1.0f));
    return AS_VEC(AS_IVEC((1.0f - e) / (1.0f + e)) | (AS_IVEC(u) & SIGN));
}

// LANES values of which `count` are there, and 0 for the others.
inline vec some(__global const float *from, const int count) {
    if (count >= LANES) return LOAD(0, from);
    float values[LANES];
    for (int k = 0; k < LANES; k++) values[k] = k < count ? from[k] : 0.0f;
    return LOAD(0, values);
}

inline void put(__global float *to, const int count, const vec given) {
    if (count >= LANES) { STORE_ALL(given, 0, to); return; }
    float values[LANES];
    STORE_ALL(given, 0, values);
    for (int k = 0; k < count; k++) to[k] = values[k];
}

// Sums the chunks of one restart, adds the sparse regulariser, and takes a step of Adam, for every
// ROWS-th LANES of its parameters from the `row`-th on; returns their penalty. What `mask` has 0 for
// stays as it is.
//   R(w) = 1/n sum( i_T (tanh((|w|-t) s) - tanh(-t s)) + i_L1 |w| )
// `share` is 1/n of the tensor that a parameter belongs to, 0 where it is not regularised.
// Source of Adam: Kingma and Ba, 2015.
inline float adam(Edges edges, const int restart, const int row, const int step, __global float *parameters,
                  __global float *mean, __global float *square, __global float *history,
                  __global const float *partial, __global const float *share,
                  __global const float *mask, __global const float *schedule) {
    const float rate = schedule[step * SCHEDULE], strength = schedule[step * SCHEDULE + 1];
    const float mean_bias = schedule[step * SCHEDULE + 2], square_bias = schedule[step * SCHEDULE + 3];
    const int first = restart * CHUNKS;
    vec penalty = (vec)0.0f;
    for (int i = row * LANES; i < PARAMETERS; i += ROWS * LANES) {
        const int at = restart * PARAMETERS + i, count = PARAMETERS - i;
        vec g = (vec)0.0f;
        for (int chunk = 0; chunk < CHUNKS; chunk++)
            g += some(partial + PARTIAL(first + chunk, i), count);
        const vec w = some(parameters + at, count), part = some(share + i, count);
        const vec size = absolute(w);
        const vec bent = bend((size - THRESHOLD) * STEEPNESS);
        penalty += part * (strength * (bent - FLOOR) + L1 * size);
        const vec slope = part * (strength * STEEPNESS * (1.0f - bent * bent) + L1);
        g += pick(MASK(size > 0.0f), AS_VEC(AS_IVEC(slope) | (AS_IVEC(w) & SIGN)), (vec)0.0f);
        const vec m = BETA1 * some(mean + at, count) + (1.0f - BETA1) * g;
        const vec v = BETA2 * some(square + at, count) + (1.0f - BETA2) * g * g;
        put(mean + at, count, m);
        put(square + at, count, v);
        const vec moved = w - rate * (m * mean_bias) / (sqrt(v * square_bias) + EPSILON);
        put(parameters + at, count, pick(MASK(some(mask + at, count) > 0.0f), moved, w));
    }
    if (row == ROWS - 1) { // it has the fewest parameters
        float loss = 0.0f;
        for (int chunk = 0; chunk < CHUNKS; chunk++)
            loss += partial[PARTIAL(first + chunk, PARAMETERS)];
        history[(step * RESTARTS + restart) * 2] = loss;
    }
    return lane_sum(penalty);
}

#define PENALTY(step, restart) history[((step) * RESTARTS + (restart)) * 2 + 1]

#if !JOINED
__kernel void gradient(__global float *partial, __global vec *scratch, Weights parameters,
                       Data inputs, Data targets, Data features, __global const int *code,
                       __global const uint *numbers, Edges edges, __global const int *counter,
                       __global const float *schedule) {
    const int item = get_global_id(0);
    if (item >= ITEMS) return;
    pass(item, item, counter[item / CHUNKS], partial, scratch, parameters, inputs, targets, features, code,
         numbers, edges, schedule);
}

__kernel void update(__global float *parameters, __global float *mean, __global float *square,
                     __global int *counter, __global float *history, __global const float *partial,
                     Edges edges, __global const float *share, __global const float *mask,
                     __global const float *schedule) {
    const int restart = get_group_id(0), row = get_local_id(0), step = counter[restart];
    __local float penalties[ROWS];
    penalties[row] = adam(edges, restart, row, step, parameters, mean, square, history, partial, share, mask,
                          schedule);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (row) return;
    float penalty = 0.0f;
    for (int i = 0; i < ROWS; i++) penalty += penalties[i];
    PENALTY(step, restart) = penalty;
    counter[restart] = step + 1;
}

#else
// Both at once and for several steps, on a CPU: no launch is waited for, and records stay in the cache.
// The first workers to come have a restart each, the others help; a thread runs one worker after the other,
// and so begins what no one has begun, while there is something. A worker takes one chunk of its restart
// after the other, of this step and then of the next. It waits only for chunks that others have begun,
// never for others to begin, so that one alone does all of them where there are fewer threads than
// workers, and not for long, for others may wait for its core. Chunks are summed in the same order whoever
// took them.
#define TAKEN 0   // chunks that a worker began, in this launch
#define DONE 1    // chunks that are summed up
#define STEPPED 2 // steps that are done, with Adam
#define AWAY 3    // workers that take no chunk any more
#define PATIENCE (1 << 19) // looks, a millisecond or so

__kernel void gradient_and_update(__global float *parameters, __global float *mean,
                                  __global float *square, __global int *counter,
                                  __global float *history, __global float *partial,
                                  __global vec *scratch, volatile __global int *shared,
                                  Data inputs, Data targets, Data features,
                                  __global const int *code, __global const uint *numbers, Edges edges,
                                  __global const float *share,
                                  __global const float *mask, __global const float *schedule,
                                  __global const int *steps) {
    const int worker = get_global_id(0);
    if (worker >= ITEMS) return;
    const int restart = (uint)atomic_inc(shared + RESTARTS * SHARED) % RESTARTS; // CHUNKS of each a launch
    volatile __global int *ours = shared + restart * SHARED;
    for (int waited = 0; waited < PATIENCE;) {
        const int taken = ours[TAKEN];
        if (taken >= steps[0] * CHUNKS) break;
        if (taken / CHUNKS > ours[STEPPED]) { waited++; continue; } // not all of the step before are done
        if (atomic_cmpxchg(ours + TAKEN, taken, taken + 1) != taken) continue;
        waited = 0;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        const int step = counter[restart];
        pass(restart * CHUNKS + taken % CHUNKS, worker, step, partial, scratch, parameters, inputs, targets,
             features, code, numbers, edges, schedule);
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        if (atomic_inc(ours + DONE) % CHUNKS < CHUNKS - 1) continue;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        PENALTY(step, restart) = adam(edges, restart, 0, step, parameters, mean, square, history, partial,
                                      share, mask, schedule);
        counter[restart] = step + 1;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        ours[STEPPED] = taken / CHUNKS + 1;
    }
    if (atomic_inc(ours + AWAY) == CHUNKS - 1) // the last one leaves it as it was
        ours[TAKEN] = ours[DONE] = ours[STEPPED] = ours[AWAY] = 0;
}
#endif
