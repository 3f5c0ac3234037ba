"""The result as one HTML file that needs nothing else: no script, no font, no address of anything."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime

from hubfleet.loadtest.plots import Series, cumulative, plot
from hubfleet.loadtest.result import MEASURES, SHARES, Result
from hubfleet.loadtest.verdict import megabytes, verdict

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 780px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.verdict { font-size: 1.15rem; font-weight: 600; border-left: 4px solid #1f6feb; padding: .4rem 0 .4rem .8rem; }
.bad { border-color: #c62828; } .note { color: #6e7781; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .8rem .25rem 0; }
th { font-weight: 600; border-bottom: 1px solid #8884; } td.n, th.n { text-align: right; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .grid { stroke: #8884; fill: none; } svg .line { fill: none; stroke-width: 2; }
"""


def page(result: Result) -> str:
    """The whole page."""
    found = verdict(result)
    scenario = result.scenario
    moment = datetime.fromtimestamp(result.began).astimezone().strftime("%Y-%m-%d %H:%M")
    arrived = f"over {scenario.arrive_s:g} s" if scenario.arrive_s else "all at once"
    title = f"Load test of {result.url}"
    parts = [
        f"<h1>{_e(title)}</h1>",
        f'<p class="note">{_e(moment)} · JupyterHub {_e(result.hub_version)} · {scenario.people} people, '
        f"{_e(arrived)} · {_e(', '.join(scenario.steps))}</p>",
        f'<p class="verdict{"" if found.first != "failures" else " bad"}">{_e(found.sentence)}</p>',
        *_list(f"{bound.name}: {bound.reckoning}" for bound in found.bounds),
        f'<p class="note">{_e(found.assumption)}</p>',
        *(f'<p class="verdict bad">{_e(warning)}</p>' for warning in _warnings(result)),
        "<h2>How long it took</h2>",
        _times(result),
        *_failures(result),
        "<h2>When people got so far</h2>",
        _arrivals(result),
        *_machine(result),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _e(text: str) -> str:
    return html.escape(text, quote=True)


def _list(texts: Iterable[str]) -> list[str]:
    items = "".join(f"<li>{_e(text[:1].upper() + text[1:])}.</li>" for text in texts)
    return [f"<ul>{items}</ul>"] if items else []


def _warnings(result: Result) -> list[str]:
    warnings = []
    if saturated := result.client_saturated():
        warnings.append(f"Times are too long to be true: {saturated}. Play fewer people, or from another machine.")
    if others := result.others_busy():
        warnings.append(f"Times are longer than they would be: {others}.")
    if result.cleanup:
        warnings.append("Not everything was cleaned up: " + "; ".join(result.cleanup))
    return warnings


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """The last so many columns hold numbers."""
    first = len(heads) - numbers

    def row(cells: Sequence[str], tag: str) -> str:
        marks = ["" if place < first else ' class="n"' for place in range(len(cells))]
        return "".join(f"<{tag}{mark}>{_e(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True))

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f"<table><tr>{row(heads, 'th')}</tr>{body}</table>"


def _times(result: Result) -> str:
    rows = [
        (MEASURES[measure][0], *(f"{sums[name]:.2f} s" for name, _ in SHARES), f"{sums['people']:g}")
        for measure, sums in result.times().items()
    ]
    return _table(("", *(name for name, _ in SHARES), "people"), rows, len(SHARES) + 1)


def _failures(result: Result) -> list[str]:
    if not result.failed:
        return ["<p>Nobody failed.</p>"]
    rows = [(step, reason, str(number)) for step, reason, number in result.reasons()]
    return ["<h2>Failures</h2>", _table(("step", "reason", "people"), rows, 1)]


def _arrivals(result: Result) -> str:
    ends = {"start": "ready", "assets": "JupyterLab loaded", "output": "first output"}
    series = [Series("arrived", cumulative([record.arrived for record in result.people]), steps=True)]
    for step, name in ends.items():
        moments = [record.steps[step][1] for record in result.people if step in record.steps]
        if moments:
            series.append(Series(name, cumulative(moments), steps=True))
    return plot("People over time", "seconds", "people", series, top=len(result.people))


def _machine(result: Result) -> list[str]:
    watched = result.watched
    if watched is None:
        return ["<h2>The machine</h2><p>The hub runs elsewhere: processor and memory were not measured.</p>"]
    samples = watched.samples
    cpu = [Series("machine", [(sample.at, sample.cpu) for sample in samples])]
    cpu += [Series(name, [(sample.at, sample.parts[name]) for sample in samples]) for name in watched.parts_cpu_s]
    cpu.append(Series("this client", [(sample.at, sample.client) for sample in samples]))
    memory = [Series("in use", [(sample.at, sample.memory / 1024**3) for sample in samples])]
    rows = [
        (f"hub: {name}", megabytes(after), f"{watched.parts_cpu_s[name]:.2f} s")
        for name, (_, after) in watched.parts_pss.items()
    ]
    memories = sorted(footprint.pss for footprint in watched.people.values())
    times = sorted(footprint.cpu_s for footprint in watched.people.values())
    for name, place in (("p50", (len(times) - 1) // 2), ("max", -1)) if times else ():
        rows.append((f"a person, {name}", megabytes(memories[place]), f"{times[place]:.2f} s"))
    parts = [
        "<h2>Processor</h2>",
        plot("Processor", "seconds", f"cores busy (of {watched.cores})", cpu, top=watched.cores),
        "<h2>Memory</h2>",
        plot("Memory", "seconds", "GB", memory, top=watched.memory_total / 1024**3),
        _table(("", "memory (PSS)", "processor time"), rows, 2),
    ]
    return [*parts, *(f"<p>Not measured: {_e(text)}.</p>" for text in watched.not_measured)]
