"""What the hub's configuration file does to the process that reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from hubfleet.hub import preflight
from hubfleet.hub.settings import SETTINGS_VARIABLE

READ = """
import gc, json, runpy, sys
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from sqlalchemy import text

hub = JupyterHub()
hub.load_config_file(sys.argv[1])
with orm.new_session_factory(hub.db_url, **hub.db_kwargs)() as session:
    mode = session.scalar(text("PRAGMA journal_mode"))
print(json.dumps({"journal": mode, "frozen": gc.get_freeze_count(), "walked": len(gc.get_objects())}))
"""


def settings(folder: Path) -> Path:
    """A `hub.json` and the secrets beside it."""
    (folder / "h" / "hub").mkdir(parents=True)
    path = folder / "h" / "hub" / "hub.json"
    asked = {"hub": "h", "base": str(folder), "privileged": False, "address": "127.0.0.1", "port": 8000}
    people = {"login_kind": "password", "admins": [], "allow": None}
    path.write_text(json.dumps({**asked, **people, "named_servers": 0, "homes_kept": True, "isolated": True}))
    secrets = dict.fromkeys(("proxy_token", "operator_token", "culler_token", "class_password"), "secret")
    path.with_name("hub-secrets.json").write_text(json.dumps(secrets))
    return path


def test_the_hub_waits_neither_for_the_disk_nor_for_the_collector(tmp_path: Path) -> None:
    environment = {**os.environ, SETTINGS_VARIABLE: str(settings(tmp_path))}
    config = Path(preflight.__file__).with_name("jupyterhub_config.py")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(config)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["journal"] == "wal"
    assert found["walked"] < found["frozen"] / 5
