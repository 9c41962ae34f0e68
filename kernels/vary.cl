// Variants of one graph, as bonsai/polish.py searches them: a work-item takes the numbers of a walker,
// changes one to three of them, and lists the edges that are left where graph.cl reads them. A walker's
// numbers are the weights, in some order, biases and initial states. What came out unchanged gets no
// edges and no biases, so that graph.cl is soon done with it.
//
// shape: variants, variants of each walker, numbers of a vector, how many of them are weights and
// biases, neurons and heads, states, edges, and seed. The graph with all its edges: `all_at` is where
// those to each neuron and head begin, and `all_source` where they come from, as in graph.cl; `weight_of`
// and `bias_of` are places in a vector.

#define STEPS 7 // grids that numbers are put on, of steps 1 to 1/64

// PCG RXS-M-XS of 32 bits, O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
// Algorithms for Random Number Generation", 2014.
inline uint next(uint *state) {
    *state = *state * 747796405u + 2891336453u;
    const uint word = ((*state >> ((*state >> 28) + 4)) ^ *state) * 277803737u;
    return (word >> 22) ^ word;
}

// Uniform from 0 to `count` - 1, or 0.
inline int below(uint *state, const int count) { return (int)(((ulong)next(state) * count) >> 32); }

// Changes one of the numbers that are not 0, if there is any; one that is 0 only ever takes the place
// of another. `counted` are weights and biases, the others initial states.
inline void change(__global float *v, const int numbers, const int counted, uint *state) {
    int left = 0;
    for (int i = 0; i < numbers; i++) left += v[i] != 0.0f;
    int before = below(state, left), at = 0;
    for (int i = 0; i < numbers; i++)
        if (v[i] != 0.0f && before-- == 0) at = i;
    const float step = 1.0f / (float)(1 << below(state, STEPS));
    const float moved = below(state, 2) ? -step : step;
    const int other = below(state, numbers);
    switch (below(state, 6)) {
    case 0: v[at] = 0.0f; break;
    case 1: v[at] = rint(v[at] / step) * step + 0.0f; break; // not -0
    case 2:
    case 3: v[at] += moved; break;
    case 4: v[at] = 0.0f - v[at]; break;
    default:
        if (at < counted && other < counted) v[at] = 0.0f;
        v[other] = moved;
    }
}

__kernel void vary(__global float *vectors, __global int *edge_at, __global int *source,
                   __global float *bias, __global float *weight, __global float *initial,
                   __global const float *walkers, __global const int *round,
                   __global const int *shape, __global const int *all_at,
                   __global const int *all_source, __global const int *weight_of,
                   __global const int *bias_of) {
    const int item = get_global_id(0), numbers = shape[2], counted = shape[3];
    const int nodes = shape[4], states = shape[5], edges = shape[6];
    if (item >= shape[0]) return;
    __global float *v = vectors + item * numbers;
    __global const float *walker = walkers + item / shape[1] * numbers;
    for (int i = 0; i < numbers; i++) v[i] = walker[i];
    uint state = shape[7];
    state = next(&state) + round[0];
    state = next(&state) + item;
    for (int left = 1 + below(&state, 3); left > 0; left--) change(v, numbers, counted, &state);
    bool same = true;
    for (int i = 0; i < numbers; i++) same = same && v[i] == walker[i];

    __global int *at = edge_at + item * (nodes + 1);
    int end = item * edges;
    for (int node = 0; node < nodes; node++) {
        at[node] = end;
        bias[item * nodes + node] = same ? 0.0f : v[bias_of[node]];
        for (int e = all_at[node]; e < all_at[node + 1] && !same; e++) {
            const float w = v[weight_of[e]];
            if (w == 0.0f) continue;
            source[end] = all_source[e];
            weight[end++] = w;
        }
    }
    at[nodes] = end;
    for (int s = 0; s < states; s++) initial[item * states + s] = v[counted + s];
}
