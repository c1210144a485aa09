"""Where bytes come from: files, folders and globs, gz and zst, and the check that text is UTF-8."""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

from seodang.errors import DataError

Kind = Literal["text", "json", "csv", "parquet"]

CHUNK = 1 << 20

KINDS: dict[str, Kind] = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
COMPRESSED = (".gz", ".zst")
_NOT_TEXT = {".pdf", ".docx", ".doc", ".hwp", ".hwpx", ".xlsx", ".xls", ".zip", ".tar", ".bz2", ".xz", ".arrow", ".bin"}


def expand(paths: Iterable[Path | str] | Path | str) -> list[Path]:
    """Files named by `paths`: files as they are, folders as all data files in them (sorted), globs as their matches.

    Raises DataError when a path does not exist, cannot be read, or stands for no file.
    """
    files: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else list(paths):
        path = Path(path)
        if path.is_dir():
            found = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_data(file, path)]
            if not found:
                raise DataError(f"{path} holds no data files", f"looked for {', '.join(KINDS)}", "check the path")
            files.extend(found)
        elif path.is_file():
            files.append(path)
        elif glob.has_magic(str(path)) and (found := [Path(x) for x in sorted(glob.glob(str(path), recursive=True))]):
            files.extend(file for file in found if file.is_file())
        else:
            raise DataError(f"{path} does not exist", "there is no such file, folder or match", "check the path")
    if not files:
        raise DataError("no data files", "the list of paths is empty", "name at least one file")
    return files


def kind_of(path: Path) -> Kind:
    """How a file is read, by its name without .gz or .zst; an unknown ending is read as text."""
    suffix = _suffix(path)
    if suffix in _NOT_TEXT:
        raise DataError(
            f"{path} cannot be read",
            f"{suffix} files are not supported; {', '.join(KINDS)} are, also with .gz or .zst",
            "convert it to text or jsonl first",
        )
    return KINDS.get(suffix, "text")


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a file, as a stream. Raises DataError when it is missing, empty or cut short."""
    try:
        size = path.stat().st_size
        raw = open(path, "rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None
    with raw:
        if not size:
            raise DataError(f"{path} is empty", "it has 0 bytes", "check the path, or leave the file out")
        try:
            if path.suffix == ".gz":
                with gzip.open(raw) as stream:
                    yield cast(BinaryIO, stream)
            elif path.suffix == ".zst":
                with _open_zst(raw) as stream:
                    yield stream
            else:
                yield raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path} is damaged or cut short", f"gzip: {error}", "copy or download the file again"
            ) from None


def decode_text(stream: IO[bytes], path: Path) -> Iterator[str]:
    """Text of a UTF-8 stream in chunks; a byte-order mark is left out and line ends become `\\n`.

    Raises DataError with the line and byte of what is not UTF-8, and the command that converts it.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    n_fed = n_lines = 0
    while True:
        chunk = stream.read(CHUNK)
        if n_fed == 0:
            check_not_utf16(chunk, path)
        n_fed += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            seen = bytes(error.object)
            line = n_lines + seen.count(b"\n", 0, error.start) + 1
            raise not_utf8(path, line, n_fed - len(seen) + error.start, seen) from None
        if n_fed == len(chunk):
            text = text.removeprefix("\ufeff")
        n_lines += chunk.count(b"\n")
        if text:
            yield text
        if not chunk:
            return


def read_lines(stream: IO[bytes], path: Path, fallback: str = "utf-8") -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) of each line of a UTF-8 stream; a line that is not UTF-8 is read in
    the encoding `fallback`, where that is another."""
    n_bytes = 0
    for number, line in enumerate(stream, 1):
        if number == 1:
            check_not_utf16(line, path)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            if fallback == "utf-8":
                raise not_utf8(path, number, n_bytes + error.start, line) from None
            text = line.decode(fallback)
        n_bytes += len(line)
        yield number, text.rstrip("\r\n")


def check_not_utf16(head: bytes, path: Path) -> None:
    """Raise DataError when a file begins as UTF-16 does: with its mark, or with a zero in every other byte."""
    sample = head[:4096]
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff") or sample.count(0) * 4 > len(sample) > 0:
        raise DataError(
            f"{path}:1 is not UTF-8",
            "it looks like UTF-16 or like a binary file",
            f"iconv -f utf-16 -t utf-8 {path} > {path.stem}-utf8{path.suffix}",
        )


def not_utf8(path: Path, line: int, byte: int, data: bytes) -> DataError:
    """The error for bytes that are not UTF-8, naming the encoding they seem to be in."""
    encoding = next((name for name in ("cp949", "cp1252", "latin-1") if _decodes(data, name)), "latin-1")
    name = {"cp949": "CP949 (EUC-KR)", "cp1252": "Windows-1252", "latin-1": "Latin-1"}[encoding]
    return DataError(
        f"{path}:{line} is not UTF-8",
        f"byte {byte} begins no UTF-8 character; it decodes as {name}",
        f"iconv -f {encoding} -t utf-8 {path} > {path.stem}-utf8{path.suffix}",
    )


def _decodes(data: bytes, encoding: str) -> bool:
    """Whether whole lines of `data` decode as `encoding`; a first and last line may be cut in the middle."""
    body = data[data.find(b"\n") + 1 : data.rfind(b"\n") + 1] if data.count(b"\n") > 1 else data
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        return len(body) > 64 and error.start >= len(body) - 1  # only the last character is cut
    # CP949 covers much of the byte range, so what it gives must also be Korean to count
    foreign = [c for c in text if ord(c) > 127]
    return encoding != "cp949" or sum("\uac00" <= c <= "\ud7a3" for c in foreign) * 2 >= len(foreign)


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in COMPRESSED else path).suffix.lower()


def _is_data(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and _suffix(file) in KINDS


class _ZstStream(io.RawIOBase):
    """Decompresses one or several zst frames and, unlike the library's reader, notices when the last is cut short."""

    def __init__(self, raw: IO[bytes], new_frame: object, error: type[Exception]) -> None:
        self._raw, self._new_frame, self._error = raw, new_frame, error
        self._frame = new_frame()  # type: ignore[operator]
        self._input = b""
        self._output = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._output:
            data = self._input or self._raw.read(1 << 17)
            if not data:
                if self._started:
                    raise EOFError("the last zst frame has no end")
                return 0
            self._decompress(data)
        n = min(len(view), len(self._output))
        view[:n], self._output = self._output[:n], self._output[n:]
        return n

    _started = False

    def _decompress(self, data: bytes) -> None:
        try:
            self._output = self._frame.decompress(data)
        except self._error as error:
            raise EOFError(f"zst: {error}") from None
        self._started, self._input = True, b""
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = self._new_frame()  # type: ignore[operator]
            self._started = False


def _open_zst(raw: IO[bytes]) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise DataError(
            "cannot read .zst files", "the package zstandard is missing", "pip install 'seodang[zstd]'"
        ) from None
    new_frame = zstandard.ZstdDecompressor().decompressobj
    return cast(BinaryIO, io.BufferedReader(_ZstStream(raw, new_frame, zstandard.ZstdError), 1 << 20))
