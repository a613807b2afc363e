"""The HTML report of a run: one file with plots, verdicts, the table and the machine's facts. It needs no network.

Written from what --json holds, so that an old run's report can be made again. The plots are drawn by plots.py
in .venv's Python, which has Matplotlib (bench/setup); the rest is the standard library's.
"""

import html
import json
import os
import subprocess

from . import contenders, table


class Unavailable(Exception):
    """No report can be made; the text says why and what to do."""


STYLE = """
:root { --ink: #1d2733; --faint: #5c6875; --line: #d9dee4; --met: #1a7f4b; --missed: #b3261e; --none: #8a6100; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; max-width: 1060px; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem; }
p, dl { margin: .25rem 0; }
.faint { color: var(--faint); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { color: var(--faint); }
dd { margin: 0; }
nav a { margin-right: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
tr.atoll td:first-child { font-weight: 600; }
td.met { color: var(--met); } td.missed { color: var(--missed); font-weight: 600; } td.none { color: var(--none); }
figure { margin: 1rem 0 0; }
figure svg { width: 100%; height: auto; }
figcaption { color: var(--faint); font-size: .9rem; }
"""

CAPTIONS = {
    "latency_spin": "How long one message takes, spinning, in C++. Each curve goes from the median on the left to the rarest on the right: "
                    "at 99.9 % one message in a thousand takes longer. Lower is better.",
    "latency_block": "The same with calls that wait as a user would write them: processes sleep and are woken.",
    "rate_cpp": "Payload a second against message size, C++. Bars show the range over the rounds. Higher is better.",
    "rate_py_node": "The same from Python to Node.",
    "scaling": "All messages received a second, relative to one producer and one consumer, as processes are added. "
               "The dashed line is the target: never below 0.7.",
}


def _plots(document):
    script = os.path.join(contenders.BENCH, "driver", "plots.py")
    try:
        done = subprocess.run([contenders.VENV_PYTHON, script], input=json.dumps(document), capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"the plots could not be drawn ({error}); run bench/setup") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise Unavailable(f"the plots could not be drawn ({last[0]}); run bench/setup")
    return json.loads(done.stdout)


def _cells(*cells):
    return "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)


def _verdicts(entries):
    yield '<div class="scroll"><table><tr><th>target</th><th>measured</th><th>range</th><th>wanted</th><th>verdict</th></tr>'
    for entry in entries:
        measured = entry["measured"]
        middle, spread = "-", ""
        if measured:
            middle = table.amount(entry, measured["median"])
            spread = f"{table.amount(entry, measured['low'])} to {table.amount(entry, measured['high'])}"
        what = entry["what"] + (" (must be met)" if entry["hard"] else "") + (f": {entry['why_not']}" if entry["why_not"] else "")
        mark = {"met": "met", "MISSED": "missed"}.get(entry["verdict"], "none")
        yield f"<tr>{_cells(what, middle, spread, table.wanted(entry))}<td class={mark}>{html.escape(entry['verdict'])}</td></tr>"
    yield "</table></div>"


def _sections(entries):
    section = None
    for entry in entries:
        if entry["section"] != section:
            if section is not None:
                yield "</table></div>"
            section = entry["section"]
            yield f"<h3>{html.escape(entry['title'])}</h3><div class=scroll><table>{_head(entry['metric'])}"
        yield from _row(entry)
    if section is not None:
        yield "</table></div>"


def _head(metric):
    names = {"latency": ["ns", "p50", "range", "p99", "p99.9", "ratio", "CPU us"], "rate": ["", "msg/s", "range", "MB/s", "share", "ratio", "CPU us"],
             "figures": ["", "figure", "range"]}[metric]
    return "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"


def _row(entry):
    mark = " class=atoll" if "atoll" in entry["contender"] else ""
    number = table.number
    if entry["metric"] == "figures":
        for text, field in entry["fields"]:
            name = entry["label"] if len(entry["fields"]) == 1 else text
            if field in entry:
                cells = _cells(name, number(entry[field]["median"]), table.spread(entry[field], " to "))
            else:
                cells = _cells(name, "-", entry["absent"] or "")
            yield f"<tr{mark}>{cells}</tr>"
        return
    main = entry.get("p50" if entry["metric"] == "latency" else "rate")
    if main is None:
        yield f"<tr>{_cells(entry['label'], '-')}<td colspan=5>{html.escape(entry['absent'] or '')}</td></tr>"
        return
    label = entry["label"] + (f" (not in every round: {entry['absent']})" if entry["absent"] else "")
    if entry["metric"] == "latency":
        more = [number(entry["p99"]["median"]), number(entry["p99.9"]["median"])]
    else:
        more = [number(main["median"] * entry["size"] / 1e6), f"{entry['fair']['median']:.2f}" if "fair" in entry else ""]
    cpu = entry["cpu_us"]["median"]
    cells = _cells(label, number(main["median"]), table.spread(main, " to "), *more, table.times(entry.get("ratio", {}).get("median")),
                   number(cpu) if cpu >= 1 else f"{cpu:.3f}")
    yield f"<tr{mark}>{cells}</tr>"


def write(document, path):
    """Writes the report of a run (what --json holds) to `path`; raises Unavailable."""
    found = document["machine"]
    plots = _plots(document)
    facts = {"processor": found["cpu"], "CPUs": f"{found['cpus']}{', virtual machine' if found['hypervisor'] else ''}", "caches": found["caches"],
             "memory": f"{found['memory_mib']} MiB", "system": f"{found['system']}, Linux {found['kernel']}", "compiler": found["compiler"],
             "languages": f"{found['python']}, Node {found['node']}", "commit": found["commit"], "begun": found["time"],
             "load before": f"{found['load_before']:.1f}",
             "run": f"{document['rounds']} interleaved rounds of {document['seconds']:g} s, {document['took_seconds'] / 60:.0f} minutes"}
    parts = ["<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
             f"<title>Atoll beside its peers</title><style>{STYLE}</style></head><body>",
             "<h1>Atoll beside its peers</h1>",
             "<p class=faint>Medians over the rounds of one run. Only ratios within a run mean something: machines drift by a factor of two "
             "between minutes. bench/README.md says how each figure is taken.</p>",
             "<nav><a href='#verdicts'>Verdicts</a><a href='#plots'>Plots</a><a href='#figures'>Figures</a><a href='#machine'>Machine</a></nav>"]
    if document["targets"]:
        parts += ["<h2 id=verdicts>Verdicts</h2>", f"<p>{html.escape(table.count_verdicts(document['targets'], '“must be met”'))}.</p>",
                  *_verdicts(document["targets"])]
    parts.append("<h2 id=plots>Plots</h2>")
    parts += [f"<figure>{plots[name]}<figcaption>{caption}</figcaption></figure>" for name, caption in CAPTIONS.items() if name in plots]
    missing = [name for name in CAPTIONS if name not in plots]
    if missing:
        parts.append(f"<p class=faint>Not drawn, as their rows were not measured: {', '.join(missing)}.</p>")
    parts += ["<h2 id=figures>Figures</h2>",
              "<p class=faint>ratio: to the first row of the section, the median of the rounds' own ratios; CPU us: of all processes, for each message; "
              "share: the smallest of a process, 1 being an equal one.</p>",
              *_sections(document["rows"]), "<h2 id=machine>Machine</h2><dl>",
              *(f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in facts.items()), "</dl></body></html>"]
    with open(path, "w") as file:
        file.write("\n".join(parts) + "\n")
