"""What is known of a plant, in plain lines for the terminal, from the artifacts in its folder."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from bonsai.artifact import ArtifactError, load_json, load_table
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.draw import counted
from bonsai.listing import load_logic
from bonsai.machine import Machine
from bonsai.result import Result

PLANTS = Path("data/plants")
SHOWN_STEPS = 40  # of a word


def plant_folder(name: str) -> Path:
    """The folder of a plant that was grown here. Raises ArtifactError if there is none."""
    grown = sorted(path.name for path in PLANTS.glob("*") if path.is_dir())
    if name in grown:
        return PLANTS / name
    there = f"there are {', '.join(grown)}" if grown else "there is none yet"
    raise ArtifactError(
        f"no plant {name} is grown here, {there}; `python -m bonsai grow PATH` grows a task, "
        "`make repro` the garden, and `dvc pull` fetches it"
    )


def proven(result: Result) -> list[str]:
    """The size of a proven graph, and of what proves it."""
    margin = "" if result.margin is None else f", least margin {result.margin:.3g}"
    entries = counted(result.certificate_states or 0, result.certificate or "entries")
    return [
        f"{result.plant} is proven for every input sequence of every length",
        f"  graph        {sizes(result)}",
        f"  certificate  {entries}{margin}, for {result.arithmetic} arithmetic",
    ]


def explained(folder: Path) -> list[str]:
    """The program that was extracted from a plant's graph, and what its variables stand for.

    Raises ArtifactError if the plant is not grown that far.
    """
    result = Result.load(folder / "proof.json")
    logic = load_logic(folder / "logic.json")
    if not result.proven:
        return [f"{result.plant} is not proven, so that there is no program to explain"]
    if logic["program"] is None:
        return [*proven(result), f"  program      none, for {logic['reason']}"]
    told = [*proven(result), "", code(logic["program"]["text"]), ""]
    shown = [s for s in logic["signals"] if s["signal"] is not None]
    width = max([len(s["signal"]) for s in shown], default=0)
    told += [
        f"  {s['signal']:{width}}  {s['kind']} {s['node']}: "
        + ", ".join(
            f"{value} {_range(*level)}"
            for value, level in zip(s["values"], s["levels"], strict=True)
        )
        for s in shown
    ]
    return told + ([f"  {logic['remark']}"] if logic.get("remark") else [])


def grown(folder: Path, report: Path) -> list[str]:
    """What there is of a plant that was grown to its proof, and where."""
    result = Result.load(folder / "proof.json")
    program = load_logic(folder / "logic.json")["program"]
    size = "" if program is None else f" ({counted(program['literals'], 'literals')})"
    return [
        *proven(result),
        f"  program      {folder / 'program.py'}{size}",
        f"  explorer     {folder / 'explorer.html'}",
        f"  report       {report}",
    ]


def reached(folder: Path, done: Collection[str]) -> tuple[list[str], list[str]]:
    """How far a plant got that is not proven, and overrides that may help.

    done: the stages whose artifacts are current; what others left is of an earlier run
    """
    told: list[str] = []
    if "train" not in done:
        return told, []
    found = load_json(folder / "train.json")
    steps, restarts, exact = (found[key] for key in ("steps", "restarts", "exact_restarts"))
    for a in found["attempts"]:
        cells = f"cells {a['cells']}{' stacked' if a['stacked'] else ''}"
        told.append(
            f"  training     {a['exact']} of {restarts} restarts exact after "
            f"{counted(a['steps'], 'steps')}, {cells}"
        )
    more = f"train.restarts={2 * restarts}"
    longer = [f"train.steps={2 * steps} {more}", "train.cells=[[96,16]] train.stacked=true"]
    advice = [] if exact else longer
    if "prove" not in done:
        return told, advice
    table, _ = load_table(folder / "proofs.parquet", "proofs", ["verdict"])
    verdicts = table["verdict"].to_pylist()
    told.append(
        f"  candidates   {len(verdicts)} tried: "
        + ", ".join(f"{verdicts.count(v)} {v}" for v in ("proven", "wrong", "undecided"))
    )
    if "polish" not in done:
        return told, advice
    result = Result.load(folder / "proof.json")
    told.append(f"  best graph   {sizes(result)}")
    if result.counterexample is not None:
        told.append(f"  wrong at     {_wrong(result.counterexample)}")
        length = max(24, min(2 * len(result.counterexample["word"]), 64))
        return told, advice or ["seed=1", f"dataset.length={length} {more}"]
    told.append(f"  undecided    {result.reason}")
    return told, advice or ["seed=1", f"prove.pairs=100000 prove.cells=16000 {more}"]


def verdict(found: Certificate | Counterexample | Undecided, machine: Machine) -> str:
    """What `prove` found, in one line."""
    if isinstance(found, Certificate):
        return (
            f"proven: {counted(len(found), found.kind)}, least margin {found.margin:.3g}, "
            f"for {found.arithmetic} arithmetic"
        )
    if isinstance(found, Undecided):
        return f"undecided: {found.reason}"
    word = [((machine.symbols[a] + 1) // 2).tolist() for a in found.word]
    return "wrong at " + _wrong({"word": word, "step": len(word) - 1, "shortest": found.shortest})


def plants(folder: Path) -> Iterator[str]:
    """A line a plant in this folder, of how far it got."""
    for own in sorted(path for path in folder.glob("*") if path.is_dir()):
        try:
            result = Result.load(own / "proof.json")
        except ArtifactError:
            yield f"{own.name}: not grown to a proof"
            continue
        yield f"{own.name}: {'proven' if result.proven else 'not proven'}, {sizes(result)}"


def sizes(result: Result) -> str:
    """Weights, biases, neurons and states, in words."""
    return (
        f"{counted(result.weights, 'weights')}, {counted(result.biases, 'biases')}, "
        f"{counted(result.neurons, 'neurons')}, {counted(result.states, 'states')}"
    )


def _wrong(counterexample: dict[str, Any]) -> str:
    """The step, counted from 0 as in the explorer, and the inputs that lead to it."""
    word: Sequence[Sequence[int]] = counterexample["word"]
    shown = " ".join("".join(map(str, bits)) or "." for bits in word[:SHOWN_STEPS])
    rest = f" and {len(word) - SHOWN_STEPS} more" if len(word) > SHOWN_STEPS else ""
    least = ", the shortest there is" if counterexample["shortest"] else ""
    return f"step {counterexample['step']} of the input {shown}{rest}{least}"


def _range(low: float, high: float) -> str:
    return f"at {low:.4g}" if low == high else f"in [{low:.4g}, {high:.4g}]"


def code(text: str) -> str:
    """A program without its docstring."""
    return text[text.index("def program") :].rstrip()
