"""Make the smallest proven graphs smaller and rounder: python -m stages.polish PLANT"""

from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from bonsai.artifact import ArtifactError, load_json, load_table, save_json, save_table
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.check import check
from bonsai.dataset import draw
from bonsai.graph import Graph, load_graphs
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.polish import grid, polish, rank, shape
from bonsai.prove import prove
from bonsai.result import Result
from bonsai.simplify import simplify
from stages import run_stage

Verdict = Certificate | Counterexample | Undecided


def stage(parameters: Any, folder: Path) -> str:
    p, q = parameters.polish, parameters.prove
    machine = Machine.load(folder / "machine.parquet")
    graphs = load_graphs(folder / "proven")
    found = load_json(folder / "prove.json")
    if len(found["rows"]) != len(graphs):
        raise ArtifactError(f"{folder}: prove.json does not fit proven/; run `dvc repro` again")
    sure = partial(prove, pairs=q.pairs, cells=q.cells, rounds=q.rounds)
    quick = partial(sure, quick=True)
    graph, verdict = graphs[0], sure(graphs[0], machine)
    best, before = 0, graph
    if isinstance(verdict, Certificate):
        fresh = draw(machine, np.random.default_rng([p.seed, 4]), p.sequences, p.length, p.tilted)
        polished: list[tuple[int, Graph, Certificate]] = []
        shapes: set[tuple] = set()  # searched from; a search finds other numbers by itself
        progress = tqdm(
            total=min(p.starts, len(graphs)),
            desc=f"polish {parameters.name}",
            unit="graph",
            disable=None,
        )
        for n, start in enumerate(graphs):
            if len(polished) == p.starts:
                break
            own = sure(start, machine)
            assert isinstance(own, Certificate), f"the stage prove found graph {n} proven"
            small, own = simplify(start, machine, own, quick)
            if shape(small) in shapes:
                continue
            shapes.add(shape(small))
            small, own = polish(
                small,
                own,
                machine,
                quick,
                fresh.inputs,
                fresh.targets,
                p.rounds,
                p.walkers,
                p.variants,
                p.patience,
                p.seed + n,
            )
            polished.append((n, *simplify(small, machine, own, quick)))
            progress.update()
            progress.set_postfix(smallest=min(g.size for _, g, _ in polished))
        progress.close()
        best, graph, verdict = min(polished, key=lambda found: rank(*found[1:]))
        before = graphs[best]
        check(verdict, graph, machine)
    row = found["rows"][best]
    certificate = (
        verdict if isinstance(verdict, Certificate) else Certificate.empty(len(graph.initial))
    )
    graph.save(folder)
    certificate.save(folder / "certificate.npz")
    save_table(folder / "automaton.parquet", "automaton", _automaton(certificate, machine))
    result = _result(parameters.name, machine, graph, before, verdict, row, found, folder)
    save_json(folder / "proof.json", asdict(result))
    proven = "proven" if result.proven else "not proven"
    return f"{graph.weights} weights, {graph.biases} biases, {proven}"


def _result(
    plant: str,
    machine: Machine,
    graph: Graph,
    before: Graph,
    verdict: Verdict,
    row: int,
    found: dict[str, Any],
    folder: Path,
) -> Result:
    proof = verdict if isinstance(verdict, Certificate) else None
    counterexample = None
    if isinstance(verdict, Counterexample):
        bits = [((machine.symbols[a] + 1) // 2).tolist() for a in verdict.word]
        step = len(verdict.word) - 1
        counterexample = {"word": bits, "step": step, "shortest": verdict.shortest}
    network = Network.load(folder / "quantized.npz")
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
        restart=int(network.restart[row]),
        candidate=int(network.candidate[row]),
        rounded=_rounded(folder / "quantize.parquet", row),
        grid=grid(graph),
        neurons=graph.neurons,
        weights=graph.weights,
        biases=graph.biases,
        states=len(graph.initial),
        weights_pruned=before.weights,
        biases_pruned=before.biases,
        proven_restarts=found["proven_restarts"],
        tried=found["tried"],
    )


def _rounded(path: Path, row: int) -> dict[str, float]:
    """The steps that weights, biases and initial states of this row were rounded to."""
    kinds = ("weight", "bias", "initial")
    columns = ["row", *(f"{kind}_step" for kind in kinds)]
    table, _ = load_table(path, "quantize", columns)
    rows = [r for r in table.select(columns).to_pylist() if r["row"] == row]
    if len(rows) != 1:
        raise ArtifactError(f"{path}: {len(rows)} rows for row {row}, expected one")
    return {kind: rows[0][f"{kind}_step"] for kind in kinds}


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
