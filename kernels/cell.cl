// What training (step.cl) and evaluation (evaluate.cl) share of networks that are whole (dense.cl) and
// pruned (sparse.cl): records of the values of PAIR x LANES sequences, their first states, noise, and asking
// the cache for data before they are read.
//
// A record holds the values of LANES sequences at one time: the inputs, then h = [o | s'] of each cell. A
// cell reads x from the record of this time and s from the record before. The records of a pair follow
// each other, so that a time takes PAIR * RECORD slots.
//
// Compile-time constants: LANES, PAIR and LEAK; of whole networks also (kernels/layout.py) ITEMS
// (work-items), INPUTS, OUTPUTS, PARAMETERS, RECORD, CARRY (states of all cells, at least 1), HEAD_N
// (width), HEAD_H (offset in the record), HEAD_W and HEAD_B (in the parameters), HEAD_COMPLETE (as COMPLETE,
// of the head), and
//   CELLS(F) = F(S, S0, Z, C) for each cell: number of states; offsets of s0 in the parameters, of s' in
//   the record, and of its states among all states
//   LAYERS(F) = F(n, S, O, R, W, B, X, Z, H, C, FIRST, COMPLETE) for each layer: width of x; states it
//   reads; how many of its neurons are outputs and recurrent; offsets of W and b in the parameters, of x in
//   the record of this time, of s in the record before, of its neurons in the record, and of its states
//   among all states; whether x is the network's inputs; whether no layer before it reads the same x, so that
//   on the way back dL/dx is complete with it. A cell is one layer, of O outputs and S recurrent neurons; a
//   stacked cell is two, outputs and then recurrent neurons that read them.
// LAYERS_REVERSED(F) is from the last to the first. Of pruned networks the first line is in their lists,
// so that one kernel is compiled for all architectures; `edges` is one of these wherever it is used.

#if LANES == 1
#define STRIDE ITEMS // neighbouring work-items touch neighbouring words
#else
#define STRIDE 1
#endif
#define AT(pointer, slot) (pointer)[(slot) * STRIDE]
#define OFF(pointer, slot) ((pointer) + (slot) * STRIDE)

#define DELTAS (RECORD + OUTPUTS) // slots of the deltas of a record, those of the head last

typedef __global vec *Slots;
typedef __global const vec *Data;
typedef __global const float *Weights;
typedef __global const int *Edges; // the list of a pruned network, of kernels/edges.py

// EACH_SET(M) is M(u) for each u of the pair, which for pruned networks may be four. The compiler
// keeps what has a name in a register and puts arrays in memory.
#if PAIR == 4
#define EACH_SET(M) M(0) M(1) M(2) M(3)
#elif PAIR == 2
#define EACH_SET(M) M(0) M(1)
#else
#define EACH_SET(M) M(0)
#endif

// The integer hash of `bonsai.recipe.hashed`.
// Source: Chris Wellons, "Prospecting for hash functions", 2018.
#define HASH(h) h ^= h >> 16; h *= 0x7feb352du; h ^= h >> 15; h *= 0x846ca68bu; h ^= h >> 16

// Uniform in [-1, 1) for one state of LANES sequences at one time, as in `Recipe.noise_at`.
inline vec uniform_at(const uint seed, const uint steps, uint group, uint t, uint states, uint state) {
    uvec h = seed + ((group * LANES + LANE_NUMBERS) * steps + t) * states + state;
    HASH(h);
    return AS_VEC(AS_IVEC((h >> 9) | 0x3f800000u)) * 2.0f - 3.0f;
}

// Asks the cache for what is read `AHEAD` steps of time later: minibatches are drawn from all over a dataset.
#define AHEAD 2
inline void ask_for(Data values, const int count) {
#if LANES > 1
    for (int i = 0; i < count; i += 64 / sizeof(vec)) __builtin_prefetch((const void *)(size_t)(values + i));
#endif
}
