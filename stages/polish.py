"""Make the smallest proven graphs smaller and rounder: python -m stages.polish PLANT"""

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from functools import partial
from itertools import islice
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
from bonsai.polish import Prove, grid, polish, rank, shape
from bonsai.processes import processes
from bonsai.prove import prove
from bonsai.result import Result
from bonsai.simplify import simplify
from stages import run_stage

Verdict = Certificate | Counterexample | Undecided
LARGE = 500  # weights and biases beyond which a graph stays as it is, for its rewrites take hours


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
    if isinstance(verdict, Certificate) and graph.size <= LARGE:
        fresh = draw(machine, np.random.default_rng([p.seed, 4]), p.sequences, p.length, p.tilted)
        how = partial(
            searched,
            machine=machine,
            prove=quick,
            inputs=fresh.inputs,
            targets=fresh.targets,
            rounds=p.rounds,
            walkers=p.walkers,
            variants=p.variants,
            patience=p.patience,
        )
        polished: list[tuple[int, Graph, Certificate]] = []
        progress = tqdm(
            total=min(p.starts, len(graphs)),
            desc=f"polish {parameters.name}",
            unit="graph",
            disable=None,
        )
        with processes(p.starts) as workers:
            searches = {
                workers.submit(how, small, own, seed=p.seed + n): n
                for n, small, own in islice(starts(graphs, machine, sure, quick), p.starts)
            }
            for search in as_completed(searches):
                polished.append((searches[search], *search.result()))
                progress.update()
                progress.set_postfix(smallest=min(g.size for _, g, _ in polished))
        progress.close()
        best, graph, verdict = min(polished, key=lambda found: (rank(*found[1:]), found[0]))
        before = graphs[best]
    if isinstance(verdict, Certificate):
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


def starts(
    graphs: Sequence[Graph], machine: Machine, sure: Prove, quick: Prove
) -> Iterator[tuple[int, Graph, Certificate]]:
    """The number of each graph that has a shape of its own, simplified, and its certificate.

    Of the others nothing is searched: a search finds other numbers of one shape by itself.
    """
    shapes: set[tuple] = set()
    for n, graph in enumerate(graphs):
        own = sure(graph, machine)
        assert isinstance(own, Certificate), f"the stage prove found graph {n} proven"
        small, own = simplify(graph, machine, own, quick)
        if shape(small) not in shapes:
            shapes.add(shape(small))
            yield n, small, own


def searched(
    graph: Graph, certificate: Certificate, machine: Machine, prove: Prove, **how: Any
) -> tuple[Graph, Certificate]:
    """Runs in a process of its own: the best graph that a search from this one finds."""
    found, own = polish(graph, certificate, machine, prove, **how)
    return simplify(found, machine, own, prove)


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
