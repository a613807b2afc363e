"""Statistics over the rounds, the table of 80 columns, and the JSON of a run.

Figures are medians of the rounds with the smallest and largest; a ratio is the median of the rounds'
own ratios, for only two figures of the same round were taken on the same machine in the same mood.
"""

import textwrap
from statistics import median

from . import contenders

WIDTH = 80


def figure(row):
    return "p50" if row.metric == "latency" else "rate"


def ratios(results, row, base, of=None):
    of = of or figure(row)
    pairs = zip(results.rounds[row.id], results.rounds[base.id])
    return [a[of] / b[of] for a, b in pairs if a and b]


def summary(results):
    """One dictionary for each row, in the order of the table."""
    firsts = {}
    out = []
    for row in results.rows:
        base = firsts.setdefault(row.section, row)
        good = [result for result in results.rounds[row.id] if result]
        entry = {"id": row.id, "section": row.section, "label": row.label, "contender": row.contender, "metric": row.metric,
                 "size": row.size, "wait": row.wait, "batch": row.batch, "variant": row.variant, "cpus": row.cpus,
                 "compared_with": base.id, "absent": results.absent.get(row.id), "rounds": results.rounds[row.id]}
        if good:
            for name in ["p50", "p99", "p99.9", "rate", "cpu_us", "seconds"]:
                values = [result[name] for result in good if name in result]
                if values:
                    entry[name] = {"median": median(values), "low": min(values), "high": max(values)}
            own = ratios(results, row, base)
            if own:
                entry["ratio"] = {"median": median(own), "low": min(own), "high": max(own)}
        out.append(entry)
    return out


def targets(results):
    """(what, wanted, ratio or None) of each target whose rows were asked for."""
    by_id = {row.id: row for row in results.rows}
    out = []
    for what, row, base, factor in contenders.TARGETS:
        if row in by_id and base in by_id:
            own = ratios(results, by_id[row], by_id[base])
            out.append({"what": what, "wanted": factor, "ratio": median(own) if own else None,
                        "low": min(own) if own else None, "high": max(own) if own else None})
    return out


def number(value):
    """Four characters or so: 41, 235, 2.4k, 13M."""
    for limit, divisor, unit in [(1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "G")]:
        if value < limit * 0.9995 or unit == "G":
            scaled = value / divisor
            return (f"{scaled:.0f}" if scaled >= 100 or not unit and scaled >= 10 else f"{scaled:.1f}" if scaled >= 10 else f"{scaled:.2f}") + unit
    return str(value)


def _times(value):
    if value is not None and value < 0.1:
        return f"{value:.3f}x"
    return "-" if value is None else f"{value:.0f}x" if value >= 100 else f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def _spread(entry):
    return f"{number(entry['low'])}..{number(entry['high'])}"


def table(summaries, color=False):
    """The lines of the table."""
    lines = []
    section = None
    for entry in summaries:
        if entry["section"] != section:
            section = entry["section"]
            heading = contenders.title(section)
            lines.append("")
            lines.append(f"\033[1m{heading}\033[0m" if color else heading)
            if entry["metric"] == "latency":
                lines.append(f"  {'ns':<31}{'p50':>6} {'range':>12} {'p99':>6} {'p99.9':>6} {'ratio':>6} {'CPU us':>7}")
            else:
                lines.append(f"  {'':<31}{'msg/s':>6} {'range':>12} {'MB/s':>6} {'':>6} {'ratio':>6} {'CPU us':>7}")
        mark = "*" if entry["absent"] else ""
        label = f"  {entry['label'][:30 - len(mark)]}{mark}"
        if "ratio" not in entry and not any(name in entry for name in ("p50", "rate")):
            lines.append(f"{label:<33}{'-':>6}")
            continue
        ratio = _times(entry.get("ratio", {}).get("median"))
        cpu = number(entry["cpu_us"]["median"]) if entry["cpu_us"]["median"] >= 1 else f"{entry['cpu_us']['median']:.3f}"
        if entry["metric"] == "latency":
            lines.append(f"{label:<33}{number(entry['p50']['median']):>6} {_spread(entry['p50']):>12} {number(entry['p99']['median']):>6} "
                         f"{number(entry['p99.9']['median']):>6} {ratio:>6} {cpu:>7}")
        else:
            rate = entry["rate"]
            lines.append(f"{label:<33}{number(rate['median']):>6} {_spread(rate):>12} {number(rate['median'] * entry['size'] / 1e6):>6} "
                         f"{'':>6} {ratio:>6} {cpu:>7}")
    reasons = {}
    for entry in summaries:
        if entry["absent"]:
            reasons.setdefault((entry["contender"], entry["absent"]), []).append(entry)
    if reasons:
        lines.append("")
        lines.append("* not (always) measured:")
        for (_, reason), entries in reasons.items():
            where = "" if len(entries) == 1 else f" and {len(entries) - 1} more"
            lines.extend(f"  {piece}" for piece in _wrap(f"{entries[0]['label']}, {contenders.title(entries[0]['section'])}{where}:", WIDTH - 2))
            lines.extend(f"    {piece}" for piece in _wrap(reason, WIDTH - 4))
    return lines


def _wrap(text, width):
    return textwrap.wrap(text, width) or [""]


def verdicts(entries):
    lines = []
    for entry in entries:
        if entry["ratio"] is None:
            lines += _wrap(f"{entry['what']}: not measured, wanted {entry['wanted']:g}x", WIDTH)
        else:
            word = "met" if entry["ratio"] >= entry["wanted"] else "MISSED"
            lines += _wrap(f"{entry['what']}: {_times(entry['ratio'])} ({_times(entry['low'])}..{_times(entry['high'])}), "
                           f"wanted {entry['wanted']:g}x: {word}", WIDTH)
    return lines
