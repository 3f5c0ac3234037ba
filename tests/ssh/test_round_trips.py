"""How often a machine is asked: each question takes as long as the way there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sshd import Reach

import needs
from hubfleet.errors import HubfleetError
from hubfleet.machines import LocalMachine, Machine, SSHMachine
from hubfleet.plan import Desired, Generations, apply_plan, make_plan
from hubfleet.plan.generations import AT_ONCE, KEPT
from hubfleet.resources import File, Image

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What machines are asked from now on."""
    questions: list[str] = []
    ask = SSHMachine._ask

    def note(self: SSHMachine, verb: str, *more: Any, **request: Any) -> Any:
        questions.append(f"{verb} {request.get('method', '')} {request.get('arguments', '')}"[:100])
        return ask(self, verb, *more, **request)

    monkeypatch.setattr(SSHMachine, "_ask", note)
    return questions


def wanted(folder: Path, text: str) -> Desired:
    return Desired("test", folder / "state", {"hub1": (File(str(folder / "a"), text),)})


def deploy(machine: Machine, what: Desired) -> None:
    generations = Generations(what.state_dir, machine.store)
    with machine.hold(str(what.state_dir)):
        plan = make_plan(what, {"hub1": machine}, generations.known())
        number = generations.begin(plan)
        apply_plan(plan, {"hub1": machine}, lambda event: None)
        generations.switch(number)


def test_a_plan_with_nothing_to_change_asks_a_few_times(reach: Reach, tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "state").mkdir()
    for number in range(KEPT):
        deploy(LocalMachine("hub1"), wanted(tmp_path, str(number)))
    last = wanted(tmp_path, (tmp_path / "a").read_text())
    far = reach()
    far.open()
    generations = Generations(last.state_dir, far.store)
    assert generations.again(generations.current()) == 0
    assert generations.read(generations.current())
    plan = make_plan(last, {"hub1": far}, generations.known(), generations.images_kept(last))
    assert plan.empty
    assert generations.numbers() == list(range(1, KEPT + 1))
    assert len(asked) == 3, asked
    assert generations.before() == KEPT - 1
    assert [generations.describe(number).number for number in generations.deployed()] == list(range(KEPT, 0, -1))


def test_images_of_generations_that_only_tidied_up_are_looked_for_further_back(
    reach: Reach, tmp_path: Path, asked: list[str]
) -> None:
    (tmp_path / "state").mkdir()
    state, images = tmp_path / "state", [Image.of(name, "debian:12", "FROM debian:12\n") for name in "ab"]
    near = Generations(state)
    for number in range(KEPT):
        # Of each pair the second has the same resources: it was begun to remove what the first left.
        again, resource = number % 2, images[0] if number < 2 else images[1]
        desired = Desired("test", state, {"hub1": (resource,)}, again=again)
        plan = make_plan(Desired("test", state, {}), {}, near.known())
        near.switch(near.begin(type(plan)(plan.hub, (), (), desired, (), max(near.numbers(), default=0))))
    far = Generations(state, reach().store)
    kept = far.images_kept(Desired("test", state, {"hub1": ()}))
    assert kept == {"hub1": {image.id for image in images}} == near.images_kept(Desired("test", state, {"hub1": ()}))
    assert len(asked) == 1 + KEPT / AT_ONCE, asked


def test_what_was_asked_ahead_is_asked_anew_once_something_may_have_changed(reach: Reach, tmp_path: Path) -> None:
    machine, file = reach(), tmp_path / "note"
    read = str(file)

    def ahead() -> str | None:
        machine.store.ahead([("read", read)])
        return machine.store.read(read)

    assert ahead() is None
    file.write_text("1")
    assert machine.store.read(read) is None, "it was asked ahead"
    with machine.hold(str(tmp_path)):
        assert machine.store.read(read) == "1", "the lock is held: what another has changed before is seen"
        assert ahead() == "1"
        machine.store.write(read, "2")
        assert ahead() == "2"
        change = File(read, "3").diff(machine.observe([File(read, "3")])[f"file:{read}"])
        assert change is not None
        assert machine.apply(change, print)
        assert machine.store.read(read) == "3"


def test_what_cannot_be_asked_ahead_is_told_to_who_asks(reach: Reach, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").touch()
    for store in (reach().store, LocalMachine().store):
        store.ahead([("names", f"{tmp_path}/*"), ("pointed", str(tmp_path / "file")), ("names", str(tmp_path))])
        assert store.names(str(tmp_path / "one")) == ["a"]
        with pytest.raises(NotADirectoryError):
            store.names(str(tmp_path / "file"))
        with pytest.raises(OSError, match="Invalid argument"):
            store.pointed(str(tmp_path / "file"))
    with pytest.raises(HubfleetError, match="no question to a store: erase"):
        reach().store.ahead([("erase", str(tmp_path))])
    assert (tmp_path / "one").exists()
