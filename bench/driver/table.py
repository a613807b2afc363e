"""Statistics over the rounds, and the table of 80 columns with the verdicts below it.

Figures are medians of the rounds with the smallest and largest; a ratio is the median of the rounds'
own ratios, for only two figures of the same round were taken on the same machine in the same mood.
"""

import textwrap
from statistics import median

from . import rows as rows_of_bench

WIDTH = 80


def figure(row):
    return row.fields[0][1] if row.fields else "p50" if row.metric == "latency" else "rate"


def _spread_of(values):
    return {"median": median(values), "low": min(values), "high": max(values)}


def ratios(results, row, base, of=None):
    of = of or figure(row)
    pairs = zip(results.rounds[row.id], results.rounds[base.id])
    return [a[of] / b[of] for a, b in pairs if a and b and b[of]]


def summary(results):
    """One dictionary for each row, in the order of the table."""
    firsts = {}
    out = []
    for row in results.rows:
        base = firsts.setdefault(row.section, row)
        good = [result for result in results.rounds[row.id] if result]
        entry = {"id": row.id, "section": row.section, "title": rows_of_bench.title(row.section), "label": row.label,
                 "contender": row.contender, "metric": row.metric, "size": row.size, "wait": row.wait, "batch": row.batch, "variant": row.variant, "touch": row.touch, "cpus": row.cpus,
                 "fields": row.fields,
                 "compared_with": base.id, "absent": results.absent.get(row.id), "rounds": results.rounds[row.id]}
        if good:
            for name in good[0]:
                values = [result[name] for result in good if isinstance(result.get(name), (int, float))]
                if len(values) == len(good):
                    entry[name] = _spread_of(values)
            own = ratios(results, row, base)
            if own:
                entry["ratio"] = _spread_of(own)
        out.append(entry)
    return out


def number(value):
    """Four characters or so: 41, 235, 2.4k, 13M."""
    for limit, divisor, unit in [(1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "G")]:
        if value < limit * 0.9995 or unit == "G":
            scaled = value / divisor
            return (f"{scaled:.0f}" if scaled >= 100 or not unit and scaled >= 10 else f"{scaled:.1f}" if scaled >= 10 else f"{scaled:.2f}") + unit
    return str(value)


def times(value):
    if value is not None and value < 0.1:
        return f"{value:.3f}x"
    return "-" if value is None else f"{value:.0f}x" if value >= 100 else f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def spread(entry, between=".."):
    return f"{number(entry['low'])}{between}{number(entry['high'])}"


HEADINGS = {
    "latency": f"  {'ns':<31}{'p50':>6} {'range':>12} {'p99':>6} {'p99.9':>6} {'ratio':>6} {'CPU us':>7}",
    "rate": f"  {'':<31}{'msg/s':>6} {'range':>12} {'MB/s':>6} {'share':>6} {'ratio':>6} {'CPU us':>7}",
    "figures": f"  {'':<37}{'':>6} {'range':>12}",
}


def _lines_of(entry):
    label = f"{entry['label'][:31 - bool(entry['absent'])]}{'*' if entry['absent'] else ''}"
    if entry["metric"] == "figures":
        for text, field in entry["fields"]:
            text = label if len(entry["fields"]) == 1 else text + ("*" if entry["absent"] else "")
            yield f"  {text:<37}" + (f"{number(entry[field]['median']):>6} {spread(entry[field]):>12}" if field in entry else f"{'-':>6}")
        return
    main = entry.get("p50" if entry["metric"] == "latency" else "rate")
    if main is None:
        yield f"  {label:<31}{'-':>6}"
        return
    if entry["metric"] == "latency":
        more = f"{number(entry['p99']['median']):>6} {number(entry['p99.9']['median']):>6}"
    else:
        share = f"{entry['fair']['median']:.2f}" if "fair" in entry else ""
        more = f"{number(main['median'] * entry['size'] / 1e6):>6} {share:>6}"
    cpu = number(entry["cpu_us"]["median"]) if entry["cpu_us"]["median"] >= 1 else f"{entry['cpu_us']['median']:.3f}"
    yield f"  {label:<31}{number(main['median']):>6} {spread(main):>12} {more} {times(entry.get('ratio', {}).get('median')):>6} {cpu:>7}"


def table(summaries, color=False):
    """The lines of the table."""
    lines = []
    section = None
    for entry in summaries:
        if entry["section"] != section:
            section = entry["section"]
            heading = [f"\033[1m{line}\033[0m" if color else line for line in _wrap(entry["title"], WIDTH)]
            lines += ["", *heading, HEADINGS[entry["metric"]].rstrip()]
        lines += _lines_of(entry)
    reasons = {}
    for entry in summaries:
        if entry["absent"]:
            reasons.setdefault((entry["contender"], entry["absent"]), []).append(entry)
    if reasons:
        lines.append("")
        lines.append("* not (always) measured:")
        for (_, reason), entries in reasons.items():
            where = "" if len(entries) == 1 else f" and {len(entries) - 1} more"
            lines.extend(f"  {piece}" for piece in _wrap(f"{entries[0]['label']}, {entries[0]['title']}{where}:", WIDTH - 2))
            lines.extend(f"    {piece}" for piece in _wrap(reason, WIDTH - 4))
    return lines


def _wrap(text, width):
    return textwrap.wrap(text, width) or [""]


def amount(entry, value):
    """A ratio, or a figure."""
    return times(value) if entry["base"] else number(value)


def wanted(entry):
    return ("at least " if entry["least"] else "at most ") + amount(entry, entry["limit"])


def verdicts(entries):
    """A line for each target; those marked ! may not be missed."""
    lines = [f"{'target (! may not be missed)':<47}{'is':>6} {'range':>12} {'wanted':>6} {'':>6}".rstrip()]
    for entry in entries:
        what = f"{'!' if entry['hard'] else ' '}{entry['what']}"
        measured = entry["measured"]
        middle, between = "-", ""
        if measured:
            middle = amount(entry, measured["median"])
            between = f"{amount(entry, measured['low'])}..{amount(entry, measured['high'])}"
        limit = (">" if entry["least"] else "<") + amount(entry, entry["limit"])
        verdict = {"met": "met", "MISSED": "MISSED"}.get(entry["verdict"], "none")
        lines.append(f"{what:<47}{middle:>6} {between:>12} {limit:>6} {verdict:>6}")
        if entry["why_not"]:
            lines += [f"   {piece}" for piece in _wrap("not measured: " + entry["why_not"], WIDTH - 3)]
    return lines


def count_verdicts(entries, mark="!"):
    """One sentence."""
    count = {}
    for entry in entries:
        count[entry["verdict"]] = count.get(entry["verdict"], 0) + 1
    hard = sum(entry["verdict"] == "MISSED" and entry["hard"] for entry in entries)
    text = ", ".join(f"{many} {verdict}" for verdict, many in sorted(count.items(), key=lambda item: item[0].lower()))
    return f"{len(entries)} targets: {text}; {hard} of those missed are marked {mark}"
