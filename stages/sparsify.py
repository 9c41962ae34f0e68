"""Take away weights and biases while the network stays right: python -m stages.sparsify PLANT"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf
from tqdm import tqdm

from bonsai.artifact import save_json, save_table, save_text
from bonsai.counterexamples import Practice
from bonsai.dataset import draw, load_dataset
from bonsai.hints import Codes
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.recipe import UNIT, Recipe, Regularizer, schedule
from bonsai.sparsify import Pace, Sparsified, sparsify
from bonsai.train import Checkpoint
from bonsai.wiring import Wiring
from kernels.evaluate import Evaluator
from kernels.training import KERNELS
from stages import CHECKPOINTS, run_stage


def stage(parameters: Any, folder: Path) -> str:
    p, t = parameters.sparsify, parameters.train
    trained = Network.load(folder / "runs.npz")
    codes = Codes.load(folder / "hints.npz")
    if codes.counts:  # training a counter takes away weights as well
        return _saved(_as_they_are(trained), folder)
    machine = Machine.load(folder / "machine.parquet")
    data = load_dataset(folder / "dataset.parquet", "train")
    rng = np.random.default_rng([p.seed, 3])
    fresh = draw(machine, rng, p.sequences, p.length, p.tilted)
    evaluator = Evaluator(
        trained.architecture, trained.leak, fresh.inputs, fresh.targets, early=True
    )
    pace = Pace(
        noise=schedule(p.validation_noise, p.rounds),
        steps=p.steps,
        share=p.share,
        neurons=p.neurons,
        exchange=p.exchange,
        replace=p.replace,
        patience=p.patience,
    )
    rows = _start(trained, evaluator, float(pace.noise[0]), p.slots)
    if not rows.size:
        found = _unsparsified(trained, evaluator)
    else:
        start = trained.rows(rows)
        codes = codes.rows(rows)
        codes.code[~_hinted(rows, p.hinted)] = -1
        told = codes.hints(data)
        every = p.rounds * p.steps
        noise = schedule(p.noise, every)
        recipe = Recipe(
            architecture=trained.architecture,
            restarts=p.slots,
            batch=t.batch,
            length=data.inputs.shape[1],
            seed=int(rng.integers(1 << 32)),
            rate=schedule(p.rate, every),
            strength=np.full(every, p.strength),
            factor=np.full(every, trained.factor),
            noise=noise * _borne(start, evaluator, noise[0]),
            hinted_noise=schedule(p.hinted_noise, every),
            binarize=np.full(every, p.binarize),
            leak=trained.leak,
            regularizer=Regularizer(
                t.regularizer.threshold,
                t.regularizer.steepness,
                t.regularizer.l1,
                t.regularizer.biases,
            ),
        )
        training = KERNELS[t.kernel](recipe, data.inputs, data.targets, start.parameters, told)
        taught, tested = (int(p.counterexamples * len(s)) // UNIT * UNIT for s in (data, fresh))
        practice = Practice(
            machine, training, data, codes, evaluator, fresh, taught, tested, p.seed
        )
        files = ("runs.npz", "hints.npz", "dataset.parquet")
        content = b"".join((folder / name).read_bytes() for name in files)
        key = hashlib.sha256(content + OmegaConf.to_yaml(p).encode()).hexdigest()
        checkpoint = Checkpoint(CHECKPOINTS / folder.name / "sparsify.npz", key)
        with tqdm(
            total=p.rounds, desc=f"sparsify {parameters.name}", unit="round", disable=None
        ) as bar:

            def report(row: np.ndarray) -> None:
                bar.update()
                names = ("smallest", "median", "kept", "candidates", "counterexamples")
                bar.set_postfix(dict(zip(names, row, strict=True)))

            found = sparsify(
                start,
                training,
                evaluator,
                pace,
                p.seed,
                p.keep,
                None if told is None else codes.code,
                practice if tested and taught else None,
                checkpoint,
                report,
            )
        checkpoint.delete()
    return _saved(found, folder)


def _start(trained: Network, evaluator: Evaluator, noise: float, slots: int) -> np.ndarray:
    """(slots,) the exact restarts, those that bear most noise first, again and again; or (0,)."""
    exact = evaluator.right(trained.parameters, trained.factor) == evaluator.sequences
    rows = np.flatnonzero(exact)
    if not rows.size:
        return rows
    bears = evaluator.right(trained.parameters[rows], trained.factor, noise=noise)
    return np.resize(rows[np.argsort(-bears, kind="stable")], slots)


def _borne(start: Network, evaluator: Evaluator, noise: float) -> float:
    """What noise is multiplied with so that a quarter of the networks stay right under it."""
    for scale in (1.0, 0.5, 0.25):
        right = evaluator.right(start.parameters, start.factor, noise=scale * noise)
        if (right == evaluator.sequences).mean() >= 0.25:
            return scale
    return 0.0


def _hinted(rows: np.ndarray, share: float) -> np.ndarray:
    """(slots,) bool: which slots keep their hints. Others of the same restart (rows) do not."""
    slot = np.arange(len(rows))
    slot += slot // len(np.unique(rows))  # so that a restart's slots take turns
    return np.floor((slot + 1) * share) > np.floor(slot * share)


def _unsparsified(trained: Network, evaluator: Evaluator) -> Sparsified:
    """The restart that is right for most sequences before the first wrong one, as it is."""
    passed = evaluator.right(trained.parameters, trained.factor)
    return _as_they_are(trained.rows(np.array([int(np.argmax(passed))])))


def _as_they_are(network: Network) -> Sparsified:
    size = Wiring(network.architecture).size(network.parameters != 0)
    return Sparsified(network, size, np.zeros((0, 5), np.int32))


def _saved(found: Sparsified, folder: Path) -> str:
    found.network.save(folder / "candidates.npz")
    save_table(
        folder / "sparsify.parquet",
        "sparsify",
        {
            "candidate": pa.array(found.network.candidate),
            "restart": pa.array(found.network.restart),
            "size": pa.array(found.size, pa.int32()),
        },
    )
    lines = ["round,smallest,median,kept,candidates,counterexamples"]
    lines += [",".join(map(str, [n + 1, *row])) for n, row in enumerate(found.log.tolist())]
    save_text(folder / "sparsify.csv", "\n".join(lines) + "\n")
    save_json(
        folder / "sparsify.json",
        {
            "rounds": len(found.log),
            "candidates": len(found.size),
            "smallest": int(found.size[0]),
            "counterexamples": int(found.log[-1, 4]) if len(found.log) else 0,
        },
    )
    return f"{len(found.size)} candidates, the smallest of size {found.size[0]}"


if __name__ == "__main__":
    run_stage(stage)
