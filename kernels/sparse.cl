// The forward pass of dense.cl for pruned networks, at the cost of the edges and neurons that are left.
// Sums are added in the same order, so that the same bits come out. `edges` is a network's list, as
// kernels/edges.py says; what it leaves out is never computed and never read. Compile-time constants are
// LANES, PAIR, LEAK, HEAD and NODE, and of training UNIT, ROWS, SHARED and those of the regulariser and
// Adam; the others are the same in all lists of an architecture, and of a training.

#define LIST edges[0] // its length
#define RECORD edges[1]
#define INPUTS edges[2]
#define OUTPUTS edges[3]
#define PARAMETERS edges[4]
#define CARRY edges[5]
#define EDGES edges[6] // where the pairs begin
#define READERS edges[7]
#define STEPS edges[8]
#define FEATURES edges[9]
#define RESTARTS edges[10]
#define CHUNKS edges[11]
#define GROUPS edges[12]
#define BLOCK edges[13]
#define SCALE as_float(edges[14])
#define PULL as_float(edges[15])
#define ITEMS (RESTARTS * CHUNKS)
#define NEURONS edges[HEAD - 1] // how many are left

#define SLOT(node) (node)[0]
#define BIAS(node) (node)[1]
#define BEGIN(node) (node)[2]
#define SECOND(node) (node)[3]
#define END(node) (node)[4]
#define STATE(node) (node)[5]
#define READ_BEGIN(node) (node)[6]
#define READ_END(node) (node)[7]
#define INITIAL(node) (node)[8]
#define NODE_AT(k) (edges + HEAD + (k) * NODE)
#define PAIR_AT(from, e) (edges + (from) + 2 * (e))
#define EACH_NODE(k) for (Edges node = NODE_AT(0); node < NODE_AT(k); node += NODE)

// What edges FROM to TO add to the sums of a pair, read from records.
#define ADD_EDGE(u) sum##u += w * AT(from, u * RECORD);
#define EACH_EDGE(RECORDS, FROM, TO, ADD) \
    for (int e = FROM; e < TO; e++) { \
        Edges edge = PAIR_AT(EDGES, e); \
        const float w = p[edge[1]]; \
        Data from = OFF(RECORDS, edge[0]); \
        EACH_SET(ADD) \
    }

inline void start(Edges edges, Weights p, Slots record) {
    EACH_NODE(NEURONS)
        if (STATE(node) >= 0) AT(record, SLOT(node)) = (vec)p[INITIAL(node)];
}

#define FROM_BIAS(u) vec sum##u = (vec)p[BIAS(node)];
#define FINISH(u) { \
    vec slope; \
    AT(now, u * RECORD + SLOT(node)) = ameo_with_derivative(sum##u, factor, LEAK, &slope); \
    if (keep) AT(slopes, u * DELTAS + SLOT(node)) = slope; \
}
inline void forward(Edges edges, Weights p, Data before, Slots now, const bool keep, Slots slopes,
                    float factor) {
    EACH_NODE(NEURONS) {
        EACH_SET(FROM_BIAS)
        EACH_EDGE(now, BEGIN(node), SECOND(node), ADD_EDGE)
        EACH_EDGE(before, SECOND(node), END(node), ADD_EDGE)
        EACH_SET(FINISH)
    }
}

inline void disturb(Edges edges, Slots record, const float noise, const uint seed, const uint steps,
                    const uint group, const uint t) {
    EACH_NODE(NEURONS)
        if (STATE(node) >= 0)
            AT(record, SLOT(node)) += noise * uniform_at(seed, steps, group, t, CARRY, STATE(node));
}

#define HEAD_FROM_BIAS(u) vec sum##u = (vec)p[BIAS(node)], odd##u = (vec)0.0f;
#define ADD_ODD(u) odd##u += w * AT(from, u * RECORD);
#define HEAD_VALUE(u) value[u] = sum##u + odd##u;
inline void head(Edges edges, Weights p, Data now, const int o, vec *value) {
    Edges node = NODE_AT(NEURONS + o);
    EACH_SET(HEAD_FROM_BIAS)
    EACH_EDGE(now, BEGIN(node), SECOND(node), ADD_EDGE)
    EACH_EDGE(now, SECOND(node), END(node), ADD_ODD)
    EACH_SET(HEAD_VALUE)
}
