"""What a browser fetches when it opens JupyterLab for the first time, read out of the page and its scripts.

JupyterLab's scripts come in chunks. The main script holds the table of their files, names the first ones, and says
which packages those share and by which chunks each package is brought in. Following that from the first chunks on
gives what a browser fetches before the launcher appears, without running any script. What running code asks for later
(a theme, an editor's language) cannot be seen this way; API requests of the first seconds are listed here by hand.
"""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

PAGE_REQUESTS = (
    "api/me",
    "api/kernelspecs",
    "lab/api/settings",
    "api/kernels",
    "api/terminals",
    "api/sessions",
    "lab/api/workspaces",
    "lab/api/translations/default",
    "lsp/status",
    "api/contents?content=1&hash=0",
    "lab/api/themes/@jupyterlab/theme-light-extension/index.css",
    "lab/api/workspaces/default",
)
"""What JupyterLab 4 asks its server while it opens, below the server's address. Not all servers know all of them."""

_HASH_TABLE = re.compile(r'\{(?:"?[\w-]+"?:"[0-9a-f]{8,}",?)+\}')
_TABLE_ENTRY = re.compile(r'"?([\w-]+)"?:"([^"]+)"')
_ALIASES = (re.compile(r'"?(\d+)"?===\w+\?"(\w+)"'), re.compile(r'\{"?(\d+)"?:"([a-z]\w*)"\}\[\w+\]'))
_CHUNK = re.compile(r"\.e\((\d+)\)")
_FIRST_IMPORT = re.compile(r"Promise\.all\(\[(?:\w+\.e\(\d+\),?)+\]\)")
_EXPOSED = re.compile(r'"\./(?:extension|index)":\(\)=>(Promise\.all\(\[[^\]]*\]\)|\w+\.e\(\d+\))')
_STYLE = re.compile(r'"\./style":\(\)=>(Promise\.all\(\[[^\]]*\]\)|\w+\.e\(\d+\))')
_CONSUMES = re.compile(r"chunkMapping\s*[:=]\s*(\{(?:\"?\w+\"?:\[[^\]]*\],?)+\})")
_CONSUMED = re.compile(r'"?(\w+)"?:(?:\{shareScope:|\(\)=>\(?\w+\("default")')
_LIST_ENTRY = re.compile(r'"?(\w+)"?:\[([^\]]*)\]')


class _Links(html.parser.HTMLParser):
    """Scripts, stylesheets, icons and JupyterLab's own settings in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.settings = ""
        self._in_settings = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script":
            self._in_settings = values.get("id") == "jupyter-config-data"
            if values.get("src"):
                self.found.append(str(values["src"]))
        wanted = {"stylesheet", "icon", "preload", "modulepreload"}
        if tag == "link" and values.get("href") and wanted & set((values.get("rel") or "").split()):
            self.found.append(str(values["href"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_settings = False

    def handle_data(self, data: str) -> None:
        if self._in_settings:
            self.settings += data


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def page_assets(address: str, page: str) -> tuple[list[str], list[str]]:
    """The addresses that a page names: plain ones, and scripts that name further ones (see `chunks`)."""
    links = _Links()
    links.feed(page)
    settings: dict[str, Any] = json.loads(links.settings) if links.settings.strip() else {}
    named = _unique(urljoin(address, link) for link in links.found if not link.startswith("data:"))
    main = [link for link in named if re.search(r"/main\.[0-9a-f]+\.js", link)]
    folder = str(settings.get("fullLabextensionsUrl", "")).rstrip("/")
    remote = [
        urljoin(address, f"{folder}/{entry['name']}/{entry['load']}")
        for entry in settings.get("federated_extensions", ())
        if folder and entry.get("name") and entry.get("load")
    ]
    scripts = _unique([*main, *remote])
    return [link for link in named if link not in scripts], scripts


def chunks(address: str, text: str) -> list[str]:
    """The chunks that a main script, or a federated extension's entry, brings in at once."""
    folder = urljoin(address, ".")
    return [urljoin(folder, name) for name in _chunk_names(text)]


@lru_cache(maxsize=64)
def _chunk_names(text: str) -> tuple[str, ...]:
    """The same script is given to everybody, so it is read once."""
    table = max((match[0] for match in _HASH_TABLE.finditer(text)), key=len, default="")
    hashes = dict(_TABLE_ENTRY.findall(table))
    aliases = {number: name for pattern in _ALIASES for number, name in pattern.findall(text)}
    ending = ".js?v={1}" if re.search(r'"\.js\?v="', text) else ".js"
    form = "{0}.{1}" + ending if re.search(r'"\."\s*\+', text) else "{0}" + ending
    needed = _closure(_first(text), _consumption(text))
    return tuple(form.format(aliases.get(number, number), hashes[number]) for number in needed if number in hashes)


def _first(text: str) -> list[str]:
    exposed = _EXPOSED.search(text)
    if exposed:
        return [number for found in (exposed, _STYLE.search(text)) if found for number in _CHUNK.findall(found[1])]
    start = _FIRST_IMPORT.search(text)
    return _CHUNK.findall(start[0]) if start else []


def _consumption(text: str) -> dict[str, list[str]]:
    """For each chunk the chunks of the shared packages that it needs."""
    mapping = max((match for match in _CONSUMES.finditer(text)), key=lambda match: len(match[1]), default=None)
    if mapping is None:
        return {}
    heads = list(_CONSUMED.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    packages: dict[str, list[str]] = {}
    for head, end in zip(heads, ends, strict=True):
        packages[head[1]] = _CHUNK.findall(text, head.end(), min(end, head.end() + 4000))
    return {
        chunk: [number for package in re.findall(r"\w+", wanted) for number in packages.get(package, ())]
        for chunk, wanted in _LIST_ENTRY.findall(mapping[1])
    }


def _closure(first: list[str], needs: dict[str, list[str]]) -> list[str]:
    waiting, seen = list(first), dict.fromkeys(first)
    while waiting:
        for number in needs.get(waiting.pop(), ()):
            if number not in seen:
                seen[number] = None
                waiting.append(number)
    return list(seen)
