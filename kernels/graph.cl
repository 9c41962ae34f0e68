// How many sequences each of many graphs gets right, at the cost of its edges and neurons; a work-item
// takes one graph and one part of the sequences. A graph's nodes are numbered inputs, states, neurons
// and heads; `node_at[g]` is where those of graph g that are computed start in `bias`, and g more in
// `edge_at`, where each node's edges begin and the last one's end: `source` (a node's number) and
// `weight`; `state_at[g]` is where its states start in `initial` and `link` (the node fed back). Each
// neuron waits for those that it reads, and so BLOCK x LANES sequences are taken at once: the CPU works on
// the others meanwhile.
//
// What differs from task to task is in `shape`, so that one kernel is compiled for all: graphs, groups
// of LANES sequences, nodes of the largest graph, inputs, outputs, steps, and when to stop a graph:
// never, after the block with the first sequence that is wrong (and count those before it), or at the
// first wrong step (and count the blocks before it); and parts. Compile-time constants: LANES, BLOCK.

#define STOP_AFTER_BLOCK 1
#define STOP_AT_ONCE 2

#if LANES == 1
#define STRIDE items
#else
#define STRIDE 1
#endif
#define AT(pointer, slot) (pointer)[(slot) * STRIDE]

// The compiler keeps what has a name in a register: EACH(M) is M(u) for each group u of a block.
#if BLOCK == 4
#define EACH(M) M(0) M(1) M(2) M(3)
#define EITHER(name) (name##0 | name##1 | name##2 | name##3)
#else
#define EACH(M) M(0)
#define EITHER(name) name##0
#endif
#define OPEN(u) \
    const int group##u = first + u < last ? first + u : last - 1; \
    __global const vec *x##u = inputs + group##u * (steps * in); \
    __global const vec *y##u = targets + group##u * (steps * out); \
    ivec wrong##u = (ivec)0;
#define READ(u) AT(to, u) = x##u[i];
#define START(u) AT(to, u) = (vec)first_state[i];
#define FROM_BIAS(u) vec sum##u = (vec)biases[node];
#define ADD(u) sum##u += w * AT(from, u);
#define ACTIVATE(u) AT(to, u) = ameo(sum##u, factor, leak);
#define COMPARE(u) wrong##u |= wrong_lanes(sum##u, y##u[o]);
#define NEXT(u) x##u += in; y##u += out;
#define FEED(u) AT(to, u) = AT(from, u);
#define COUNT(u) \
    if (!stopped && first + u < last) stopped = counted(wrong##u, &count, stop != 0);

__kernel void evaluate_graphs(__global int *right, __global vec *scratch,
                              __global const int *node_at, __global const int *edge_at,
                              __global const int *state_at, __global const int *source,
                              __global const int *link, __global const float *bias,
                              __global const float *weight, __global const float *initial,
                              __global const float *activation, __global const vec *inputs,
                              __global const vec *targets, __global const int *shape) {
    const int item = get_global_id(0), nodes = shape[2];
    const int in = shape[3], out = shape[4], steps = shape[5], stop = shape[6], parts = shape[7];
    const int items = shape[0] * parts, graph = item / parts, part = item % parts;
    if (item >= items) return;
    __global vec *values = scratch + (LANES == 1 ? item : item * nodes * BLOCK);
    __global vec *states = &AT(values, in * BLOCK);
    const float factor = activation[2 * graph], leak = activation[2 * graph + 1];
    __global const float *first_state = initial + state_at[graph];
    __global const int *fed = link + state_at[graph];
    const int state_count = state_at[graph + 1] - state_at[graph];
    const int nodes_of = node_at[graph + 1] - node_at[graph], heads = nodes_of - out;
    __global const float *biases = bias + node_at[graph];
    __global const int *at = edge_at + node_at[graph] + graph;
    int count = 0;
    bool stopped = false;
    const int last = part_at(shape[1], part + 1, parts);
    for (int first = part_at(shape[1], part, parts); first < last && !stopped; first += BLOCK) {
        EACH(OPEN)
        __global vec *to = states;
        for (int i = 0; i < state_count; i++, to += BLOCK * STRIDE) { EACH(START) }
        for (int t = 0; t < steps && !stopped; t++) {
            to = values;
            for (int i = 0; i < in; i++, to += BLOCK * STRIDE) { EACH(READ) }
            to += state_count * BLOCK * STRIDE;
            for (int node = 0; node < nodes_of; node++, to += BLOCK * STRIDE) {
                EACH(FROM_BIAS)
                for (int e = at[node]; e < at[node + 1]; e++) {
                    const float w = weight[e];
                    __global const vec *from = &AT(values, source[e] * BLOCK);
                    EACH(ADD)
                }
                const int o = node - heads;
                if (o < 0) { EACH(ACTIVATE) }
                else { EACH(COMPARE) }
            }
            to = states;
            for (int i = 0; i < state_count; i++, to += BLOCK * STRIDE) {
                __global const vec *from = &AT(values, fed[i] * BLOCK);
                EACH(FEED)
            }
            EACH(NEXT)
            stopped = stop == STOP_AT_ONCE && any_lane(EITHER(wrong));
        }
        EACH(COUNT)
    }
    right[item] = told(count, stopped);
}
