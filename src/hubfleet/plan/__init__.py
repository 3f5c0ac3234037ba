"""Plans: what would change, shown, confirmed, and then exactly that.

    with machine.hold(state_dir):
        plan = make_plan(desired, machines, generations.known())
        number = generations.begin(plan)
        apply_plan(plan, machines, on_event)
        generations.switch(number)

The plan may also be made (and confirmed) before the lock is taken: what changed in between is refused.
"""

from hubfleet.plan.apply import Event, apply_plan
from hubfleet.plan.generations import Generations
from hubfleet.plan.make import make_plan
from hubfleet.plan.model import Desired, Manifest, Plan
from hubfleet.plan.restore import restored, secret_paths
from hubfleet.plan.show import Line, plan_lines, plan_text, summary

__all__ = [
    "Desired",
    "Event",
    "Generations",
    "Line",
    "Manifest",
    "Plan",
    "apply_plan",
    "make_plan",
    "plan_lines",
    "plan_text",
    "restored",
    "secret_paths",
    "summary",
]
