"""Plays a class against a hub and measures it. Knows JupyterHub's API, and nothing of how servers are run.

result = run(Target("http://127.0.0.1:8000", Secret(token)), Scenario(people=50))
result.times()["ready"]["p95"], result.pss_per_person(), verdict(result).sentence
"""

from hubfleet.loadtest.page import page
from hubfleet.loadtest.people import ApiRoster, HubfleetRoster
from hubfleet.loadtest.play import Progress, Target, play, remove_leftovers, run
from hubfleet.loadtest.result import Result
from hubfleet.loadtest.scenario import Scenario, one_cell, read_notebook
from hubfleet.loadtest.verdict import Verdict, verdict

__all__ = [
    "ApiRoster",
    "HubfleetRoster",
    "Progress",
    "Result",
    "Scenario",
    "Target",
    "Verdict",
    "one_cell",
    "page",
    "play",
    "read_notebook",
    "remove_leftovers",
    "run",
    "verdict",
]
