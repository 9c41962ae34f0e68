// Loss and gradient of R restarts on one minibatch: the whole unrolled pass forward and backward.
//
// One work-item takes one restart and one chunk of the minibatch, LANES sequences at a time:
//   forward   keeps each cell's input z = [x, s], and A' of each neuron, for every step
//   backward  turns the kept A' into delta = dL/d(pre-activation), step by step
//   weights   dL/dW = sum over steps of z (x) delta, as register tiles over the kept z and delta
//
// Compile-time constants (kernels/fused.py): LANES, UNIT (groups drawn together), ITEMS, RESTARTS,
// CHUNKS, GROUPS (of LANES sequences in the minibatch), POOL (units in the dataset), STEPS, INPUTS, OUTPUTS, PARAMETERS,
// SEED, SCALE, LEAK, RECORD_Z and RECORD_D (slots a step), HEAD_*, and
// CELLS(F) = F(n, O, S, W, B, S0, Z, NEXT, D, C) for each cell: widths, offsets of its W, b and s0 in
// the parameters, of its z and the next cell's z in a step's record, of its deltas, and of its states
// in the carry; CELLS_REVERSED(F) adds whether it is the FIRST.

#if LANES == 1
#define STRIDE ITEMS // neighbouring work-items touch neighbouring words
#else
#define STRIDE 1
#endif
#define SLOTS ((STEPS + 1) * RECORD_Z + STEPS * RECORD_D + PARAMETERS)
#define AT(pointer, slot) (pointer)[(slot) * STRIDE]

typedef __global vec *Slots;
typedef __global const float *Weights;

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

// TILE neurons of one cell, from j on: weighted sums, activation, derivative.
inline void neurons(const int TILE, const int j, const int n, const int O, const int S,
                    Weights W, Weights b, Slots z, Slots after, Slots next, Slots d, float factor) {
    vec sum[8];
    #pragma unroll
    for (int k = 0; k < TILE; k++) sum[k] = (vec)b[j + k];
    for (int i = 0; i < n + S; i++) {
        const vec source = AT(z, i);
        #pragma unroll
        for (int k = 0; k < TILE; k++) sum[k] += W[i * (O + S) + j + k] * source;
    }
    #pragma unroll
    for (int k = 0; k < TILE; k++) {
        vec slope;
        const vec value = ameo_with_derivative(sum[k], factor, LEAK, &slope);
        AT(d, j + k) = slope;
        if (j + k < O) AT(next, j + k) = value;
        else AT(after, n + j + k - O) = value;
    }
}

// TILE entries of W delta, from row i on.
inline void transposed(const int TILE, const int i, const int J, Weights W, Slots delta, vec *out) {
    vec sum[8];
    #pragma unroll
    for (int k = 0; k < TILE; k++) sum[k] = (vec)0.0f;
    for (int j = 0; j < J; j++) {
        const vec source = AT(delta, j);
        #pragma unroll
        for (int k = 0; k < TILE; k++) sum[k] += W[(i + k) * J + j] * source;
    }
    #pragma unroll
    for (int k = 0; k < TILE; k++) out[k] = sum[k];
}

// A tile of ROWS x COLUMNS of dL/dW, summed over all steps and added to what is there.
inline void outer(const int ROWS, const int COLUMNS, const int J, Slots z, Slots delta, Slots gradient) {
    vec sum[4][4];
    #pragma unroll
    for (int a = 0; a < ROWS; a++)
        #pragma unroll
        for (int b = 0; b < COLUMNS; b++) sum[a][b] = AT(gradient, a * J + b);
    for (int t = 0; t < STEPS; t++) {
        vec left[4], right[4];
        #pragma unroll
        for (int a = 0; a < ROWS; a++) left[a] = AT(z, t * RECORD_Z + a);
        #pragma unroll
        for (int b = 0; b < COLUMNS; b++) right[b] = AT(delta, t * RECORD_D + b);
        #pragma unroll
        for (int a = 0; a < ROWS; a++)
            #pragma unroll
            for (int b = 0; b < COLUMNS; b++) sum[a][b] += left[a] * right[b];
    }
    #pragma unroll
    for (int a = 0; a < ROWS; a++)
        #pragma unroll
        for (int b = 0; b < COLUMNS; b++) AT(gradient, a * J + b) = sum[a][b];
}

inline void outer_row(const int ROWS, const int J, Slots z, Slots delta, Slots gradient) {
    for (int j = 0; j + 4 <= J; j += 4)
        outer(ROWS, 4, J, z, delta + j * STRIDE, gradient + j * STRIDE);
    if (J % 4)
        outer(ROWS, J % 4, J, z, delta + J / 4 * 4 * STRIDE, gradient + J / 4 * 4 * STRIDE);
}

// dL/dW (N, J) and dL/db (J) of one layer.
inline void weight_gradient(const int N, const int J, Slots z, Slots delta, Slots dW, Slots db) {
    for (int i = 0; i + 4 <= N; i += 4)
        outer_row(4, J, z + i * STRIDE, delta, dW + i * J * STRIDE);
    if (N % 4)
        outer_row(N % 4, J, z + N / 4 * 4 * STRIDE, delta, dW + N / 4 * 4 * J * STRIDE);
    for (int j = 0; j < J; j++) {
        vec sum = AT(db, j);
        for (int t = 0; t < STEPS; t++) sum += AT(delta, t * RECORD_D + j);
        AT(db, j) = sum;
    }
}

__kernel void gradient(__global float *partial, __global vec *scratch, Weights parameters,
                       __global const vec *inputs, __global const vec *targets,
                       __global const int *counter, __global const float *schedule) {
    const int item = get_global_id(0);
    if (item >= ITEMS) return;
    const int restart = item / CHUNKS, chunk = item % CHUNKS;
    Weights p = parameters + restart * PARAMETERS;
    const uint step = counter[restart];
    const float factor = schedule[step * SCHEDULE + 4], noise = schedule[step * SCHEDULE + 5];

    const Slots zs = scratch + (STRIDE == 1 ? item * SLOTS : item);
    const Slots ds = zs + (STEPS + 1) * RECORD_Z * STRIDE;
    const Slots total = ds + STEPS * RECORD_D * STRIDE;
    for (int i = 0; i < PARAMETERS; i++) AT(total, i) = (vec)0.0f;
    vec loss = (vec)0.0f;

    const int first = GROUPS * chunk / CHUNKS, last = GROUPS * (chunk + 1) / CHUNKS;
    for (int group = first; group < last; group++) {
        const uint sequence = drawn(step, group);
        __global const vec *x = inputs + sequence * (STEPS * INPUTS);
        __global const vec *y = targets + sequence * (STEPS * OUTPUTS);

        #define START(n, O, S, W, B, S0, Z, NEXT, D, C) \
            for (int i = 0; i < S; i++) AT(zs, Z + n + i) = (vec)p[S0 + i];
        CELLS(START)
        for (int t = 0; t < STEPS; t++) {
            const Slots z = zs + t * RECORD_Z * STRIDE, d = ds + t * RECORD_D * STRIDE;
            for (int i = 0; i < INPUTS; i++) AT(z, i) = x[t * INPUTS + i];
            #define FORWARD(n, O, S, W, B, S0, Z, NEXT, D, C) { \
                const Slots own = z + Z * STRIDE, after = z + (RECORD_Z + Z) * STRIDE; \
                const Slots next = z + NEXT * STRIDE, slope = d + D * STRIDE; \
                for (int j = 0; j + 8 <= O + S; j += 8) \
                    neurons(8, j, n, O, S, p + W, p + B, own, after, next, slope, factor); \
                if ((O + S) % 8) \
                    neurons((O + S) % 8, (O + S) / 8 * 8, n, O, S, p + W, p + B, own, after, next, \
                            slope, factor); \
                if (noise > 0.0f) \
                    for (int i = 0; i < S; i++) \
                        AT(after, n + i) += noise * uniform_at(step, group, t, C + i); \
            }
            CELLS(FORWARD)
            for (int o = 0; o < OUTPUTS; o++) {
                vec sum = (vec)p[HEAD_B + o];
                for (int i = 0; i < HEAD_N; i++) sum += p[HEAD_W + i * OUTPUTS + o] * AT(z, HEAD_Z + i);
                const vec target = y[t * OUTPUTS + o];
                const vec short_by = target * target - sum * target; // 0 for a don't-care, 0
                const vec hinge = pick(MASK(short_by > 0.0f), short_by, (vec)0.0f);
                loss += hinge * hinge;
                AT(d, HEAD_D + o) = (-2.0f * SCALE) * (hinge * target);
            }
        }

        vec carry[CARRY], back[BACK];
        for (int i = 0; i < CARRY; i++) carry[i] = (vec)0.0f;
        for (int t = STEPS - 1; t >= 0; t--) {
            const Slots d = ds + t * RECORD_D * STRIDE;
            for (int i = 0; i < HEAD_N; i++) {
                vec sum = (vec)0.0f;
                for (int o = 0; o < OUTPUTS; o++) sum += p[HEAD_W + i * OUTPUTS + o] * AT(d, HEAD_D + o);
                back[i] = sum;
            }
            #define BACKWARD(n, O, S, W, B, S0, Z, NEXT, D, C, FIRST) { \
                const Slots delta = d + D * STRIDE; \
                for (int j = 0; j < O; j++) AT(delta, j) *= back[j]; \
                for (int j = 0; j < S; j++) AT(delta, O + j) *= carry[C + j]; \
                const int from = FIRST ? n : 0; \
                for (int i = 0; i + 8 <= n - from; i += 8) \
                    transposed(8, i, O + S, p + W, delta, back + i); \
                if ((n - from) % 8) \
                    transposed((n - from) % 8, (n - from) / 8 * 8, O + S, p + W, delta, back + (n - from) / 8 * 8); \
                for (int i = 0; i + 8 <= S; i += 8) \
                    transposed(8, n + i, O + S, p + W, delta, carry + C + i); \
                if (S % 8) \
                    transposed(S % 8, n + S / 8 * 8, O + S, p + W, delta, carry + C + S / 8 * 8); \
            }
            CELLS_REVERSED(BACKWARD)
        }

        #define SUM(n, O, S, W, B, S0, Z, NEXT, D, C, FIRST) \
            weight_gradient(n + S, O + S, zs + Z * STRIDE, ds + D * STRIDE, \
                            total + W * STRIDE, total + B * STRIDE); \
            for (int i = 0; i < S; i++) AT(total, S0 + i) += carry[C + i];
        CELLS_REVERSED(SUM)
        weight_gradient(HEAD_N, OUTPUTS, zs + HEAD_Z * STRIDE, ds + HEAD_D * STRIDE,
                        total + HEAD_W * STRIDE, total + HEAD_B * STRIDE);
    }

    __global float *out = partial + item * (PARAMETERS + 1);
    for (int i = 0; i < PARAMETERS; i++) out[i] = lane_sum(AT(total, i));
    out[PARAMETERS] = lane_sum(loss) * SCALE;
}

// Sums the chunks, adds the sparse regulariser, and takes one step of Adam; one work-item a restart.
//   R(w) = 1/n sum( i_T (tanh((|w|-t) s) - tanh(-t s)) + i_L1 |w| )
// `share` is 1/n of the tensor that a parameter belongs to, 0 where it is not regularised.
// Source of Adam: Kingma and Ba, 2015.
__kernel void update(__global float *parameters, __global float *mean, __global float *square,
                     __global int *counter, __global float *history, __global const float *partial,
                     __global const float *share, __global const float *schedule) {
    const int restart = get_global_id(0);
    if (restart >= RESTARTS) return;
    const int step = counter[restart];
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
    counter[restart] = step + 1;
}
