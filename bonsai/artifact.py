"""Artifacts on disk: Parquet for tables, NPZ for arrays, JSON for figures.

Every file is written whole or not at all (a temporary name beside it, then a rename), carries its
`kind` and the schema version, and is checked for both when it is read. Nothing is unpickled, and
what a file says of its size is checked before memory is taken for it. What a process that was
killed left of a file goes when the file is next written.
"""

import errno
import glob
import io
import json
import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = 1
MAX_BYTES = 1 << 30  # of all that a file holds, unpacked
MAX_TEXT = 1 << 24  # of a JSON file, or of a Parquet file's metadata
BYTE_ARRAY = 6  # Parquet's type of a word
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
        return json.loads(_bounded_text(path))


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
        _check_claims(path)
        with pq.ParquetFile(path) as file:
            table = file.read()
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
    with _readable(path), warnings.catch_warnings(), zipfile.ZipFile(path) as file:
        warnings.simplefilter("error")  # NumPy's, of headers in an older form
        members = file.infolist()
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise ValueError(f"it holds more than {MAX_BYTES} bytes")
        found = {m.filename.removesuffix(".npy"): _array(file, m) for m in members}
    _expect(path, kind, str(found.get("kind")), str(found.get("schema")))
    for name in names:
        if name not in found:
            raise ArtifactError(
                f"{path}: the {kind} file has no array '{name}'; rerun the stage that wrote it"
            )
    return {name: found[name] for name in names}


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """A member of an NPZ, which may be no longer or shorter than its header says."""
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = header(stream)
        if dtype.hasobject or dtype.itemsize == 0 or any(n < 0 for n in shape):
            raise ValueError(f"{member.filename} is an array {shape} of {dtype}")
        size = math.prod(shape) * dtype.itemsize
        if size > member.file_size:
            raise ValueError(f"{member.filename} is shorter than its header says")
        data = bytearray(stream.read(size))
        if len(data) != size or stream.read(1):
            raise ValueError(f"{member.filename} is not as long as its header says")
    flat = np.frombuffer(data, dtype) if size else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _check_claims(path: str | Path) -> None:
    """Raise ValueError if a Parquet file says that it holds more than MAX_BYTES.

    A word that occurs often is stored once, so that each may be as long as all together. The
    footer is read here, because pyarrow ends the process where a column's metadata are broken.
    Source: the Parquet format's `parquet.thrift`, and Thrift's compact protocol.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != b"PAR1" or length > min(size - 8, MAX_TEXT):
            raise ValueError("it does not end as a Parquet file does")
        file.seek(size - 8 - length)
        footer = _Thrift(file.read(length)).value(_Thrift.STRUCT)
    total = footer[3]
    for group in footer[4]:
        for chunk in group[1]:
            kind, values, unpacked = (chunk[3][field] for field in (1, 5, 6))
            if min(total, values, unpacked) < 0:
                raise ValueError("it says that it holds less than nothing")
            total += values * (unpacked if kind == BYTE_ARRAY else 1)
    if total > MAX_BYTES:
        raise ValueError(f"it may hold more than {MAX_BYTES} bytes")


class _Thrift:
    """Values of Thrift's compact protocol: structs as {number: value}; words are passed over."""

    STRUCT = 12

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def value(self, kind: int, inside: bool = False) -> Any:
        """The value of this kind that comes next; `inside` of a list, where truth takes a byte."""
        if kind in (1, 2):
            return self._byte() == 1 if inside else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            n = self._varint()
            return n >> 1 ^ -(n & 1)
        if kind in (7, 8):
            size = 8 if kind == 7 else self._varint()
            self.at += size
            return None
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self.value(head & 15, True) for _ in range(count)]
        if kind == self.STRUCT:
            fields: dict[int, Any] = {}
            number = 0
            while head := self._byte():
                number = number + (head >> 4) if head >> 4 else self.value(4)
                fields[number] = self.value(head & 15)
            return fields
        raise ValueError(f"its metadata hold a value of kind {kind}")

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found
            if shift > 63:
                raise ValueError("its metadata hold a number of more than 64 bits")


def _bounded_text(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise ValueError(f"it is larger than {MAX_TEXT} bytes")
    return content.decode("utf-8")


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """What broken files make NumPy, zipfile, json and Arrow raise has no common class."""
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; `dvc repro` makes it") from None
    except MemoryError:
        raise
    except Exception as e:  # fuzzing found a dozen classes, from struct.error to AttributeError
        raise ArtifactError(
            f"{path}: cannot be read ({one_line(e)}); delete it and run `dvc repro` again"
        ) from e


def one_line(error: object) -> str:
    """What an error says, in one line of at most 200 letters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


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
