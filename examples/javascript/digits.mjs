// A drawing as an input of the digits network, by the steps that its training data went through: a bitmap of 32x32 around the digit, the
// number of black pixels in each block of 4x4 (an image of 8x8, values 0 to 16), then 28x28 bilinear, as edgeexit/data/digits.py does it.

const SIDE = 28;

// Output pixel i reads the line at (4 i - 5) / 14, held inside 0 to 7; weights are fourteenths.
function readLine(i) {
  const place = Math.min(Math.max(4 * i - 5, 0), 7 * 14);
  const whole = Math.floor(place / 14), rest = place % 14;
  return [[whole, 14 - rest], [Math.min(whole + 1, 7), rest]];
}

/** An image of 8x8 (64 numbers from 0 to 16) as 28x28 numbers from 0 to 1, rounded to 64ths. */
export function upscale(image) {
  const pixels = new Float32Array(SIDE * SIDE);
  for (let i = 0; i < SIDE; i++) {
    for (let j = 0; j < SIDE; j++) {
      let sum = 0;
      for (const [a, down] of readLine(i)) for (const [b, along] of readLine(j)) sum += down * along * image[8 * a + b];
      pixels[SIDE * i + j] = Math.floor((sum * 64 + 1568) / 3136) / 64;
    }
  }
  return pixels;
}

/** The smallest rectangle that holds everything drawn; null where nothing is. `data` is RGBA, and ink is opaque. */
function findInk({data, width, height}) {
  let left = width, top = height, right = -1, bottom = -1;
  for (let place = 0; place < width * height; place++) {
    if (data[4 * place + 3] < 128) continue;
    const x = place % width, y = Math.floor(place / width);
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  }
  return right < 0 ? null : {left, top, width: right - left + 1, height: bottom - top + 1};
}

/** What is drawn on a canvas as an image of 8x8; null where nothing is. */
export function shrink(canvas) {
  const ink = findInk(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height));
  if (ink === null) return null;
  const small = new OffscreenCanvas(32, 32).getContext('2d', {willReadFrequently: true});
  const scale = 32 / Math.max(ink.width, ink.height);
  const [width, height] = [ink.width * scale, ink.height * scale];
  small.drawImage(canvas, ink.left, ink.top, ink.width, ink.height, (32 - width) / 2, (32 - height) / 2, width, height);
  const {data} = small.getImageData(0, 0, 32, 32);
  const image = new Array(64).fill(0);
  for (let place = 0; place < 1024; place++) {
    const block = 8 * Math.floor(place / 128) + Math.floor((place % 32) / 4);
    if (data[4 * place + 3] >= 128) image[block] += 1;
  }
  return image;
}
