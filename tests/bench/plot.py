"""The plot of tests/bench/run: a bar for each row in milliseconds, on a logarithmic axis.

The bar ends at the median; where p95 was measured too, a line goes on to it.
"""
import math

ROW = 22
LEFT = 430
DECADE = 90
GRID = (0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000)


def place(value_ms):
    return LEFT + max(2.0, (math.log10(value_ms) + 3) * DECADE)


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def axis(height):
    for value in GRID:
        yield (f'<line x1="{place(value):.0f}" y1="30" x2="{place(value):.0f}" y2="{height - 16}" '
               'stroke="#ddd"/>'
               f'<text x="{place(value):.0f}" y="{height - 4}" text-anchor="middle" '
               f'fill="#888">{value:g}</text>')


def bar(row, y):
    end, p95 = place(row["value"]), row.get("p95")
    mine = "box" in row["name"] or "sbx" in row["name"] or row["section"] == "job"
    label, text = f"{row['section']}: {row['name'].strip()}", f"{row['value']:.3f}"
    yield (f'<text x="10" y="{y + 13}">{escape(label)}</text>'
           f'<rect x="{LEFT}" y="{y + 2}" width="{end - LEFT:.0f}" height="{ROW - 6}" '
           f'fill="{"#2a7" if mine else "#aaa"}"/>')
    if p95:
        end, text = max(end, place(p95)), f"{text}, p95 {p95:.3f}"
        yield (f'<path d="M{place(row["value"]):.0f} {y + 10}H{end:.0f}M{end:.0f} {y + 5}v10" '
               'stroke="#333" fill="none"/>')
    yield f'<text x="{end + 6:.0f}" y="{y + 13}">{text}</text>'


def write(rows, path):
    bars = [row for row in rows if row.get("unit") == "ms" and row["value"] > 0]
    height = len(bars) * ROW + 60
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="1250" height="{height}" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             '<text x="10" y="20" font-size="14">milliseconds, logarithmic: bars end at p50, '
             'lines at p95</text>', *axis(height)]
    for number, row in enumerate(bars):
        parts += bar(row, 36 + number * ROW)
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join([*parts, "</svg>", ""]))
