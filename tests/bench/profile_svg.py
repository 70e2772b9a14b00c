# SPDX-License-Identifier: MIT
"""A picture of a profile that the bench of the GPU printed (gpu ... profile).

profile_svg.py TITLE <profile >picture.svg: a bar for each kernel is its share of the step; the dark part of it is
the least time that its operations or bytes take at the rates of one large product and one large copy.
"""
import re, sys
from xml.sax.saxutils import escape

ROW, LEFT, BARS, RIGHT = 24, 210, 380, 230
LINE = re.compile(r'\s+([\d.]+)%\s+([\d.]+) ms\s+(\d+) calls\s+[\d.]+ us\s+([\d.]+)% of its limit\s+(.*)')

rows = [(float(m[1]), float(m[2]), float(m[4]), m[5].strip()) for m in map(LINE.match, sys.stdin) if m]
most = max(r[0] for r in rows)
width, height = LEFT + BARS + RIGHT, 40 + ROW * len(rows) + 34
out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
       f'<rect width="{width}" height="{height}" fill="#fff"/>',
       f'<text x="12" y="24" font-weight="bold">{escape(sys.argv[1])}</text>']
for i, (share, ms, limit, name) in enumerate(rows):
    y = 40 + ROW * i
    full = BARS * share / most
    out.append(f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>'
               f'<rect x="{LEFT}" y="{y + 3}" width="{full:.1f}" height="{ROW - 6}" fill="#b9cde5"/>'
               f'<rect x="{LEFT}" y="{y + 3}" width="{full * min(limit, 100) / 100:.1f}" height="{ROW - 6}" fill="#2f5d93"/>'
               f'<text x="{LEFT + full + 6:.1f}" y="{y + 16}">{share:.1f}%, {ms:.1f} ms, {limit:.0f}% of its limit</text>')
out.append(f'<text x="12" y="{height - 12}" fill="#555">Bar: share of the step. Dark: what its operations or bytes '
           f'take at the least, on the same device.</text></svg>')
print('\n'.join(out))
