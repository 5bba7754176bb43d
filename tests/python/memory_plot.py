"""Draws how much memory 1,000 updates of 1 M parameters take while they stream through a rule: docs/aggregate-memory.svg.

Usage: memory_plot.py [CSV]     (without a file it runs `cargo run --release -p flame-aggregate --example memory`)
"""

import csv
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = "cargo run --quiet --release -p flame-aggregate --example memory".split()
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 380, 60, 50, 20, 50
COLOURS = ["#1f5fa8", "#b8531b", "#3a7d44"]


def rows():
    if len(sys.argv) > 1:
        text = pathlib.Path(sys.argv[1]).read_text()
    else:
        text = subprocess.run(COMMAND, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    series = {}
    for row in csv.DictReader(text.splitlines()):
        series.setdefault(row["rule"], []).append((int(row["update"]), float(row["megabytes"])))
    return series


def draw(series):
    last = max(update for points in series.values() for update, _ in points)
    top = max(megabytes for points in series.values() for _, megabytes in points) * 1.25
    step = 5 if top < 60 else 20
    top = (int(top / step) + 1) * step

    def x(update):
        return LEFT + (WIDTH - LEFT - RIGHT) * update / last

    def y(megabytes):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * megabytes / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">Resident memory while updates of 1 M f32 parameters (4 MB) stream through</text>',
    ]
    for megabytes in range(0, top + 1, step):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(megabytes):.1f}" y2="{y(megabytes):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(megabytes) + 4:.1f}" text-anchor="end">{megabytes} MB</text>')
    for update in range(0, last + 1, 200):
        parts.append(f'<text x="{x(update):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{update}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">updates added</text>')
    for at, ((name, points), colour) in enumerate(zip(series.items(), COLOURS)):
        line = " ".join(f"{x(update):.1f},{y(megabytes):.1f}" for update, megabytes in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        middle = points[len(points) // 2][1]
        label = f"{name}: {middle:.0f} MB"
        parts.append(f'<text x="{LEFT + 10 + 230 * at}" y="{TOP - 8}" fill="{colour}">{label}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def main():
    target = ROOT / "docs/aggregate-memory.svg"
    target.write_text(draw(rows()))
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
