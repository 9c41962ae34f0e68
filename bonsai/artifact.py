"""Artifacts on disk: Parquet for tables, NPZ for arrays, JSON for figures.

Every file is written whole or not at all (a temporary name beside it, then a rename), carries its
`kind` and the schema version, and is checked for both when it is read. Nothing is unpickled. What
a process that was killed left of a file goes when the file is next written.
"""

import errno
import glob
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = 1
BROKEN = (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, pa.ArrowException)
REMEDY = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make its folder writable"),
}


class ArtifactError(ValueError):
    """A file is missing, broken, of another kind or schema version, or cannot be written.

    The message names the file, the field, and what to do about it.
    """


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` only if the block ends without an error.

    Raises ArtifactError if it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        discard_parts(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        remedy = REMEDY.get(e.errno or 0, "put that right")
        raise ArtifactError(
            f"{path}: cannot be written ({os.strerror(e.errno) if e.errno else e}); "
            f"{remedy} and run it again"
        ) from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def discard_parts(path: Path) -> None:
    """Delete what processes that are no more have left of this file, half written."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        process = part.name.split(".")[-2]
        if process.isdecimal() and not _runs(int(process)):
            part.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def save_text(path: str | Path, text: str) -> None:
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_json(path: str | Path, value: Any) -> None:
    save_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def load_json(path: str | Path) -> Any:
    with _readable(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def save_table(
    path: str | Path, kind: str, table: pa.Table | Mapping[str, Any], about: Any = None
) -> None:
    """Write a Parquet table; `about` is any JSON value kept in its metadata."""
    if not isinstance(table, pa.Table):
        table = pa.table(dict(table))
    metadata = {"kind": kind, "schema": str(SCHEMA), "about": json.dumps(about)}
    with replaced(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def load_table(path: str | Path, kind: str, columns: Sequence[str] = ()) -> tuple[pa.Table, Any]:
    """Read a Parquet table of this kind: the table and what `about` was.

    Raises ArtifactError if the file is unreadable, of another kind or version, or lacks a column.
    """
    with _readable(path):
        table = pq.read_table(path)
        found = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        about = json.loads(found.get("about", "null"))
    _expect(path, kind, found.get("kind"), found.get("schema"))
    for column in columns:
        if column not in table.column_names:
            raise ArtifactError(
                f"{path}: the {kind} table has no column '{column}'; rerun the stage that wrote it"
            )
    return table, about


def save_arrays(path: str | Path, kind: str, arrays: Mapping[str, Any]) -> None:
    packed = io.BytesIO()  # for a disk that fills up while zipfile writes to it leaves it confused
    np.savez_compressed(packed, kind=np.array(kind), schema=np.array(str(SCHEMA)), **dict(arrays))
    with replaced(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def load_arrays(path: str | Path, kind: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of an NPZ of this kind. Raises ArtifactError as `load_table` does."""
    with (
        _readable(path),
        Path(path).open("rb") as opened,
        np.load(opened, allow_pickle=False) as file,
    ):
        found = {name: file[name] for name in file.files}
    _expect(path, kind, str(found.get("kind")), str(found.get("schema")))
    for name in names:
        if name not in found:
            raise ArtifactError(
                f"{path}: the {kind} file has no array '{name}'; rerun the stage that wrote it"
            )
    return {name: found[name] for name in names}


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; `dvc repro` makes it") from None
    except (OSError, *BROKEN) as e:
        raise ArtifactError(
            f"{path}: cannot be read ({e}); delete it and run `dvc repro` again"
        ) from e


def _expect(path: str | Path, kind: str, found_kind: str | None, found_schema: str | None) -> None:
    if found_kind != kind:
        raise ArtifactError(
            f"{path}: expected a file of kind '{kind}', found '{found_kind}'; "
            "delete it and run `dvc repro` again"
        )
    if found_schema != str(SCHEMA):
        raise ArtifactError(
            f"{path}: written with schema {found_schema}, this version reads {SCHEMA}; "
            "run `dvc repro` again"
        )
