// A bundle in JavaScript, the same in Node.js and in a browser: stages one after the other, or the fused graph.
// What is read of the bundle is described in docs/languages.md.

// JSON has no infinity: "inf" never leaves, "-inf" always does. Scores are float32, so thresholds are compared as float32.
const parseThreshold = (number) =>
  number === 'inf' ? Infinity : number === '-inf' ? -Infinity : Math.fround(number);

/** The thresholds of the calibration that is active for `key`, or of the only one where no key is given. */
async function readThresholds(manifest, readJson, key) {
  const keys = Object.keys(manifest.calibrations);
  if (keys.length === 0) throw new Error('the bundle has no active calibration: run edgeexit calibrate on this device');
  if (key === undefined && keys.length > 1) throw new Error(`name one of the calibrations: ${keys.join(', ')}`);
  const entry = manifest.calibrations[key ?? keys[0]];
  if (entry === undefined) throw new Error(`no calibration is active for ${key}; there are: ${keys.join(', ')}`);
  return (await readJson(entry.file)).inner_thresholds.map(parseThreshold);
}

const argmax = (logits) => logits.reduce((best, value, place) => (value > logits[best] ? place : best), 0);
const makeAnswer = (logits, exit, score) => ({label: argmax(logits), exit, score, logits});

/**
 * Opens a bundle.
 *
 * ort: the module onnxruntime-node or onnxruntime-web.
 * readJson(name), openSession(name, manifest): read a JSON file, open an ONNX file of the bundle.
 * options: mode ('staged' or 'fused'), calibration (its key).
 *
 * Returns {manifest, shape, thresholds, classify}; classify takes a Float32Array and gives {label, exit, score, logits}, with the inner
 * score. `thresholds` may be changed between calls.
 */
export async function openBundle(ort, readJson, openSession, {mode = 'staged', calibration} = {}) {
  const manifest = await readJson('manifest.json');
  if (manifest.inputs.length !== 1 || manifest.inputs[0].dtype !== 'float32') {
    throw new Error('this program feeds networks of one float32 input');
  }
  const [input] = manifest.inputs;
  const shape = input.shape.map((n) => (typeof n === 'number' ? n : 1));
  const thresholds = await readThresholds(manifest, readJson, calibration);
  const names = mode === 'fused' ? [manifest.fused] : manifest.stages.map((stage) => stage.file);
  const sessions = [];
  for (const name of names) sessions.push(await openSession(name, manifest));

  async function classifyStaged(x) {
    const tensors = {[input.name]: x};
    for (const [k, stage] of manifest.stages.entries()) {
      const feeds = Object.fromEntries(sessions[k].inputNames.map((name) => [name, tensors[name]]));
      Object.assign(tensors, await sessions[k].run(feeds));
      const score = tensors[stage.score].data[0];
      if (k === thresholds.length || score >= thresholds[k]) return makeAnswer(tensors[stage.logits].data, k + 1, score);
    }
  }

  async function classifyFused(x) {
    const scalars = thresholds.map((t, k) => [`threshold_${k + 1}`, new ort.Tensor('float32', [t], [])]);
    const {logits, exit, score} = await sessions[0].run({[input.name]: x, ...Object.fromEntries(scalars)});
    return makeAnswer(logits.data, Number(exit.data[0]), score.data[0]);
  }

  const run = mode === 'fused' ? classifyFused : classifyStaged;
  return {manifest, shape, thresholds, classify: (x) => run(new ort.Tensor('float32', x, shape))};
}
