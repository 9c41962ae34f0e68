"""Kill -9 of `make repro` at random moments: every rerun ends in the bytes of an undisturbed run.

One short case of it is in tests/test_pipeline.py, which `make test` runs.
"""

import os
import shutil
from random import Random, SystemRandom

import pytest
from kills import MAKE, killed, left_over
from test_pipeline import TINY, Copy

KILLS = 30


def grown(copy: Copy) -> dict[str, bytes]:
    return {n: b for n, b in copy.artifacts().items() if n.startswith("plants/")}


def start_anew(copy: Copy) -> None:
    for name in ("data", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(copy.folder / name, ignore_errors=True)
    (copy.folder / "dvc.lock").unlink(missing_ok=True)


@pytest.mark.slow
def test_thirty_kills_change_no_byte(tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = int(os.environ.get("BONSAI_KILLS_SEED") or SystemRandom().randrange(1 << 32))
    print(f"\nBONSAI_KILLS_SEED={seed}")
    undisturbed, copy = (Copy(tmp_path_factory.mktemp(n)) for n in ("undisturbed", "killed"))
    undisturbed.configure(TINY)
    undisturbed.repro()
    expected = grown(undisturbed)
    module = copy.folder / "bonsai/train.py"  # checkpoints at every step, for the runs are short
    often = module.read_text().replace("CHECKPOINT_SECONDS = 10", "CHECKPOINT_SECONDS = 0")
    assert often != module.read_text()
    module.write_text(often)
    copy.configure(TINY)

    random, kills, gardens = Random(seed), 0, 0
    while kills < KILLS:
        hit = killed(copy.folder, copy.env, random)
        if hit is not None:
            kills += 1
            print(f"kill {kills}: {hit}", flush=True)
            continue
        gardens += 1
        assert grown(copy) == expected
        assert left_over(copy.folder) == []
        start_anew(copy)
    copy.run(*MAKE)
    assert grown(copy) == expected
    assert left_over(copy.folder) == []
