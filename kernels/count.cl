// Adds the sequences of a group that are right to `count`; with EARLY (stop at the first wrong one) only
// those before it. Returns whether to stop.
inline bool counted(ivec wrong, int *count) {
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
        if (!bad[lane] && (all || !EARLY)) (*count)++;
        all = all && !bad[lane];
    }
    return EARLY && !all;
}

// Which lanes are wrong: not (> 0) rather than <= 0, so that NaN is; a target of 0 is not checked.
inline ivec wrong_lanes(vec y, vec target) { return MASK(target != 0.0f) & ~MASK(y * target > 0.0f); }
