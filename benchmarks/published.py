"""What others report for the tasks of the garden `mips`, from their own figures.

Of all 62 tasks of Michaud et al., "Opening the AI black box: program synthesis via mechanistic
interpretability", 2024 (arXiv 2402.05110), MIPS solves 32 and GPT-4 Turbo 30; of the 34 that are
finite-state machines 13 and 14. `GPT4` is the table that they publish with their code
(github.com/ejmichaud/neural-verification, gpt4/task_results.csv). Who solves a task has found a
program that passes on samples; nothing is proven.
"""

GPT4 = frozenset(
    {
        "base6_addition",
        "bitwise_xor",
        "bitwise_or",
        "bitwise_and",
        "bitwise_not",
        "parity_last2",
        "parity_of_index",
        "alternating_last4",
        "bit_shift_right",
        "div3",
        "add_mod3",
        "min_seen",
        "evens_detector",
        "dithering",
    }
)
