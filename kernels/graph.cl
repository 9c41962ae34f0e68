// How many sequences each of many graphs gets right; one work-item a graph, which costs what its edges
// and neurons cost. A graph's nodes are numbered inputs, states, neurons and heads; `node_at[g]` is
// where those of graph g that are computed start in `bias` and `edge_at`, whose edges are `source`
// (a node's number) and `weight`; `state_at[g]` is where its states start in `initial` and `link` (the
// node fed back). Compile-time constants: LANES, ITEMS, NODES (the largest graph), INPUTS, OUTPUTS,
// STEPS, EARLY.

#if LANES == 1
#define STRIDE ITEMS
#else
#define STRIDE 1
#endif
#define AT(pointer, slot) (pointer)[(slot) * STRIDE]

__kernel void evaluate_graphs(__global int *right, __global vec *scratch,
                              __global const int *node_at, __global const int *edge_at,
                              __global const int *state_at, __global const int *source,
                              __global const int *link, __global const float *bias,
                              __global const float *weight, __global const float *initial,
                              __global const float *activation, __global const vec *inputs,
                              __global const vec *targets, __global const int *groups) {
    const int item = get_global_id(0);
    if (item >= ITEMS) return;
    __global vec *values = scratch + (STRIDE == 1 ? item * NODES : item);
    const float factor = activation[2 * item], leak = activation[2 * item + 1];
    const int states = state_at[item + 1] - state_at[item];
    const int heads = node_at[item + 1] - OUTPUTS;
    int count = 0;
    for (int group = 0; group < groups[0]; group++) {
        __global const vec *x = inputs + group * (STEPS * INPUTS);
        __global const vec *y = targets + group * (STEPS * OUTPUTS);
        ivec wrong = (ivec)0;
        for (int i = 0; i < states; i++) AT(values, INPUTS + i) = (vec)initial[state_at[item] + i];
        for (int t = 0; t < STEPS; t++) {
            for (int i = 0; i < INPUTS; i++) AT(values, i) = x[t * INPUTS + i];
            int slot = INPUTS + states;
            for (int node = node_at[item]; node < node_at[item + 1]; node++, slot++) {
                vec sum = (vec)bias[node];
                for (int e = edge_at[node]; e < edge_at[node + 1]; e++)
                    sum += weight[e] * AT(values, source[e]);
                if (node < heads) AT(values, slot) = ameo(sum, factor, leak);
                else wrong |= wrong_lanes(sum, y[t * OUTPUTS + node - heads]);
            }
            for (int i = 0; i < states; i++)
                AT(values, INPUTS + i) = AT(values, link[state_at[item] + i]);
        }
        if (counted(wrong, &count)) break;
    }
    right[item] = count;
}
