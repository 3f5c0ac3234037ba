"""A load test deletes its people until they are gone."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet.loadtest.hubapi import HubAPI, StepFailed
from hubfleet.loadtest.people import HubfleetRoster, clean_up


class Api(HubAPI):
    """A hub that makes somebody anew after they were deleted, so many times: their log-in was on its way."""

    def __init__(self, anew: int) -> None:
        self.anew = anew
        self.people = {"loadtest-0001", "loadtest-0002"}
        self.noted = sorted(self.people)

    async def delete(self, name: str) -> None:
        self.people.discard(name)

    async def ask(self, method: str, path: str, data: Any = None, **options: Any) -> Any:
        if method == "GET":
            return {"names": self.noted}
        if self.anew:
            self.anew -= 1
            self.people.add(self.noted[-1])
        if self.people:
            raise StepFailed("clean up", "1 of its people are still there, first loadtest-0002")
        self.noted = []
        return None


@pytest.mark.parametrize("anew", [0, 1, 2])
async def test_who_was_made_anew_is_deleted_again(anew: int) -> None:
    api = Api(anew)
    assert await clean_up(api, HubfleetRoster()) == []
    assert api.noted == []
    assert api.people == set()


async def test_who_comes_back_for_ever_is_told() -> None:
    told = await clean_up(Api(9), HubfleetRoster())
    assert len(told) == 1
    assert "first loadtest-0002" in told[0]
