"""Builds container images with the engine's own builder."""

from __future__ import annotations

import re
import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from hubfleet.agent import imagesleft
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine, observed_of
from hubfleet.agent.registry import CERTIFICATES, PUBLIC, Reference
from hubfleet.agent.tools import CREDENTIALS, HEARTBEAT_SECONDS, SHOWN_LINES
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.image import Image

_FULL_BYTES = 20 * 1024**2
WIDTH = 60
"""Characters of a step that are shown."""
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_BUILDERS_OWN = re.compile(r" ---> |Removing intermediate container ")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]")


def observe(image: Image) -> Observed | None:
    return observed_of(lambda engine, wanted: engine.image(wanted.tag), image)


def apply(image: Image, change: Change, progress: Progress) -> None:
    """The engine gives the tag after the last step. Killed, the engine ends the build; its finished steps it keeps.

    Raises ApplyError with the last lines that the failed step said.
    """
    engine = Engine()
    if change.action == "remove":
        engine.forget_image(image.tag)
    else:
        with imagesleft.building():
            _build(engine, image, progress)
    with suppress(ApplyError):  # the change is made; what could not be removed now, a later one will
        imagesleft.remove(engine, progress)


def _build(engine: Engine, image: Image, progress: Progress) -> None:
    fetches = engine.find(f"/images/{image.base}/json") is None
    query = {
        "t": image.tag,
        "version": "1",
        "networkmode": "host",  # as the machine itself reaches what is installed
        "rm": True,
        "forcerm": True,
        "buildargs": image.arguments,
    }
    build = _Build(f"building image {image.label}", progress, engine.get("/info")["DockerRootDir"])
    with _trusted(image), closing(engine.stream("/build", image.archive(), query, HEARTBEAT_SECONDS)) as messages:
        for message in messages:
            build.look()
            if message is None:
                build.beat()
            elif "error" in message:
                build.fail(str(message["error"]))
            else:
                build.hear(str(message.get("stream", "")))
                if fetches and build.number > 1:
                    imagesleft.note_base(engine, image.base)
                    fetches = False


@contextmanager
def _trusted(image: Image) -> Iterator[None]:
    """Have the engine trust the site's authorities for the registry that the base comes from, during the build."""
    registry = Reference.of(image.base).registry
    if not image.authorities or registry == PUBLIC:
        yield
        return
    folder = CERTIFICATES / registry
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o755)
    # Each build has its own: two at once do not take each other's away, and one that was killed is tidied by the next.
    file = folder / f"hubfleet-{image.tag.rpartition('/')[2].replace(':', '-')}.crt"
    file.write_text(image.authorities)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        for place in missing:
            with suppress(OSError):  # somebody else's are in it by now
                place.rmdir()


class _Build:
    """What is told of one build: the step that runs, and at its failure the end of what it said."""

    def __init__(self, what: str, progress: Progress, place: str) -> None:
        """``place``: the directory that the engine has its images in."""
        self.place, self.room = place, _FULL_BYTES
        self.what = what
        self.progress = progress
        self.step, self.number = what, 0
        self.said: deque[str] = deque(maxlen=SHOWN_LINES)
        self.started = time.monotonic()
        self.told = self.started
        self.rest = ""
        progress(what)

    def hear(self, text: str) -> None:
        """Output comes in pieces that need not end where a line does."""
        *lines, self.rest = (self.rest + text).replace("\r", "\n").split("\n")
        for line in lines:
            self._line(line)
        if time.monotonic() - self.told >= HEARTBEAT_SECONDS:
            self.beat()

    def look(self) -> None:
        """See how much room there is: when a build has failed, what it took is free again, and no program says why."""
        with suppress(FileNotFoundError):  # an engine may be in other directories than we are
            self.room = min(self.room, shutil.disk_usage(self.place).free)

    def beat(self) -> None:
        self.told = time.monotonic()
        self.progress(f"{self.step} ({self.told - self.started:.0f} s)")

    def fail(self, words: str) -> None:
        """Raises ApplyError."""
        self._line(self.rest)
        lines = "".join(f"\n    {line}" for line in [*self.said, *_clean(words).splitlines()])
        full = self.room < _FULL_BYTES
        raise ApplyError(
            f"{self.step} failed{f', and there was no room left in {self.place}' if full else ''}:{lines}",
            state="No image was made, and earlier ones stay",
            remedy="free some space there, then hubfleet up again; it carries on from here" if full else None,
        )

    def _line(self, line: str) -> None:
        step = _STEP.match(line)
        if step:
            words = _clean(step[3])
            shown = words if len(words) <= WIDTH else f"{words[: WIDTH - 3]}..."
            self.number = int(step[1])
            self.step = f"{self.what}: step {step[1]} of {step[2]}: {shown}"
            self.said.clear()
            self.told = time.monotonic()
            self.progress(self.step)
        elif line.strip() and not _BUILDERS_OWN.match(line):
            self.said.append(_clean(line))


def _clean(text: str) -> str:
    """Without colours, and without names and passwords in addresses."""
    return CREDENTIALS.sub("********@", _CONTROL.sub("", text)).rstrip()
