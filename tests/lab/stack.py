"""A small stack of real services, each an image of its own: an API, a worker, a queue and a database.

Somebody gives the API words; the worker takes them from the queue and writes them in capitals into the database, which
lets in only who knows its password; the API shows what is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dockerd

_SERVER = """
import http.server, json, os, sqlite3, sys, time, urllib.request

def ask(where, data=None, **headers):
    body = None if data is None else json.dumps(data).encode()
    with urllib.request.urlopen(urllib.request.Request("http://" + where, body, headers), timeout=5) as answer:
        return json.load(answer)

def password():
    return open("/run/secrets/db_password").read()

def serve(answer):
    if sys.argv[1:] == ["healthy"]:
        sys.exit(0 if ask("127.0.0.1:8000/healthy") == "yes" else 1)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self, data=None):
            found = "yes" if self.path == "/healthy" else answer(self.path, data, self.headers)
            self.send_response(403 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())
        def do_POST(self):
            self.do_GET(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
    print("serving", flush=True)
    http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""
_STORE = """
store = sqlite3.connect("/data/store.sqlite", isolation_level=None, check_same_thread=False)
store.execute("create table if not exists words (word)")
"""
PROGRAMS = {
    "db": _STORE
    + """
def answer(path, data, headers):
    if headers["password"] != password():
        return None
    if data is not None:
        store.execute("insert into words values (?)", [data])
    return [word for word, in store.execute("select word from words order by rowid")]
serve(answer)
""",
    "queue": _STORE
    + """
def answer(path, data, headers):
    if path == "/put":
        store.execute("insert into words values (?)", [data])
    if path == "/take":
        for number, word in store.execute("select rowid, word from words order by rowid limit 1").fetchall():
            store.execute("delete from words where rowid = ?", [number])
            return [word]
    return []
serve(answer)
""",
    "worker": """
print("working", flush=True)
while True:
    for word in ask("queue:8000/take"):
        ask("db:8000/", word.upper(), password=password())
    time.sleep(0.1)
""",
    "api": """
def answer(path, data, headers):
    if path == "/version":
        return [os.environ["VERSION"], os.getuid(), open("/proc/self/status").read().split("CapEff:")[1].split()[0]]
    if data is not None:
        ask("queue:8000/put", data)
    return ask("db:8000/", password=password())
serve(answer)
""",
}
HEALTHY = ["python3", "/app.py", "healthy"]


def write_stack(folder: Path) -> dict[str, Any]:
    """A directory to build each image of; and the `services` of a configuration."""
    for name, program in PROGRAMS.items():
        (folder / name).mkdir()
        (folder / name / "app.py").write_text(_SERVER + program)
        lines = [f"FROM {dockerd.BASE}", "COPY app.py /app.py", 'CMD ["python3", "-u", "/app.py"]']
        (folder / name / "Dockerfile").write_text("\n".join(lines) + "\n")
    kept = {"health": HEALTHY, "volumes": {"data": "/data"}}
    return {
        "api": {
            "build": "api",
            "depends_on": ["db", "queue"],
            "secrets": ["db_password"],
            "environment": {"VERSION": "1"},
            "ports": ["8080:8000"],
            "health": HEALTHY,
            "memory": "256M",
        },
        "worker": {"build": "worker", "depends_on": ["queue", "db"], "secrets": ["db_password"]},
        "queue": {"build": "queue", **kept, "volumes": {"queue-data": "/data"}},
        "db": {"build": "db", "secrets": ["db_password"], **kept, "volumes": {"db-data": "/data"}},
    }


def write_settings(folder: Path, machines: dict[str, Any], services: dict[str, Any], name: str = "shop") -> None:
    """The configuration file."""
    secrets = {secret: "generate" for one in services.values() for secret in one.get("secrets", [])}
    told = {"project": "services", "name": name, "machines": machines, "secrets": secrets, "services": services}
    (folder / "hubfleet.yaml").write_text(json.dumps(told))  # which is YAML too
