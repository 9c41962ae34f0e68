// One step of one cell on LANES sequences, shared by training (step.cl) and evaluation (evaluate.cl).
//
// A record holds the values of one time: h = [o | s'] of each cell, one after the other. A cell reads
// x from the record of this time (or the data) and s from the record before.
//
// Compile-time constants (kernels/layout.py): LANES, ITEMS (work-items), INPUTS, OUTPUTS, PARAMETERS,
// STEPS, LEAK, RECORD (slots a time), HEAD_N (width), HEAD_H (offset in the record), HEAD_W and HEAD_B
// (in the parameters), and CELLS(F) = F(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) for each cell: widths;
// offsets of W, b and s0 in the parameters; of its h and the previous cell's in the record; of its
// states among all states; whether it reads the data. CELLS_REVERSED(F) is from the last to the first.

#if LANES == 1
#define STRIDE ITEMS // neighbouring work-items touch neighbouring words
#else
#define STRIDE 1
#endif
#define AT(pointer, slot) (pointer)[(slot) * STRIDE]

typedef __global vec *Slots;
typedef __global const vec *Data;
typedef __global const float *Weights;

// Tiles. The compiler keeps what has a name in a register and puts arrays in memory, so that a tile
// is written out: EACH_n(M) is M(0) ... M(n-1).
#define EACH_1(M) M(0)
#define EACH_2(M) EACH_1(M) M(1)
#define EACH_3(M) EACH_2(M) M(2)
#define EACH_4(M) EACH_3(M) M(3)
#define EACH_8(M) EACH_4(M) M(4) M(5) M(6) M(7)

// COUNT things in tiles of 8, 4, 2 and 1; CALL(TILE) finds the first one in `at`.
#define IN_TILES(COUNT, CALL) { \
    int at = 0; \
    for (; at + 8 <= (COUNT); at += 8) { CALL(8) } \
    if ((COUNT) & 4) { CALL(4) at += 4; } \
    if ((COUNT) & 2) { CALL(2) at += 2; } \
    if ((COUNT) & 1) { CALL(1) } \
}

// TILE neurons from j on: weighted sums, activation, and (to `slopes`, if `keep`) its derivative.
#define SUM_FROM_BIAS(k) vec sum##k = (vec)b[j + k];
#define ADD_X(k) sum##k += W[i * J + j + k] * source;
#define ADD_S(k) sum##k += W[(n + i) * J + j + k] * source;
#define FINISH(k) { \
    vec slope; \
    AT(h, j + k) = ameo_with_derivative(sum##k, factor, LEAK, &slope); \
    if (keep) AT(slopes, j + k) = slope; \
}
#define DEFINE_NEURONS(TILE) \
inline void neurons_##TILE(const int j, const int n, const int S, const int J, Weights W, Weights b, \
                           Data x, const int step, Data s, Slots h, const bool keep, Slots slopes, \
                           float factor) { \
    EACH_##TILE(SUM_FROM_BIAS) \
    for (int i = 0; i < n; i++) { const vec source = x[i * step]; EACH_##TILE(ADD_X) } \
    for (int i = 0; i < S; i++) { const vec source = AT(s, i); EACH_##TILE(ADD_S) } \
    EACH_##TILE(FINISH) \
}
DEFINE_NEURONS(8)
DEFINE_NEURONS(4)
DEFINE_NEURONS(2)
DEFINE_NEURONS(1)

// h = A([x, s] W + b) of a whole cell. `step` is the distance from one x to the next.
inline void neurons(const int n, const int O, const int S, Weights W, Weights b, Data x, const int step,
                    Data s, Slots h, const bool keep, Slots slopes, float factor) {
    #define NEURONS(TILE) \
        neurons_##TILE(at, n, S, O + S, W, b, x, step, s, h, keep, slopes, factor);
    IN_TILES(O + S, NEURONS)
}

// All cells for one time. `before` is the record of the time before; slopes are laid out as a record.
#define FORWARD(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) \
    if (FIRST) \
        neurons(n, O, S, p + W, p + B, x, 1, before + (H + O) * STRIDE, now + H * STRIDE, \
                keep, slopes + H * STRIDE, factor); \
    else \
        neurons(n, O, S, p + W, p + B, now + PREVIOUS * STRIDE, STRIDE, before + (H + O) * STRIDE, \
                now + H * STRIDE, keep, slopes + H * STRIDE, factor);
inline void forward(Weights p, Data x, Data before, Slots now, const bool keep, Slots slopes,
                    float factor) {
    CELLS(FORWARD)
}

#define START(n, O, S, W, B, S0, H, PREVIOUS, C, FIRST) \
    for (int i = 0; i < S; i++) AT(record, H + O + i) = (vec)p[S0 + i];
inline void start(Weights p, Slots record) { CELLS(START) }

inline vec head(Weights p, Data record, const int o) {
    vec sum = (vec)p[HEAD_B + o];
    for (int i = 0; i < HEAD_N; i++) sum += p[HEAD_W + i * OUTPUTS + o] * AT(record, HEAD_H + i);
    return sum;
}
