"""The catalogue: a mistake in hubfleet.yaml, and exactly what is said of it."""

# Whole sentences on one line, to be found by searching for them.
# ruff: noqa: E501

from __future__ import annotations

HUB = "hub: physics101\n"

ENGINE = "choose local, docker, swarm, slurm"
HOST = "Try: a directory made for users, such as /srv/data"
PACKAGE = "is not a package. Try: pymc, pymc==5.2 or name @ git+https://...; options are not accepted"
USER = "Try: a login name such as profx, without `/` or edge spaces"
NAME = "is not a hub name. Try: physics101 or prod.physics: lower-case letters, digits, `-`, dots between parts, 40 at most"
EVERYBODY = (
    "Try: name users under login.allow.users, or remove login.allow to let in everybody who knows the class password"
)


def _mount(text: str) -> str:
    return f"{HUB}storage:\n  mounts:\n    - {text}\n"


MISTAKES: dict[str, tuple[str, str]] = {
    # The file
    "tab": (f"{HUB}login:\n\tpassword: file\n", "hubfleet.yaml:3: a tab before the text. Try: use spaces"),
    "twice": (
        f"{HUB}login: {{password: file}}\nengine: local\nlogin: {{password: file}}\n",
        "hubfleet.yaml:4: `login` twice: lines 2, 4. Try: keep one of them",
    ),
    "twice, deeper": (
        f"{HUB}servers:\n  cpu: {{limit: 1}}\n  cpu: {{limit: 2}}\n",
        "hubfleet.yaml:4: `cpu` twice: lines 3, 4. Try: keep one of them",
    ),
    "a list": ("- a\n", "hubfleet.yaml:1: the file must hold `key: value` lines. Try: hub: physics101"),
    "open bracket": (
        f"{HUB}users: [\n",
        "hubfleet.yaml:3: not valid YAML: expected the node content, but found '<stream end>'. "
        "Try: check colons, quotes and indentation",
    ),
    "merge key": (
        f"{HUB}servers:\n  <<: {{}}\n",
        "hubfleet.yaml:3: `<<` is not used here. Try: groups (for people) or defaults (for hubs)",
    ),
    "unknown tag": (f"{HUB}engine: !x local\n", "hubfleet.yaml:2: `!x` is not used here. Try: remove it"),
    "alias of itself": (
        f"{HUB}users: &a {{b: *a}}\n",
        "hubfleet.yaml:2: an alias that holds itself. Try: write the value out",
    ),
    "no value": (
        f"{HUB}servers:\n  cpu: {{limit: }}\n",
        "hubfleet.yaml:3: servers.cpu.limit: has no value. Try: write one, or remove the line",
    ),
    # Keys
    "misspelt": (
        f"{HUB}servers: {{memroy: {{}}}}\n",
        "hubfleet.yaml:2: servers: `memroy`: did you mean `memory`?",
    ),
    "misspelt at the top": (f"{HUB}lgoin: {{}}\n", "hubfleet.yaml:2: `lgoin`: did you mean `login`?"),
    "unknown": (
        f"{HUB}listen: {{socket: x}}\n",
        "hubfleet.yaml:2: listen.socket: unknown setting. Try: one of address, port",
    ),
    "later": (
        f"{HUB}domain: a.example.org\n",
        "hubfleet.yaml:2: domain: is not part of this release. Try: remove it",
    ),
    "not a map": (f"{HUB}servers: 1G\n", "hubfleet.yaml:2: servers: must be a map. Try: {key: value}"),
    "not a list": (
        f"{HUB}servers: {{packages: pymc}}\n",
        "hubfleet.yaml:2: servers.packages: must be a list. Try: [one, two]",
    ),
    "not a number": (
        f"{HUB}listen: {{port: http}}\n",
        "hubfleet.yaml:2: listen.port: must be a whole number. Try: write a number such as 20",
    ),
    "port": (f"{HUB}listen: {{port: 70000}}\n", "hubfleet.yaml:2: listen.port: must be at most 65535"),
    "address": (
        f"{HUB}listen: {{address: hub.example.org}}\n",
        "hubfleet.yaml:2: listen.address: `hub.example.org` is not an IP address. "
        "Try: 127.0.0.1 (this machine only) or 0.0.0.0 (every network)",
    ),
    # Hub and engine
    "no name": ("engine: local\n", "hubfleet.yaml:1: hub: is required. Try: hub: physics101"),
    "name": ("hub: Physics 101\n", f"hubfleet.yaml:1: hub: `Physics 101` {NAME}"),
    "name with dots": ("hub: ..\n", f"hubfleet.yaml:1: hub: `..` {NAME}"),
    "kubernetes": (
        f"{HUB}engine: kubernetes\n",
        f"hubfleet.yaml:2: engine: `kubernetes` is not an engine. Try: {ENGINE}",
    ),
    "docker": (
        f"{HUB}engine: docker\n",
        "hubfleet.yaml:2: engine: engine docker is not part of this release. Try: engine: local",
    ),
    # Login
    "inline secret": (
        f"{HUB}class_password: canary\n",
        "hubfleet.yaml:2: class_password: a secret has no place in this file. Try: move to hubfleet.secrets.yaml",
    ),
    "inline secret, deeper": (
        f"{HUB}login: {{password: file, client_secret: canary}}\n",
        "hubfleet.yaml:2: login.client_secret: a secret has no place in this file. Try: move to hubfleet.secrets.yaml",
    ),
    "password itself": (
        f"{HUB}login: {{password: canary}}\n",
        "hubfleet.yaml:2: login.password: the only value is `file`. "
        "Try: password: file; the password itself goes to hubfleet.secrets.yaml",
    ),
    "empty login": (
        f"{HUB}login: {{}}\n",
        "hubfleet.yaml:2: login: nobody could log in. Try: login: {password: file} or login: {signup: approval}",
    ),
    "both logins": (
        f"{HUB}login: {{password: file, signup: approval}}\n",
        "hubfleet.yaml:2: login: `password` and `signup` exclude each other. "
        "Try: keep one (in a hub that inherits it, `password: null`)",
    ),
    "signup": (
        f"{HUB}login: {{signup: open}}\n",
        "hubfleet.yaml:2: login.signup: must be `approval`. Try: approval",
    ),
    "no admin": (
        f"{HUB}login: {{signup: approval, admins: []}}\n",
        "hubfleet.yaml:2: login: nobody could approve those who sign up. Try: admins: [profx]",
    ),
    "nobody": (
        f"{HUB}login:\n  password: file\n  allow: {{}}\n",
        f"hubfleet.yaml:4: login.allow: nobody could log in. {EVERYBODY}",
    ),
    "nobody named": (
        f"{HUB}login:\n  password: file\n  allow: {{users: []}}\n",
        f"hubfleet.yaml:4: login.allow: nobody could log in. {EVERYBODY}",
    ),
    "user name": (
        f"{HUB}users: {{../../x: {{}}}}\n",
        f"hubfleet.yaml:2: users.../../x: invalid user name '../../x'. {USER}",
    ),
    "user number": (
        f"{HUB}login: {{password: file, admins: [007]}}\n",
        'hubfleet.yaml:2: login.admins: `7` is read as a number, not as a name. Try: put it in quotes: "7"',
    ),
    # Servers
    "memory words": (
        f"{HUB}servers:\n  memory: {{limit: 2gb ram}}\n",
        "hubfleet.yaml:3: servers.memory.limit: `2gb ram` is not a size. Try: use 2G",
    ),
    "memory -1": (
        f"{HUB}servers:\n  memory: {{limit: -1}}\n",
        "hubfleet.yaml:3: servers.memory.limit: `-1` is not a size. Try: use 2G",
    ),
    "memory 0": (
        f"{HUB}servers:\n  memory: {{limit: 0}}\n",
        "hubfleet.yaml:3: servers.memory.limit: `0` is not a size. Try: use 2G",
    ),
    "memory 2": (
        f"{HUB}servers:\n  memory: {{limit: 2}}\n",
        "hubfleet.yaml:3: servers.memory.limit: `2` is too little for a server. Try: use 1G",
    ),
    "guarantee": (
        f"{HUB}servers:\n  memory: {{limit: 1G, guarantee: 2G}}\n",
        "hubfleet.yaml:3: servers.memory: guarantee 2G is above limit 1G. Try: guarantee: 1G",
    ),
    "idle": (
        f"{HUB}servers:\n  stop_after_idle: 10\n",
        "hubfleet.yaml:3: servers.stop_after_idle: `10` (10s) is below the hub's 5-minute activity interval. "
        "Try: use 10m or more, or never",
    ),
    "idle 0": (
        f"{HUB}servers: {{stop_after_idle: 0}}\n",
        "hubfleet.yaml:2: servers.stop_after_idle: `0` is not a length of time. Try: use 2h",
    ),
    "processes": (
        f"{HUB}servers: {{processes: 3}}\n",
        "hubfleet.yaml:2: servers.processes: must be at least 16",
    ),
    "option": (
        f"{HUB}servers: {{packages: [-r other.txt]}}\n",
        f"hubfleet.yaml:2: servers.packages: `-r other.txt` {PACKAGE}",
    ),
    "option behind": (
        f'{HUB}servers: {{packages: ["a --index-url=http://x"]}}\n',
        f"hubfleet.yaml:2: servers.packages: `a --index-url=http://x` {PACKAGE}",
    ),
    "password in address": (
        f'{HUB}servers: {{packages: ["a @ https://me:canary@x/a.whl"]}}\n',
        "hubfleet.yaml:2: servers.packages: a password in an address. Try: take it out; let ~/.netrc of the operator hold it",
    ),
    "requirements": (
        f"{HUB}servers: {{requirements: none.txt}}\n",
        "hubfleet.yaml:2: servers.requirements: `none.txt` is not a file beside this file. Try: ls -l {folder}/none.txt",
    ),
    "variable": (
        f"{HUB}servers: {{environment: {{LD_PRELOAD: x}}}}\n",
        "hubfleet.yaml:2: servers.environment.LD_PRELOAD: `LD_PRELOAD` is set by hubfleet and decides which programs run. "
        "Try: remove it",
    ),
    "secret variable": (
        f"{HUB}servers: {{environment: {{HF_TOKEN: canary}}}}\n",
        "hubfleet.yaml:2: servers.environment.HF_TOKEN: `HF_TOKEN` looks like a secret, and every user could read it. "
        "Try: remove it; users set their own",
    ),
    "variable number": (
        f"{HUB}servers: {{environment: {{A: 1}}}}\n",
        'hubfleet.yaml:2: servers.environment.A: the value of an environment variable is text. Try: put it in quotes: "..."',
    ),
    "page": (
        f"{HUB}servers: {{default_url: lab}}\n",
        "hubfleet.yaml:2: servers.default_url: `lab` is not the path of a page. Try: /lab, /tree or /lab/tree/welcome.ipynb",
    ),
    "unknown group": (
        f"{HUB}groups: {{staff: {{}}}}\nservers: {{profiles: {{gpu: {{groups: [staf]}}}}}}\n",
        "hubfleet.yaml:3: servers.profiles.gpu.groups: no group `staf`: did you mean `staff`? "
        "Try: groups: {staf: {members: [...]}}",
    ),
    "two defaults": (
        f"{HUB}servers:\n  profiles: {{a: {{default: true}}, b: {{default: true}}}}\n",
        "hubfleet.yaml:3: servers.profiles: several defaults: a, b. Try: keep `default: true` in one of them",
    ),
    "default: yes": (
        f"{HUB}servers:\n  profiles: {{a: {{default: yes}}}}\n",
        "hubfleet.yaml:3: servers.profiles.a.default: must be true or false. Try: true",
    ),
    # Groups and users
    "packages of a group": (
        f"{HUB}groups: {{staff: {{servers: {{packages: [a]}}}}}}\n",
        "hubfleet.yaml:2: groups.staff.servers.packages: cannot differ per group, user or profile. "
        "Try: set servers.packages, for everybody",
    ),
    "homes of a user": (
        f"{HUB}users: {{ada: {{storage: {{homes: none}}}}}}\n",
        "hubfleet.yaml:2: users.ada.storage.homes: cannot differ per group, user or profile. "
        "Try: set storage.homes, for everybody",
    ),
    # Storage
    "homes": (
        f"{HUB}storage: {{homes: no}}\n",
        "hubfleet.yaml:2: storage.homes: `no` is not a setting for homes. Try: homes: {path: /srv/homes}, or homes: none",
    ),
    "homes in /etc": (
        f"{HUB}storage: {{homes: {{path: /etc/homes}}}}\n",
        f"hubfleet.yaml:2: storage.homes.path: `/etc/homes` refused: gives users the host. {HOST}",
    ),
    "skeleton": (
        f"{HUB}storage: {{homes: {{skeleton: ./skel}}}}\n",
        "hubfleet.yaml:2: storage.homes.skeleton: `./skel` is not a directory beside this file. Try: ls -l {folder}/skel",
    ),
    "mount": (
        _mount("/srv/x:/x"),
        "hubfleet.yaml:4: storage.mounts: `/srv/x:/x` is not a mount. Try: /host/path:/path/in/server:ro (or :rw)",
    ),
    "mount relative": (
        _mount("srv:/x:ro"),
        "hubfleet.yaml:4: storage.mounts: `srv` must be absolute, without `..`. Try: /srv/data",
    ),
    "mount ..": (
        _mount("/srv/../etc:/x:ro"),
        "hubfleet.yaml:4: storage.mounts: `/srv/../etc` must be absolute, without `..`. Try: /srv/data",
    ),
    "variable usrname": (
        _mount("/srv/{usrname}:/x:ro"),
        "hubfleet.yaml:4: storage.mounts: unknown variable {usrname}: did you mean {username}? Try: {username} or {hub}",
    ),
    "variable tas": (
        _mount("/work/{tas_homeDirectory}:/x:rw"),
        "hubfleet.yaml:4: storage.mounts: {tas_homeDirectory} needs `tas`, which this release does not have. Try: {username}",
    ),
    "variable first": (
        _mount('"/{username}/x:/x:rw"'),
        "hubfleet.yaml:4: storage.mounts: `/{username}/x` begins with a variable. "
        "Try: a fixed first directory, such as /srv/{username}",
    ),
    "mount over system": (
        _mount("/srv/x:/usr/lib:ro"),
        "hubfleet.yaml:4: storage.mounts: `/usr/lib` refused: hides system files inside servers. Try: /home/jovyan/data or /data",
    ),
    "two mounts": (
        f"{HUB}storage:\n  mounts: [/srv/a:/x:ro, /srv/b:/x:ro]\n",
        "hubfleet.yaml:3: storage.mounts: two mounts at `/x`. Try: a place of its own for each",
    ),
}

for _path in (
    *(
        "/",
        "/etc",
        "/etc/ssl",
        "//etc",
        "/./etc/",
        "/root",
        "/proc",
        "/sys",
        "/dev/shm",
        "/boot",
        "/run",
        "/var",
        "/var/lib",
    ),
    *("/var/run/docker.sock", "/run/docker.sock", "/var/lib/hubfleet/x", "/var/lib/docker"),
):
    _clean = "/" + "/".join(part for part in _path.split("/") if part not in ("", "."))
    MISTAKES[f"mount {_path}"] = (
        _mount(f"{_path}:/x:ro"),
        f"hubfleet.yaml:4: storage.mounts: `{_clean}` refused: gives users the host. {HOST}",
    )
