"""Prove the candidates, the smallest first: python -m stages.prove PLANT"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from bonsai.artifact import ArtifactError, save_json, save_table
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.graph import Graph, load_graphs, save_graphs
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.processes import processes, side_by_side
from bonsai.prove import prove
from bonsai.saturate import saturated
from stages import ParameterError, run_stage

MOST = 16  # processes
LARGER = 1.5  # than the smallest that is proven, a graph that is not worth a proof


@dataclass(frozen=True)
class Trial:
    """A row of quantized.npz, its candidate and restart, and what the proof of a graph found.

    saturated: whether the graph is not that row itself, but has states solved for anew
    """

    row: int
    candidate: int
    restart: int
    graph: Graph
    verdict: Certificate | Counterexample | Undecided
    saturated: bool = False

    @property
    def proven(self) -> bool:
        return isinstance(self.verdict, Certificate)


def stage(parameters: Any, folder: Path) -> str:
    machine = Machine.load(folder / "machine.parquet")
    graphs = load_graphs(folder / "pruned")
    network = Network.load(folder / "quantized.npz")
    if len(graphs) != len(network):
        raise ArtifactError(
            f"{folder}: quantized.npz has {len(network)} rows and pruned/ {len(graphs)}; "
            "run `dvc repro` again"
        )
    if not graphs:
        raise ParameterError(
            "no candidate to prove, for no restart was exact; "
            f"raise plants.{parameters.name}.train.steps or .restarts"
        )
    trials = _tried(parameters, machine, graphs, network)
    if not any(t.proven for t in trials):
        trials = _saturated(parameters, machine, trials)
    best = sorted(trials, key=rank)
    best = [t for t in best if t.proven] or best[:1]
    save_graphs(folder / "proven", [t.graph for t in best])
    save_table(folder / "proofs.parquet", "proofs", _proofs(trials))
    save_json(
        folder / "prove.json",
        {
            "tried": len(trials),
            "proven": sum(t.proven for t in trials),
            "proven_restarts": len({t.restart for t in trials if t.proven}),
            "saturated": any(t.saturated for t in trials),
            "rows": [t.row for t in best],
        },
    )
    proven = sum(t.proven for t in trials)
    return f"{proven or 'none'} of {len(trials)} candidates proven"


def _tried(
    parameters: Any, machine: Machine, graphs: Sequence[Graph], network: Network
) -> list[Trial]:
    """The smallest first, until enough of different candidates are proven, enough are tried, or
    what is left is much larger than one that is proven.

    Several are proven at once, ahead of their turn. What is not needed when its turn comes is left
    out, so that the trials do not depend on how many.
    """
    p = parameters.prove
    trials: list[Trial] = []
    proven: set[int] = set()
    smallest = np.inf
    order = sorted(range(len(graphs)), key=lambda row: (graphs[row].size, row))
    progress = tqdm(total=len(order), desc=f"prove {parameters.name}", unit="graph", disable=None)
    with processes(MOST) as others:
        ahead: deque[tuple[int, Future]] = deque()
        coming = iter(order)
        while len(proven) < p.enough and len(trials) < p.most:
            for row in islice(coming, side_by_side() - len(ahead)):
                given = graphs[row], machine, p.pairs, p.cells, p.rounds
                needed = network.candidate[row] not in proven
                ahead.append((row, others.submit(prove, *given) if needed else Future()))
            if not ahead:
                break
            row, proof = ahead.popleft()
            progress.update()
            candidate = int(network.candidate[row])
            if graphs[row].size > LARGER * smallest:
                break
            if candidate in proven:
                proof.cancel()
                continue
            verdict = proof.result()
            trials.append(Trial(row, candidate, int(network.restart[row]), graphs[row], verdict))
            if trials[-1].proven:
                proven.add(candidate)
                smallest = min(smallest, graphs[row].size)
            progress.set_postfix(proven=len(proven))
    progress.close()
    return trials


def _saturated(parameters: Any, machine: Machine, trials: Sequence[Trial]) -> list[Trial]:
    """The trials; where enough of different candidates that are undecided, the smallest first, are
    proven once their states are saturated, what they are then in their place.
    """
    p = parameters.prove
    found = list(trials)
    proven: set[int] = set()
    for n in sorted(range(len(trials)), key=lambda n: (trials[n].graph.size, n)):
        trial = trials[n]
        if len(proven) == p.enough:
            break
        if trial.candidate in proven or not isinstance(trial.verdict, Undecided):
            continue
        graph = saturated(trial.graph, machine)
        if graph is None:
            continue
        verdict = prove(graph, machine, p.pairs, p.cells, p.rounds)
        if isinstance(verdict, Certificate):
            found[n] = replace(trial, graph=graph, verdict=verdict, saturated=True)
            proven.add(trial.candidate)
    return found


def rank(trial: Trial) -> tuple[float, ...]:
    """The smallest proven graph first, the larger margin on a tie.

    If none is proven: the smallest undecided one, else the one that is right for longest.
    """
    verdict, size = trial.verdict, trial.graph.size
    if isinstance(verdict, Certificate):
        return 0, size, -verdict.margin, trial.row
    if isinstance(verdict, Undecided):
        return 1, size, trial.row
    return 2, -len(verdict.word), size, trial.row


def _proofs(trials: Sequence[Trial]) -> dict[str, pa.Array]:
    """A row a candidate tried; fields that its verdict does not have are null."""
    proofs = [t.verdict if isinstance(t.verdict, Certificate) else None for t in trials]
    wrong = [t.verdict if isinstance(t.verdict, Counterexample) else None for t in trials]
    open_ = [t.verdict if isinstance(t.verdict, Undecided) else None for t in trials]
    names = {Certificate: "proven", Counterexample: "wrong", Undecided: "undecided"}
    sizes = ("neurons", "weights", "biases")
    return {
        "row": pa.array([t.row for t in trials], pa.int32()),
        "candidate": pa.array([t.candidate for t in trials], pa.int32()),
        "restart": pa.array([t.restart for t in trials], pa.int32()),
        "verdict": pa.array([names[type(t.verdict)] for t in trials], pa.string()),
        "certificate": pa.array([p and p.kind for p in proofs], pa.string()),
        "arithmetic": pa.array([p and p.arithmetic for p in proofs], pa.string()),
        "certificate_states": pa.array([len(p) if p else None for p in proofs], pa.int32()),
        "margin": pa.array([p and p.margin for p in proofs], pa.float64()),
        "wrong_length": pa.array([len(w.word) if w else None for w in wrong], pa.int32()),
        "shortest": pa.array([w and w.shortest for w in wrong], pa.bool_()),
        "reason": pa.array([u and u.reason for u in open_], pa.string()),
        "saturated": pa.array([t.saturated for t in trials], pa.bool_()),
        **{s: pa.array([getattr(t.graph, s) for t in trials], pa.int32()) for s in sizes},
    }


if __name__ == "__main__":
    run_stage(stage)
