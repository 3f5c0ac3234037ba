"""What going back to a generation has in common, whatever was deployed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hubfleet.cli.carry import Deployed
from hubfleet.cli.console import confirm, draw, say, show, table
from hubfleet.errors import ApplyError, CheckError, ConfigError, HubfleetError
from hubfleet.machines import Machine
from hubfleet.plan import Generations, Plan, plan_lines, restored, secret_paths, summary
from hubfleet.plan.generations import IMAGES_KEPT
from hubfleet.resources import File, Image, Resource


def target(generations: Generations, number: int | None) -> int:
    """The generation that is meant. Raises ConfigError for one that there is not, CheckError where there is none."""
    deployed, newest = generations.deployed(), max(generations.numbers(), default=0)
    if number is not None:
        if number in deployed:
            return number
        known = ", ".join(map(str, reversed(deployed))) or "none"
        was = "was not carried out to its end" if number in generations.numbers() else "is not there"
        raise ConfigError(f"generation {number} {was}; there are: {known}", remedy="hubfleet rollback --list")
    if newest > generations.current() > 0:
        # One that was begun and not finished: going back is back to before it, and going on with it is the other way.
        return generations.again(newest) or generations.current()
    found = generations.before()
    if found == 0:
        raise CheckError("there is no earlier generation", state="Nothing was changed")
    return found


def failed(error: ApplyError, target: int, current: int) -> ApplyError:
    """With both ways on: further, or back to what there was, with its database."""
    back = f"hubfleet rollback {target}, to go on, or hubfleet rollback {current}, to have back what there was before"
    return ApplyError(error.what, where=error.where, state=error.state, remedy=back)


def confirm_back(number: int, plan: Plan, yes: bool) -> None:
    """Show what leads there, and ask. Raises CancelledError_."""
    say(f"Back to generation {number}:", "bold")
    lines = plan_lines(plan)
    if yes:
        say(f"{plan.hub}: {summary(plan)}", "bold")
        show(line for line in lines if line.role in ("setting", "note"))
        return
    show(lines)
    confirm("Do this?", f"hubfleet rollback {number} --yes")


def wanted_now(deployment: Deployed) -> Mapping[str, tuple[Resource, ...]]:
    """What the configuration wants now, by machine; nothing where it wants what is not possible."""
    try:
        return deployment.desired().machines
    except HubfleetError:
        return {}


def remade(
    there: Machine,
    number: int,
    then: tuple[Resource, ...],
    wants: Iterable[tuple[Resource, ...]],
    images: Mapping[str, Image],
) -> tuple[tuple[Resource, ...], tuple[str, ...]]:
    """What a machine had in a generation, as it can be made again, and notes about what is not as it was then.

    wants: what is wanted there now, for secrets. images: by tag, those that can be built now. Raises CheckError.
    """
    made, notes = restored(then, _secrets(there, then, wants), images)
    _check_images(there, number, made)
    return made, notes


def _secrets(
    machine: Machine, then: tuple[Resource, ...], wants: Iterable[tuple[Resource, ...]]
) -> dict[str, list[str]]:
    """By path what a file that must not be recorded may hold: what is there, and what is wanted."""
    wanted = [{item.path: item.content for item in items if isinstance(item, File)} for items in wants]
    found = {}
    for path in secret_paths(then):
        contents = [machine.store.read(path), *(files.get(path) for files in wanted)]
        found[path] = [content for content in contents if content is not None]
    return found


def _check_images(machine: Machine, number: int, made: tuple[Resource, ...]) -> None:
    images = [item for item in made if isinstance(item, Image) and not item.context]
    seen = machine.observe(images)
    gone = [item.tag for item in images if seen[item.id] is None]
    if gone:
        are = "is" if len(gone) == 1 else "are"
        raise CheckError(
            f"generation {number} cannot be had back: of its images {', '.join(gone)} {are} gone "
            f"(those of the last {IMAGES_KEPT} generations are kept)",
            state="Nothing was changed",
            remedy="hubfleet rollback --list, or put the old settings into the configuration and: hubfleet up",
        )


def listed(deployment: Deployed) -> None:
    """Show the generations."""
    generations = deployment.generations
    numbers, current = generations.numbers(), generations.current()
    name = deployment.machine.name
    here = {number: generations.read(number).get(name, ()) for number in numbers}
    images = {number: [item for item in here[number] if isinstance(item, Image)] for number in numbers}
    seen = deployment.machine.observe(list({item.id: item for items in images.values() for item in items}.values()))
    shown = table("generation", "when", "", "what changed")
    for number in numbers:
        found = generations.describe(number)
        words = ["current"] if number == current else []
        words += [] if found.deployed else ["not finished"]
        words += [f"back to {found.again}"] if found.again else []
        words += ["images gone"] if any(seen[item.id] is None for item in images[number]) else []
        shown.add_row(str(number), found.created[:16].replace("T", " "), ", ".join(words), found.changes)
    draw(shown)
