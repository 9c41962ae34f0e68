"""Everything: `make bench`, or `python -m benchmarks`, from the repository's root.

--quick     fewer rounds, without the peers that take minutes to compile
"""

import argparse
from importlib.util import find_spec

from benchmarks import cluster, evaluation, picture, pruning, scaling, training
from stages import PLANTS

NEEDS = {"jax": "optax", "torch.compile": "torch", "torch eager": "torch", "tinygrad": "tinygrad"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Bonsai beside its peers")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, quick compilers only")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--patience", type=float, default=120, help="seconds to build a contender")
    given = parser.parse_args()
    rounds = min(3, given.rounds) if given.quick else given.rounds
    wanted = [p for p in training.PEERS if not given.quick or p in ("jax", "torch eager")]
    peers = [p for p in wanted if find_spec(NEEDS[p])]
    for peer in wanted:
        if peer not in peers:
            print(f"{peer}: left out, {NEEDS[peer]} is not installed; see benchmarks/README.md")
    training.run([*range(len(training.SHAPES))], peers, rounds, given.patience)
    picture.main()
    evaluation.run(rounds)
    pruning.run(PLANTS, pruning.SEQUENCES)
    scaling.run(rounds)
    cluster.run(min(5, rounds))


if __name__ == "__main__":
    main()
