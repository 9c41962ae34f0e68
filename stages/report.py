"""Gather every plant of the garden into one page, one table and one JSON file.

Run as `python -m stages.report`. Prints the path of the page last.
"""

import sys
from pathlib import Path

from bonsai.artifact import save_json, save_text
from bonsai.report import garden, load_plant, markdown, page, totals
from stages import PLANTS, ParameterError, parameters

REPORT = Path("data/report")


def main() -> None:
    settings = parameters()
    plants = []
    for name in settings.garden:
        if name not in settings.plants:
            raise ParameterError(f"params.yaml: garden lists '{name}', which is not in plants")
        plants.append(load_plant(PLANTS / name, name, settings.plants[name]))
    save_json(REPORT / "garden.json", garden(plants))
    save_json(REPORT / "metrics.json", totals(plants))
    save_text(REPORT / "report.md", markdown(plants))
    save_text(REPORT / "index.html", page(plants))
    print(f"report: {(REPORT / 'index.html').resolve()}")


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit("usage: python -m stages.report")
    main()
