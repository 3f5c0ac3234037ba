"""A hub spoken to by programs: token, start, progress, kernel, a notebook; and what `status` and `plan` say of it."""

from __future__ import annotations

from harness import RunningHub


def test_a_person_signs_up_starts_and_computes(hub: RunningHub) -> None:
    ada = hub.person("ada")
    events = ada.start()
    assert events[-1]["ready"], events
    assert "Starting the server" in [event["message"] for event in events]
    assert ada.kernel().run("print(6 * 7)") == "42\n"
    status = hub.status()
    assert status["state"] == "running"
    assert status["url"] == hub.url
    assert status["hub"] == hub.name
    assert [entry["user"] for entry in status["servers"]] == ["ada"]
    assert "ada" in [entry["name"] for entry in status["users"]]
    ada.stop()


def test_a_second_plan_is_empty(hub: RunningHub) -> None:
    assert hub.changes() == []
