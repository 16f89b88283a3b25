"""Draws what a dashboard shows: its own range queries, asked of a Prometheus, as one SVG.

It is no Grafana, and says so in the picture. It takes panels, their places, titles, units, colours
and legends from the dashboard's JSON, and knows only what dashboards/sandbox.json uses: stat, state
timeline, lines, stacked bars, and a heatmap of buckets.
"""

import json
import math
import re
import time
from html import escape

WIDTH, UNIT, GAP, MARGIN = 1000, 25, 8, 16
SECTIONS = ("Now", "Outages and restarts", "Probes", "The child's process tree")
SAMPLES = 120
# Grafana's least interval, for a data source that is told of no other.
INTERVAL = "15s"
COLOURS = {"green": "#56a64b", "blue": "#3274d9", "light-blue": "#8ab8ff", "red": "#e02f44",
           "orange": "#ff9830", "yellow": "#f2cc0c", "dark-red": "#ad0317", "purple": "#a352cc",
           "text": "#8e8e8e"}
PALETTE = ("#56a64b", "#3274d9", "#ff9830", "#e02f44", "#a352cc", "#0aa5a5", "#c9a400", "#8e8e8e")
STYLE = ("text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
         "font-size:11px;fill:#52545c}.title{font-size:12px;font-weight:600;fill:#24292e}"
         ".section{font-size:14px;font-weight:600;fill:#24292e}.value{font-size:26px;font-weight:600}"
         ".grid{stroke:#e7e7ea}.panel{fill:#fff;stroke:#dcdde1}")


def collect(prometheus, dashboard, begin, end):
    """Asks every query of the sections that are drawn."""
    step = max(1, round((end - begin) / SAMPLES))

    def asked(expression, instant=False):
        # As Grafana fills it in for targets that are scraped every second.
        for name, value in (("$__rate_interval", f"{max(4, step + 1)}s"),
                            ("$__range", f"{round(end - begin)}s"), ("$__interval", INTERVAL),
                            ("$job", ".+"), ("$instance", ".+"), ("$service", ".+")):
            expression = expression.replace(name, value)
        if instant:
            found = prometheus.ask("query", query=expression, time=end)["result"]
        else:
            found = prometheus.ask("query_range", query=expression, start=begin, end=end,
                                   step=step)["result"]
        return [{"metric": one["metric"],
                 "values": [(at, float(value)) for at, value in
                            ([one["value"]] if instant else one["values"])]} for one in found]

    panels, section = [], None
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            section = panel["title"]
        if section in SECTIONS:
            answers = [(target.get("legendFormat", ""),
                        asked(target["expr"], target.get("instant", False)))
                       for target in panel.get("targets", [])]
            panels.append({**panel, "answers": answers, "section": section})
    notes = [(note["name"], note.get("iconColor", "blue"), asked(note["expr"]))
             for note in dashboard["annotations"]["list"]]
    return {"title": dashboard["title"], "begin": begin, "end": end, "step": step,
            "panels": panels, "notes": notes}


def draw(data, remark):
    """The SVG; `remark` says below it where it comes from."""
    panels = data["panels"]
    # The sections that are left out leave no gap.
    top, offsets = 0, {}
    for name in dict.fromkeys(panel["section"] for panel in panels):
        of = [panel["gridPos"] for panel in panels if panel["section"] == name]
        first = min(place["y"] for place in of)
        offsets[name] = top - first
        top += max(place["y"] + place["h"] for place in of) - first
    height = 2 * MARGIN + 34 + top * UNIT + 16 * (remark.count("\n") + 1)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
             f'width="{WIDTH}" height="{height}" role="img">',
             f"<title>{escape(data['title'])}: a crash, a hang, and a power cycle, all healed</title>",
             f"<style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{height}" fill="#f4f5f5"/>',
             text(MARGIN, MARGIN + 14, data["title"], "section"),
             text(WIDTH - MARGIN, MARGIN + 14, f"{clock(data['begin'])} to {clock(data['end'])} UTC",
                  anchor="end")]
    scale = (WIDTH - 2 * MARGIN) / 24
    for panel in panels:
        place = panel["gridPos"]
        x, y = MARGIN + place["x"] * scale, MARGIN + 28 + (place["y"] + offsets[panel["section"]]) * UNIT
        box = (x, y, place["w"] * scale - GAP, place["h"] * UNIT - GAP)
        parts += KINDS[panel["type"]](panel, box, data)
    for number, line in enumerate(remark.split("\n")):
        parts.append(text(MARGIN, MARGIN + 46 + top * UNIT + 16 * number, line))
    return "\n".join([*parts, "</svg>", ""])


# --- panels ----------------------------------------------------------------------------------


def section(panel, box, _):
    x, y, _, _ = box
    return [text(x, y + 15, panel["title"], "section")]


def stat(panel, box, _):
    x, y, width, height = box
    values = [series["values"][-1][1] for _, answer in panel["answers"] for series in answer]
    defaults = panel["fieldConfig"]["defaults"]
    shown, colour = "–", "#8e8e8e"
    if values:
        shown, colour = human(values[0], defaults.get("unit")), "#24292e"
        for step in defaults.get("thresholds", {}).get("steps", []):
            if step["value"] is None or values[0] >= step["value"]:
                colour = COLOURS[step["color"]]
        if (state := mapping(panel).get(round(values[0]))) and "mappings" in defaults:
            shown, colour = state
    value = text(x + width / 2, y + height / 2 + 18, shown, "value", "middle", colour)
    return [*frame(panel, box), value]


def state_timeline(panel, box, data):
    x, y, width, height = box
    names, parts, seen = mapping(panel), frame(panel, box), {}
    plot = (x + 10, y + 28, width - 20, height - 64)
    for _, answer in panel["answers"]:
        for series in answer:
            for at, value, until in runs(series["values"], data["step"]):
                name, colour = seen.setdefault(value, names.get(round(value), (str(value), "#999")))
                left = across(at, plot, data)
                parts.append(rect(left, plot[1], max(1.5, across(until, plot, data) - left), plot[3],
                                  colour))
    parts += times(plot, data) + annotations(plot, data)
    return parts + legend(plot[0], y + height - 6, [seen[value] for value in sorted(seen)])


def timeseries(panel, box, data):
    x, y, width, height = box
    series = named(panel)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    bars = custom.get("drawStyle") == "bars"
    if bars:
        # Of what is nothing throughout there is nothing to be seen.
        series = [one for one in series if any(value > 0 for _, value in one[1])]
    entries = [(name, colour) for (name, _), colour in zip(series, PALETTE * 3)]
    names, plot = room(box, entries)
    parts = frame(panel, box)
    stack, most = {}, 0.0
    for _, values in series:
        for at, value in values:
            stack[at] = stack.get(at, 0.0) + value if bars else value
            most = max(most, stack[at])
    if not series:
        parts.append(text(x + width / 2, y + height / 2 + 4, "nothing", anchor="middle"))
    most = ceiling(most, panel["fieldConfig"]["defaults"].get("unit"))
    parts += axis(plot, most, panel["fieldConfig"]["defaults"].get("unit")) + times(plot, data)
    parts += annotations(plot, data)
    below = {}
    for (_, values), colour in zip(series, PALETTE * 3):
        if bars:
            parts += stacked(values, below, plot, most, data, colour)
        else:
            parts += line(values, plot, most, data, colour)
    return parts + names


def heatmap(panel, box, data):
    names, plot = room(box, [("how many answers took how long", "#e0752d")])
    buckets = {}
    for _, answer in panel["answers"]:
        for series in answer:
            buckets[float(series["metric"]["le"].replace("+Inf", "inf"))] = dict(series["values"])
    bounds = sorted(buckets)
    cells = {}
    for lower, upper in zip([None, *bounds], bounds):
        for at, count in buckets[upper].items():
            own = count - (buckets[lower].get(at, 0.0) if lower is not None else 0.0)
            if own > 0.01:
                cells[at, upper] = own
    used = sorted({upper for _, upper in cells})
    parts = frame(panel, box) + times(plot, data)
    most, row = max(cells.values(), default=1), plot[3] / max(1, len(used))
    for (at, upper), count in cells.items():
        shade = 0.2 + 0.8 * math.log1p(count) / math.log1p(most)
        left, right = across(at, plot, data), across(at + data["step"], plot, data)
        parts.append(rect(left, plot[1] + plot[3] - (used.index(upper) + 1) * row,
                          right - left + 0.4, row - 1, "#e0752d", shade))
    for number, upper in enumerate(used):
        label = "more" if math.isinf(upper) else f"≤ {human(upper, 's')}"
        parts.append(text(plot[0] - 5, plot[1] + plot[3] - (number + 0.5) * row + 4, label, anchor="end"))
    return parts + names


KINDS = {"row": section, "stat": stat, "state-timeline": state_timeline, "timeseries": timeseries,
         "heatmap": heatmap}


# --- what panels are made of -----------------------------------------------------------------


def frame(panel, box):
    x, y, width, height = box
    return [f'<rect class="panel" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="3"/>', text(x + 10, y + 18, panel["title"], "title")]


def named(panel):
    """Each series by its legend."""
    found = []
    for form, answer in panel["answers"]:
        for series in answer:
            labels = series["metric"]
            name = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), form).strip()
            found.append((name, series["values"]))
    return sorted(found, key=lambda one: one[0])


def runs(values, step):
    """Spans of equal values; one without samples ends a span."""
    began, last, value = None, None, None
    for at, now in values:
        if began is not None and (now != value or at - last > 1.5 * step):
            yield began, value, min(at, last + step)
            began = None
        if began is None:
            began, value = at, now
        last = at
    if began is not None:
        yield began, value, last


def line(values, plot, most, data, colour):
    pieces, last = [], None
    for at, value in values:
        if last is None or at - last > 1.5 * data["step"]:
            pieces.append([])
        pieces[-1].append((across(at, plot, data), up(value, plot, most)))
        last = at
    bottom, parts = plot[1] + plot[3], []
    for piece in pieces:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
        left, right = piece[0][0], piece[-1][0]
        parts.append(f'<polygon points="{left:.1f},{bottom:.1f} {points} {right:.1f},{bottom:.1f}" '
                     f'fill="{colour}" fill-opacity="0.1"/>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return parts


def stacked(values, below, plot, most, data, colour):
    parts = []
    for at, value in values:
        if value <= 0:
            continue
        low = below.get(at, 0.0)
        below[at] = low + value
        high = up(low + value, plot, most)
        left, right = across(at, plot, data), across(at + data["step"], plot, data)
        parts.append(rect(left, high, right - left, up(low, plot, most) - high, colour, 0.8))
    return parts


def annotations(plot, data):
    parts = []
    for _, colour, answer in data["notes"]:
        for series in answer:
            # A time is marked where it is; a condition when it begins to hold.
            is_time = series["values"][0][1] > 1e9
            kept = [(at, value if is_time else 1) for at, value in series["values"]]
            for began, value, _ in runs(kept, data["step"]):
                at = value / 1000 if is_time else began
                if data["begin"] <= at <= data["end"]:
                    x = across(at, plot, data)
                    parts.append(f'<line x1="{x:.1f}" y1="{plot[1]:.1f}" x2="{x:.1f}" '
                                 f'y2="{plot[1] + plot[3]:.1f}" stroke="{COLOURS[colour]}" '
                                 'stroke-dasharray="3 3" stroke-opacity="0.8"/>')
    return parts


def axis(plot, most, unit):
    parts = []
    for share in (0, 0.5, 1):
        y = plot[1] + plot[3] * (1 - share)
        parts.append(f'<line class="grid" x1="{plot[0]:.1f}" y1="{y:.1f}" '
                     f'x2="{plot[0] + plot[2]:.1f}" y2="{y:.1f}"/>')
        parts.append(text(plot[0] - 5, y + 4, human(most * share, unit), anchor="end"))
    return parts


def times(plot, data):
    span = data["end"] - data["begin"]
    every = next(step for step in (5, 10, 15, 20, 30, 60, 120, 300, 3600)
                 if span / step * 80 <= plot[2] or step == 3600)
    parts, at = [], math.ceil(data["begin"] / every) * every
    while at <= data["end"]:
        x = across(at, plot, data)
        if plot[0] + 20 <= x <= plot[0] + plot[2] - 20:
            parts.append(text(x, plot[1] + plot[3] + 14, clock(at), anchor="middle"))
        at += every
    return parts


def room(box, entries):
    """The legend at the bottom of a panel, and what it leaves for the plot."""
    x, y, width, height = box
    rows = [[]]
    for name, colour in entries:
        if rows[-1] and sum(wide(other) for other, _ in rows[-1]) + wide(name) > width - 16:
            rows.append([])
        rows[-1].append((name, colour))
    parts = []
    for number, row in enumerate(rows):
        parts += legend(x + 10, y + height - 6 - 14 * (len(rows) - 1 - number), row)
    return parts, (x + 62, y + 28, width - 74, height - 52 - 14 * len(rows))


def legend(x, y, entries):
    parts = []
    for name, colour in entries:
        parts += [rect(x, y - 8, 10, 8, colour), text(x + 14, y, name)]
        x += wide(name)
    return parts


def wide(name):
    return 24 + 6.4 * len(name)


def mapping(panel):
    """Value to name and colour."""
    mappings = panel["fieldConfig"]["defaults"].get("mappings", [])
    options = [one["options"] for one in mappings if one["type"] == "value"]
    return {int(value): (shown["text"], COLOURS[shown["color"]])
            for of in options for value, shown in of.items()}


def across(at, plot, data):
    share = (at - data["begin"]) / (data["end"] - data["begin"])
    return plot[0] + plot[2] * min(1.0, max(0.0, share))


def up(value, plot, most):
    return plot[1] + plot[3] * (1 - min(1.0, value / most))


def ceiling(most, unit):
    """The least round number above."""
    if unit == "percentunit" and most <= 1.01:
        # All of the time, and what rates are wrong by.
        return 1
    base = 1024 if unit == "bytes" else 10
    if most <= 0:
        return 1
    power = base ** math.floor(math.log(most, base))
    steps = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if base == 1024 else (1, 2, 4, 5, 10)
    return next(step for step in steps if step * power >= most) * power


def human(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g}"


def clock(at):
    return time.strftime("%H:%M:%S", time.gmtime(at))


def rect(x, y, width, height, colour, opacity=1.0):
    faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"{faint}/>')


def text(x, y, content, kind=None, anchor=None, colour=None):
    more = "".join(f' {name}="{value}"' for name, value in
                   (("class", kind), ("text-anchor", anchor)) if value)
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}{style}>{escape(content)}</text>'


def picture(prometheus, path, begin, end, remark):
    """From a dashboard's file to the text of the picture."""
    return draw(collect(prometheus, json.loads(path.read_text()), begin, end), remark)
