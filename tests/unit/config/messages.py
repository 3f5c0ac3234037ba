"""The catalogue: a mistake in hubfleet.yaml, and exactly what is said of it."""

# Whole sentences on one line, to be found by searching for them.
# ruff: noqa: E501

from __future__ import annotations

HUB = "hub: physics101\n"

FLEET = f"{HUB}engine: swarm\nmachines: {{a: {{ssh: root@192.0.2.1, private_ip: 10.0.0.1, roles: [hub, worker]}}}}\n"
ENGINE = "choose local, docker, swarm, slurm"
HOST = "Try: a directory made for users, such as /srv/data"
PACKAGE = "is not a package. Try: pymc, pymc==5.2 or name @ git+https://...; options are not accepted"
USER = "Try: a login name such as profx, without `/` or edge spaces"
NAME = "is not a hub name. Try: physics101 or prod.physics: lower-case letters, digits, `-`, dots between parts, 40 at most"
HTTPS = "Try: https: auto, self-signed, secrets or off, or {certificate: ..., key: ...}"
EVERYBODY = (
    "Try: name users under login.allow.users, or remove login.allow to let in everybody who knows the class password"
)
ALLOW = (
    "nobody is let in for having an account there. "
    "Try: allow: {users: [ada]}, allow: {file: people.txt}, or allow: {everybody: true}"
)


def _mount(text: str) -> str:
    return f"{HUB}storage:\n  mounts:\n    - {text}\n"


def _owner(text: str) -> str:
    return f"{HUB}storage: {{owner: {text}}}\n"


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
        "hubfleet.yaml:2: not valid YAML: this `[` is never closed. Try: add the `]` that ends it",
    ),
    "open bracket, and more lines": (
        f"{HUB}login: {{password: file, admins: [ada]\nservers:\n  cpu: {{limit: 1}}\nlisten: {{port: 8000}}\n",
        "hubfleet.yaml:2: not valid YAML: this `{` is never closed. Try: add the `}` that ends it",
    ),
    "bracket inside a bracket": (
        f"{HUB}login:\n  {{password: file, admins: [ada}}\nservers: {{}}\n",
        "hubfleet.yaml:3: not valid YAML: this `[` is never closed. Try: add the `]` that ends it",
    ),
    "one bracket too many": (
        f"{HUB}login: {{password: file}}}}\nservers: {{}}\n",
        "hubfleet.yaml:2: not valid YAML: expected <block end>, but found '}'. "
        "Try: check colons, quotes and indentation",
    ),
    "open quotation mark in a bracket": (
        f"{HUB}login: {{password: 'file}}\nservers: {{}}\n",
        "hubfleet.yaml:4: not valid YAML: found unexpected end of stream. Try: check colons, quotes and indentation",
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
        "hubfleet.yaml:2: listen.socket: unknown setting. Try: one of address, port, trusted_proxies",
    ),
    "later": (
        f"{HUB}backup: {{}}\n",
        "hubfleet.yaml:2: backup: is not part of this release. Try: remove it",
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
        f"{HUB}engine: slurm\n",
        "hubfleet.yaml:2: engine: engine slurm is not part of this release. "
        "Try: engine: local, engine: docker, or engine: swarm",
    ),
    # Machines, images, network
    "machine without a way": (
        f"{HUB}machines: {{a: {{}}}}\n",
        "hubfleet.yaml:2: machines.a.ssh: is required. Try: ssh: ubuntu@203.0.113.10",
    ),
    "option as destination": (
        f"{HUB}machines: {{a: {{ssh: -oProxyCommand=x}}}}\n",
        "hubfleet.yaml:2: machines.a.ssh: `-oProxyCommand=x` is not an SSH destination. "
        "Try: ubuntu@203.0.113.10, a Host of ~/.ssh/config, or ubuntu@host:2222",
    ),
    "unknown role": (
        f"{HUB}machines: {{a: {{ssh: a, roles: [hub, egde]}}}}\n",
        "hubfleet.yaml:2: machines.a.roles: `egde` is not a role: did you mean `edge`? "
        "Try: one or more of hub, edge, worker, storage",
    ),
    "role of a fleet": (
        f"{HUB}machines: {{a: {{ssh: a, roles: [hub, worker]}}}}\n",
        "hubfleet.yaml:2: machines.a.roles: role worker is for engine swarm. Try: engine: swarm, or no such role",
    ),
    "a fleet without workers": (
        f"{HUB}engine: swarm\nmachines:\n  a: {{ssh: a, roles: [hub]}}\n",
        "hubfleet.yaml:3: machines: no machine has the role `worker`. Try: roles: [hub, worker] or roles: [worker]",
    ),
    "a fleet without machines": (
        f"{HUB}engine: swarm\n",
        "hubfleet.yaml:2: engine: engine swarm needs machines. Try: machines: {hub1: {ssh: ubuntu@203.0.113.10}}",
    ),
    "two machines for homes": (
        f"{HUB}engine: swarm\nmachines:\n  a: {{ssh: a, roles: [hub, worker, storage]}}\n"
        "  b: {ssh: b, roles: [storage]}\n",
        "hubfleet.yaml:5: machines.b.roles: `storage` is what a is already. Try: one machine with role storage",
    ),
    "the network of a fleet": (
        f"{HUB}network: {{fleet: {{servers: 10}}}}\n",
        "hubfleet.yaml:2: network.fleet: is for engine swarm. Try: engine: swarm, or remove it",
    ),
    "a subnet for fewer": (
        f"{HUB}engine: swarm\nmachines: {{a: {{ssh: a}}}}\nnetwork: {{fleet: {{servers: 600, subnet: 10.9.0.0/22}}}}\n",
        "hubfleet.yaml:4: network.fleet: subnet 10.9.0.0/22 is too small for 600 servers. "
        "Try: one with /20, or fewer servers",
    ),
    "a public subnet": (
        f"{HUB}engine: swarm\nmachines: {{a: {{ssh: a}}}}\nnetwork: {{fleet: {{subnet: 203.1.0.0/20}}}}\n",
        "hubfleet.yaml:4: network.fleet.subnet: `203.1.0.0/20` is not a private network of IPv4 addresses. "
        "Try: 10.200.0.0/20",
    ),
    "a registry with an account": (
        f"{HUB}engine: swarm\nmachines: {{a: {{ssh: a}}}}\nnetwork: {{fleet: {{registry: ada:secret@registry.example.edu}}}}\n",
        "hubfleet.yaml:4: network.fleet.registry: a registry is named without an account. "
        "Try: take out what is before the `@`, and docker login",
    ),
    "a registry": (
        f"{HUB}engine: swarm\nmachines: {{a: {{ssh: a}}}}\nnetwork: {{fleet: {{registry: https://registry.example.edu}}}}\n",
        "hubfleet.yaml:4: network.fleet.registry: `https://registry.example.edu` is not a registry. "
        "Try: registry.example.edu/hubs, or 10.0.0.5:5000",
    ),
    "two machines without roles": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: [hub]}}\n  b: {{ssh: b}}\n",
        "hubfleet.yaml:4: machines.b: has no role. Try: roles: [hub] or roles: [edge]",
    ),
    "no role at all": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: []}}\n",
        "hubfleet.yaml:3: machines.a: has no role. Try: roles: [hub] or roles: [edge]",
    ),
    "two hubs": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: [hub]}}\n  b: {{ssh: b, roles: [edge, hub]}}\n",
        "hubfleet.yaml:4: machines.b.roles: `hub` is what a is already. Try: one machine with role hub",
    ),
    "two edges": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: [hub, edge]}}\n  b: {{ssh: b, roles: [edge]}}\n",
        "hubfleet.yaml:4: machines.b.roles: `edge` is what a is already. Try: one machine with role edge",
    ),
    "a role twice": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: [hub, hub]}}\n",
        "hubfleet.yaml:3: machines.a.roles: `hub` is there twice. Try: once",
    ),
    "no hub": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: [edge]}}\n",
        "hubfleet.yaml:2: machines: no machine has the role `hub`. Try: roles: [hub] for one of them",
    ),
    "one machine under two names": (
        f"{HUB}machines:\n  a: {{ssh: a, roles: [hub]}}\n  b: {{ssh: a, roles: [edge]}}\n",
        "hubfleet.yaml:4: machines.b.ssh: `a` is a's too. Try: one machine with roles: [hub, edge], or another address",
    ),
    "private name": (
        f"{HUB}machines: {{a: {{ssh: a, private_ip: hub1.lan}}}}\n",
        "hubfleet.yaml:2: machines.a.private_ip: `hub1.lan` is not an IP address. Try: 10.0.0.10",
    ),
    "private address of everybody": (
        f"{HUB}machines: {{a: {{ssh: a, private_ip: 127.0.0.1}}}}\n",
        "hubfleet.yaml:2: machines.a.private_ip: `127.0.0.1` is no address that another machine could reach it at. "
        "Try: 10.0.0.10",
    ),
    "private address of version 6": (
        f"{HUB}machines: {{a: {{ssh: a, private_ip: 'fd00::7'}}}}\n",
        "hubfleet.yaml:2: machines.a.private_ip: `fd00::7` is an IPv6 address, and the edge's container reaches others by "
        "IPv4 only. Try: 10.0.0.10",
    ),
    "port of a line that is not there": (
        f"{HUB}machines: {{a: {{ssh: a, link_port: 7000}}}}\n",
        "hubfleet.yaml:2: machines.a.link_port: no edge on another machine comes in by it. Try: remove it",
    ),
    "image without a version": (
        f"{HUB}servers: {{image: quay.io/jupyter/scipy-notebook}}\n",
        "hubfleet.yaml:2: servers.image: `quay.io/jupyter/scipy-notebook` means another image every week. "
        "Try: pin a version, such as name:2026-10-01",
    ),
    "latest": (
        f"{HUB}base_image: localhost:5000/debian:latest\n",
        "hubfleet.yaml:2: base_image: `localhost:5000/debian:latest` means another image every week. "
        "Try: pin a version, such as name:2026-10-01",
    ),
    "no image": (
        f"{HUB}servers: {{image: My Image}}\n",
        "hubfleet.yaml:2: servers.image: `My Image` is not the name of an image. Try: quay.io/jupyter/scipy-notebook:2026-10-01",
    ),
    "password of a proxy": (
        f"{HUB}network: {{proxy: 'http://me:canary@proxy:3128'}}\n",
        "hubfleet.yaml:2: network.proxy: a name or password in an address. Try: an address that needs none from this machine",
    ),
    "no network": (
        f"{HUB}network: {{allow: [10.1.2]}}\n",
        "hubfleet.yaml:2: network.allow: `10.1.2` is not an IP address or network. Try: 192.0.2.7 or 10.0.0.0/24",
    ),
    "all networks": (
        f"{HUB}network: {{allow: [0.0.0.0/0]}}\n",
        "hubfleet.yaml:2: network.allow: `0.0.0.0/0`: every machine of the site would be open to users. "
        "Try: those they need only",
    ),
    # Name and HTTPS
    "domain with https": (
        f"{HUB}domain: https://Hub.example.edu:8443/lab\n",
        "hubfleet.yaml:2: domain: `https://Hub.example.edu:8443/lab`: give the name only. Try: hub.example.edu",
    ),
    "domain with a port": (
        f"{HUB}domain: hub.example.edu:443\n",
        "hubfleet.yaml:2: domain: `hub.example.edu:443`: give the name only. Try: hub.example.edu",
    ),
    "domain with a dot at the end": (
        f"{HUB}domain: hub.example.edu.\n",
        "hubfleet.yaml:2: domain: `hub.example.edu.`: give the name only. Try: hub.example.edu",
    ),
    "domain with a star": (
        f'{HUB}domain: "*.example.edu"\n',
        "hubfleet.yaml:2: domain: `*.example.edu` is a pattern, and the hub answers to one name. Try: hub.example.edu",
    ),
    "domain with an umlaut": (
        f"{HUB}domain: h\u00fcb.example.edu\n",
        "hubfleet.yaml:2: domain: `h\u00fcb.example.edu` has letters that names on the internet are spelled without. "
        "Try: xn--hb-xka.example.edu",
    ),
    "domain with a line": (
        f"{HUB}domain: my_hub.example.edu\n",
        "hubfleet.yaml:2: domain: `my_hub.example.edu` is not the name of a server. Try: hub.example.edu",
    ),
    "domain of numbers": (
        f"{HUB}domain: 192.168.1\n",
        "hubfleet.yaml:2: domain: `192.168.1` is not the name of a server. Try: hub.example.edu",
    ),
    "domain a number": (
        f"{HUB}domain: 10.5\n",
        "hubfleet.yaml:2: domain: `10.5` is read as a number, not as a name. Try: hub.example.edu",
    ),
    "https without a name": (
        f"{HUB}https: auto\n",
        "hubfleet.yaml:2: https: `auto` needs a name. Try: domain: hub.example.edu, or https: self-signed",
    ),
    "https with an address": (
        f"{HUB}domain: 192.0.2.1\nhttps: auto\n",
        "hubfleet.yaml:3: https: `auto` needs a name, and 192.0.2.1 is an IP address. Try: https: self-signed",
    ),
    "an address alone": (
        f"{HUB}domain: 2001:db8:0::1\n",
        "hubfleet.yaml:2: domain: `auto` needs a name, and 2001:db8:0::1 is an IP address. Try: https: self-signed",
    ),
    "https with a name of the house": (
        f"{HUB}domain: hub.local\n",
        "hubfleet.yaml:2: domain: no public authority gives a certificate for hub.local. "
        "Try: https: self-signed, or an authority of your own: https: {acme: https://...}",
    ),
    "https with a word alone": (
        f"{HUB}domain: hub\nhttps: {{email: profx@example.edu}}\n",
        "hubfleet.yaml:3: https: no public authority gives a certificate for hub. "
        "Try: https: self-signed, or an authority of your own: https: {acme: https://...}",
    ),
    "authority without a name": (
        f"{HUB}https: {{acme: https://ca.example.edu/acme}}\n",
        "hubfleet.yaml:2: https: an authority needs a name. Try: domain: hub.example.edu, or https: self-signed",
    ),
    "authority with an address": (
        f"{HUB}domain: 192.0.2.1\nhttps: {{acme: https://ca.example.edu/acme}}\n",
        "hubfleet.yaml:3: https: an authority needs a name, and 192.0.2.1 is an IP address. Try: https: self-signed",
    ),
    "https misspelt": (
        f"{HUB}https: selfsigned\n",
        f"hubfleet.yaml:2: https: `selfsigned` is not a setting for https: did you mean `self-signed`? {HTTPS}",
    ),
    "https: yes": (f"{HUB}https: yes\n", f"hubfleet.yaml:2: https: `yes` is not a setting for https. {HTTPS}"),
    "https: true": (f"{HUB}https: true\n", "hubfleet.yaml:2: https: must be a word or a map. Try: https: auto"),
    "https, a list": (f"{HUB}https: [auto]\n", "hubfleet.yaml:2: https: must be a map. Try: {key: value}"),
    "https, nothing": (
        f"{HUB}domain: hub.example.edu\nhttps: {{}}\n",
        "hubfleet.yaml:3: https: says nothing. Try: https: auto",
    ),
    "https, unknown key": (
        f"{HUB}domain: hub.example.edu\nhttps:\n  certficate: hub.pem\n",
        "hubfleet.yaml:4: https: `certficate`: did you mean `certificate`?",
    ),
    "certificate that is not there": (
        f"{HUB}domain: hub.example.edu\nhttps: {{certificate: hub.pem, key: hubfleet.yaml}}\n",
        "hubfleet.yaml:3: https.certificate: `hub.pem` is not a file beside this file. Try: ls -l {folder}/hub.pem",
    ),
    "certificate without a key": (
        f"{HUB}domain: hub.example.edu\nhttps: {{certificate: hubfleet.yaml}}\n",
        "hubfleet.yaml:3: https: `key` is missing. Try: https: {certificate: hub.pem, key: hub.key}",
    ),
    "certificate without a name": (
        f"{HUB}https: {{certificate: hubfleet.yaml, key: hubfleet.yaml}}\n",
        "hubfleet.yaml:2: https: a certificate needs a name. Try: domain: hub.example.edu",
    ),
    "a certificate among the secrets without a name": (
        f"{HUB}https: secrets\n",
        "hubfleet.yaml:2: https: a certificate needs a name. Try: domain: hub.example.edu",
    ),
    "a key that is not there": (
        f"{HUB}machines:\n  hub1:\n    ssh: a\n    ssh_key: none.key\n",
        "hubfleet.yaml:5: machines.hub1.ssh_key: `none.key` is not a file beside this file. "
        "Try: ls -l {folder}/none.key",
    ),
    "certificate and authority": (
        f"{HUB}domain: hub.example.edu\n"
        "https: {certificate: hubfleet.yaml, key: hubfleet.yaml, acme: https://ca.example.edu/acme}\n",
        "hubfleet.yaml:3: https: a certificate of one's own, and an authority to ask for one. "
        "Try: keep `certificate` and `key`, or the others",
    ),
    "authority without encryption": (
        f"{HUB}domain: hub.example.edu\nhttps: {{acme: http://ca.example.edu/acme}}\n",
        "hubfleet.yaml:3: https.acme: `http://ca.example.edu/acme` is not the address of an authority's directory. "
        "Try: https://ca.example.edu/acme/acme/directory",
    ),
    "authority with a password": (
        f"{HUB}domain: hub.example.edu\nhttps: {{acme: https://me:canary@ca.example.edu/acme}}\n",
        "hubfleet.yaml:3: https.acme: the address of an authority holds no name or password. "
        "Try: take out what is before the `@`",
    ),
    "authority's certificates alone": (
        f"{HUB}domain: hub.example.edu\nhttps: {{ca_bundle: hubfleet.yaml}}\n",
        "hubfleet.yaml:3: https: `ca_bundle` is for an authority of one's own. Try: name it: acme: https://...",
    ),
    "no e-mail": (
        f"{HUB}domain: hub.example.edu\nhttps: {{email: profx}}\n",
        "hubfleet.yaml:3: https.email: `profx` is not an e-mail address. Try: profx@example.edu",
    ),
    "port with https": (
        f"{HUB}domain: hub.example.edu\nlisten: {{port: 8443}}\n",
        "hubfleet.yaml:3: listen.port: with HTTPS the hub answers at ports 443 and 80 of every address. "
        "Try: remove it, or https: off",
    ),
    "proxy's name": (
        f"{HUB}listen: {{trusted_proxies: [www.example.edu]}}\n",
        "hubfleet.yaml:2: listen.trusted_proxies: `www.example.edu` is not an IP address or network. "
        "Try: 192.0.2.7 or 10.0.0.0/24",
    ),
    "every proxy": (
        f'{HUB}listen: {{trusted_proxies: ["0.0.0.0/0"]}}\n',
        "hubfleet.yaml:2: listen.trusted_proxies: `0.0.0.0/0`: everybody could pass for anybody. "
        "Try: the addresses of the web servers only",
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
    "two providers": (
        f"{HUB}login: {{github: {{client_id: a}}, oidc: {{issuer: https://a.example, client_id: b}}}}\n",
        "hubfleet.yaml:2: login: `github` and `oidc` exclude each other. "
        "Try: keep one (in a hub that inherits it, `github: null`)",
    ),
    "a provider, and nobody said who": (
        f"{HUB}login:\n  github: {{client_id: a}}\n",
        f"hubfleet.yaml:3: login.github: nobody could log in: {ALLOW}",
    ),
    "a provider, and nobody allowed": (
        f"{HUB}login:\n  github: {{client_id: a}}\n  allow: {{everybody: false}}\n",
        f"hubfleet.yaml:4: login.allow: nobody could log in: {ALLOW}",
    ),
    "teams with google": (
        f"{HUB}login:\n  google: {{client_id: a}}\n  allow:\n    teams: [a/b]\n",
        "hubfleet.yaml:5: login.allow.teams: `google` tells nothing of teams. "
        "Try: users or groups or domains or file or everybody",
    ),
    "groups of google, and nobody to ask": (
        f"{HUB}login:\n  google: {{client_id: a}}\n  allow: {{groups: [lab@example.edu]}}\n",
        "hubfleet.yaml:4: login.allow.groups: nobody has said who may ask Google for groups. "
        "Try: login: {google: {groups: {administrator: admin@example.edu}}}, with the secret google_key",
    ),
    "groups of google, not by their address": (
        f"{HUB}login:\n  google: {{client_id: a, groups: {{administrator: admin@example.edu}}}}\n"
        "  allow: {groups: [lab]}\n",
        "hubfleet.yaml:4: login.allow.groups: `lab` is not the address of a group. "
        "Try: the whole e-mail address, physics-101@example.edu",
    ),
    "groups of google, and nobody's name": (
        f"{HUB}login:\n  google: {{client_id: a, groups: {{}}}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.google.groups.administrator: is required. Try: administrator: admin@example.edu",
    ),
    "the key of a service account in this file": (
        f"{HUB}login:\n  google: {{client_id: a, google_key: canary}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.google.google_key: a secret has no place in this file. "
        "Try: move to hubfleet.secrets.yaml",
    ),
    "groups of oidc without a claim": (
        f"{HUB}login:\n  oidc: {{issuer: https://a.example, client_id: a}}\n  allow: {{groups: [x]}}\n",
        "hubfleet.yaml:4: login.allow.groups: nobody has said which claim tells of groups. Try: groups_claim: groups",
    ),
    "everybody and somebody": (
        f"{HUB}login:\n  google: {{client_id: a}}\n  allow: {{users: [ada], everybody: true}}\n",
        "hubfleet.yaml:4: login.allow.users: says nothing beside `everybody: true`. Try: remove one of the two",
    ),
    "not a team": (
        f"{HUB}login:\n  github: {{client_id: a}}\n  allow: {{teams: [physics]}}\n",
        "hubfleet.yaml:4: login.allow.teams: `physics` is not a team. "
        "Try: organization/team, both as they are in addresses of their pages",
    ),
    "domains with passwords": (
        f"{HUB}login:\n  password: file\n  allow: {{domains: [example.edu]}}\n",
        "hubfleet.yaml:4: login.allow.domains: is for logins at a provider. Try: users: [ada], or remove it",
    ),
    "block with passwords": (
        f"{HUB}login: {{password: file, block: [mallory]}}\n",
        "hubfleet.yaml:2: login.block: is for logins at a provider. Try: remove it; hubfleet users block NAME",
    ),
    "an admin who is blocked": (
        f"{HUB}login:\n  github: {{client_id: a}}\n  allow: {{everybody: true}}\n  admins: [Ada]\n  block: [ada]\n",
        "hubfleet.yaml:6: login.block: `ada` is one of login.admins. Try: one of the two",
    ),
    "the list is missing": (
        f"{HUB}login:\n  github: {{client_id: a}}\n  allow: {{file: people.txt}}\n",
        "hubfleet.yaml:4: login.allow.file: `people.txt` is not a file beside this file. "
        "Try: ls -l {folder}/people.txt",
    ),
    "the client's secret in its provider": (
        f"{HUB}login:\n  github: {{client_id: a, client_secret: canary}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.github.client_secret: a secret has no place in this file. "
        "Try: move to hubfleet.secrets.yaml",
    ),
    "no client": (
        f"{HUB}login:\n  github: {{}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.github.client_id: is required. Try: client_id: 4f1c0a9e7b",
    ),
    "client with a space": (
        f"{HUB}login:\n  github: {{client_id: a b}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.github.client_id: must be the id that the provider gave this hub, without spaces. "
        "Try: client_id: 4f1c0a9e7b",
    ),
    "an issuer without encryption": (
        f"{HUB}login:\n  oidc: {{issuer: http://a.example, client_id: a}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.oidc.issuer: `http://a.example` would send a secret unencrypted. "
        "Try: https://a.example",
    ),
    "scopes without openid": (
        f"{HUB}login:\n  oidc: {{issuer: https://a.example, client_id: a, scopes: [email]}}\n"
        "  allow: {everybody: true}\n",
        "hubfleet.yaml:3: login.oidc: `scopes` has no `openid`, without which nothing is told. "
        "Try: scopes: [openid, profile]",
    ),
    "a callback of something else": (
        f"{HUB}login:\n  github: {{client_id: a, callback: https://a.example/}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.github.callback: `https://a.example` is not the hub's. "
        "Try: https://hub.example.edu/hub/oauth_callback",
    ),
    "github at an address": (
        f"{HUB}login:\n  github: {{client_id: a, host: github.example.edu/x}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.github.host: `github.example.edu/x`: give the name only. Try: github.example.edu",
    ),
    "nobody's accounts": (
        f"{HUB}login:\n  cilogon: {{client_id: a, identity_providers: {{}}}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.cilogon: nobody's accounts may be used. "
        "Try: identity_providers: {https://...: {username_claim: eppn}}",
    ),
    "an identity provider's short word": (
        f"{HUB}login:\n  cilogon: {{client_id: a, identity_providers: {{goggle: {{username_claim: email}}}}}}\n"
        "  allow: {everybody: true}\n",
        "hubfleet.yaml:3: login.cilogon.identity_providers.goggle: `goggle` is not an identity provider: "
        "did you mean `google`? Try: its entity id, such as https://idp.example.edu/shibboleth, or google, github, microsoft, orcid",
    ),
    "a tenant nobody knows": (
        f"{HUB}login:\n  tapis: {{tenant: desingsafe, version: 2}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.tapis: `desingsafe` is none of the standard tenants: did you mean `designsafe`? "
        "Try: base_url: https://agave.example.edu",
    ),
    "a tenant of the other version": (
        f"{HUB}login:\n  tapis: {{tenant: tacc.prod}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.tapis: `tacc.prod` is the id of a tenant of version 2. "
        "Try: version: 2, or base_url: https://...",
    ),
    "a directory, and nobody said where": (
        f"{HUB}login:\n  ldap: {{url: ldaps://a.example}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.ldap: nobody has said where people are. "
        "Try: base: ou=people,dc=example,dc=edu, or template: uid={username},...",
    ),
    "a template without a name": (
        f"{HUB}login:\n  ldap: {{url: ldaps://a.example, template: 'uid=ada'}}\n  allow: {{everybody: true}}\n",
        "hubfleet.yaml:3: login.ldap.template: `uid=ada` is not the name of each person's entry. "
        "Try: uid={username},ou=people,dc=example,dc=edu",
    ),
    "groups of a directory that nobody said where they are": (
        f"{HUB}login:\n  ldap: {{url: ldaps://a.example, base: dc=edu}}\n  allow: {{groups: [x]}}\n",
        "hubfleet.yaml:4: login.allow.groups: nobody has said where groups are. Try: ldap: {groups: ou=groups,...}",
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
    "quota of no number": (
        f"{HUB}storage: {{homes: {{quota: 10g}}}}\n",
        "hubfleet.yaml:2: storage.homes.quota: `10g` is not a size. Try: use 10G",
    ),
    "quota too small": (
        f"{HUB}storage: {{homes: {{quota: 1M}}}}\n",
        "hubfleet.yaml:2: storage.homes.quota: `1M` is too little for a home. Try: use 10G",
    ),
    "quota for everybody at the wrong place": (
        f"{HUB}storage: {{quota: 10G}}\n",
        "hubfleet.yaml:2: storage.quota: is for groups and users. Try: homes: {quota: 10G}, for everybody",
    ),
    "quota of a group without homes": (
        f"{HUB}storage: {{homes: none}}\ngroups: {{staff: {{storage: {{quota: 10G}}}}}}\n",
        "hubfleet.yaml:3: groups.staff.storage.quota: homes are not kept. "
        "Try: remove it, or storage: {homes: {quota: 10G}}",
    ),
    "quota larger than the disk": (
        f"{HUB}storage: {{homes: {{disk: 20G}}}}\nusers: {{ada: {{storage: {{quota: 30G}}}}}}\n",
        "hubfleet.yaml:3: users.ada.storage.quota: is more than storage.homes.disk has (20G). "
        "Try: a smaller quota, or a larger disk",
    ),
    "quota of what is mounted": (
        f"{FLEET}storage: {{homes: {{path: /srv/h, share: mounted, quota: 10G}}}}\n",
        "hubfleet.yaml:4: storage.homes.quota: homes are on a file system that is mounted from elsewhere, and its own "
        "machine has the quotas. Try: remove it, and have whoever runs that file system set them",
    ),
    "disk under what is mounted": (
        f"{FLEET}storage: {{homes: {{path: /srv/h, share: mounted, disk: 10G}}}}\n",
        "hubfleet.yaml:4: storage.homes.disk: another file system is mounted there. Try: remove it, or share: mounted",
    ),
    "disk too small": (
        f"{HUB}storage: {{homes: {{disk: 100M}}}}\n",
        "hubfleet.yaml:2: storage.homes.disk: `100M` is too little for an XFS file system. Try: use 500G",
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
        "hubfleet.yaml:4: storage.mounts: unknown variable {usrname}: did you mean {username}? "
        "Try: {username}, {hub}, {tenant_id} or {tas_homeDirectory}",
    ),
    "variable tas": (
        _mount("/work/{tas_homeDirectory}:/x:rw"),
        "hubfleet.yaml:4: storage.mounts: {tas_homeDirectory} needs a service that knows it. "
        "Try: storage: {owner: {tas: {url: ..., account: ...}}}",
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
    "projects without a place": (
        f"{HUB}groups:\n  waves:\n    members: [ada]\n    project: {{}}\n",
        "hubfleet.yaml:5: groups.waves.project: nobody has said where projects are. "
        "Try: storage: {projects: {path: /corral/projects}}",
    ),
    "projects below /etc": (
        f"{HUB}storage: {{projects: {{path: /etc}}}}\n",
        f"hubfleet.yaml:2: storage.projects.path: `/etc` refused: gives users the host. {HOST}",
    ),
    "projects with a variable": (
        f'{HUB}storage: {{projects: {{path: "/corral/{{username}}"}}}}\n',
        "hubfleet.yaml:2: storage.projects.path: `/corral/{username}`: no variables here. "
        "Try: a fixed directory, such as /work",
    ),
    "projects elsewhere in the home": (
        f"{HUB}storage: {{projects: {{path: /corral, directory: ../x}}}}\n",
        "hubfleet.yaml:2: storage.projects.directory: `../x` is not the name of a directory in a home. Try: projects",
    ),
    "a project's id": (
        f"{HUB}storage: {{projects: {{path: /corral}}}}\ngroups: {{waves: {{project: {{id: ../x}}}}}}\n",
        "hubfleet.yaml:3: groups.waves.project.id: `../x` is not the id of a project. "
        "Try: letters, digits, `.`, `-` and `_`, such as PRJ-1234",
    ),
    "must be mounted": (
        f"{HUB}storage: {{must_be_mounted: [work]}}\n",
        "hubfleet.yaml:2: storage.must_be_mounted: `work` must be absolute, without `..`. Try: /srv/data",
    ),
    "root owns": (
        _owner("{uid: 0}"),
        "hubfleet.yaml:2: storage.owner.uid: `0` is root, who may do everything. Try: a number such as 1000",
    ),
    "nobody owns": (
        _owner("{uid: 65534}"),
        "hubfleet.yaml:2: storage.owner.uid: `65534` cannot be anybody's id. Try: a number such as 1000",
    ),
    "an owner's name": (
        _owner("{uid: ada}"),
        "hubfleet.yaml:2: storage.owner.uid: `ada` is not an id. Try: a number such as 1000",
    ),
    "an owner below the minimum": (
        _owner("{uid: 500}"),
        "hubfleet.yaml:2: storage.owner: `uid` is below the minimum of 1000. Try: uid: 1000 or more",
    ),
    "a range": (
        _owner("{range: 70000}"),
        "hubfleet.yaml:2: storage.owner.range: `70000` is not a range of ids. Try: 70000-99999",
    ),
    "an empty range": (
        _owner("{range: 99999-70000}"),
        "hubfleet.yaml:2: storage.owner.range: `99999-70000` holds no ids. Try: 70000-99999",
    ),
    "a range with nobody in it": (
        _owner("{range: 60000-70000}"),
        "hubfleet.yaml:2: storage.owner.range: `60000-70000` holds 65534, which is nobody's. Try: 70000-99999",
    ),
    "two owners": (
        _owner("{uid: 1000, range: 70000-99999}"),
        "hubfleet.yaml:2: storage.owner: `uid` and `range` exclude each other. Try: keep one of them",
    ),
    "a group for a range": (
        _owner("{gid: 1000}"),
        "hubfleet.yaml:2: storage.owner: `gid` is for `uid` or a service. Try: uid: 1000, or remove `gid`",
    ),
    "a password in clear": (
        _owner("{tas: {url: 'http://tas.example.edu/api', account: hub}}"),
        "hubfleet.yaml:2: storage.owner.tas.url: `http://tas.example.edu/api` would send a secret unencrypted. "
        "Try: https://tas.example.edu/api",
    ),
    "a password in an address": (
        _owner("{tas: {url: 'https://hub:canary@tas.example.edu', account: hub}}"),
        "hubfleet.yaml:2: storage.owner.tas.url: an address holds no name or password. "
        "Try: take out what is before the `@`",
    ),
    "no address": (
        _owner("{ldap: {url: ldap.example.edu, base: dc=edu}}"),
        "hubfleet.yaml:2: storage.owner.ldap.url: `ldap.example.edu` is not the address of such a service. "
        "Try: ldaps://ldap.example.edu",
    ),
    "no role account": (
        _owner("{tas: {url: 'https://tas.example.edu'}}"),
        "hubfleet.yaml:2: storage.owner.tas.account: is required. Try: account: hub-role",
    ),
    "a password in the file": (
        _owner("{tas: {url: 'https://tas.example.edu', account: hub, password: canary}}"),
        "hubfleet.yaml:2: storage.owner.tas.password: a secret has no place in this file. "
        "Try: move to hubfleet.secrets.yaml",
    ),
    "no program": (
        _owner("{command: owner-of.py}"),
        "hubfleet.yaml:2: storage.owner.command: `owner-of.py` is not a file beside this file. "
        "Try: ls -l {folder}/owner-of.py",
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
