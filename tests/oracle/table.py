"""Prints the checks as one table. Exit 1 if one of them is not ok.

usage: table.py < LINES_OF_THE_CHECKS
"""
import json
import sys

checks = [json.loads(line) for line in sys.stdin if line.startswith("{")]
head = ["check", "ours", "peer", "difference", "ok"]
cells = [head] + [[str(c["check"]), str(c["ours"]), str(c["peer"]), str(c["difference"]), "yes" if c["ok"] else "NO"] for c in checks]
widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
for row, note in zip(cells, [""] + [c["note"] for c in checks]):
    print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    if note:
        print(f"    {note}")
sys.exit(0 if checks and all(c["ok"] for c in checks) else 1)
