"""What a server's process is, as JSON: read by the conformance test, run inside the user's server only.

`forked.look_inside` puts it into the users' environment: `early` is what it sees while extensions are loaded, `late`
while requests are served. It answers at ``/probe``. A user can also have it as an extension of their own.
"""

import asyncio
import gc
import importlib.metadata
import json
import locale
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings

MODULES = sorted(sys.modules)


def _read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError as error:
        return type(error).__name__


def _stream(stream):
    return [
        str(getattr(stream, name, None))
        for name in ("name", "mode", "encoding", "errors", "line_buffering", "write_through")
    ]


def _shown(value):
    return value.__qualname__ if callable(value) and hasattr(value, "__qualname__") else repr(value)


def _offers():
    groups = importlib.metadata.entry_points()
    return [one for group in groups.values() for one in group] if isinstance(groups, dict) else groups


def interpreter():
    main = sys.modules["__main__"]
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "executable": [sys.executable, sys._base_executable],
        "prefix": [sys.prefix, sys.base_prefix, sys.exec_prefix],
        "path": sys.path,
        "path_hooks": [_shown(one) for one in sys.path_hooks],
        "meta_path": [_shown(one) for one in sys.meta_path],
        "flags": str(sys.flags),
        "xoptions": sys._xoptions,
        "warnoptions": sys.warnoptions,
        "warning_filters": sorted(map(repr, warnings.filters)),
        "encodings": [sys.getdefaultencoding(), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()],
        "streams": [_stream(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "hooks": [_shown(hook) for hook in (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook)],
        "main": sorted(set(vars(main)) - {"re", "sys", "main"}),
        "main_file": getattr(main, "__file__", None),
        "main_spec": repr(getattr(main, "__spec__", None)),
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "dont_write_bytecode": sys.dont_write_bytecode,
        "user_site": [
            sys.modules["site"].ENABLE_USER_SITE,
            sys.modules["site"].USER_SITE,
            sys.modules["site"].USER_BASE,
        ],
        "time": [time.tzname, time.timezone],
        "locale": [
            locale.setlocale(category)
            for category in (locale.LC_CTYPE, locale.LC_COLLATE, locale.LC_NUMERIC, locale.LC_TIME)
        ],
        "preferred_encoding": locale.getpreferredencoding(False),
        "handlers": {str(number): _shown(signal.getsignal(number)) for number in sorted(signal.valid_signals())},
        "wakeup": _wakeup(),
        "loop_policy": type(asyncio.get_event_loop_policy()).__qualname__,
        "of_the_parent": _of_the_parent(),
        "umask": _umask(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def _wakeup():
    if threading.current_thread() is not threading.main_thread():
        return "-"
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    return number >= 0


def _of_the_parent():
    """Global texts that tell of the home that the parent of forked servers has."""
    return [
        f"{name}.{key}"
        for name, module in sorted(sys.modules.items())
        for key, value in list(getattr(module, "__dict__", {}).items())
        if isinstance(value, (str, list, tuple)) and "of-nobody" in repr(value) and key != "_of_the_parent"
    ]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def process():
    status = dict(line.split(":\t", 1) for line in _read("/proc/self/status").splitlines() if ":\t" in line)
    fields = _read("/proc/self/stat").rpartition(")")[2].split()
    pid = os.getpid()
    links = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            links[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    return {
        "status": {
            key: status.get(key, "").strip()
            for key in (
                "Name",
                "Umask",
                "Uid",
                "Gid",
                "Groups",
                "Threads",
                "SigPnd",
                "ShdPnd",
                "SigBlk",
                "SigIgn",
                "SigCgt",
                "CapInh",
                "CapPrm",
                "CapEff",
                "CapBnd",
                "CapAmb",
                "NoNewPrivs",
                "Seccomp",
                "TracerPid",
                "CoreDumping",
                "Cpus_allowed",
                "Mems_allowed",
                "THP_enabled",
            )
        },
        "leader": [os.getsid(0) == pid, os.getpgid(0) == pid],
        "tty": fields[4],
        "priority": [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0))],
        "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "dumpable": os.stat("/proc/self/environ").st_uid == os.getuid(),
        "limits": _read("/proc/self/limits"),
        "rlimits": {
            name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")
        },
        "cmdline": _read("/proc/self/cmdline").split("\0"),
        "environ": sorted(_read("/proc/self/environ").rstrip("\0").split("\0")),
        "os_environ": dict(os.environ),
        "comm": _read("/proc/self/comm"),
        "exe": os.readlink("/proc/self/exe"),
        "cwd": [os.readlink("/proc/self/cwd"), os.getcwd()],
        "root": os.readlink("/proc/self/root"),
        "oom": [_read("/proc/self/oom_score_adj")],
        "coredump_filter": _read("/proc/self/coredump_filter"),
        "timerslack": _read("/proc/self/timerslack_ns"),
        "cgroup": _read("/proc/self/cgroup"),
        "mounts": [
            line.split(" ")[4:6] + line.split(" - ")[1].split(" ")[:1]
            for line in _read("/proc/self/mountinfo").splitlines()
        ],
        "namespaces": sorted(os.listdir("/proc/self/ns")),
        "own_namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))},
        "descriptors": sorted(_kind(number, link) for number, link in links.items() if not _is_being_read(link)),
        "inheritable": sorted(int(number) for number in links if _inheritable(int(number))),
        "processes_of_others": sorted(name for name in os.listdir("/proc") if name.isdigit() and not _own(name)),
        "maps": sorted(
            {line.split(None, 5)[5] for line in _read("/proc/self/maps").splitlines() if len(line.split(None, 5)) > 5}
        ),
    }


def _is_being_read(link):
    """Whether it is one of the files that a server opens and closes all the time."""
    return link.startswith((sys.prefix, os.path.expanduser("~")))


def _own(number):
    try:
        return os.stat(f"/proc/{number}").st_uid == os.getuid()
    except FileNotFoundError:
        return True  # it has ended


def _inheritable(number):
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def _kind(number, link):
    kind = link.partition(":[")[0] if ":[" in link else link
    return f"{number} {kind}" if int(number) < 3 else kind


def _logger(logger):
    return [
        logging.getLevelName(logger.level),
        logger.propagate,
        logger.disabled,
        [
            [type(handler).__qualname__, handler.level, type(handler.formatter).__qualname__]
            for handler in logger.handlers
        ],
        [type(one).__qualname__ for one in logger.filters],
    ]


def logs():
    known = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    told = {name: _logger(one) for name, one in known.items() if one.level or one.handlers or not one.propagate}
    return {
        "root": _logger(logging.root),
        "loggers": dict(sorted(told.items())),
        "disable": logging.root.manager.disable,
    }


def randomness():
    import multiprocessing
    import random
    import secrets
    import ssl
    import tempfile
    import uuid

    found = {
        "random": random.random(),
        "secrets": secrets.token_hex(8),
        "uuid4": str(uuid.uuid4()),
        "uuid1": str(uuid.uuid1()),
        "ssl": ssl.RAND_bytes(8).hex(),
        "urandom": os.urandom(8).hex(),
        "tempfile": tempfile.mktemp(),
        "fresh": random.Random().random(),
        "authkey": bytes(multiprocessing.current_process().authkey).hex(),
    }
    if "numpy" in sys.modules:
        found["numpy"] = float(sys.modules["numpy"].random.random())
        found["numpy generator"] = float(sys.modules["numpy"].random.default_rng().random())
    return found


def snapshot():
    return {
        "interpreter": interpreter(),
        "process": process(),
        "logs": logs(),
        "modules": MODULES,
        "random": randomness(),
    }


def _traits(one):
    return {
        name: repr(value)
        for name, value in sorted(one.trait_values().items())
        if isinstance(value, (str, int, float, bool, list, dict, type(None)))
        and name not in ("config", "flags", "cli_config", "settings")
    }


def _defaults():
    """What traits of any class are where nobody sets them: some look that up when their class is made."""
    from traitlets import HasTraits

    found, classes = {}, [HasTraits]
    while classes:
        one = classes.pop()
        classes += one.__subclasses__()
        for name, trait in one.class_own_traits().items():
            if isinstance(trait.default_value, (str, int, float, bytes, bool)):
                found[f"{one.__module__}.{one.__qualname__}.{name}"] = repr(trait.default_value)
                found[f"{one.__module__}.{one.__qualname__}.{name} made"] = repr(
                    one._static_immutable_initial_values.get(name)
                )
    return found


def _known():
    """What was found out before the fork."""
    import jinja2.lexer
    from jupyterlab_server import settings_utils

    return {
        "offers": hasattr(importlib.metadata.entry_points, "__self__"),
        "schemas": len(getattr(settings_utils.Validator, "_right", ())),
        "templates": len(jinja2.lexer._lexer_cache),
    }


def application(server):
    app = server.web_app
    patterns = []
    for rule in app.default_router.rules:
        for inner in getattr(rule.target, "rules", []):
            patterns.append(
                [
                    inner.matcher.regex.pattern if hasattr(inner.matcher, "regex") else repr(type(inner.matcher)),
                    _shown(inner.target),
                ]
            )
    manager = server.extension_manager
    traits = _traits(server)
    return {
        "class": [one.__qualname__ for one in type(server).__mro__],
        "class_defaults": _defaults(),
        "hub_auth": _traits(server.identity_provider.hub_auth),
        "singleton": type(server).initialized(),
        "known": _known(),
        "offers": sorted([one.group, one.name, one.value] for one in _offers()),
        "notebook_schemas": sorted(map(str, __import__("nbformat.validator").validator.validators)),
        "looked_for_language_servers": server.language_server_manager._ready,
        "config": json.loads(json.dumps(server.config, default=repr, sort_keys=True)),
        "loaded_config_files": list(server.loaded_config_files),
        "traits": traits,
        "cli_config": json.loads(json.dumps(server.cli_config, default=repr, sort_keys=True)),
        "extension_traits": {name: _traits(one.app) for name, one in manager.extension_points.items() if one.app},
        "extension_configs": {
            name: json.loads(json.dumps(one.app.config, default=repr, sort_keys=True))
            for name, one in manager.extension_points.items()
            if one.app
        },
        "flags": sorted(server.flags),
        "extensions": list(manager.extensions),
        "enabled": {name: one.enabled for name, one in manager.extensions.items()},
        "linked": sorted(manager.linked_extensions),
        "settings": sorted(app.settings),
        "handlers": patterns,
        "compiled_before": sum(
            type(inner.matcher.regex).__name__ == "Route"
            for rule in app.default_router.rules
            for inner in getattr(rule.target, "rules", [])
            if hasattr(inner.matcher, "regex")
        ),
        "managers": {
            name: type(app.settings[name]).__qualname__
            for name in (
                "contents_manager",
                "kernel_manager",
                "session_manager",
                "kernel_spec_manager",
                "config_manager",
                "terminal_manager",
            )
            if name in app.settings
        },
        "identity": [type(server.identity_provider).__qualname__, type(server.authorizer).__qualname__],
        "kernelspecs": {
            name: spec["spec"] | {"dir": spec["resource_dir"]}
            for name, spec in server.kernel_spec_manager.get_all_specs().items()
        },
        "loop": [
            type(asyncio.get_running_loop()).__qualname__,
            type(server.io_loop).__qualname__,
            asyncio.get_running_loop().get_debug(),
        ],
        "cookie_secret": __import__("hashlib").sha256(server.web_app.settings["cookie_secret"]).hexdigest(),
        "notary": [
            getattr(server.contents_manager.notary, name, "")
            for name in ("data_dir", "db_file", "secret_file", "algorithm")
        ],
        "notary_secret": __import__("hashlib").sha256(server.contents_manager.notary.secret).hexdigest(),
        "jupyter_paths": __import__("jupyter_core.paths").paths.jupyter_path(),
        "config_paths": __import__("jupyter_core.paths").paths.jupyter_config_path(),
        "template_paths": [str(path) for path in app.settings["jinja2_env"].loader.searchpath]
        if hasattr(app.settings["jinja2_env"].loader, "searchpath")
        else [],
    }


def write_early():
    with open(os.path.expanduser("~/early.json"), "w") as file:
        json.dump(snapshot(), file)


def _jupyter_server_extension_points():
    return [{"module": __name__}]


def _load_jupyter_server_extension(server):
    from jupyter_server.base.handlers import JupyterHandler
    from tornado.web import authenticated

    class Probe(JupyterHandler):
        @authenticated
        def get(self):
            global MODULES
            MODULES = sorted(sys.modules)
            self.finish(json.dumps({**snapshot(), "application": application(server)}))

        @authenticated
        def post(self):
            os._exit(int(self.get_argument("code")))

    server.web_app.add_handlers(".*$", [(server.web_app.settings["base_url"] + "probe", Probe)])
