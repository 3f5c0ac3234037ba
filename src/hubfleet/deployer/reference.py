"""The reference page of Deployer's files, made of the properties themselves.

`python -m hubfleet.deployer.reference FILE` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from hubfleet.deployer.projects import JUPYTERHUB
from hubfleet.deployer.properties import PROPERTIES

PAGE = "deployer.md"

_INTRODUCTION = """\
# Deployer's files

This page is made from the properties by `make docs`; change it there. How to use the files:
[Files of TACC's Deployer](../how-to/deployer-files.md).

| file | what it holds |
|---|---|
| `*.configs` | properties, globally and in stanzas `project.instance.tenant` |
| `*.passwords` | properties in the same form; mode 0600 or refused; `-v`, `-vv` and messages show no value of it |
| `*.hosts` | stanzas with `hosts`, and what these have in common |

For one hub holds what is written globally, then for its project, its instance, its tenant; the most local value wins,
whichever of the two files it stands in. A value replaces another as a whole, lists too; an empty one takes it away.
The tenant of a stanza may be a standard one with a dot in its id, `jupyterhub.prod.araport.org`; for another one with a
dot, name the stanza without it and write `tenant` into it. Stanzas of other projects are left alone, and so are global
properties that nobody here knows. An unknown property in a stanza of `jupyterhub` is an error. A true or false may be
written `yes` and `no`, `on` and `off`.
"""

_HOSTS = """\
## Hosts

The hosts of a hub are those of its project, its instance and its tenant. What an entry does not say, its stanzas say,
the most local first. Of two entries with one `host_id`, the more local one wins, key by key.

| key | meaning | becomes, under `machines` |
|---|---|---|
| `host_id` | its name; required | its key |
| `ssh_host` | where `ssh` reaches it; required | `ssh` |
| `ssh_user` | as whom. Default: as `ssh` has it | `ssh` |
| `ssh_key` | file with the private key, from the directory where the command is run | `ssh_key` |
| `ssh_config` | file that `ssh` reads instead of `~/.ssh/config`. An addition of hubfleet's | `ssh_config` |
| `private_ip` | its address in the machines' own network | `private_ip` |
| `roles` | list: `hub` (exactly one host), `worker` (any number); also hubfleet's `storage` and `edge` | `roles` |

Other keys are the operator's own, and mean nothing here; one that is nearly one of these is an error. Several hosts are
engine `swarm`. A single one, with both roles, is engine `docker`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_properties(), _HOSTS, *_actions()]).rstrip() + "\n"


def _properties() -> Iterator[str]:
    yield "## Properties\n"
    yield "| property | form | meaning | becomes, in hubfleet.yaml |\n|---|---|---|---|"
    for name, known in PROPERTIES.items():
        meaning = f"{known.meaning} Required." if known.required else known.meaning
        cells = [f"`{name}`", known.form, meaning, known.becomes]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _actions() -> Iterator[str]:
    yield f"## Actions of {JUPYTERHUB.name}\n"
    yield "| `-a` | what it does |\n|---|---|"
    yield from (f"| `{name}` | {what} |" for name, what in JUPYTERHUB.actions.items())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
