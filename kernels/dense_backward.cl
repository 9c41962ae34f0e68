// The way back of whole networks: deltas, and dL/dW as register tiles. Compile-time constants: those of
// step.cl.

// W delta of N rows of J columns, added to what is in `out` if `more`. What is in `to` is multiplied by it
// if that is `complete`, and else it goes to `out`.
#define FROM_OUT(k, u) vec sum##k##_##u = more ? out[k * PAIR + u] : (vec)0.0f;
#define SUMS_FROM_OUT(k) SETS(FROM_OUT, k)
#define SOURCE_OF_DELTA(k, u) const vec source##u = AT(delta, u * DELTAS + j);
#define ADD_DELTA(k) { const float w = W[k * J + j]; SETS(ADD, k) }
#define TO_OUT_ONE(k, u) out[k * PAIR + u] = sum##k##_##u;
#define TO_OUT(k) SETS(TO_OUT_ONE, k)
#define MULTIPLY_ONE(k, u) AT(to, u * DELTAS + k) *= sum##k##_##u;
#define MULTIPLY(k) SETS(MULTIPLY_ONE, k)
#define DEFINE_TRANSPOSED(TILE) \
inline void transposed_##TILE(const int J, Weights W, Slots delta, const bool more, const bool complete, \
                              vec *out, Slots to) { \
    EACH_##TILE(SUMS_FROM_OUT) \
    TWO_AT_ONCE for (int j = 0; j < J; j++) { SETS(SOURCE_OF_DELTA, 0) EACH_##TILE(ADD_DELTA) } \
    if (complete) { EACH_##TILE(MULTIPLY) } \
    else { EACH_##TILE(TO_OUT) } \
}
DEFINE_TILES(DEFINE_TRANSPOSED)
inline void transposed(const int N, const int J, Weights W, Slots delta, const bool more, const bool complete,
                       vec *out, Slots to) {
    #define TRANSPOSED(TILE) \
        transposed_##TILE(J, W + at * J, delta, more, complete, out + at * PAIR, OFF(to, at));
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
#define ROW(a) const Slots row##a = OFF(gradient, a * J);
#define LOAD_SUM(a, b) vec sum##a##b = add ? AT(row##a, b) : (vec)0.0f;
#define LEFT(a) const vec left##a = AT(left, t * RECORD + a);
#define RIGHT(b) const vec right##b = AT(delta, t * DELTAS + b);
#define ADD_OUTER(a, b) sum##a##b += left##a * right##b;
#define STORE_SUM(a, b) AT(row##a, b) = sum##a##b;
#define DEFINE_OUTER(A, B) \
inline void outer_##A##B(const int records, const int J, Data left, Slots delta, const bool add, \
                         Slots gradient) { \
    EACH_##A(ROW) \
    ROWS_##A(COLUMNS_##B, LOAD_SUM) \
    TWO_AT_ONCE for (int t = 0; t < records; t++) { \
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

inline void begin_total(Edges edges, Slots total) {
    #define NOTHING(S, S0, Z, C) \
        for (int i = 0; i < S; i++) AT(total, S0 + i) = (vec)0.0f;
    CELLS(NOTHING)
}

// The states that a hint's code names become the feature told for this time, and their slopes the whole
// delta of the penalty for what they were.
inline void force(Edges edges, Edges code, const Data *told, Slots now, Slots d) {
    #define FORCE(S, S0, Z, C) \
        for (int i = 0; i < S; i++) { \
            const int feature = code[C + i]; \
            for (int u = 0; u < PAIR && feature >= 0; u++) { \
                ask_for(told[u] + AHEAD * FEATURES + feature, 1); \
                const vec h = told[u][feature]; \
                AT(d, u * DELTAS + Z + i) *= (2.0f * PULL) * (AT(now, u * RECORD + Z + i) - h); \
                AT(now, u * RECORD + Z + i) = h; \
            } \
        }
    CELLS(FORCE)
}

#define EACH_STATE(S) \
    for (int i = 0; i < S; i++) \
        for (int u = 0; u < PAIR; u++)

// From the slopes of one pair's records to deltas, step by step, and `total` with the gradient, added to
// what is there if `add`.
inline void backward(Edges edges, Weights p, Slots records, Slots deltas, Slots total, bool add,
                     const float pull, const bool hinted, Edges code) {
    // Of states and of a cell's outputs, what of the gradient is summed up so far; and deltas that a hint
    // has given.
    vec carry[CARRY * PAIR], back[BACK * PAIR], given[CARRY * PAIR];
    #define NOTHING_YET(S, S0, Z, C) EACH_STATE(S) carry[(C + i) * PAIR + u] = (vec)0.0f;
    #define BINARIZE(S, S0, Z, C) \
        EACH_STATE(S) { \
            const vec s = AT(now, u * RECORD + Z + i); \
            carry[(C + i) * PAIR + u] = pull * (s * (s * s - 1.0f)); \
        }
    #define KEEP(S, S0, Z, C) EACH_STATE(S) given[(C + i) * PAIR + u] = AT(d, u * DELTAS + Z + i);
    #define GIVE_BACK(S, S0, Z, C) \
        EACH_STATE(S) if (code[C + i] >= 0) AT(d, u * DELTAS + Z + i) = given[(C + i) * PAIR + u];
    {
        const Slots now = OFF(records, PAIR * STEPS * RECORD), d = OFF(deltas, PAIR * (STEPS - 1) * DELTAS);
        #define LAST_DELTAS(S, S0, Z, C) EACH_STATE(S) AT(d, u * DELTAS + Z + i) *= carry[(C + i) * PAIR + u];
        if (hinted) { CELLS(KEEP) }
        if (pull > 0.0f) { CELLS(BINARIZE) } else { CELLS(NOTHING_YET) }
        CELLS(LAST_DELTAS)
        if (hinted) { CELLS(GIVE_BACK) }
    }
    for (int end = STEPS; end > 0; end -= BLOCK) {
        const int begin = end > BLOCK ? end - BLOCK : 0;
        // The deltas of states are those of this time already; the time before gets its own.
        for (int t = end - 1; t >= begin; t--) {
            const Slots after = OFF(deltas, PAIR * t * DELTAS), d = OFF(after, -PAIR * DELTAS);
            const Slots now = OFF(records, PAIR * t * RECORD);
            const bool pulled = pull > 0.0f && t > 0, kept = hinted && t > 0;
            if (pulled) { CELLS(BINARIZE) }
            if (kept) { CELLS(KEEP) }
            transposed(HEAD_N, OUTPUTS, p + HEAD_W, OFF(after, RECORD), false, HEAD_COMPLETE, back,
                       OFF(after, HEAD_H));
            // Of a cell of two layers the recurrent neurons are the last to add to the gradient of the
            // outputs that they read, and the first to add to that of the states.
            #define BACKWARD(n, S, O, R, W, B, X, Z, H, C, FIRST, COMPLETE) { \
                const Slots delta = OFF(after, H); \
                if (!FIRST) transposed(n, O + R, p + W, delta, O == 0, COMPLETE, back, OFF(after, X)); \
                transposed(S, O + R, p + W + n * (O + R), delta, pulled || R == 0, O > 0 && t > 0, \
                           carry + C * PAIR, OFF(d, Z)); \
            }
            LAYERS_REVERSED(BACKWARD)
            if (kept) { CELLS(GIVE_BACK) }
        }
        const int count = PAIR * (end - begin);
        const Slots before = OFF(records, PAIR * begin * RECORD);
        const Slots now = OFF(before, PAIR * RECORD), d = OFF(deltas, PAIR * begin * DELTAS);
        #define WEIGHTS(n, S, O, R, W, B, X, Z, H, C, FIRST, COMPLETE) \
            outer(n, O + R, count, OFF(now, X), OFF(d, H), add, OFF(total, W)); \
            outer(S, O + R, count, OFF(before, Z), OFF(d, H), add, OFF(total, W + n * (O + R))); \
            bias_gradient(O + R, count, OFF(d, H), add, OFF(total, B));
        LAYERS(WEIGHTS)
        outer(HEAD_N, OUTPUTS, count, OFF(now, HEAD_H), OFF(d, RECORD), add, OFF(total, HEAD_W));
        bias_gradient(OUTPUTS, count, OFF(d, RECORD), add, OFF(total, HEAD_B));
        add = true;
    }
    #define INITIALS(S, S0, Z, C) EACH_STATE(S) AT(total, S0 + i) += carry[(C + i) * PAIR + u];
    CELLS(INITIALS)
}

#define EACH_SUM for (int i = 0; i < PARAMETERS; i++) { SUM_UP(i) }
