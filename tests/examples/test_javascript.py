"""The JavaScript examples, in Node.js and in a browser, answer as the Runner does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeexit.data.digits import make_digits_split, upscale
from tests.examples.browser import visit
from tests.examples.conftest import EXAMPLES, Answered

JAVASCRIPT = EXAMPLES / "javascript"


def need(package: str) -> None:
    """Skip the test where an npm package is missing."""
    if not (JAVASCRIPT / "node_modules" / package).is_dir():
        pytest.skip(f"{package} is not in examples/javascript/node_modules: make examples")


@pytest.mark.parametrize("mode", [[], ["--fused"]])
def test_the_node_program_answers_as_the_runner_does(answered: Answered, mode: list[str]) -> None:
    """Every digit of the test part, stage by stage and fused, with the thresholds of the bundle's calibration."""
    need("onnxruntime-node")
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    words = [JAVASCRIPT / "classify.mjs", answered.bundle, answered.samples]
    done = subprocess.run([node, *map(str, words), *mode], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    answered.compare([[float(word) for word in line.split()] for line in done.stdout.splitlines()])


_CLASSIFY = """
  const {openBundleAt} = await import('./web.mjs');
  const samples = new Float32Array(await (await fetch('samples.f32')).arrayBuffer());
  const found = {};
  for (const mode of ['staged', 'fused']) {
    const {classify} = await openBundleAt('bundle', {mode});
    found[mode] = [];
    for (let i = 0; i < samples.length; i += 784) {
      const {label, exit, score} = await classify(samples.slice(i, i + 784));
      found[mode].push([label, exit, score]);
    }
  }
  const {upscale} = await import('./digits.mjs');
  const images = await (await fetch('images.json')).json();
  found.upscaled = images.map((image) => Array.from(upscale(image)));
"""
_DRAW = """
  const frame = Object.assign(document.createElement('iframe'), {src: 'index.html', width: 700, height: 900});
  document.body.append(frame);
  await new Promise((loaded) => { frame.onload = loaded; });
  const page = frame.contentDocument, text = (id) => page.getElementById(id).textContent;
  const until = async (holds) => { while (!holds()) await new Promise((next) => setTimeout(next, 20)); };
  await until(() => page.body.dataset.ready || text('message'));
  found.message = text('message');
  const paper = page.getElementById('paper'), box = paper.getBoundingClientRect();
  const point = (kind, x, y) => paper.dispatchEvent(
    new PointerEvent(kind, {clientX: box.left + x, clientY: box.top + y, buttons: 1, bubbles: true}));
  point('pointerdown', 140, 40); // a vertical stroke
  for (let y = 50; y <= 240; y += 10) point('pointermove', 140, y);
  point('pointerup', 140, 240);
  await until(() => text('exit') !== '–');
  found.drawn = text('label');
  const threshold = page.getElementById('threshold');
  for (const [entropy, exit] of [[2.3, '1'], [0, '2']]) { // one that every drawing reaches, and one that none does
    threshold.value = entropy;
    threshold.dispatchEvent(new Event('input'));
    await until(() => text('exit') === exit);
  }
  page.getElementById('clear').click();
  found.cleared = [text('label'), text('exit')];
  return found;
"""


def test_the_page_answers_as_the_runner_does_and_shows_where_a_drawing_leaves(
    answered: Answered, tmp_path: Path
) -> None:
    """In headless Chromium without a network: every digit in both modes, drawings prepared as the digits were, a stroke, its threshold."""
    need("onnxruntime-web")
    sklearn = pytest.importorskip("sklearn.datasets")
    images = sklearn.load_digits().images[make_digits_split()["test"]][:50].astype(np.int64)
    site = tmp_path / "site"
    script = JAVASCRIPT / "make_site.py"
    subprocess.run([sys.executable, script, answered.bundle, "-o", site], check=True)
    shutil.copy(answered.samples, site)
    (site / "images.json").write_text(str(images.reshape(50, 64).tolist()))

    found = visit(site, _CLASSIFY + _DRAW, tmp_path / "profile")

    answered.compare(found["staged"])
    answered.compare(found["fused"])
    np.testing.assert_array_equal(upscale(images).reshape(50, 784), np.array(found["upscaled"], np.float32))
    assert "" == found["message"]
    assert "1" == found["drawn"]
    assert ["–", "–"] == found["cleared"]
