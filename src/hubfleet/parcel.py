"""The agent as one file: what is sent to a machine that has Python and nothing of ours."""

from __future__ import annotations

import functools
import importlib.util
import io
import marshal
import zipfile
from pathlib import Path

import hubfleet

WHOLE = ("agent", "resources")
SINGLE = ("__init__", "errors", "logfiles", "privatefiles", "unixhttp", "supervisor/__init__", "supervisor/spec")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@functools.cache
def parcel() -> bytes:
    """A zip archive that Python can import from; the same bytes for the same code.

    Beside each file is what Python makes of it, for where the Python is of the same version as this one: a machine
    keeps nothing of the agent, so it would compile all of it again with each connection. Another Python takes the file.
    """
    package = Path(hubfleet.__file__).parent
    files = [package / f"{name}.py" for name in SINGLE]
    files += [file for name in WHOLE for file in (package / name).glob("*.py")]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            name, source = f"hubfleet/{file.relative_to(package)}", file.read_bytes()
            _add(archive, name, source)
            _add(archive, f"{name}c", _compiled(name, source))
    return packed.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _LONG_AGO)
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content)


def _compiled(name: str, source: bytes) -> bytes:
    """As in a .pyc file that is not held against its source: nobody changes the one without the other here."""
    code = compile(source, name, "exec", dont_inherit=True)
    unchecked = (1).to_bytes(4, "little")
    return (
        importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source) + marshal.dumps(code, 2)
    )  # later formats tell apart what is equal
