"""A moving picture of a plant's graph at work: python -m stages.picture PLANT OUT SEED

No stage of the pipeline: `make picture PLANT=ones_triple` draws what the README shows.
SEED draws the input from the task's own distribution.
"""

import sys
from pathlib import Path

import numpy as np

from bonsai.artifact import save_text
from bonsai.film import film
from bonsai.graph import Graph
from bonsai.machine import Machine
from stages import PLANTS, plant_parameters

STEPS = 20


def main(plant: str, out: Path, seed: int) -> None:
    parameters = plant_parameters(plant)
    machine = Machine.load(PLANTS / plant / "machine.parquet")
    (word,), _ = machine.sample(np.random.default_rng(seed), 1, STEPS)
    graph = Graph.load(PLANTS / plant)
    save_text(out, film(graph, machine, word.tolist(), parameters.render.direction))


if __name__ == "__main__":
    if len(sys.argv) != 4 or not sys.argv[3].isdecimal():
        sys.exit("usage: python -m stages.picture PLANT OUT SEED")
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
