"""Draws the report's plots: reads a run's JSON from standard input, writes {name: SVG} to standard output.

Run by report.py in the Python that has Matplotlib. A plot whose rows were not measured is left out.
"""

import io
import json
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker  # noqa: E402

# Atoll and the machine's limit in colours that stand out; the peers in quieter ones, each always in its own.
COLORS = {"atoll": "#0b6bcb", "raw": "#1d2733", "aeron": "#d1495b", "iceoryx2": "#2e8b57", "iceoryx": "#9bbf65", "boost": "#b07d2b",
          "zeromq": "#8e6bbf", "nng": "#c28bc0", "pipe": "#8c9aa8", "unix": "#e0913a", "futex": "#1d2733"}
PERCENTS = [50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99]
SIZES = [64, 1 << 10, 1 << 16, 1 << 20]
SIZE_NAMES = ["64 B", "1 KiB", "64 KiB", "1 MiB"]


def style_of(entry):
    name = entry["contender"]
    key = next((key for key in ("atoll", "raw", "aeron", "iceoryx2", "iceoryx", "boost", "zeromq", "nng", "pipe", "futex") if key in name), "unix")
    strong = key in ("atoll", "raw", "futex")
    return {"color": COLORS[key], "linewidth": 2.4 if strong else 1.4, "zorder": 4 if strong else 2,
            "linestyle": ":" if key == "futex" else "-" if entry["batch"] == 1 and not entry["variant"] else "--"}


def svg(figure):
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return out.getvalue()[out.getvalue().index("<svg"):]


def new_plot(title, height=4.2):
    figure, axes = pyplot.subplots(figsize=(10.6, height))
    figure.subplots_adjust(left=0.09, right=0.79, top=0.9, bottom=0.52 / height)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="#e6eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def label_ends(axes, lines):
    """Names each line at its right end, in its colour, moved apart where they would cover each other."""
    if not lines:
        return
    low, high = axes.get_ylim()
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted((*to_axes.transform((x, min(max(y, low), high)))[::-1], label, color) for x, y, label, color in lines)
    step = 0.057 * 4.2 / axes.figure.get_size_inches()[1]
    at = []
    for y, *_ in placed:
        at.append(max(y, at[-1] + step) if at else y)
    over = max(0, at[-1] - 1.0)
    at = [y - over for y in at]
    for i in range(len(at) - 2, -1, -1):
        at[i] = min(at[i], at[i + 1] - step)
    for y, (true_y, true_x, label, color) in zip(at, placed):
        axes.annotate(label, xy=(true_x, true_y), xycoords="axes fraction", xytext=(1.025, y), textcoords="axes fraction", color=color, va="center", fontsize=9.5,
                      arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)})


def log_axis(axis, text):
    """A logarithmic axis with a few labels in each decade."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(text)


def rate_text(value, _=None):
    return f"{value:g} GB/s" if value >= 1 else f"{1000 * value:g} MB/s"


def time_text(value, _=None):
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{value / divisor:g} {unit}"
    return f"{value / 1e9:g} s"


def latency(entries, title):
    entries = [entry for entry in entries if "p50" in entry]
    if not entries:
        return None
    figure, axes = new_plot(title)
    ends = []
    for entry in entries:
        points = [(1 / (1 - percent / 100), entry[f"p{percent:g}"]["median"]) for percent in PERCENTS if f"p{percent:g}" in entry]
        style = style_of(entry)
        axes.plot(*zip(*points), **style)
        ends.append((*points[-1], entry["label"], style["color"]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    shown = [50, 90, 99, 99.9, 99.99]
    axes.set_xticks([1 / (1 - percent / 100) for percent in shown], [f"{percent:g} %" for percent in shown])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlim(2, 10000)
    log_axis(axes.yaxis, time_text)
    axes.set_xlabel("share of messages that are at most this late")
    axes.set_ylabel("one way")
    label_ends(axes, ends)
    return svg(figure)


def rate(rows, prefix, title):
    lines = {}
    for entry in rows:
        if entry["section"].startswith(prefix) and entry["section"].endswith("/rate") and "rate" in entry and entry["variant"] in ("", "loan"):
            lines.setdefault((entry["contender"], entry["batch"], entry["variant"]), []).append(entry)
    lines = {key: entries for key, entries in lines.items() if len(entries) > 1}
    if not lines:
        return None
    figure, axes = new_plot(title, 4.8)
    ends = []
    for entries in lines.values():
        entries.sort(key=lambda entry: entry["size"])
        style = style_of(entries[0])
        x = [SIZES.index(entry["size"]) for entry in entries]
        scale = [entry["size"] / 1e9 for entry in entries]
        y = [entry["rate"]["median"] * by for entry, by in zip(entries, scale)]
        low = [at - entry["rate"]["low"] * by for at, entry, by in zip(y, entries, scale)]
        high = [entry["rate"]["high"] * by - at for at, entry, by in zip(y, entries, scale)]
        axes.errorbar(x, y, yerr=(low, high), marker="o", markersize=4, elinewidth=0.8, **style)
        if len(x) == len(SIZES):
            ends.append((x[-1], y[-1], entries[0]["label"], style["color"]))
        else:
            axes.annotate(entries[0]["label"], (x[-1], y[-1]), xytext=(8, 0), textcoords="offset points", color=style["color"], fontsize=9.5,
                          va="center", zorder=6, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.9})
    axes.set_yscale("log")
    axes.set_xlim(-0.15, len(SIZES) - 1)
    axes.set_xticks(range(len(SIZES)), SIZE_NAMES)
    log_axis(axes.yaxis, rate_text)
    axes.set_xlabel("size of a message")
    axes.set_ylabel("payload a second")
    label_ends(axes, ends)
    return svg(figure)


def scaling(rows):
    crowd = {entry["variant"]: entry for entry in rows if entry["section"] == "cpp/64B/crowd" and "ratio" in entry}
    lines = {"N producers, 1 consumer": (["1x1", "2x1", "4x1", "8x1"], "#0b6bcb"), "1 producer, N groups": (["1x1", "1x2g", "1x4g", "1x8g"], "#2e8b57"),
             "N producers, N consumers": (["1x1", "2x2", "4x4"], "#b07d2b")}
    if "1x1" not in crowd or len(crowd) < 3:
        return None
    figure, axes = new_plot("Atoll, 64 B, more processes than CPUs", 3.8)
    ends = []
    for label, (shapes, color) in lines.items():
        entries = [(sum(int(part) for part in shape.rstrip("g").split("x")), crowd[shape]["ratio"]) for shape in shapes if shape in crowd]
        x, y = [many for many, _ in entries], [ratio["median"] for _, ratio in entries]
        low, high = [ratio["median"] - ratio["low"] for _, ratio in entries], [ratio["high"] - ratio["median"] for _, ratio in entries]
        axes.errorbar(x, y, yerr=(low, high), marker="o", markersize=5, elinewidth=0.8, linewidth=2, color=color)
        ends.append((x[-1], y[-1], label, color))
    axes.axhline(0.7, color="#b3261e", linewidth=1, linestyle="--")
    axes.set_xlim(1.7, 9.3)
    axes.set_ylim(bottom=0)
    axes.set_xticks([2, 3, 4, 5, 8, 9])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_xlabel("processes")
    axes.set_ylabel("rate, relative to 1 and 1")
    label_ends(axes, ends)
    return svg(figure)


def main():
    pyplot.rcParams.update({"font.size": 10, "font.family": "DejaVu Sans", "svg.hashsalt": "atoll", "text.color": "#1d2733", "axes.labelcolor": "#5c6875",
                            "xtick.color": "#5c6875", "ytick.color": "#5c6875", "axes.edgecolor": "#b9c2cb"})
    rows = json.load(sys.stdin)["rows"]
    plots = {
        "latency_spin": latency([entry for entry in rows if entry["section"] == "cpp/64B/latency/spin"], "Latency, 64 B, C++, spinning"),
        "latency_block": latency([entry for entry in rows if entry["section"] == "cpp/64B/latency/block"], "Latency, 64 B, C++, blocking"),
        "rate_cpp": rate(rows, "cpp/", "Rate against size, C++"),
        "rate_py_node": rate(rows, "py-node/", "Rate against size, Python to Node"),
        "scaling": scaling(rows),
    }
    json.dump({name: plot for name, plot in plots.items() if plot}, sys.stdout)


if __name__ == "__main__":
    main()
