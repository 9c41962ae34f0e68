// The forward pass of one step of whole networks. Each weight is loaded once for the PAIR. Compile-time
// constants: those of cell.cl.

// Tiles. The compiler keeps what has a name in a register and puts arrays in memory, so that a tile
// is written out: EACH_n(M) is M(0) ... M(n-1), and SETS(M, k) is M(k, u) for each u of the pair.
#define EACH_1(M) M(0)
#define EACH_2(M) EACH_1(M) M(1)
#define EACH_3(M) EACH_2(M) M(2)
#define EACH_4(M) EACH_3(M) M(3)
#define EACH_5(M) EACH_4(M) M(4)
#define EACH_6(M) EACH_5(M) M(5)
#define EACH_7(M) EACH_6(M) M(6)
#define EACH_8(M) EACH_7(M) M(7)
#if PAIR == 2
#define SETS(M, k) M(k, 0) M(k, 1)
#define LARGEST 6 // 12 sums, 2 sources and 1 weight fill 16 registers
#else
#define SETS(M, k) M(k, 0)
#define LARGEST 8
#endif
#if LANES == 1
#define TWO_AT_ONCE // a GPU's compiler decides by itself
#else
#define TWO_AT_ONCE _Pragma("unroll 2") // turns of a loop, whose own instructions count
#endif
#define DEFINE_TILES(DEFINE) DEFINE(1) DEFINE(2) DEFINE(3) DEFINE(4) DEFINE(5) DEFINE(6) DEFINE(7) DEFINE(8)

// COUNT things in as few tiles as there can be, of two sizes: a tile of one or two takes as long as one
// of four, for its sums wait for themselves. CALL(TILE) finds the first thing in `at`.
#define TILE_OF(n, CALL) case n: CALL(n) break;
#define TILES_OF(NUMBER, SIZE, CALL) \
    for (int k = 0; k < (NUMBER); k++, at += (SIZE)) \
        switch (SIZE) { \
            TILE_OF(1, CALL) TILE_OF(2, CALL) TILE_OF(3, CALL) TILE_OF(4, CALL) \
            TILE_OF(5, CALL) TILE_OF(6, CALL) TILE_OF(7, CALL) TILE_OF(8, CALL) \
        }
#define IN_TILES(COUNT, CALL) { \
    const int tiles = ((COUNT) + LARGEST - 1) / LARGEST, size = tiles ? (COUNT) / tiles : 0; \
    const int larger = (COUNT) - size * tiles; \
    int at = 0; \
    TILES_OF(larger, size + 1, CALL) \
    TILES_OF(tiles - larger, size, CALL) \
}

// A neuron's value from its sum, and (to `slope`, if `keep`) its derivative.
inline void activate(const vec sum, Slots h, const bool keep, Slots slope, const float factor) {
    vec derivative;
    AT(h, 0) = ameo_with_derivative(sum, factor, LEAK, &derivative);
    if (keep) AT(slope, 0) = derivative;
}

// What becomes of a tile's sums. A CPU has no registers for a dozen of them and for what their activations
// need: it stores them, and takes them one by one.
#if LANES == 1
#define FINISH_ONE(k, u) activate(sum##k##_##u, OFF(h, u * RECORD + k), keep, \
                                  OFF(slopes, u * DELTAS + k), factor);
#define ACTIVATE_ALL(J)
#else
#define FINISH_ONE(k, u) AT(h, u * RECORD + k) = sum##k##_##u;
#define ACTIVATE(u) \
    activate(AT(h, u * RECORD + j), OFF(h, u * RECORD + j), keep, OFF(slopes, u * DELTAS + j), factor);
#define ACTIVATE_ALL(J) for (int j = 0; j < (J); j++) { EACH_SET(ACTIVATE) }
#endif

// The first TILE neurons: weighted sums, and FINISH.
#define FROM_BIAS(k, u) vec sum##k##_##u = (vec)b[k];
#define SUMS_FROM_BIAS(k) SETS(FROM_BIAS, k)
#define SOURCE_OF_X(k, u) const vec source##u = AT(x, u * RECORD + i);
#define SOURCE_OF_S(k, u) const vec source##u = AT(s, u * RECORD + i);
#define ADD(k, u) sum##k##_##u += w * source##u;
#define ADD_X(k) { const float w = W[i * J + k]; SETS(ADD, k) }
#define ADD_S(k) { const float w = W[(n + i) * J + k]; SETS(ADD, k) }
#define FINISH(k) SETS(FINISH_ONE, k)
#define DEFINE_NEURONS(TILE) \
inline void neurons_##TILE(const int n, const int S, const int J, Weights W, Weights b, Data x, Data s, \
                           Slots h, const bool keep, Slots slopes, const float factor) { \
    EACH_##TILE(SUMS_FROM_BIAS) \
    TWO_AT_ONCE for (int i = 0; i < n; i++) { SETS(SOURCE_OF_X, 0) EACH_##TILE(ADD_X) } \
    TWO_AT_ONCE for (int i = 0; i < S; i++) { SETS(SOURCE_OF_S, 0) EACH_##TILE(ADD_S) } \
    EACH_##TILE(FINISH) \
}
DEFINE_TILES(DEFINE_NEURONS)

// h = A([x, s] W + b), the J neurons of a layer.
inline void neurons(const int n, const int S, const int J, Weights W, Weights b, Data x, Data s,
                    Slots h, const bool keep, Slots slopes, float factor) {
    #define NEURONS(TILE) \
        neurons_##TILE(n, S, J, W + at, b + at, x, s, OFF(h, at), keep, OFF(slopes, at), factor);
    IN_TILES(J, NEURONS)
    ACTIVATE_ALL(J)
}

// All layers for one time. `before` is the record of the time before; slopes are laid out as a record.
#define FORWARD(n, S, O, R, W, B, X, Z, H, C, FIRST, COMPLETE) \
    neurons(n, S, O + R, p + W, p + B, OFF(now, X), OFF(before, Z), OFF(now, H), keep, \
            OFF(slopes, H), factor);
inline void forward(Edges edges, Weights p, Data before, Slots now, const bool keep, Slots slopes,
                    float factor) {
    LAYERS(FORWARD)
}

#define START(S, S0, Z, C) \
    for (int i = 0; i < S; i++) AT(record, Z + i) = (vec)p[S0 + i];
inline void start(Edges edges, Weights p, Slots record) { CELLS(START) }

// Adds noise of this size to the states in a record; no two groups of sequences have the same.
#define DISTURB(S, S0, Z, C) \
    for (int i = 0; i < S; i++) AT(record, Z + i) += noise * uniform_at(seed, steps, group, t, CARRY, C + i);
inline void disturb(Edges edges, Slots record, const float noise, const uint seed, const uint steps,
                    const uint group, const uint t) {
    CELLS(DISTURB)
}

// The sums of a head: two of each, so that neither waits for itself.
inline void head(Edges edges, Weights p, Data now, const int o, vec *value) {
    #define HEAD(u) { \
        vec even = (vec)p[HEAD_B + o], odd = (vec)0.0f; \
        Data h = OFF(now, u * RECORD + HEAD_H); \
        for (int i = 0; i + 1 < HEAD_N; i += 2) { \
            even += p[HEAD_W + i * OUTPUTS + o] * AT(h, i); \
            odd += p[HEAD_W + (i + 1) * OUTPUTS + o] * AT(h, i + 1); \
        } \
        if (HEAD_N & 1) even += p[HEAD_W + (HEAD_N - 1) * OUTPUTS + o] * AT(h, HEAD_N - 1); \
        value[u] = even + odd; \
    }
    EACH_SET(HEAD)
}
