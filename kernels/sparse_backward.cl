// The way back of pruned networks, at the cost of the edges and neurons that are left, in the order of
// dense_backward.cl, so that the same bits come out. Of what a list leaves out there is no gradient.
// Compile-time constants: those of step.cl and sparse.cl.

// What a node's edges from E on add to the gradient of their weights, so many at once that none of the
// sums waits for itself.
#define OPEN_EDGE(a) \
    Edges edge##a = PAIR_AT(EDGES, e + a); \
    Data left##a = OFF(e + a < SECOND(node) || is_head ? now : before, edge##a[0]); \
    const Slots to##a = OFF(total, edge##a[1]); \
    vec sum##a = add ? AT(to##a, 0) : (vec)0.0f;
#define ADD_RECORD(a) sum##a += AT(left##a, t * RECORD) * right;
#define STORE_EDGE(a) AT(to##a, 0) = sum##a;
#define WEIGHTS_OF(EACH) { \
    EACH(OPEN_EDGE) \
    for (int t = 0; t < records; t++) { \
        const vec right = AT(delta, t * DELTAS); \
        EACH(ADD_RECORD) \
    } \
    EACH(STORE_EDGE) \
}
#define ONE(M) M(0)
#define TWO(M) ONE(M) M(1)
#define FOUR(M) TWO(M) M(2) M(3)

// dL/db of nodes in a row.
#define OPEN_NODE(a) \
    Data delta##a = OFF(d, SLOT(node + a * NODE)); \
    const Slots to##a = OFF(total, BIAS(node + a * NODE)); \
    vec sum##a = add ? AT(to##a, 0) : (vec)0.0f;
#define ADD_DELTA(a) sum##a += AT(delta##a, t * DELTAS);
#define BIASES_OF(EACH) { \
    EACH(OPEN_NODE) \
    for (int t = 0; t < records; t++) { EACH(ADD_DELTA) } \
    EACH(STORE_EDGE) \
}

inline void gradients(Edges edges, const int records, Data before, Data now, Slots d, Slots total,
                      const bool add) {
    const int neurons = NEURONS, nodes = neurons + OUTPUTS;
    for (int k = 0; k < nodes; k++) {
        Edges node = NODE_AT(k);
        const Slots delta = OFF(d, SLOT(node));
        const bool is_head = k >= neurons;
        int e = BEGIN(node);
        for (; e + 4 <= END(node); e += 4) WEIGHTS_OF(FOUR)
        for (; e + 2 <= END(node); e += 2) WEIGHTS_OF(TWO)
        for (; e < END(node); e++) WEIGHTS_OF(ONE)
    }
    int k = 0;
    for (; k + 4 <= nodes; k += 4) { Edges node = NODE_AT(k); BIASES_OF(FOUR) }
    for (; k < nodes; k++) { Edges node = NODE_AT(k); BIASES_OF(ONE) }
}

// What the deltas of those that read a neuron add to the gradient of its value.
#define NO_GRADIENT(u) vec sum##u = (vec)0.0f;
#define ADD_READER(u) sum##u += w * AT(from, u * DELTAS);
#define READERS_OF(NODE_, D) \
    for (int e = READ_BEGIN(NODE_); e < READ_END(NODE_); e++) { \
        Edges edge = PAIR_AT(READERS, e); \
        const float w = p[edge[1]]; \
        const Slots from = OFF(D, edge[0]); \
        EACH_SET(ADD_READER) \
    }

inline void begin_total(Edges edges, Slots total) {
    EACH_NODE(NEURONS)
        if (STATE(node) >= 0) AT(total, INITIAL(node)) = (vec)0.0f;
}

inline void force(Edges edges, Edges code, const Data *told, Slots now, Slots d) {
    EACH_NODE(NEURONS) {
        const int feature = STATE(node) >= 0 ? code[STATE(node)] : -1;
        for (int u = 0; u < PAIR && feature >= 0; u++) {
            const Slots state = OFF(now, u * RECORD + SLOT(node));
            ask_for(told[u] + AHEAD * FEATURES + feature, 1);
            const vec h = told[u][feature];
            AT(d, u * DELTAS + SLOT(node)) *= (2.0f * PULL) * (AT(state, 0) - h);
            AT(state, 0) = h;
        }
    }
}

inline void backward(Edges edges, Weights p, Slots records, Slots deltas, Slots total, bool add,
                     const float pull, const bool hinted, Edges code) {
    Edges first = NODE_AT(0), last = NODE_AT(NEURONS - 1);
    for (int end = STEPS; end > 0; end -= BLOCK) {
        const int begin = end > BLOCK ? end - BLOCK : 0;
        for (int t = end - 1; t >= begin; t--) {
            const Slots d = OFF(deltas, PAIR * t * DELTAS);
            for (Edges node = last; node >= first; node -= NODE) {
                const int state = STATE(node);
                const Slots delta = OFF(d, SLOT(node));
                // What a hint has replaced has its whole delta already.
                if (hinted && state >= 0 && code[state] >= 0) continue;
                EACH_SET(NO_GRADIENT)
                if (state >= 0 && pull > 0.0f) {
                    #define BINARIZE(u) { \
                        const vec s = AT(records, (PAIR * (t + 1) + u) * RECORD + SLOT(node)); \
                        sum##u = pull * (s * (s * s - 1.0f)); \
                    }
                    EACH_SET(BINARIZE)
                }
                if (state < 0) { READERS_OF(node, d) }
                else if (t < STEPS - 1) { READERS_OF(node, OFF(d, PAIR * DELTAS)) }
                #define TIMES(u) AT(delta, u * DELTAS) *= sum##u;
                EACH_SET(TIMES)
            }
        }
        const Slots before = OFF(records, PAIR * begin * RECORD);
        gradients(edges, PAIR * (end - begin), before, OFF(before, PAIR * RECORD),
                  OFF(deltas, PAIR * begin * DELTAS), total, add);
        add = true;
    }
    EACH_NODE(NEURONS)
        if (STATE(node) >= 0) {
            EACH_SET(NO_GRADIENT)
            READERS_OF(node, deltas)
            #define TO_INITIAL(u) AT(total, INITIAL(node)) += sum##u;
            EACH_SET(TO_INITIAL)
        }
}

#define EACH_SUM \
    EACH_NODE(NEURONS + OUTPUTS) { \
        SUM_UP(BIAS(node)) \
        if (STATE(node) >= 0) SUM_UP(INITIAL(node)) \
        for (int e = BEGIN(node); e < END(node); e++) { \
            const int weight = PAIR_AT(EDGES, e)[1]; \
            SUM_UP(weight) \
        } \
    }
