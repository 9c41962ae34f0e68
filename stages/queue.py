"""Run what `dvc exp run --queue` put off, and tell how far it is: python -m stages.queue JOBS

No stage of the pipeline: `make queue JOBS=2` calls it. On a terminal every experiment that runs
has a bar with the stages that are done and the one that it is at. Workers go on when this is
stopped. What was running when its worker was killed is queued again, for DVC would count it as
running for ever; the stages that it had finished come from DVC's cache.
"""

import logging
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from celery.result import AsyncResult
from dvc.repo import Repo
from dvc.repo.experiments.queue.tasks import run_exp
from tqdm import tqdm

STAGE = re.compile(r"^(?:Running stage|Stage) '([^']+)'", re.MULTILINE)  # in an experiment's log
ERROR = re.compile(r"^(?:stage \w+ of plant|ERROR:) .*", re.MULTILINE)
SECONDS = 0.5  # between looks at the queue
PATIENCE = 20.0  # seconds without a worker; they need some to start
LEFT = "the experiments go on; `make queue` shows them again, `dvc queue stop --kill` ends them"


class Experiment:
    """A queued experiment that has begun, its log, and its bar."""

    def __init__(self, queue: Any, entry: Any) -> None:
        self.name = entry.name
        self.log = Path(queue.get_infofile_path(entry.stash_rev)).with_suffix(".out")
        self.started = time.monotonic()
        total = _stages(entry.stash_rev)
        tqdm.write(f"{self.name}: begun, {total} stages")
        self.bar = tqdm(total=total, desc=self.name, unit="stage", leave=False, disable=None)

    def look(self) -> None:
        """Let the bar show the stages that are done, and the one that is not."""
        stages = self._met()
        self.bar.update(max(len(stages) - 1, 0) - self.bar.n)
        self.bar.set_postfix_str(stages[-1] if stages else "")

    def end(self, success: bool) -> None:
        self.bar.close()
        stages, took = self._met(), time.monotonic() - self.started
        outcome = f"done, {len(stages)} stages in {took:.0f} s"
        if not success:
            why = "".join(f"{line}; " for line in ERROR.findall(self._text())[:1])
            at = stages[-1] if stages else "the start"
            outcome = (
                f"failed at {at} after {took:.0f} s; {why}`dvc queue logs {self.name}` tells all"
            )
        tqdm.write(f"{self.name}: {outcome}")

    def _met(self) -> list[str]:
        return list(dict.fromkeys(STAGE.findall(self._text())))

    def _text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _stages(rev: str) -> int:
    """How many stages the pipeline of this revision has."""
    plants, stages = (
        yaml.safe_load(subprocess.check_output(["git", "show", f"{rev}:{name}"], text=True))[key]
        for name, key in (("params.yaml", "garden"), ("dvc.yaml", "stages"))
    )
    return sum(len(plants) if "matrix" in stage else 1 for stage in stages.values())


def _alive(pid: int, word: str) -> bool:
    """Whether the process still runs, and has this word in its command."""
    try:
        return any(word in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _workers(queue: Any) -> bool:
    """Whether any worker of the queue is alive."""
    for file in Path(queue.wdir).glob("dvc-exp-worker-*.pid"):
        with suppress(FileNotFoundError):  # it has ended since
            if _alive(int(file.read_text() or 0), "queue-worker"):
                return True
    return False


def requeue(queue: Any) -> None:
    """Queue anew what had begun, if no worker is alive to end it."""
    if _workers(queue):
        return
    for message, entry in list(queue._iter_processed()):
        process, rev = queue.proc.get(entry.stash_rev), entry.stash_rev
        result = AsyncResult(message.headers["id"])
        if result.ready() or (process and _alive(process.pid, rev)):
            continue
        told = Path(queue.get_infofile_path(rev))
        if told.exists():
            shutil.rmtree(queue._load_info(rev).root_dir, ignore_errors=True)
            shutil.rmtree(told.parent)
        if rev not in queue.stash.stash_revs:
            note = queue.stash.format_message(
                entry.head_rev, entry.baseline_rev, entry.name, entry.branch
            )
            queue.scm.set_ref(queue.stash.ref, rev, message=f"commit: {note}")
        queue.celery.purge(message.delivery_tag)
        queue.celery.signature(run_exp.s(entry.asdict())).delay()
        print(f"{entry.name}: its worker was killed; queued again")


def watch(queue: Any) -> bool:
    """Tell of every experiment until none is left; whether none has failed."""
    known, ended = {entry.stash_rev for entry, _ in queue.iter_done()}, True
    running: dict[str, Experiment] = {}
    alive = time.monotonic()
    while True:
        if _workers(queue):
            alive = time.monotonic()
        done = {entry.stash_rev: (entry, result) for entry, result in queue.iter_done()}
        active = {entry.stash_rev: entry for entry in queue.iter_active()}
        for rev, entry in (active | {rev: entry for rev, (entry, _) in done.items()}).items():
            if rev not in known:
                known.add(rev)
                running[rev] = Experiment(queue, entry)
        for rev in [rev for rev in running if rev in done]:
            success = done[rev][1] is not None
            running.pop(rev).end(success)
            ended = ended and success
        for experiment in running.values():
            experiment.look()
        waiting = [entry.name for entry in queue.iter_queued()]
        if not running and not waiting:
            return ended
        if time.monotonic() - alive > PATIENCE:
            for experiment in running.values():
                experiment.bar.close()
            names = [experiment.name for experiment in running.values()] + waiting
            tqdm.write(f"{', '.join(names)}: no worker is left; `make queue` goes on")
            return False
        time.sleep(SECONDS)


def main(jobs: int) -> int:
    logging.getLogger("kombu").setLevel(logging.ERROR)
    with Repo() as repo:
        queue = repo.experiments.celery_queue
        try:
            requeue(queue)
            queue.start_workers(jobs)
            return 0 if watch(queue) else 1
        except KeyboardInterrupt:
            print(f"\n{LEFT}", file=sys.stderr)
            return 130


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: python -m stages.queue JOBS")
    sys.exit(main(int(sys.argv[1])))
