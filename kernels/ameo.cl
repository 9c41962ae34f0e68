// The activation of bonsai/activation.py and its derivative, branch-free on vectors. With v = |x| - 2,
// w = 1 - |v| and u = |w| its cases are one,
//   A(x) = sign(x) sign(v) (1 - u (f + (1 - f) u^3)), A'(x) = sign(w) (f + 4 (1 - f) u^3)
// but for the tails, |x| > 3, where A(x) is sign(x) (1 + leak u). Signs are moved by bit operations, because in
// the CPU driver fabs, select and copysign are calls of ten times the cost.

#if LANES == 16
typedef float16 vec;
typedef int16 ivec;
typedef uint16 uvec;
#define LANE_NUMBERS ((uvec)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define AS_IVEC as_int16
#define AS_VEC as_float16
#define LOAD vload16
#define STORE_ALL vstore16
#elif LANES == 8
typedef float8 vec;
typedef int8 ivec;
typedef uint8 uvec;
#define LANE_NUMBERS ((uvec)(0, 1, 2, 3, 4, 5, 6, 7))
#define AS_IVEC as_int8
#define AS_VEC as_float8
#define LOAD vload8
#define STORE_ALL vstore8
#elif LANES == 1
typedef float vec;
typedef int ivec;
typedef uint uvec;
#define LANE_NUMBERS 0u
#define AS_IVEC as_int
#define AS_VEC as_float
#define LOAD(at, from) (from)[at]
#define STORE_ALL(value, at, to) (to)[at] = value
#endif

#if LANES == 1
#define MASK(c) (-(ivec)(c)) // scalar comparisons give 1, vector ones -1
#else
#define MASK(c) (c)
#endif

#define SIGN ((ivec)(int)0x80000000)

inline vec absolute(vec x) { return AS_VEC(AS_IVEC(x) & ~SIGN); }

inline vec pick(ivec mask, vec yes, vec no) { return mask ? yes : no; }

inline float lane_sum(vec v) {
#if LANES == 1
    return v;
#else
#if LANES == 16
    const float8 v8 = v.lo + v.hi;
#else
    const float8 v8 = v;
#endif
    const float4 v4 = v8.lo + v8.hi;
    const float2 v2 = v4.lo + v4.hi;
    return v2.x + v2.y;
#endif
}

#define PIECES \
    const vec v = absolute(x) - 2.0f, w = 1.0f - absolute(v), u = absolute(w); \
    const ivec tail = MASK(v > 1.0f); \
    const vec bent = ((1.0f - factor) * (u * u)) * u + factor; \
    const vec y = 1.0f - pick(tail, (vec)-leak, bent) * u;

#define SIGNED(y, v) AS_VEC(AS_IVEC(y) ^ (AS_IVEC(v) & SIGN))

inline vec ameo(vec x, float factor, float leak) {
    PIECES
    return SIGNED(SIGNED(y, v), x);
}

inline vec ameo_with_derivative(vec x, float factor, float leak, vec *derivative) {
    PIECES
    const vec slope = 4.0f * bent - 3.0f * factor;
    *derivative = pick(tail, (vec)leak, SIGNED(slope, w));
    return SIGNED(SIGNED(y, v), x);
}
