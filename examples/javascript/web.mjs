// A bundle in a browser, in the folder that make_site.py writes. Every file comes from the server of the page, and nothing else is loaded.

import * as ort from './ort/ort.wasm.min.mjs';
import {openBundle} from './bundle.mjs';

ort.env.wasm.wasmPaths = new URL('ort/', import.meta.url).href;
ort.env.wasm.numThreads = 1; // more would need a page that is isolated from other origins

async function fetchFile(url) {
  const found = await fetch(url);
  if (!found.ok) throw new Error(`${url}: ${found.status} ${found.statusText}`);
  return found;
}

/** Opens the bundle in a folder of the server; see `openBundle`. */
export function openBundleAt(folder, options) {
  const readBytes = async (name) => new Uint8Array(await (await fetchFile(`${folder}/${name}`)).arrayBuffer());
  const readJson = async (name) => (await fetchFile(`${folder}/${name}`)).json();
  async function openSession(name, manifest) {
    const isAlone = name === manifest.fused; // make_site.py has put the weights into it
    const weights = isAlone ? [] : Object.keys(manifest.files).filter((file) => file.endsWith('.bin'));
    const externalData = await Promise.all(weights.map(async (path) => ({path, data: await readBytes(path)})));
    return ort.InferenceSession.create(await readBytes(name), {executionProviders: ['wasm'], externalData});
  }
  return openBundle(ort, readJson, openSession, options);
}
