"""Put right what DVC leaves when it is killed: python -m stages.recover

DVC writes three files in place: `dvc.lock`, after each stage, `.dvc/tmp/rwlock` and
`.dvc/tmp/exps/rwlock`. If one is cut off, DVC refuses to run, and also while it takes a command
that has ended for running. `dvc exp run` works on a detached HEAD, and puts away what is not
committed while it prepares. `make repro` calls this first; it changes nothing while a DVC is at
work.
"""

import json
import re
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import yaml
import zc.lockfile
from dvc.rwlock import SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from bonsai.artifact import save_text

LOCK = Path("dvc.lock")
TEMPORARY = Path(".dvc/tmp")
RUNNING = TEMPORARY / "rwlock"
PREPARING = TEMPORARY / "exps/rwlock"  # like `rwlock`, of experiments
EXPERIMENT = TEMPORARY / "exps/run/workspace/workspace.json"  # the one that runs in the workspace
ARGUMENTS = TEMPORARY / "repro.dat"  # those of `dvc exp run`, for the experiment
HELD = ("lock", "rwlock.lock", "exps/rwlock.lock")  # by a DVC while it writes them
WRITTEN = {"params.yaml", "dvc.lock", str(ARGUMENTS)}  # by DVC while it prepares
STASH, MERGE = "refs/stash", "refs/exps/exec/EXEC_MERGE"  # where what is not committed is then
REFS = (MERGE, "refs/exps/exec/EXEC_BASELINE", "refs/exps/exec/EXEC_BRANCH", "refs/exps/stash")
DETACHED = r"^checkout: moving from (?![0-9a-f]{40} )(\S+) to ([0-9a-f]{40})$"


class GitError(RuntimeError):
    """Git refused something. The message has what it said."""


def recover_lock(path: Path) -> None:
    """Keep the whole entries of a `dvc.lock` that was cut off; DVC's run cache has the others."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if _valid(text):
        return
    entries = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)[:-1]
    kept = "".join(entries)
    if _valid(kept):
        save_text(path, kept)
    else:
        kept, entries = "", [""]
        path.unlink()
    print(
        f"{path} was cut off, as when DVC is killed: {len(entries) - 1} stages are kept in it; "
        "the results of the others come from DVC's cache, or they run again",
        file=sys.stderr,
    )


def recover_running(path: Path) -> None:
    """Delete a list of running commands that was cut off; none of them runs any more."""
    try:
        SCHEMA(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, Invalid):
        path.unlink()
        print(f"{path} was cut off, as when DVC is killed: deleted", file=sys.stderr)


def forget_ended(path: Path) -> None:
    """Take off a list of running commands those that have ended, which their parent does not know.

    DVC takes them for running, and waits for what nobody holds. Who becomes the parent of a killed
    command's children may be slow to ask after them, and in a container may never do so.
    """
    listed = SCHEMA(_loaded(path))
    read, write = {}, {}
    for of, infos in listed["read"].items():
        if running := [info for info in infos if _runs(info["pid"])]:
            read[of] = running
    for of, info in listed["write"].items():
        if _runs(info["pid"]):
            write[of] = info
    if (read, write) != (listed["read"], listed["write"]):
        save_text(path, json.dumps({"read": read, "write": write}))


def recover_experiment() -> None:
    """Put back HEAD, and what was not committed, after a `dvc exp run` that was killed.

    What it had queued for itself is dropped, so that the next one does not run it as well.
    Raises GitError if git refuses.
    """
    if not PREPARING.parent.is_dir():  # nor is there an experiment
        return
    preparing = _loaded(PREPARING).get("write", {})
    refs = _git("for-each-ref", "--format=%(refname)", *REFS).split()
    if not refs and "workspace" not in preparing:
        return
    if any(_runs(at["pid"]) for at in (_loaded(EXPERIMENT), *preparing.values()) if at):
        return
    _unlock()
    said = _on_branch_again()
    if "workspace" in preparing and _since(PREPARING, STASH):
        said += _put_back(STASH)
    elif MERGE in refs and "refs/exps/exec" in preparing:
        said += _put_back(MERGE)
    # DVC stages what it writes, and the next one refuses an index that the workspace differs from.
    _git("reset", "--quiet", "--", *sorted(WRITTEN))
    for path in (ARGUMENTS, EXPERIMENT, PREPARING):
        path.unlink(missing_ok=True)
    for ref in refs:
        _git("update-ref", "--no-deref", "-d", ref)
    said.append("the same command goes on")
    print(f"`dvc exp run` was killed; {', '.join(said)}", file=sys.stderr)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another's
        return True


def _loaded(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _unlock() -> None:
    """Delete the lock on git's index, which DVC held, unless a git runs that may hold it."""
    lock = Path(_git("rev-parse", "--git-path", "index.lock").strip())
    if not any(process.info["name"] == "git" for process in psutil.process_iter(["name"])):
        lock.unlink(missing_ok=True)


def _on_branch_again() -> list[str]:
    """Let HEAD be the branch from which DVC detached it, if that has not moved since."""
    heads = _git("rev-list", "--max-count=2", "HEAD").split()  # the second, if DVC committed
    for branch, rev in re.findall(DETACHED, _git("reflog", "--format=%gs"), re.MULTILINE)[:1]:
        tip = _git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").strip()
        if _git("branch", "--show-current") == "" and tip == rev and rev in heads:
            _git("symbolic-ref", "-m", f"recover: {branch}", "HEAD", f"refs/heads/{branch}")
            if rev != heads[0]:
                _git("reset", "--quiet")
            return [f"HEAD is {branch} again"]
    return []


def _since(path: Path, ref: str) -> bool:
    """Whether there is such a commit, and it is not older than the file."""
    made = _git("for-each-ref", "--format=%(committerdate:unix)", ref)
    return made != "" and int(made) >= int(path.stat().st_mtime)


def _put_back(ref: str) -> list[str]:
    """Apply what DVC put away, unless the workspace has something else."""
    rev = _git("rev-parse", ref).strip()
    # Killed in between, some files are as they were put away, and others as in HEAD.
    changed = (set(_git("diff", "--name-only", to).splitlines()) for to in (rev, "HEAD"))
    newer = set.intersection(*changed)
    if not newer <= WRITTEN:
        if ref != STASH:
            _git("stash", "store", "--message", "put away by dvc exp run", rev)
        return ["what was not committed is in `git stash list`"]
    found = _git("stash", "create").strip() if newer else ""  # DVC's, or yours of since then
    _git("reset", "--quiet", "--hard")
    _git("stash", "apply", "--quiet", "--index", rev)
    if ref == STASH:
        _git("stash", "drop", "--quiet")
    said = ["what was not committed is back"]
    if found:
        _git("stash", "store", "--message", "found by stages.recover", found)
        said.append(f"{', '.join(sorted(newer))} as found is in `git stash list`")
    return said


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise GitError(f"git {arguments[0]}: {ended.stderr.strip()}")
    return ended.stdout


def _valid(text: str) -> bool:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, loader))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def main() -> None:
    with ExitStack() as held:
        try:
            for path in (TEMPORARY / name for name in HELD):
                if path.parent.is_dir():
                    held.enter_context(closing(zc.lockfile.LockFile(str(path))))
        except zc.lockfile.LockError:
            return
        for recover, path in (
            (recover_lock, LOCK),
            (recover_running, RUNNING),
            (recover_running, PREPARING),
        ):
            if path.exists():
                recover(path)
        try:
            recover_experiment()
        except GitError as e:
            sys.exit(
                f"`dvc exp run` was killed, and what it left cannot be put right ({e}); "
                "`git status` and `git stash list` tell where things are"
            )
        for path in (RUNNING, PREPARING):
            if path.exists():
                forget_ended(path)


if __name__ == "__main__":
    main()
