"""Pages as Chromium lays them out: what runs beyond the window, and which labels of a drawing overlap or leave it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = """
function faults(frame) {
  const doc = frame.contentDocument, win = frame.contentWindow, found = [];
  const root = doc.scrollingElement;
  if (root.scrollWidth > win.innerWidth) {
    found.push('scrolls sideways: ' + root.scrollWidth + ' px in a window of ' + win.innerWidth);
    for (const e of doc.querySelectorAll('main *'))
      if (e.getBoundingClientRect().right > win.innerWidth + 0.5 && !e.closest('.wide'))
        { found.push('too wide: <' + e.tagName + ' ' + e.className + '> ' + e.textContent.slice(0, 60)); break; }
  }
  for (const wide of doc.querySelectorAll('.wide, .drawing'))
    if (win.innerWidth < 641 && wide.scrollWidth > wide.clientWidth + 1)
      found.push('has to be scrolled by itself: ' + wide.textContent.slice(0, 60));
  for (const svg of doc.querySelectorAll('svg')) {
    const edge = svg.getBoundingClientRect();
    if (!edge.width) continue;
    const where = (svg.getAttribute('aria-label') || '') + ': ';
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]).filter(t => t[1].width);
    texts.forEach(([text, box], i) => {
      if (box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1 || box.bottom > edge.bottom + 1)
        found.push(where + 'outside: ' + text);
      for (const [other, b] of texts.slice(i + 1)) {
        const x = Math.min(box.right, b.right) - Math.max(box.left, b.left), y = Math.min(box.bottom, b.bottom) - Math.max(box.top, b.top);
        if (x > 1 && y > 1.5) found.push(where + text + ' overlaps ' + other);
      }
      const size = parseFloat(win.getComputedStyle(svg.querySelector('text')).fontSize) * edge.width / svg.viewBox.baseVal.width;
      if (i == 0 && size < 10) found.push(where + 'text of ' + size.toFixed(1) + ' px');
    });
  }
  return found;
}
window.onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll('iframe')) found[frame.name] = faults(frame);
  document.getElementById('found').textContent = JSON.stringify(found);
};
"""


def browser() -> str:
    """The path of a Chromium; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium here")
    return path


WIDTHS = (390, 1280)
"""A phone and a desk, px."""


def layout_faults(pages: Mapping[str, str], scratch: Path) -> dict[tuple[str, int], list[str]]:
    """What is wrong with each page, given as HTML by name, in a window of each width; in one browser, whose start takes longest."""
    frames = "".join(
        f'<iframe name="{width} {escape(name)}" srcdoc="{escape(page)}" style="width:{width}px;height:900px;border:0"></iframe>'
        for name, page in pages.items()
        for width in WIDTHS
    )
    wrapper = scratch / "frames.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><body>{frames}<pre id="found"></pre><script>{_SCRIPT}</script>',
        encoding="utf-8",
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch / 'profile'}", "--dump-dom"]
    command = [browser(), *flags, f"--window-size={max(WIDTHS)},1000", wrapper.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    found = re.search(r'<pre id="found">(.*?)</pre>', shown.stdout, re.DOTALL)
    if shown.returncode or found is None:
        pytest.skip(f"Chromium does not start here: {shown.stderr[-200:]}")
    faults: dict[str, Any] = json.loads(unescape(found.group(1)))
    return {(name.split(" ", 1)[1], int(name.split(" ", 1)[0])): listed for name, listed in faults.items()}
