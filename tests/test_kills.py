"""Kill -9 at random moments: every rerun ends in the bytes of an undisturbed run.

Short cases of it are in tests/test_pipeline.py, of `make repro`, and in tests/test_experiments.py,
of `dvc exp run`, which `make test` runs.
"""

import os
import shutil
from random import Random, SystemRandom

import pytest
from kills import MAKE, killed, left_over
from test_pipeline import TINY, Copy

KILLS = 30
EXP_RUN = ("dvc", "exp", "run", "--set-param", TINY)


def grown(copy: Copy) -> dict[str, bytes]:
    return {n: b for n, b in copy.artifacts().items() if n.startswith("plants/")}


def start_anew(copy: Copy) -> None:
    for name in ("data", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(copy.folder / name, ignore_errors=True)
    (copy.folder / "dvc.lock").unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", [MAKE, EXP_RUN], ids=["make repro", "dvc exp run"])
def test_thirty_kills_change_no_byte(
    command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    seed = int(os.environ.get("BONSAI_KILLS_SEED") or SystemRandom().randrange(1 << 32))
    print(f"\nBONSAI_KILLS_SEED={seed}")
    undisturbed, copy = (Copy(tmp_path_factory.mktemp(n)) for n in ("undisturbed", "killed"))
    undisturbed.configure(TINY)
    undisturbed.repro()
    expected = grown(undisturbed)
    module = copy.folder / "bonsai/train.py"  # checkpoints at every step, for the runs are short
    often = module.read_text().replace("CHECKPOINT_SECONDS = 10", "CHECKPOINT_SECONDS = 0")
    assert often != module.read_text()
    module.write_text(often)  # which is not committed
    copy.configure(TINY)

    random, kills, gardens = Random(seed), 0, 0
    while kills < KILLS:
        hit = killed(copy.folder, copy.env, random, command)
        if "is in `git stash list`" in copy.run("python", "-m", "stages.recover"):
            copy.run("git", "reset", "--quiet", "--hard")
            copy.run("git", "stash", "pop", "--quiet")
        assert module.read_text() == often
        assert copy.run("git", "branch", "--show-current").strip()
        if hit is not None:
            kills += 1
            print(f"kill {kills}: {hit}", flush=True)
            continue
        gardens += 1
        assert grown(copy) == expected
        assert left_over(copy.folder) == []
        start_anew(copy)
    copy.run(*command)
    assert grown(copy) == expected
    assert left_over(copy.folder) == []
