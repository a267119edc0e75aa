// Classifies samples with a bundle in Node.js.
//
//   node classify.mjs BUNDLE SAMPLES [--fused] [--calibration KEY]
//
// SAMPLES holds float32 numbers, one sample after the other. For each sample a line is printed: label, exit, score.

import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import * as ort from 'onnxruntime-node';
import {openBundle} from './bundle.mjs';

async function main() {
  const {values, positionals} = parseArgs({
    allowPositionals: true,
    options: {fused: {type: 'boolean'}, calibration: {type: 'string'}},
  });
  if (positionals.length !== 2) throw new Error('usage: classify.mjs BUNDLE SAMPLES [--fused] [--calibration KEY]');
  const [folder, samples] = positionals;

  const readJson = async (name) => JSON.parse(await readFile(join(folder, name), 'utf8'));
  // One thread, as calibrated by default: several sessions with threads of their own disturb each other.
  const openSession = (name) => ort.InferenceSession.create(join(folder, name), {intraOpNumThreads: 1, logSeverityLevel: 3});
  const options = {mode: values.fused ? 'fused' : 'staged', calibration: values.calibration};
  const {shape, classify} = await openBundle(ort, readJson, openSession, options);

  const bytes = await readFile(samples);
  const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const size = shape.reduce((a, b) => a * b, 1);
  if (numbers.length === 0 || numbers.length % size) throw new Error(`${samples} does not hold samples of ${size} numbers each`);
  const start = process.hrtime.bigint();
  const answers = [];
  for (let i = 0; i < numbers.length; i += size) answers.push(await classify(numbers.slice(i, i + size)));
  const tookUs = Number(process.hrtime.bigint() - start) / 1e3;
  for (const {label, exit, score} of answers) console.log(label, exit, score);
  console.error(`${answers.length} samples, ${(tookUs / answers.length).toFixed(1)} us each`);
}

main().catch((error) => {
  console.error(`error: ${error.message}`);
  process.exitCode = 2;
});
