"""Derive a program, an automaton and a circuit from the proven graph.

Run as `python -m stages.extract PLANT`.
"""

from pathlib import Path
from typing import Any

from bonsai.artifact import ArtifactError, save_json, save_text
from bonsai.certificate import Certificate
from bonsai.circuit import verilog
from bonsai.draw import layout, machine_dot, note_dot
from bonsai.extract import ExtractError, described, diagram, example, extract
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.result import Result
from stages import run_stage


def stage(parameters: Any, folder: Path) -> None:
    machine = Machine.load(folder / "machine.parquet")
    result = Result.load(folder / "proof.json")
    published = parameters.published
    by_hand = None
    if published.lines is not None and published.literals is not None:
        by_hand = {"lines": published.lines, "literals": published.literals}
    graph, certificate = Graph.load(folder), Certificate.load(folder / "certificate.npz")
    if certificate.low.shape[1] != len(graph.initial):
        raise ArtifactError(
            f"{folder}: certificate.npz does not fit nodes.parquet; run `dvc repro` again"
        )
    try:
        found = extract(graph, machine, certificate)
    except ExtractError as e:
        reason = " ".join(str(e).split())
        said = f"{parameters.name}: nothing is derived, for {reason}."
        save_text(folder / "program.py", f'"""{said}"""\n')
        save_text(folder / "circuit.v", f"// {said}\n")
        save_text(folder / "automaton.kiss2", f"# {said}\n")
        picture = note_dot(f"{parameters.name}: nothing is derived", reason)
        logic: dict[str, Any] = {"program": None, "reason": reason, "remark": None}
        logic |= {"signals": [], "states": []}
    else:
        count = result.certificate_states
        margin = "" if result.margin is None else f" (least margin {result.margin:.3g})"
        text = found.program.text(
            f"{machine.name}, as the network of the plant {parameters.name} computes it.",
            [
                f"The network has {result.weights} weights and {result.biases} biases. "
                f"A certificate of {count} {result.certificate} proves it right for every input "
                f"sequence{margin}; this program has the outputs of the same task of "
                f"{len(machine.states)} states, after every input sequence too.",
                *([found.remark] if found.remark else []),
            ],
            example(machine),
        )
        save_text(folder / "program.py", text)
        save_text(folder / "circuit.v", verilog(found.program, machine))
        found.mealy.save_kiss2(folder / "automaton.kiss2")
        picture = machine_dot(diagram(found))
        logic = described(found, text)
    label = f"The automaton that the network of {parameters.name} is"
    save_text(folder / "automaton.svg", layout(picture, label=label))
    save_json(folder / "logic.json", {**logic, "by_hand": by_hand})


if __name__ == "__main__":
    run_stage(stage)
