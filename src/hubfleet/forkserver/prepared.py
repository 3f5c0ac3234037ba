"""A start of a server that stops half-way: before its user matters, to go on in a fork.

A start reads the system's configuration, makes the application, and links its extensions; only then it makes what
serves a certain person. `begin` runs the first half in the parent, with nobody's name and an empty home, and goes on
with the second half, by the same code of Jupyter Server, once its ``pause`` returns in a fork. What the first half of
a plain start takes from its user is taken on then: arguments, directories, the event loop, JupyterHub's variables.

Guards keep this like a plain start: the whole is run in a fork that is thrown away, which looks for what is left of
nobody (`tied.left_over`); `configuration` tells whether this user would have read other files in the first half, and
`Tied.reason` whether that looked at variables which are others for this user.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Files = dict[str, tuple[int, int]]


def configuration() -> Files:
    """The configuration files that the first half of a start would read now: path to time of change and size."""
    from jupyter_core.paths import jupyter_config_path

    found = {}
    for directory in jupyter_config_path():
        for entry in _entries(directory):
            if entry.name.endswith("_config.d"):
                found.update({file.path: _state(file) for file in _entries(entry.path) if file.name.endswith(".json")})
            elif entry.name.endswith(("_config.json", "_config.py")):
                found[entry.path] = _state(entry)
    return found


def begin(program: str, arguments: Sequence[str], tied: Any, pause: Callable[[], list[str]]) -> NoReturn:
    """Start the server; ``pause`` is called in the middle, and returns the whole command line in a fork.

    ``tied``: what is tied to nobody's environment (see ``tied.py``); ``pause`` has released it.
    """
    from jupyter_core.application import JupyterApp
    from jupyter_server.extension.manager import ExtensionManager
    from jupyter_server.serverapp import ServerApp
    from jupyterhub.singleuser import main
    from jupyterhub.singleuser.extension import JupyterHubSingleUser as Hub

    held: list[Any] = []
    link, link_all = ExtensionManager.link_extension, ServerApp.init_server_extensions
    replaced = (
        (ServerApp, "init_ioloop", lambda app: None),
        (JupyterApp, "migrate_config", lambda app: None),
        (Hub, "load_config_file", lambda hub: held.append(hub)),
        (ExtensionManager, "link_extension", lambda manager, name: _link(manager, name, link)),
        (ServerApp, "init_server_extensions", lambda app: link_and_go_on(app)),
    )
    kept = [getattr(owner, name) for owner, name, _ in replaced]

    def link_and_go_on(app: Any) -> None:
        link_all(app)
        command = pause()
        for (owner, name, _), own in zip(replaced, kept, strict=True):
            setattr(owner, name, own)
        _take_on(app, held[0], tied, command[1:], command[1 + len(arguments) :])

    for owner, name, instead in replaced:
        setattr(owner, name, instead)
    sys.argv = [program, *arguments]
    sys.exit(main())


def _link(manager: Any, name: str, link: Callable[[Any, str], None]) -> None:
    """Link an extension that has no way of its own to do that: another one may look at what is the user's."""
    from jupyter_server.extension.application import ExtensionApp

    for point in manager.extensions[name].extension_points.values():
        own = type(point.app) if point.app else point.module
        usual = ExtensionApp._link_jupyter_server_extension if point.app else None
        if getattr(own, "_link_jupyter_server_extension", None) is not usual:
            return
    link(manager, name)


def _take_on(app: Any, hub: Any, tied: Any, command: list[str], own: list[str]) -> None:
    """What the first half of a plain start would have done for this user; ``own``: arguments for nobody else."""
    from jupyter_core import paths
    from traitlets.config import Config
    from traitlets.config.loader import DeferredConfigString

    packages = app.extension_manager.sorted_extensions.values()
    extensions = [point.app for package in packages for point in package.extension_points.values() if point.app]
    for one in (app, *extensions):
        for name, directory in (("config_dir", paths.jupyter_config_dir), ("data_dir", paths.jupyter_data_dir)):
            if one.trait_has_value(name):
                setattr(one, name, directory())
        tied.renew(one)
    app.migrate_config()
    app.init_ioloop()
    given = Config()
    for argument in own:
        name, _, value = argument.removeprefix("--").partition("=")
        section, _, trait = name.partition(".")
        given[section][trait] = DeferredConfigString(value)
    app.argv = command
    app.cli_config.merge(given)
    app.update_config(app.cli_config)
    place = extensions.index(hub)
    for one in extensions[:place]:
        one.config.merge(given)  # in no section of theirs
    hub.load_config_file()
    for one in extensions[place:]:
        one.update_config(app.config)
        if one.config != app.config:
            app.update_config(one.config)
    app.extension_manager.link_all_extensions()


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _state(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        state = entry.stat()
    except OSError:
        return (0, 0)
    return (state.st_mtime_ns, state.st_size)
