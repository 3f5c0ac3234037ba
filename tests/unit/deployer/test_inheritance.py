"""The most local value wins, whichever files and levels the values stand in."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubfleet.config import Secrets
from hubfleet.config import load as load_yaml
from hubfleet.deployer.load import Loaded, Selection, hubs, load
from hubfleet.deployer.write import texts
from trios import trio

LEVELS = ("", "jupyterhub", "jupyterhub.prod", "jupyterhub.prod.ds")
BESIDE = ("jupyterhub.prod.sd2e", "jupyterhub.staging", "jupyterhub.staging.ds", "abaco", "abaco.prod.ds")
NAME = ("jupyterhub", "prod", "ds")
VALUES = {
    "notebook_memory_limit": st.sampled_from(["1G", "2G", "512M"]),
    "cull_idle_notebook_timeout": st.integers(600, 99999),
    "notebook_offer_lab": st.booleans(),
    "jupyter_user_image": st.sampled_from(["a/b:1", "a/b:2"]),
    "jupyteruser_uid": st.integers(1000, 60000),
    "use_stock_nfs": st.booleans(),
    "volume_mounts": st.lists(
        st.sampled_from(["/a/{username}:/x:rw", "/b/{tenant_id}:/y:ro", "/c:/z:ro"]), unique=True, max_size=3
    ),
    "jupyterhub_host": st.sampled_from(["a.example.edu", "b.example.edu"]),
}
OURS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
TEXTS = st.one_of(
    st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1),
    st.text("a :#-\"'\\\t\r\n\x85\u2028\x00\x07\ufeff").map("{}\n".format),
).filter(lambda text: not text.startswith("!"))
Part = dict[str, object]


def parts(levels: tuple[str, ...]) -> st.SearchStrategy[dict[str, Part]]:
    """For each level some properties, None for one that takes away what is inherited."""
    one = st.fixed_dictionaries({}, optional={key: st.none() | values for key, values in VALUES.items()})
    return st.fixed_dictionaries(dict.fromkeys(levels, one))


def configs(told: dict[str, Part], more: Part) -> str:
    """JSON is YAML."""
    flat = {**told.get("", {}), **{key: part for key, part in told.items() if key}}
    base = {"jupyterhub_oauth_client_id": "abc", "tenant": "designsafe", **more}
    flat["jupyterhub"] = {**base, **(told.get("jupyterhub") or {})}
    return json.dumps(flat)


def wanted(told: dict[str, Part], chain: tuple[str, ...]) -> Part:
    """What holds, told in another way than by laying one over the other: from the most local level outward."""
    found: Part = {}
    for key in VALUES:
        values = [told[level][key] for level in reversed(chain) if key in told.get(level, {})]
        if values and values[0] is not None:
            found[key] = values[0]
    return found


def hosts(*names: str) -> str:
    host = [{"host_id": "hub1", "ssh_host": "127.0.0.1", "roles": ["hub", "worker"]}]
    return json.dumps({"ssh_user": "root", **{name: {"hosts": host} for name in names}})


def shown(loaded: Loaded) -> Part:
    """The same of what has come of it."""
    config, data = loaded.config, loaded.data
    said = {row.name for row in loaded.properties}
    found: Part = {
        "notebook_memory_limit": str(config.servers.memory.limit),
        "cull_idle_notebook_timeout": config.servers.stop_after_idle,
        "notebook_offer_lab": config.servers.default_url == "/lab",
        "jupyter_user_image": config.servers.image,
        "jupyteruser_uid": config.storage.owner.uid,
        "use_stock_nfs": config.storage.homes is not None,
        "volume_mounts": data.get("storage", {}).get("mounts", []),
        "jupyterhub_host": config.domain,
    }
    return {key: value for key, value in found.items() if key in said}


@OURS
@given(parts(LEVELS), parts(BESIDE))
def test_the_most_local_value_wins(tmp_path: Path, told: dict[str, Part], beside: dict[str, Part]) -> None:
    told["jupyterhub.prod.ds"].setdefault("jupyterhub_host", "hub.example.edu")
    told["jupyterhub.prod.ds"]["jupyterhub_host"] = told["jupyterhub.prod.ds"]["jupyterhub_host"] or "hub.example.edu"
    folder = trio(tmp_path, configs({**told, **beside}, {}), hosts("jupyterhub.prod.ds"), SECRET)
    expected = wanted(told, LEVELS)
    if "volume_mounts" in expected:
        mounts = expected["volume_mounts"]
        assert isinstance(mounts, list)
        expected["volume_mounts"] = [text.replace("{tenant_id}", "designsafe") for text in mounts]
    assert shown(load(Selection(folder, NAME), {})) == expected


@OURS
@given(st.lists(st.sampled_from(LEVELS), unique=True), st.lists(st.sampled_from(LEVELS), unique=True))
def test_two_files_count_as_one(tmp_path: Path, first: list[str], second: list[str]) -> None:
    """A property in either file: the level decides, not the file; the same level in both is refused."""

    def text(levels: list[str], label: str, base: Part) -> str:
        data: dict[str, object] = {"jupyterhub": dict(base)}
        for level in levels:
            value = {"tas_role_account": f"{label}-{level or 'top'}"}
            data = {**data, **value} if not level else {**data, level: {**_part(data.get(level)), **value}}
        return json.dumps(data)

    base = {"jupyterhub_oauth_client_id": "abc", "tenant": "designsafe", "jupyterhub_host": "hub.example.edu"}
    more = {"jupyterhub_oauth_client_secret": "x", "tas_role_pass": "y"}
    folder = trio(
        tmp_path,
        text(first, "configs", {**base, "use_tas_uid": True}),
        hosts(*LEVELS[1:]),
        text(second, "hidden", more),
    )
    both = set(first) & set(second)
    try:
        owner = load(Selection(folder, NAME), {}).config.storage.owner
    except Exception as error:  # noqa: BLE001 - what it is, is judged below
        told = str(error)
        assert ("is at ops.configs:1 too" in told) if both else ("tas_role_account" in told and not first + second)
        return
    assert not both
    local = max([*first, *second], key=LEVELS.index)
    label = "configs" if local in first else "hidden"
    assert owner.tas
    assert owner.tas.account == f"{label}-{local or 'top'}"


@OURS
@given(parts(LEVELS), parts(("jupyterhub.prod.sd2e", "jupyterhub.staging.ds")), st.booleans())
def test_what_import_writes_is_the_same(
    tmp_path: Path, told: dict[str, Part], beside: dict[str, Part], alone: bool
) -> None:
    every = told if alone else {**told, **beside}
    named = [level for level in every if level.count(".") == 2]
    for number, level in enumerate(named):
        every[level]["jupyterhub_host"] = f"hub{number}.example.edu"
        every[level].pop("jupyterhub_oauth_client_id", None)
    folder = trio(tmp_path, configs(every, {"use_tas_uid": True, "tas_role_account": "r"}), hosts(*named), SECRET)
    loaded = [load(Selection(folder, name), {}) for name in hubs(Selection(folder))]
    assert len(loaded) == len(named)
    target = tmp_path / "written"
    target.mkdir(exist_ok=True)
    text, secrets = texts(loaded, target)
    (target / "hubfleet.yaml").write_text(text)
    kept = target / "hubfleet.secrets.yaml"
    kept.touch(0o600)
    kept.write_text(secrets)
    for one in loaded:
        again = load_yaml(target / "hubfleet.yaml", one.config.hub, {})
        told_again = Secrets(kept, None if len(loaded) == 1 else one.config.hub, {})
        assert {name: told_again.get(name) for name in one.given} == one.given
        assert again == one.config
        assert again.dump() == one.config.dump()
    assert PASSWORD not in text


@OURS
@given(TEXTS)
@example("-----BEGIN X-----\nMIIB\n-----END X-----\n")
@example("\n a\n  b \n")
@example("a\r\nb\n")
@example(" \n")
@example("# a: b\n\n")
def test_a_secret_is_written_as_it_is(tmp_path: Path, text: str) -> None:
    stanza = {"jupyterhub_oauth_client_secret": text}
    loaded = load(Selection(trio(tmp_path, passwords=json.dumps({"jupyterhub": stanza}))), {})
    assert loaded.given["client_secret"].reveal() == text
    kept = tmp_path / "hubfleet.secrets.yaml"
    kept.touch(0o600)
    kept.write_text(texts([loaded], tmp_path)[1], encoding="utf-8", newline="")
    assert Secrets(kept, None, {}).get("client_secret") == loaded.given["client_secret"]


PASSWORD = " x'\": #\n!"
SECRET = json.dumps({"jupyterhub": {"jupyterhub_oauth_client_secret": PASSWORD, "tas_role_pass": "{y: [\u00e9"}})


def _part(value: object) -> Part:
    return value if isinstance(value, dict) else {}
