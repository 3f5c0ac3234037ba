"""What the cluster reports of its partitions, for limits on what people may ask for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from hubfleet.engines.slurm.partitions import Kind, Partition, partitions, sinfo

MARK = "@0123456789abcdef@"


def test_partitions_and_what_their_nodes_have() -> None:
    rows = [
        ["debug*", "up", "2:00:00", "16", "8000", "gpu:2", "1", "idle"],
        ["debug*", "up", "2:00:00", "16", "8000", "gpu:2", "1", "down*"],
        ["debug*", "up", "2:00:00", "64", "512000", "(null)", "4", "mix"],
        ["long", "down", "infinite", "128+", "1024000+", "gpu:a100:4(S:0-1),gpu:h100:2,craynetwork:1", "2", "idle~"],
        ["empty", "up", "1-12", "0", "0", "(null)", "0", "n/a"],
    ]
    found = partitions("Hi\n" + "".join("".join(MARK + f for f in row) + "\n" for row in rows), MARK)
    assert found["debug"] == Partition(
        "debug", True, True, 7200, (Kind(2, 1, 16, 8000, {"": 2}), Kind(4, 4, 64, 512000))
    )
    assert (found["debug"].cpus, found["debug"].memory, found["debug"].gpus) == (64, 512000, 2)
    long = found["long"]
    assert (long.default, long.up, long.longest, long.gpus) == (False, False, None, 6)
    (kind,) = long.kinds
    assert kind.fits(128, 1000, 4, "a100")
    assert not kind.fits(128, 1000, 3, "h100")
    assert not kind.fits(129, 1000, 0)
    assert kind.there == 2, "a node that sleeps to save power can be used"
    assert found["empty"].longest == 129600
    assert (found["empty"].kinds, found["empty"].cpus) == ((), 0)


def test_one_question_for_all_partitions() -> None:
    assert sinfo("@m@")[-1] == "--format=@m@%P@m@%a@m@%l@m@%c@m@%m@m@%G@m@%D@m@%t"


@given(some.text(max_size=400))
def test_no_text_breaks_the_reading(text: str) -> None:
    row = "".join(MARK + one for one in ["debug*", "up", text, "16", text, text, "1", text])
    for output in (text, MARK + text, row):
        partitions(output, MARK)
