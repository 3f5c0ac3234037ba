"""A swarm of three machines: made, joined, left, and put right after a machine was replaced."""

from __future__ import annotations

import ipaddress
import json
import threading
from dataclasses import replace

import dockerd
import pytest
from deployed import DistantCommandLines
from fleets import FLEET, HUB, SERVERS, SUBNET, WORKERS, Fleet, labels, merged, state

import needs
from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.engines.base import Site
from hubfleet.errors import ApplyError, CheckError
from hubfleet.link import Link
from hubfleet.resources import Container, DockerEngine, SwarmMember, SwarmNode, Volumes
from sites import site
from waiting import soon

pytestmark = needs.machines(900)
SLEEP = ("sleep", "100000")
SERVICE = ("service", "create", "--quiet", "--detach", "--endpoint-mode", "dnsrr", "--restart-condition", "none")


@pytest.fixture
def swarm(fleet: Fleet) -> Fleet:
    """The fleet as it should be."""
    fleet.up(fleet.wanted())
    return fleet


@pytest.fixture
def apart(fleet: Fleet) -> Fleet:
    """Machines in no swarm, whose engines have live-restore on."""
    fleet.up({name: (DockerEngine(),) for name in fleet.machines})
    return fleet


def test_somebody_elses_swarm_is_neither_joined_nor_left(apart: Fleet) -> None:
    fleet, theirs = apart, apart["work2"]
    theirs.run("cat > /etc/docker/daemon.json", text='{"live-restore": false}')
    theirs.run("systemctl reload docker")
    soon(lambda: state(theirs, "{{.LiveRestoreEnabled}}") == "false")
    theirs.docker("swarm", "init", "--advertise-addr", theirs.address)
    try:
        with pytest.raises(CheckError, match=r"a swarm that Docker manages here, and hubfleet did not make it"):
            fleet.plan(fleet.wanted())
        assert state(theirs, "{{.Swarm.ControlAvailable}}") == "true"
    finally:
        theirs.docker("swarm", "leave", "--force")


def test_one_command_makes_a_swarm_and_nobody_sees_the_token(apart: Fleet) -> None:
    """On machines whose engine has live-restore on, and a container that goes on."""
    fleet, hub1, work1 = apart, apart["hub1"], apart["work1"]
    work1.run("cat > /etc/docker/daemon.json", text='{"live-restore": true, "debug": true}')
    work1.run("systemctl reload docker")
    soon(lambda: state(work1, "{{.Debug}}") == "true")
    kept = work1.docker("run", "--detach", "--name", "kept", dockerd.BASE, *SLEEP)
    with DistantCommandLines(work1, pause=0.05) as watch:
        plan, events = fleet.up(fleet.wanted())
    assert labels(plan)["work1"] == [
        "update Docker engine",
        f"create swarm member {HUB}",
    ]
    impact = next(change.impact for name, change in plan.changes if name == "work1")
    assert impact.startswith("from now on, all containers of this machine end")
    assert json.loads(work1.run("cat /etc/docker/daemon.json")) == {"live-restore": False, "debug": True}
    assert work1.docker("inspect", "--format", "{{.State.Running}}", kept) == "true"
    assert fleet.nodes().keys() == {"hub1", *WORKERS}
    token = hub1.docker("swarm", "join-token", "--quiet", "worker")
    secret = token.rpartition("-")[2]
    said = "\n".join([str(plan), json.dumps(plan.to_json()), str(events), *watch.seen])
    files = work1.run("cat /etc/hubfleet/*; journalctl --no-pager")
    assert "/swarm/join" in files, "the engine did not log what it was asked"
    assert secret not in said + files


def test_a_token_that_is_not_taken_is_not_told(swarm: Fleet) -> None:
    member = next(item for item in swarm.wanted()["work1"] if isinstance(item, SwarmMember))
    swarm["work1"].docker("swarm", "leave")
    there = swarm.reach()["work1"]
    change = member.given(json.dumps({"token": "SWMTKN-1-canary-canary", "nodes": []})).diff(
        there.observe([member])[member.id]
    )
    assert change
    with pytest.raises(ApplyError) as caught:
        there.apply(change, lambda line: None)
    assert "canary" not in str(caught.value)
    assert "Docker: " in str(caught.value)
    swarm.up(swarm.wanted())


def test_the_engine_gives_tasks_addresses_of_the_range_and_containers_those_they_ask_for(swarm: Fleet) -> None:
    hub1 = swarm["hub1"]
    hub1.docker(*SERVICE, "--name", "ranged", "--replicas", "6", "--network", FLEET, dockerd.BASE, *SLEEP)
    try:
        form = '{{range .NetworksAttachments}}{{.Network.Spec.Name}} {{join .Addresses ","}}\n{{end}}'

        def addresses() -> list[str]:
            tasks = hub1.docker("service", "ps", "--quiet", "ranged").split()
            states = hub1.docker("inspect", "--format", "{{.Status.State}}", *tasks).split()
            if set(states) != {"running"}:
                return []
            lines = hub1.docker("inspect", "--format", form, *tasks).splitlines()
            return [line.split()[1] for line in lines if line.startswith(f"{FLEET} ")]

        found = [ipaddress.ip_interface(one).ip for one in soon(addresses, 60)]
        assert len(found) == 6
        assert all(one in ipaddress.ip_network(SERVERS) for one in found), found
    finally:
        hub1.docker("service", "rm", "ranged")
    part = Container("part", dockerd.BASE, SLEEP, network="bridge", networks=((FLEET, "10.88.0.2"),), hostname="part")
    alone = Container("alone", dockerd.BASE, SLEEP, network=FLEET, networks=((FLEET, "10.88.0.9"),))
    swarm.up(merged(swarm.wanted(), {"hub1": (part,), "work1": (alone,)}))
    for argv in (("sleep", "100001"), ("sleep", "100002")):  # made anew, each beside the one before it
        again = [Container(**{**vars(one), "argv": argv}) for one in (part, alone)]
        swarm.up(merged(swarm.wanted(), {"hub1": (again[0],), "work1": (again[1],)}))
        assert "10.88.0.2/20" in hub1.docker("exec", "part", "ip", "-brief", "address")
        assert hub1.docker("exec", "part", "hostname") == "part"
        assert "10.88.0.9/20" in swarm["work1"].docker("exec", "alone", "ip", "-brief", "address")
    swarm.up(swarm.wanted())


def test_a_network_that_services_are_on_is_not_made_anew(swarm: Fleet) -> None:
    swarm["hub1"].docker(*SERVICE, "--name", "held", "--replicas", "0", "--network", FLEET, dockerd.BASE, *SLEEP)
    try:
        wanted = swarm.wanted()
        wanted["hub1"] = tuple(
            type(item)(**{**vars(item), "subnet": "10.89.0.0/20", "ip_range": "", "gateway": ""})
            if item.key == FLEET
            else item
            for item in wanted["hub1"]
        )
        with pytest.raises(CheckError, match=rf"subnet {SUBNET} -> 10.89.0.0/20\), and containers are on it: held"):
            swarm.plan(wanted)
    finally:
        swarm["hub1"].docker("service", "rm", "held")


def test_a_machine_that_was_installed_anew_takes_the_place_of_the_old_one(swarm: Fleet) -> None:
    before = swarm.nodes()
    swarm["work1"].run("docker swarm leave; rm -r /etc/hubfleet")
    plan, _ = swarm.up(swarm.wanted())
    assert labels(plan) == {"hub1": ["update swarm node work1"], "work1": [f"create swarm member {HUB}"]}
    after = swarm.nodes()
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"work1"}


def test_members_join_the_swarm_of_a_manager_that_was_installed_anew(swarm: Fleet) -> None:
    before = swarm.nodes()
    swarm["hub1"].run("docker swarm leave --force; rm -r /etc/hubfleet")
    plan, _ = swarm.up(swarm.wanted())
    assert f"update swarm member {HUB}" in labels(plan)["work1"]
    after = swarm.nodes()
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


def test_a_member_of_an_earlier_swarm_at_the_same_address_is_seen(swarm: Fleet) -> None:
    """As if `up` had been killed after the manager was made: nothing but the swarm's authority tells the two apart."""
    wanted = swarm.wanted()
    swarm["hub1"].run("docker swarm leave --force; rm -r /etc/hubfleet")
    swarm.up({"hub1": wanted["hub1"][:2]}, names=["hub1"])
    change = next(change for name, change in swarm.plan(wanted, wanted).changes if name == "work1")
    assert change.detail[0] == "leaves its swarm: what hub1 manages now is another one"
    swarm.up(wanted, wanted)


def test_a_machine_that_is_gone_for_good_is_forgotten_and_may_come_back(swarm: Fleet) -> None:
    hub1, work2 = swarm["hub1"], swarm["work2"]
    old = swarm.nodes()["work2"]
    work2.cut_power()
    try:
        soon(lambda: hub1.docker("node", "inspect", "--format", "{{.Status.State}}", old) == "down", 90)
        plan, _ = swarm.up(swarm.wanted(["work1"]), names=["hub1", "work1"])
        (change,) = [change for _, change in plan.changes]
        assert change.detail == ("it is down, and is forgotten",)
        assert swarm.nodes().keys() == {"hub1", "work1"}
    finally:
        work2.start()
        work2.run("mount --make-rshared /")
    soon(lambda: work2.docker("info", check=False) and state(work2, "{{.ServerVersion}}"), 60)
    swarm.up(swarm.wanted())
    assert swarm.nodes().keys() == {"hub1", "work1", "work2"}


def test_two_hubs_may_share_a_swarm(swarm: Fleet) -> None:
    first, second = swarm.wanted(), swarm.wanted(["work1"], hub="other")
    only = {name: tuple(item for item in items if "swarm" in item.kind) for name, items in second.items()}
    swarm.up(only, {})
    both = swarm["hub1"].docker("node", "inspect", "--format", "{{.Spec.Labels}}", swarm.nodes()["work1"])
    assert {"hubfleet.lab.worker:yes", "hubfleet.other.worker:yes"} <= set(both.strip("map[]").split())
    assert swarm.plan(first, first).empty
    swarm.up(dict.fromkeys(only, ()), only)
    assert swarm.plan(first, first).empty


def test_what_one_hub_drains_is_open_for_the_other_and_no_plan_undoes_it(swarm: Fleet) -> None:
    hub1 = swarm["hub1"]
    config, facts = hub("other", swarm)
    mine, theirs = (nodes(config, replace(facts, drained=drained)) for drained in (frozenset({"work1"}), frozenset()))
    other = swarm.wanted(["work1"], hub="other")
    members = {name: tuple(item for item in items if "swarm" in item.kind) for name, items in other.items()}
    members["hub1"] = tuple(item for item in members["hub1"] if not isinstance(item, SwarmNode))
    drained = {**members, "hub1": (*members["hub1"], *mine)}
    first = swarm.wanted()
    try:
        swarm.up(drained, {})
        assert swarm.plan(drained, drained).empty
        assert swarm.plan(first, first).empty, "the first hub has nothing to undo"
        where = ("--constraint", "node.labels.hubfleet.lab.machine==work1")
        hub1.docker(*SERVICE, "--name", "here", *where, dockerd.BASE, *SLEEP)
        soon(lambda: swarm["work1"].docker("ps", "--quiet", "--filter", "name=here"), 60)
        plan, _ = swarm.up({**members, "hub1": (*members["hub1"], *theirs)}, drained)
        assert [change.detail for _, change in plan.changes] == [("label drained yes -> none",)]
        assert swarm["work1"].docker("ps", "--quiet", "--filter", "name=here")
    finally:
        hub1.docker("service", "rm", "here", check=False)
        swarm.up(dict.fromkeys(members, ()), drained)
    assert swarm.plan(first, first).empty


def test_what_servers_leave_goes_with_their_hub_and_nothing_of_another(swarm: Fleet) -> None:
    """Volumes of the machines, and what the manager has, where others go on using the swarm."""
    hub1, work1 = swarm["hub1"], swarm["work1"]
    other = swarm.wanted(["work1"], hub="other")
    only = {name: tuple(item for item in items if "swarm" in item.kind) for name, items in other.items()}
    only["work1"] = (*only["work1"], Volumes("other"))
    swarm.up(only, {})
    for name in ("lab", "other"):
        label = ("--label", f"hubfleet.hub={name}")
        work1.docker("volume", "create", *label, f"of-{name}")
        hub1.docker("config", "create", *label, f"of-{name}", "-", text="lines")
        hub1.docker("secret", "create", *label, f"of-{name}", "-", text="token")
    ended = work1.docker("create", "--mount", "type=volume,source=of-other,target=/data", dockerd.BASE, "true")
    for name in ("lab", "other"):  # of servers that have ended while the machine was off
        whose = ("--label", f"hubfleet.hub={name}", "--label", "hubfleet.server=ada")
        use = ("--mount", f"type=volume,source=of-{name},target=/data", "--name", f"left-{name}")
        work1.docker("create", *whose, *use, dockerd.BASE, "true")
    assert swarm.plan(only, only).empty, "servers bring them"
    gone = threading.Timer(3, lambda: work1.docker("rm", ended))  # a machine takes its time to remove what has ended
    gone.start()
    try:
        plan, events = swarm.up(dict.fromkeys(only, ()), only)
    finally:
        gone.join()
    assert "remove set of volumes other" in labels(plan)["work1"]
    assert any("waiting for the container that has of-other" in event.text for event in events)
    assert work1.docker("volume", "ls", "--quiet", "--filter", "name=of-").split() == ["of-lab"]
    assert work1.docker("ps", "--all", "--format", "{{.Names}}", "--filter", "name=left-") == "left-lab"
    work1.docker("rm", "left-lab")
    for kind in ("config", "secret"):
        assert hub1.docker(kind, "ls", "--format", "{{.Name}}").split() == ["of-lab"]
        hub1.docker(kind, "rm", "of-lab")
    work1.docker("volume", "rm", "of-lab")


def test_a_machine_that_is_not_back_yet_is_waited_for(swarm: Fleet) -> None:
    """It answers over SSH, and not its manager."""
    hub1, work1 = swarm["hub1"], swarm["work1"]
    node = swarm.nodes()["work1"]

    def known() -> str:
        return hub1.docker("node", "inspect", "--format", "{{.Status.State}}", node)

    rule = f"INPUT -s {work1.address} -p tcp --dport 2377 -j DROP"
    hub1.run(f"iptables -I {rule}")
    healed = threading.Timer(
        20, lambda: hub1.run(f"iptables -D {rule}")
    )  # by then it is waited for, on a busy machine too
    try:
        soon(lambda: known() == "down", 90)
        plan = swarm.plan(swarm.wanted())
        assert [change.detail for _, change in plan.changes] == [("the swarm has it as down; it is waited for",)]
        healed.start()
        _, events = swarm.up(swarm.wanted())
        assert known() == "ready"
    finally:
        if healed.ident:
            healed.join()
        else:
            hub1.run(f"iptables -D {rule}")
    told = [event.text for event in events if event.status == "progress"]
    assert "waiting for work1 to be ready in the swarm, which has it as down" in told


def hub(name: str, fleet: Fleet) -> tuple[Config, Site]:
    """Another hub of the same machines, as its file says it: servers on work1."""
    addresses = {one: fleet[one].address for one in ("hub1", "work1")}
    machines = {one: {"ssh": f"root@{address}"} for one, address in addresses.items()}
    machines["hub1"] |= {"roles": ["hub"]}
    machines["work1"] |= {"roles": ["worker"]}
    told = {"hub": name, "engine": "swarm", "machines": machines, "storage": {"homes": "none"}, "https": "self-signed"}
    config = Config.model_validate({**told, "login": {"password": "file"}})
    return config, site(name, addresses=addresses, hub_address=addresses["hub1"], registry=Link("a", "b", "c", "d"))


def nodes(config: Config, facts: Site) -> tuple[SwarmNode, ...]:
    """What that hub wants its swarm's manager to know."""
    return tuple(item for item in engine("swarm").desired(config, facts) if isinstance(item, SwarmNode))


def test_a_machine_that_leaves_is_drained_first_and_restores_live_again(swarm: Fleet) -> None:
    hub1, work2 = swarm["hub1"], swarm["work2"]
    # one that takes its time to end, and says when it was asked to
    program = "import signal,time; signal.signal(15, lambda *_: (time.sleep(1), open('/kept/ended', 'w'), exit())); "
    program += "time.sleep(9e4)"
    work2.run("mkdir -p /kept; rm -f /kept/*")
    mount = "type=bind,source=/kept,target=/kept"
    where = ("--constraint", "node.labels.hubfleet.lab.machine==work2")
    hub1.docker(*SERVICE, "--name", "slow", *where, "--mount", mount, dockerd.BASE, "python3", "-c", program)
    soon(lambda: work2.docker("ps", "--quiet", "--filter", "name=slow"), 60)
    try:
        plan, _ = swarm.up({**swarm.wanted(["work1"]), "work2": (DockerEngine(),)})
    finally:
        hub1.docker("service", "rm", "slow")
    assert labels(plan)["hub1"] == ["remove swarm node work2"]
    assert labels(plan)["work2"][:2] == [f"remove swarm member {HUB}", "update Docker engine"]
    assert work2.run("ls /kept") == "ended"
    assert state(work2, "{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}}") == "true inactive"
    assert work2.run("ls -A /etc/hubfleet") == ""


def test_a_swarm_is_taken_apart(swarm: Fleet) -> None:
    swarm.up({name: (DockerEngine(),) for name in swarm.machines})
    for machine in swarm.machines.values():
        assert state(machine, "{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}}") == "true inactive"
        assert "hubfleet" not in machine.docker("network", "ls")
