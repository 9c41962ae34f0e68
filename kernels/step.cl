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
inline uint drawn(const uint seed, const uint pool, uint step, uint i) {
    uint h = seed + step * (GROUPS / UNIT) + i / UNIT;
    HASH(h);
    return h % pool * UNIT + i % UNIT;
}

// out = W delta of N rows of J columns, added to what is there if `add`.
#define FROM_OUT(k, u) vec sum##k##_##u = add ? out[(i + k) * PAIR + u] : (vec)0.0f;
#define SUMS_FROM_OUT(k) SETS(FROM_OUT, k)
#define SOURCE_OF_DELTA(k, u) const vec source##u = AT(delta, u * DELTAS + j);
#define ADD_DELTA(k) { const float w = W[(i + k) * J + j]; SETS(ADD, k) }
#define STORE_ONE(k, u) out[(i + k) * PAIR + u] = sum##k##_##u;
#define STORE(k) SETS(STORE_ONE, k)
#define DEFINE_TRANSPOSED(TILE) \
inline void transposed_##TILE(const int i, const int J, Weights W, Slots delta, const bool add, vec *out) { \
    EACH_##TILE(SUMS_FROM_OUT) \
    for (int j = 0; j < J; j++) { SETS(SOURCE_OF_DELTA, 0) EACH_##TILE(ADD_DELTA) } \
    EACH_##TILE(STORE) \
}
DEFINE_TILES(DEFINE_TRANSPOSED)
inline void transposed(const int N, const int J, Weights W, Slots delta, const bool add, vec *out) {
    #define TRANSPOSED(TILE) transposed_##TILE(at, J, W, delta, add, out);
    IN_TILES(N, TRANSPOSED)
}

// A tile of A x B of dL/dW: left (x) delta summed over some records, added to what is there if `add`.
#define COLUMNS_1(M, a) M(a, 0)
#define COLUMNS_2(M, a) COLUMNS_1(M, a) M(a, 1)
#define COLUMNS_3(M, a) COLUMNS_2(M, a) M(a, 2)
#define COLUMNS_4(M, a) COLUMNS_3(M, a) M(a, 3)
#define COLUMNS_8(M, a) COLUMNS_4(M, a) M(a, 4) M(a, 5) M(a, 6) M(a, 7)
#define ROWS_1(COLUMNS, M) COLUMNS(M, 0)
#define ROWS_2(COLUMNS, M) ROWS_1(COLUMNS, M) COLUMNS(M, 1)
#define ROWS_3(COLUMNS, M) ROWS_2(COLUMNS, M) COLUMNS(M, 2)
#define ROWS_8(COLUMNS, M) ROWS_3(COLUMNS, M) COLUMNS(M, 3) COLUMNS(M, 4) COLUMNS(M, 5) COLUMNS(M, 6) \
    COLUMNS(M, 7)
#define LOAD_SUM(a, b) vec sum##a##b = add ? AT(gradient, a * J + b) : (vec)0.0f;
#define LEFT(a) const vec left##a = AT(left, t * RECORD + a);
#define RIGHT(b) const vec right##b = AT(delta, t * DELTAS + b);
#define ADD_OUTER(a, b) sum##a##b += left##a * right##b;
#define STORE_SUM(a, b) AT(gradient, a * J + b) = sum##a##b;
#define DEFINE_OUTER(A, B) \
inline void outer_##A##B(const int records, const int J, Data left, Slots delta, const bool add, \
                         Slots gradient) { \
    ROWS_##A(COLUMNS_##B, LOAD_SUM) \
    for (int t = 0; t < records; t++) { \
        EACH_##A(LEFT) \
        EACH_##B(RIGHT) \
        ROWS_##A(COLUMNS_##B, ADD_OUTER) \
    } \
    ROWS_##A(COLUMNS_##B, STORE_SUM) \
}
// Three rows of three, or eight in a row or a column: enough sums that none waits for itself, and few
// enough that with their sources they fit 16 registers in whatever order the compiler takes them.
DEFINE_OUTER(3, 3)
DEFINE_OUTER(3, 2)
DEFINE_OUTER(3, 1)
DEFINE_OUTER(2, 4)
DEFINE_OUTER(2, 2)
DEFINE_OUTER(2, 1)
DEFINE_OUTER(1, 8)
DEFINE_OUTER(1, 4)
DEFINE_OUTER(1, 2)
DEFINE_OUTER(1, 1)
DEFINE_OUTER(8, 1)

// dL/dW (N, J) of one source of one layer.
inline void outer(const int N, const int J, const int records, Data left, Slots delta,
                  const bool add, Slots gradient) {
    #define OUTER(A, B) \
        { outer_##A##B(records, J, OFF(left, i), OFF(delta, j), add, OFF(gradient, i * J + j)); j += B; }
    int i = 0;
    if (J == 1)
        for (; i + 8 <= N; i += 8) { int j = 0; OUTER(8, 1) }
    for (; i + 3 <= N; i += 3) {
        int j = 0;
        while (j + 3 <= J) OUTER(3, 3)
        if (J % 3 == 2) OUTER(3, 2)
        if (J % 3 == 1) OUTER(3, 1)
    }
    if (N - i == 2) {
        int j = 0;
        while (j + 4 <= J) OUTER(2, 4)
        if (J & 2) OUTER(2, 2)
        if (J & 1) OUTER(2, 1)
    }
    if (N - i == 1) {
        int j = 0;
        while (j + 8 <= J) OUTER(1, 8)
        if (J & 4) OUTER(1, 4)
        if (J & 2) OUTER(1, 2)
        if (J & 1) OUTER(1, 1)
    }
}

// dL/db (J)
#define FROM_GRADIENT(k) vec sum##k = add ? AT(gradient, j + k) : (vec)0.0f;
#define ADD_BIAS(k) sum##k += AT(delta, t * DELTAS + j + k);
#define TO_GRADIENT(k) AT(gradient, j + k) = sum##k;
#define BIASES(TILE) { \
    EACH_##TILE(FROM_GRADIENT) \
    for (int t = 0; t < records; t++) { EACH_##TILE(ADD_BIAS) } \
    EACH_##TILE(TO_GRADIENT) \
    j += TILE; \
}
inline void bias_gradient(const int J, const int records, Slots delta, const bool add, Slots gradient) {
    int j = 0;
    while (j + 8 <= J) BIASES(8)
    if (J & 4) BIASES(4)
    if (J & 2) BIASES(2)
    if (J & 1) BIASES(1)
}

// The partial sums of the `item`-th chunk of all restarts: gradient of that part of the minibatch, then its
// loss. `worker` is whose scratch is used. `numbers` are the seeds of minibatches and of noise, and the
// units in the dataset: no constants, so that a kernel is not compiled again for others.
inline void pass(const int item, const int worker, const uint step, __global float *partial,
                 __global vec *scratch,
                 Weights parameters, Data inputs, Data targets, Data features,
                 __global const int *code, __global const uint *numbers,
                 __global const float *schedule) {
    const int restart = item / CHUNKS, chunk = item % CHUNKS;
    Weights p = parameters + restart * PARAMETERS;
    bool hinted = false;
    for (int i = 0; FEATURES && i < CARRY; i++) hinted = hinted || code[restart * CARRY + i] >= 0;
    const float factor = schedule[step * SCHEDULE + 4];
    const float noise = schedule[step * SCHEDULE + (hinted ? 7 : 5)];
    const float pull = 4.0f * schedule[step * SCHEDULE + 6] * PULL; // d(1-s^2)^2/ds = 4 s (s^2-1)

    const Slots records = scratch + (STRIDE == 1 ? worker * SLOTS : worker); // from time -1 on
    const Slots deltas = OFF(records, PAIR * (STEPS + 1) * RECORD);
    const Slots total = OFF(deltas, PAIR * STEPS * DELTAS);
    #define NOTHING(S, S0, Z, C) \
        for (int i = 0; i < S; i++) AT(total, S0 + i) = (vec)0.0f;
    CELLS(NOTHING)
    vec loss = (vec)0.0f;

    const int all = GROUPS / PAIR;
    bool add = false; // to `total` what is there
    for (int pair = all * chunk / CHUNKS; pair < all * (chunk + 1) / CHUNKS; pair++) {
        Data x[PAIR], y[PAIR], told[PAIR];
        for (int u = 0; u < PAIR; u++) {
            const uint sequence = drawn(numbers[0], numbers[2], step, pair * PAIR + u);
            x[u] = inputs + sequence * (STEPS * INPUTS);
            y[u] = targets + sequence * (STEPS * OUTPUTS);
            told[u] = features + sequence * (STEPS * FEATURES);
            start(p, OFF(records, u * RECORD));
        }
        for (int t = 0; t < STEPS; t++) {
            const Slots before = OFF(records, PAIR * t * RECORD), now = OFF(before, PAIR * RECORD);
            const Slots d = OFF(deltas, PAIR * t * DELTAS);
            for (int u = 0; u < PAIR; u++)
                for (int i = 0; i < INPUTS; i++) AT(now, u * RECORD + i) = x[u][t * INPUTS + i];
            forward(p, before, now, true, d, factor);
            if (hinted) {
                #define FORCE(S, S0, Z, C) \
                    for (int i = 0; i < S; i++) { \
                        const int feature = code[restart * CARRY + C + i]; \
                        for (int u = 0; u < PAIR && feature >= 0; u++) { \
                            const vec h = told[u][t * FEATURES + feature]; \
                            AT(d, u * DELTAS + Z + i) *= (2.0f * PULL) * (AT(now, u * RECORD + Z + i) - h); \
                            AT(now, u * RECORD + Z + i) = h; \
                        } \
                    }
                CELLS(FORCE)
            }
            if (noise > 0.0f)
                for (int u = 0; u < PAIR; u++)
                    disturb(OFF(now, u * RECORD), noise, numbers[1], STEPS,
                            step * GROUPS + pair * PAIR + u, t);
            for (int u = 0; u < PAIR; u++) {
                for (int o = 0; o < OUTPUTS; o++) {
                    const vec target = y[u][t * OUTPUTS + o];
                    const vec value = head(p, OFF(now, u * RECORD), o);
                    const vec short_by = target * target - value * target; // 0 for a don't-care
                    const vec hinge = pick(MASK(short_by > 0.0f), short_by, (vec)0.0f);
                    loss += hinge * hinge;
                    AT(d, u * DELTAS + RECORD + o) = (-2.0f * SCALE) * (hinge * target);
                }
            }
        }

        vec carry[CARRY * PAIR], back[BACK * PAIR];
        for (int i = 0; i < CARRY * PAIR; i++) carry[i] = (vec)0.0f;
        for (int end = STEPS; end > 0; end -= BLOCK) {
            const int begin = end > BLOCK ? end - BLOCK : 0;
            for (int t = end - 1; t >= begin; t--) {
                const Slots d = OFF(deltas, PAIR * t * DELTAS);
                if (pull > 0.0f) {
                    #define BINARIZE(S, S0, Z, C) \
                        for (int u = 0; u < PAIR; u++) \
                            for (int i = 0; i < S; i++) { \
                                const vec s = AT(records, (PAIR * (t + 1) + u) * RECORD + Z + i); \
                                carry[(C + i) * PAIR + u] += pull * (s * (s * s - 1.0f)); \
                            }
                    CELLS(BINARIZE)
                }
                // What a hint has replaced has its whole delta already.
                #define HINT(S, S0, Z, C) \
                    for (int i = 0; i < S * PAIR; i++) \
                        if (code[restart * CARRY + C + i / PAIR] >= 0) \
                            carry[C * PAIR + i] = (vec)1.0f;
                if (hinted) { CELLS(HINT) }
                transposed(HEAD_N, OUTPUTS, p + HEAD_W, OFF(d, RECORD), false, back);
                // Recurrent neurons alone add to the gradient of the outputs that they read, and
                // outputs alone to that of the states, which the recurrent neurons began.
                #define TIMES_BACK(j, u) AT(delta, u * DELTAS + j) *= back[(j) * PAIR + u];
                #define TIMES_CARRIED(j, u) AT(carrying, u * DELTAS + j) *= carried[(j) * PAIR + u];
                #define BACKWARD(n, S, O, R, W, B, X, Z, H, C, FIRST) { \
                    const Slots delta = OFF(d, H); \
                    for (int j = 0; j < O; j++) { SETS(TIMES_BACK, j) } \
                    const Slots carrying = OFF(delta, O); \
                    const vec *carried = carry + C * PAIR; \
                    for (int j = 0; j < R; j++) { SETS(TIMES_CARRIED, j) } \
                    if (!FIRST) transposed(n, O + R, p + W, delta, O == 0, back); \
                    transposed(S, O + R, p + W + n * (O + R), delta, R == 0, carry + C * PAIR); \
                }
                LAYERS_REVERSED(BACKWARD)
            }
            const int count = PAIR * (end - begin);
            const Slots before = OFF(records, PAIR * begin * RECORD);
            const Slots now = OFF(before, PAIR * RECORD), d = OFF(deltas, PAIR * begin * DELTAS);
            #define WEIGHTS(n, S, O, R, W, B, X, Z, H, C, FIRST) \
                outer(n, O + R, count, OFF(now, X), OFF(d, H), add, OFF(total, W)); \
                outer(S, O + R, count, OFF(before, Z), OFF(d, H), add, OFF(total, W + n * (O + R))); \
                bias_gradient(O + R, count, OFF(d, H), add, OFF(total, B));
            LAYERS(WEIGHTS)
            outer(HEAD_N, OUTPUTS, count, OFF(now, HEAD_H), OFF(d, RECORD), add, OFF(total, HEAD_W));
            bias_gradient(OUTPUTS, count, OFF(d, RECORD), add, OFF(total, HEAD_B));
            add = true;
        }
        #define INITIALS(S, S0, Z, C) \
            for (int i = 0; i < S; i++) \
                for (int u = 0; u < PAIR; u++) AT(total, S0 + i) += carry[(C + i) * PAIR + u];
        CELLS(INITIALS)
    }

    for (int i = 0; i < PARAMETERS; i++) partial[PARTIAL(item, i)] = lane_sum(AT(total, i));
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
inline float adam(const int restart, const int row, const int step, __global float *parameters,
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
                       __global const uint *numbers, __global const int *counter,
                       __global const float *schedule) {
    const int item = get_global_id(0);
    if (item >= ITEMS) return;
    pass(item, item, counter[item / CHUNKS], partial, scratch, parameters, inputs, targets, features, code,
         numbers, schedule);
}

__kernel void update(__global float *parameters, __global float *mean, __global float *square,
                     __global int *counter, __global float *history, __global const float *partial,
                     __global const float *share, __global const float *mask,
                     __global const float *schedule) {
    const int restart = get_group_id(0), row = get_local_id(0), step = counter[restart];
    __local float penalties[ROWS];
    penalties[row] = adam(restart, row, step, parameters, mean, square, history, partial, share, mask,
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
// A worker takes one chunk of its restart after the other, of this step and then of the next. It waits only
// for chunks that others have begun, never for others to begin, so that one alone does all of them where
// there are fewer threads than workers, and not for long, for others may wait for its core. Chunks are
// summed in the same order whoever took them.
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
                                  __global const int *code, __global const uint *numbers,
                                  __global const float *share,
                                  __global const float *mask, __global const float *schedule,
                                  __global const int *steps) {
    const int worker = get_global_id(0), restart = worker % RESTARTS; // first one a restart, then the others
    if (worker >= ITEMS) return;
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
             features, code, numbers, schedule);
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        if (atomic_inc(ours + DONE) % CHUNKS < CHUNKS - 1) continue;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        PENALTY(step, restart) = adam(restart, 0, step, parameters, mean, square, history, partial,
                                      share, mask, schedule);
        counter[restart] = step + 1;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        ours[STEPPED] = taken / CHUNKS + 1;
    }
    if (atomic_inc(ours + AWAY) == CHUNKS - 1) // the last one leaves it as it was
        ours[TAKEN] = ours[DONE] = ours[STEPPED] = ours[AWAY] = 0;
}
#endif
