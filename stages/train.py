"""Train all restarts of a plant at once: python -m stages.train PLANT"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf
from tqdm import tqdm

from bonsai.artifact import save_json, save_table, save_text
from bonsai.dataset import Sequences, load_dataset
from bonsai.hints import Codes, codes
from bonsai.machine import Machine
from bonsai.network import Architecture
from bonsai.recipe import UNIT, Recipe, Regularizer, schedule
from bonsai.sizing import Attempt, attempts
from bonsai.train import Checkpoint, Progress, Trained, train
from kernels.evaluate import Evaluator
from kernels.training import KERNELS
from stages import CHECKPOINTS, run_stage

CURVE_POINTS = 200


def stage(parameters: Any, folder: Path) -> str:
    p = parameters.train
    machine = Machine.load(folder / "machine.parquet")
    data, check = (load_dataset(folder / "dataset.parquet", s) for s in ("train", "validation"))
    content = (folder / "dataset.parquet").read_bytes() + OmegaConf.to_yaml(p).encode()
    key = hashlib.sha256(content).hexdigest()
    if p.cells:
        cells = tuple((int(o), int(s)) for o, s in p.cells)
        given = [Attempt(cells, p.stacked, p.hinted)]
    else:
        given = attempts(machine, p.hinted)[: p.attempts]
    found: list[tuple[Attempt, Trained, Codes, Checkpoint]] = []
    for n, attempt in enumerate(given):
        checkpoint = Checkpoint(CHECKPOINTS / folder.name / f"train{n}.npz", key)
        trained, taught = _attempt(parameters, machine, data, check, n, attempt, checkpoint)
        found.append((attempt, trained, taught, checkpoint))
        if trained.exact.sum() >= p.enough:
            break
    _, trained, taught, _ = max(found, key=lambda f: int(f[1].exact.sum()))
    for restart in trained.dropped:
        tqdm.write(f"restart {restart} dropped: its loss was not finite")
    trained.network.save(folder / "runs.npz")
    taught.rows(trained.network.restart).save(folder / "hints.npz")
    _save_history(trained, folder)
    exact = int(trained.exact.sum())
    save_json(
        folder / "train.json",
        {
            "attempts": [_described(attempt, t) for attempt, t, *_ in found],
            "steps": len(trained.history),
            "restarts": p.restarts,
            "exact_restarts": exact,
            "dropped_restarts": len(trained.dropped),
            "loss": float(np.median(trained.history[-1, :, 0])),
        },
    )
    for *_, checkpoint in found:
        checkpoint.delete()
    return f"{exact} of {p.restarts} restarts exact after {len(trained.history)} steps"


def _attempt(
    parameters: Any,
    machine: Machine,
    data: Sequences,
    check: Sequences,
    number: int,
    attempt: Attempt,
    checkpoint: Checkpoint,
) -> tuple[Trained, Codes]:
    p = parameters.train
    rng = np.random.default_rng([p.seed, number] if number else p.seed)
    architecture = Architecture(
        data.inputs.shape[2], attempt.cells, data.targets.shape[2], attempt.stacked
    )
    recipe = Recipe(
        architecture=architecture,
        restarts=p.restarts,
        batch=max(UNIT, int(attempt.batch * p.batch) // UNIT * UNIT),
        length=data.inputs.shape[1],
        seed=int(rng.integers(1 << 32)),
        rate=schedule(p.rate, p.steps),
        strength=attempt.strength * schedule(p.regularizer.strength, p.steps),
        factor=schedule(p.factor, p.steps),
        noise=schedule(p.noise, p.steps),
        hinted_noise=schedule(p.hinted_noise, p.steps),
        binarize=schedule(p.binarize, p.steps),
        leak=p.leak,
        regularizer=Regularizer(
            p.regularizer.threshold,
            p.regularizer.steepness,
            p.regularizer.l1,
            p.regularizer.biases,
        ),
    )
    start = architecture.initialize(rng, recipe.restarts)
    sizes = [s for _, s in architecture.cells]
    taught = codes(machine, sizes, recipe.restarts, attempt.hinted, rng)
    initial = architecture.mask("initial")
    start[:, initial] = np.where(taught.code >= 0, np.float32(-1), start[:, initial])
    told = taught.hints(data.states)
    training = KERNELS[p.kernel](recipe, data.inputs, data.targets, start, told)
    evaluator = Evaluator(architecture, p.leak, check.inputs, check.targets, early=False)
    with tqdm(total=p.steps, desc=f"train {parameters.name}", unit="step", disable=None) as bar:

        def report(progress: Progress) -> None:
            bar.update(progress.step - bar.n)
            bar.set_postfix(
                loss=f"{progress.loss:.2g}",
                exact=f"{progress.exact}/{recipe.restarts}",
                live=progress.live,
            )

        trained = train(
            recipe,
            training,
            evaluator,
            check_every=p.check_every,
            patience=p.patience,
            live=p.live,
            checkpoint=checkpoint,
            report=report,
        )
    return trained, taught


def _described(attempt: Attempt, trained: Trained) -> dict[str, Any]:
    return {
        "cells": attempt.cells,
        "stacked": attempt.stacked,
        "hinted": attempt.hinted,
        "steps": len(trained.history),
        "exact": int(trained.exact.sum()),
    }


def _save_history(trained: Trained, folder: Path) -> None:
    """`history.parquet`, a row a restart and kept step, and `curves.csv`, its summary for DVC."""
    steps, restarts = trained.history.shape[:2]
    kept = np.unique(
        np.concatenate(
            [np.linspace(1, steps, min(steps, CURVE_POINTS)).astype(int), trained.checks]
        )
    )
    checked = {int(step): c for c, step in enumerate(trained.checks)}
    at = [checked.get(int(step)) for step in kept]

    def spread(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        rows = [None if c is None else values[c, r] for r in range(restarts) for c in at]
        return pa.array(rows, kind)

    save_table(
        folder / "history.parquet",
        "history",
        {
            "restart": pa.array(np.repeat(trained.network.restart, len(kept))),
            "step": pa.array(np.tile(kept, restarts), pa.int32()),
            "loss": pa.array(trained.history[kept - 1, :, 0].T.reshape(-1)),
            "penalty": pa.array(trained.history[kept - 1, :, 1].T.reshape(-1)),
            "accuracy": spread(trained.accuracy, pa.float32()),
            "live": spread(trained.live, pa.int32()),
        },
    )
    lines = ["step,loss,penalty,exact,live"]
    for c, step in enumerate(trained.checks):
        loss, penalty = np.median(trained.history[step - 1], axis=0)
        exact = trained.accuracy[c] == 1
        live = trained.live[c][exact].min() if exact.any() else ""
        lines.append(f"{step},{loss:.6g},{penalty:.6g},{exact.sum()},{live}")
    save_text(folder / "curves.csv", "\n".join(lines) + "\n")


if __name__ == "__main__":
    run_stage(stage)
