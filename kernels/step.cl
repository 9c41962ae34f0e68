// Loss and gradient of R restarts on one minibatch: the whole unrolled pass forward and backward.
//
// One work-item takes one restart and one chunk of the minibatch, LANES sequences at a time:
//   forward   keeps every record, and A' of each neuron in the place of its delta
//   backward  turns A' into delta = dL/d(pre-activation), step by step, and after every BLOCK steps,
//             while they are in the cache, adds up
//   weights   dL/dW = sum over time of [x, s] (x) delta, as register tiles
//
// Compile-time constants (kernels/fused.py): those of cell.cl, and UNIT (groups drawn together),
// RESTARTS, CHUNKS, GROUPS (of LANES sequences in the minibatch), POOL (units in the dataset), BLOCK,
// SEED, NOISE_SEED, SCALE, CARRY (states of all cells) and BACK (widest output), at least 1.

#define DELTAS (RECORD + OUTPUTS) // slots of a time's deltas, those of the head last
#define SLOTS ((STEPS + 1) * RECORD + STEPS * DELTAS + PARAMETERS)

// The integer hash of `bonsai.recipe.hashed`.
// Source: Chris Wellons, "Prospecting for hash functions", 2018.
#define HASH(h) h ^= h >> 16; h *= 0x7feb352du; h ^= h >> 15; h *= 0x846ca68bu; h ^= h >> 16

// Which group of the dataset is i-th in the minibatch of this step, as in `Recipe.minibatch`.
inline uint drawn(uint step, uint i) {
    uint h = SEED + step * (GROUPS / UNIT) + i / UNIT;
    HASH(h);
    return h % POOL * UNIT + i % UNIT;
}

// Uniform in [-1, 1) for one state of LANES sequences at one time, as in `Recipe.noise_at`.
inline vec uniform_at(uint step, uint group, uint t, uint state) {
    uvec h = NOISE_SEED +
             (((step * GROUPS + group) * LANES + LANE_NUMBERS) * STEPS + t) * CARRY + state;
    HASH(h);
    return AS_VEC(AS_IVEC((h >> 9) | 0x3f800000u)) * 2.0f - 3.0f;
}

// out = W delta of N rows of J columns.
#define SUM_FROM_ZERO(k) vec sum##k = (vec)0.0f;
#define ADD_DELTA(k) sum##k += W[(i + k) * J + j] * source;
#define STORE(k) out[i + k] = sum##k;
#define DEFINE_TRANSPOSED(TILE) \
inline void transposed_##TILE(const int i, const int J, Weights W, Slots delta, vec *out) { \
    EACH_##TILE(SUM_FROM_ZERO) \
    for (int j = 0; j < J; j++) { const vec source = AT(delta, j); EACH_##TILE(ADD_DELTA) } \
    EACH_##TILE(STORE) \
}
DEFINE_TRANSPOSED(8)
DEFINE_TRANSPOSED(4)
DEFINE_TRANSPOSED(2)
DEFINE_TRANSPOSED(1)
inline void transposed(const int N, const int J, Weights W, Slots delta, vec *out) {
    #define TRANSPOSED(TILE) transposed_##TILE(at, J, W, delta, out);
    IN_TILES(N, TRANSPOSED)
}

// A tile of A x B of dL/dW: left (x) delta summed over some steps, added to what is there.
// `apart` is the distance of one left to the next, `step` from one time to the next.
#define COLUMNS_1(M, a) M(a, 0)
#define COLUMNS_2(M, a) M(a, 0) M(a, 1)
#define COLUMNS_4(M, a) M(a, 0) M(a, 1) M(a, 2) M(a, 3)
#define ROWS_1(COLUMNS, M) COLUMNS(M, 0)
#define ROWS_2(COLUMNS, M) COLUMNS(M, 0) COLUMNS(M, 1)
#define ROWS_3(COLUMNS, M) COLUMNS(M, 0) COLUMNS(M, 1) COLUMNS(M, 2)
#define LOAD_SUM(a, b) vec sum##a##b = AT(gradient, a * J + b);
#define LEFT(a) const vec left##a = left[t * step + a * apart];
#define RIGHT(b) const vec right##b = AT(delta, t * DELTAS + b);
#define ADD_OUTER(a, b) sum##a##b += left##a * right##b;
#define STORE_SUM(a, b) AT(gradient, a * J + b) = sum##a##b;
#define DEFINE_OUTER(A, B) \
inline void outer_##A##B(const int steps, const int J, Data left, const int apart, const int step, \
                         Slots delta, Slots gradient) { \
    ROWS_##A(COLUMNS_##B, LOAD_SUM) \
    for (int t = 0; t < steps; t++) { \
        EACH_##A(LEFT) \
        EACH_##B(RIGHT) \
        ROWS_##A(COLUMNS_##B, ADD_OUTER) \
    } \
    ROWS_##A(COLUMNS_##B, STORE_SUM) \
}
#define DEFINE_OUTER_ROW(A) \
DEFINE_OUTER(A, 4) \
DEFINE_OUTER(A, 2) \
DEFINE_OUTER(A, 1) \
inline void outer_row_##A(const int steps, const int J, Data left, const int apart, const int step, \
                          Slots delta, Slots gradient) { \
    int j = 0; \
    for (; j + 4 <= J; j += 4) outer_##A##4(steps, J, left, apart, step, COLUMN(delta), COLUMN(gradient)); \
    if (J & 2) { outer_##A##2(steps, J, left, apart, step, COLUMN(delta), COLUMN(gradient)); j += 2; } \
    if (J & 1) outer_##A##1(steps, J, left, apart, step, COLUMN(delta), COLUMN(gradient)); \
}
#define COLUMN(pointer) ((pointer) + j * STRIDE)
DEFINE_OUTER_ROW(3)
DEFINE_OUTER_ROW(2)
DEFINE_OUTER_ROW(1)

// dL/dW (N, J) of one source of one layer.
inline void outer(const int N, const int J, const int steps, Data left, const int apart, const int step,
                  Slots delta, Slots gradient) {
    #define ROW(A) outer_row_##A(steps, J, left + i * apart, apart, step, delta, gradient + i * J * STRIDE)
    int i = 0;
    for (; i + 3 <= N; i += 3) ROW(3);
    if (N % 3 == 2) ROW(2);
    if (N % 3 == 1) ROW(1);
}

// dL/db (J)
inline void bias_gradient(const int J, const int steps, Slots delta, Slots gradient) {
    for (int j = 0; j < J; j++) {
        vec sum = AT(gradient, j);
        for (int t = 0; t < steps; t++) sum += AT(delta, t * DELTAS + j);
        AT(gradient, j) = sum;
    }
}

// The partial sums of one work-item: gradient of its chunk of the minibatch, then its loss.
inline void pass(const int item, const uint step, __global float *partial, __global vec *scratch,
                 Weights parameters, Data inputs, Data targets, __global const float *schedule) {
    const int restart = item / CHUNKS, chunk = item % CHUNKS;
    Weights p = parameters + restart * PARAMETERS;
    const float factor = schedule[step * SCHEDULE + 4], noise = schedule[step * SCHEDULE + 5];

    const Slots records = scratch + (STRIDE == 1 ? item * SLOTS : item); // from time -1 on
    const Slots deltas = records + (STEPS + 1) * RECORD * STRIDE;
    const Slots total = deltas + STEPS * DELTAS * STRIDE;
    for (int i = 0; i < PARAMETERS; i++) AT(total, i) = (vec)0.0f;
    vec loss = (vec)0.0f;

    const int first = GROUPS * chunk / CHUNKS, last = GROUPS * (chunk + 1) / CHUNKS;
    for (int group = first; group < last; group++) {
        const uint sequence = drawn(step, group);
        Data x = inputs + sequence * (STEPS * INPUTS);
        Data y = targets + sequence * (STEPS * OUTPUTS);

        start(p, records);
        for (int t = 0; t < STEPS; t++) {
            const Slots before = records + t * RECORD * STRIDE, now = before + RECORD * STRIDE;
            const Slots d = deltas + t * DELTAS * STRIDE;
            forward(p, x + t * INPUTS, before, now, true, d, factor);
            if (noise > 0.0f) {
                #define ADD_NOISE(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) \
                    for (int i = 0; i < S; i++) \
                        AT(now, H + O + i) += noise * uniform_at(step, group, t, C + i);
                CELLS(ADD_NOISE)
            }
            for (int o = 0; o < OUTPUTS; o++) {
                const vec target = y[t * OUTPUTS + o];
                const vec short_by = target * target - head(p, now, o) * target; // 0 for a don't-care
                const vec hinge = pick(MASK(short_by > 0.0f), short_by, (vec)0.0f);
                loss += hinge * hinge;
                AT(d, RECORD + o) = (-2.0f * SCALE) * (hinge * target);
            }
        }

        vec carry[CARRY], back[BACK];
        for (int i = 0; i < CARRY; i++) carry[i] = (vec)0.0f;
        for (int end = STEPS; end > 0; end -= BLOCK) {
            const int begin = end > BLOCK ? end - BLOCK : 0, steps = end - begin;
            for (int t = end - 1; t >= begin; t--) {
                const Slots d = deltas + t * DELTAS * STRIDE;
                transposed(HEAD_N, OUTPUTS, p + HEAD_W, d + RECORD * STRIDE, back);
                #define BACKWARD(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) { \
                    const Slots delta = d + H * STRIDE; \
                    for (int j = 0; j < O; j++) AT(delta, j) *= back[j]; \
                    for (int j = 0; j < S; j++) AT(delta, O + j) *= carry[C + j]; \
                    if (!FIRST) transposed(n, O + S, p + W, delta, back); \
                    transposed(S, O + S, p + W + n * (O + S), delta, carry + C); \
                }
                CELLS_REVERSED(BACKWARD)
            }
            const Slots before = records + begin * RECORD * STRIDE, now = before + RECORD * STRIDE;
            const Slots d = deltas + begin * DELTAS * STRIDE;
            #define WEIGHTS(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) { \
                const Slots delta = d + H * STRIDE, dW = total + W * STRIDE; \
                if (FIRST) outer(n, O + S, steps, x + begin * INPUTS, 1, INPUTS, delta, dW); \
                else outer(n, O + S, steps, now + PREVIOUS * STRIDE, STRIDE, RECORD * STRIDE, delta, dW); \
                outer(S, O + S, steps, before + (H + O) * STRIDE, STRIDE, RECORD * STRIDE, delta, \
                      dW + n * (O + S) * STRIDE); \
                bias_gradient(O + S, steps, delta, total + B * STRIDE); \
            }
            CELLS(WEIGHTS)
            outer(HEAD_N, OUTPUTS, steps, now + HEAD_H * STRIDE, STRIDE, RECORD * STRIDE,
                  d + RECORD * STRIDE, total + HEAD_W * STRIDE);
            bias_gradient(OUTPUTS, steps, d + RECORD * STRIDE, total + HEAD_B * STRIDE);
        }
        #define INITIALS(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) \
            for (int i = 0; i < S; i++) AT(total, S0 + i) += carry[C + i];
        CELLS(INITIALS)
    }

    __global float *out = partial + item * (PARAMETERS + 1);
    for (int i = 0; i < PARAMETERS; i++) out[i] = lane_sum(AT(total, i));
    out[PARAMETERS] = lane_sum(loss) * SCALE;
}

// Sums the chunks of one restart, adds the sparse regulariser, and takes a step of Adam.
//   R(w) = 1/n sum( i_T (tanh((|w|-t) s) - tanh(-t s)) + i_L1 |w| )
// `share` is 1/n of the tensor that a parameter belongs to, 0 where it is not regularised.
// Source of Adam: Kingma and Ba, 2015.
inline void adam(const int restart, const int step, __global float *parameters, __global float *mean,
                 __global float *square, __global float *history, __global const float *partial,
                 __global const float *share, __global const float *schedule) {
    const float rate = schedule[step * SCHEDULE], strength = schedule[step * SCHEDULE + 1];
    const float mean_bias = schedule[step * SCHEDULE + 2], square_bias = schedule[step * SCHEDULE + 3];
    float penalty = 0.0f, loss = 0.0f;
    for (int i = 0; i < PARAMETERS; i++) {
        const int at = restart * PARAMETERS + i;
        float g = 0.0f;
        for (int chunk = 0; chunk < CHUNKS; chunk++)
            g += partial[(restart * CHUNKS + chunk) * (PARAMETERS + 1) + i];
        const float w = parameters[at], part = share[i];
        if (part > 0.0f) {
            const float size = w < 0.0f ? -w : w;
            const float bent = tanh((size - THRESHOLD) * STEEPNESS);
            penalty += part * (strength * (bent - FLOOR) + L1 * size);
            const float slope = part * (strength * STEEPNESS * (1.0f - bent * bent) + L1);
            g += w > 0.0f ? slope : (w < 0.0f ? -slope : 0.0f);
        }
        const float m = BETA1 * mean[at] + (1.0f - BETA1) * g;
        const float v = BETA2 * square[at] + (1.0f - BETA2) * g * g;
        mean[at] = m;
        square[at] = v;
        parameters[at] = w - rate * (m * mean_bias) / (sqrt(v * square_bias) + EPSILON);
    }
    for (int chunk = 0; chunk < CHUNKS; chunk++)
        loss += partial[(restart * CHUNKS + chunk) * (PARAMETERS + 1) + PARAMETERS];
    history[(step * RESTARTS + restart) * 2] = loss;
    history[(step * RESTARTS + restart) * 2 + 1] = penalty;
}

__kernel void gradient(__global float *partial, __global vec *scratch, Weights parameters,
                       Data inputs, Data targets, __global const int *counter,
                       __global const float *schedule) {
    const int item = get_global_id(0);
    if (item >= ITEMS) return;
    pass(item, counter[item / CHUNKS], partial, scratch, parameters, inputs, targets, schedule);
}

__kernel void update(__global float *parameters, __global float *mean, __global float *square,
                     __global int *counter, __global float *history, __global const float *partial,
                     __global const float *share, __global const float *schedule) {
    const int restart = get_global_id(0);
    if (restart >= RESTARTS) return;
    adam(restart, counter[restart], parameters, mean, square, history, partial, share, schedule);
    counter[restart]++;
}
