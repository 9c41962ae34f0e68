// Adds the sequences of a group that are right to `count`; if `early`, only those before the first wrong
// one. Returns whether to stop.
inline bool counted(ivec wrong, int *count, const bool early) {
    int bad[LANES];
    bool all = true;
#if LANES == 1
    bad[0] = wrong;
#elif LANES == 16
    vstore16(wrong, 0, bad);
#else
    vstore8(wrong, 0, bad);
#endif
    for (int lane = 0; lane < LANES; lane++) {
        if (!bad[lane] && (all || !early)) (*count)++;
        all = all && !bad[lane];
    }
    return early && !all;
}

// Which lanes are wrong: not (> 0) rather than <= 0, so that NaN is; a target of 0 is not checked.
inline ivec wrong_lanes(vec y, vec target) { return MASK(target != 0.0f) & ~MASK(y * target > 0.0f); }

// Whether any bit of any lane is set; the built-in `any` is a call, around which all registers are saved.
inline bool any_lane(ivec v) {
#if LANES == 1
    return v != 0;
#else
#if LANES == 16
    const int8 v8 = v.lo | v.hi;
#else
    const int8 v8 = v;
#endif
    const int4 v4 = v8.lo | v8.hi;
    const int2 v2 = v4.lo | v4.hi;
    return (v2.x | v2.y) != 0;
#endif
}

// Where the groups of a part begin: all of them in order, the parts as long as each other.
inline int part_at(const int groups, const int part, const int parts) {
    return (int)((long)groups * part / parts);
}

// The count of a part, less than 0 if it was stopped.
inline int told(const int count, const bool stopped) { return stopped ? -1 - count : count; }
