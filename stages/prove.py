"""Prove the candidates of every restart and keep the smallest: python -m stages.prove PLANT"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from bonsai.artifact import ArtifactError, load_table, save_json, save_table
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.check import check
from bonsai.graph import Graph, load_graphs
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.prove import prove
from bonsai.result import Result
from stages import ParameterError, run_stage


@dataclass(frozen=True)
class Trial:
    """A candidate and what came of its proof; first: whether it is its restart's coarsest."""

    candidate: int
    restart: int
    first: bool
    graph: Graph
    verdict: Certificate | Counterexample | Undecided

    @property
    def proven(self) -> bool:
        return isinstance(self.verdict, Certificate)


def stage(parameters: Any, folder: Path) -> None:
    machine = Machine.load(folder / "machine.parquet")
    graphs = load_graphs(folder / "pruned")
    restarts = Network.load(folder / "quantized.npz").restart.tolist()
    if len(graphs) != len(restarts):
        raise ArtifactError(
            f"{folder}: quantized.npz has {len(restarts)} candidates and pruned/ {len(graphs)}; "
            "run `dvc repro` again"
        )
    if not graphs:
        raise ParameterError(
            "no candidate to prove, for no restart was exact; "
            f"raise plants.{parameters.name}.train.steps or .restarts"
        )
    trials = _tried(parameters, machine, graphs, restarts)
    best = choose(trials)
    certificate = best.verdict
    if isinstance(certificate, Certificate):
        check(certificate, best.graph, machine)
    else:
        certificate = Certificate.empty(len(best.graph.initial))
        print(f"{parameters.name}: none of {len(trials)} candidates is proven", file=sys.stderr)
    best.graph.save(folder)
    certificate.save(folder / "certificate.npz")
    save_table(folder / "automaton.parquet", "automaton", _automaton(certificate, machine))
    save_table(folder / "proofs.parquet", "proofs", _proofs(trials))
    grid = _grid(folder / "quantize.parquet", best.candidate)
    result = _result(parameters.name, machine, best, trials, grid)
    save_json(folder / "proof.json", asdict(result))


def _tried(
    parameters: Any, machine: Machine, graphs: Sequence[Graph], restarts: Sequence[int]
) -> list[Trial]:
    """Each restart's candidates, coarsest first, up to the first that is proven."""
    p = parameters.prove
    trials: list[Trial] = []
    every = list(dict.fromkeys(restarts))
    progress = tqdm(every, desc=f"prove {parameters.name}", unit="restart", disable=None)
    for restart in progress:
        own = [c for c, r in enumerate(restarts) if r == restart]
        for c in own:
            verdict = prove(graphs[c], machine, p.pairs, p.cells, p.rounds)
            trials.append(Trial(c, restart, c == own[0], graphs[c], verdict))
            if trials[-1].proven:
                break
        progress.set_postfix(proven=sum(t.proven for t in trials))
    return trials


def choose(trials: Sequence[Trial]) -> Trial:
    """The smallest proven graph, the larger margin on a tie.

    If none is proven: the smallest undecided one, else the one that is right for longest.
    """

    def rank(trial: Trial) -> tuple[float, ...]:
        verdict, size = trial.verdict, trial.graph.size
        if isinstance(verdict, Certificate):
            return 0, size, -verdict.margin, trial.candidate
        if isinstance(verdict, Undecided):
            return 1, size, trial.candidate
        return 2, -len(verdict.word), size, trial.candidate

    return min(trials, key=rank)


def _grid(path: Path, candidate: int) -> dict[str, float]:
    """The steps that this candidate's weights, biases and initial states were rounded to."""
    kinds = ("weight", "bias", "initial")
    columns = ["candidate", *(f"{kind}_step" for kind in kinds)]
    table, _ = load_table(path, "quantize", columns)
    rows = [row for row in table.select(columns).to_pylist() if row["candidate"] == candidate]
    if len(rows) != 1:
        raise ArtifactError(f"{path}: {len(rows)} rows for candidate {candidate}, expected one")
    return {kind: rows[0][f"{kind}_step"] for kind in kinds}


def _result(
    plant: str, machine: Machine, best: Trial, trials: Sequence[Trial], grid: dict[str, float]
) -> Result:
    verdict, graph = best.verdict, best.graph
    proof = verdict if isinstance(verdict, Certificate) else None
    counterexample = None
    if isinstance(verdict, Counterexample):
        bits = [((machine.symbols[a] + 1) // 2).tolist() for a in verdict.word]
        step = len(verdict.word) - 1
        counterexample = {"word": bits, "step": step, "shortest": verdict.shortest}
    return Result(
        plant=plant,
        task=machine.name,
        proven=proof is not None,
        certificate=proof.kind if proof else None,
        certificate_states=len(proof) if proof else None,
        margin=proof.margin if proof and isfinite(proof.margin) else None,
        arithmetic=proof.arithmetic if proof else None,
        counterexample=counterexample,
        reason=verdict.reason if isinstance(verdict, Undecided) else None,
        restart=best.restart,
        candidate=best.candidate,
        grid=grid,
        neurons=graph.neurons,
        weights=graph.weights,
        biases=graph.biases,
        states=len(graph.initial),
        proven_restarts=len({t.restart for t in trials if t.proven}),
        tried=len(trials),
        backed_off=best.proven and not best.first,
    )


def _proofs(trials: Sequence[Trial]) -> dict[str, pa.Array]:
    """A row a candidate tried; fields that its verdict does not have are null."""
    proofs = [t.verdict if isinstance(t.verdict, Certificate) else None for t in trials]
    wrong = [t.verdict if isinstance(t.verdict, Counterexample) else None for t in trials]
    open_ = [t.verdict if isinstance(t.verdict, Undecided) else None for t in trials]
    names = {Certificate: "proven", Counterexample: "wrong", Undecided: "undecided"}
    sizes = ("neurons", "weights", "biases")
    return {
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
        **{s: pa.array([getattr(t.graph, s) for t in trials], pa.int32()) for s in sizes},
    }


def _automaton(certificate: Certificate, machine: Machine) -> dict[str, pa.Array]:
    """The certificate's transitions; `state` and `next` are entries, outputs 0 are not checked."""
    rows = [
        (k, int(certificate.machine_state[k]), a, to)
        for k, a, to in certificate.transitions.tolist()
    ]
    bits = pa.list_(pa.int8())
    return {
        "state": pa.array([k for k, *_ in rows], pa.int32()),
        "machine_state": pa.array([q for _, q, *_ in rows], pa.int32()),
        "symbol": pa.array([a for *_, a, _ in rows], pa.int32()),
        "input": pa.array([machine.symbols[a].tolist() for *_, a, _ in rows], bits),
        "next": pa.array([to for *_, to in rows], pa.int32()),
        "output": pa.array([machine.output[q, a].tolist() for _, q, a, _ in rows], bits),
    }


if __name__ == "__main__":
    run_stage(stage)
