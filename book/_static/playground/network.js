/* The networks of the playgrounds, computed in the page: a small residual network on one image at a time.

   Maps are stored position by position with the channels last, inside a border of zeros. A convolution copies the patch
   around each position into one row, and multiplies the rows by the filters. The file is a plain script, because a page
   that is opened as a file may neither fetch nor import. */
(() => {
  "use strict";

  /* All of the computing; its source text becomes the worker. It therefore uses nothing outside itself. */
  function makeNetworks() {
    /* Half-precision numbers from base64 text. */
    function decode(text) {
      const bytes = atob(text);
      const numbers = new Float32Array(bytes.length / 2);
      for (let i = 0; i < numbers.length; i++) {
        const half = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
        const exponent = (half >> 10) & 31;
        const fraction = half & 1023;
        const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
        numbers[i] = half & 32768 ? -size : size;
      }
      return numbers;
    }

    /* A network from its packed form (bdlib/report/playground/folding.py). */
    function load(packed) {
      const numbers = decode(packed.weights);
      let at = 0;
      const take = (count) => numbers.slice(at, (at += count));
      const layers = {};
      let filters = -packed.layers[0].outputs; // the stem's filters have no masks
      for (const shape of packed.layers) {
        const weights = take(shape.outputs * shape.size ** 2 * shape.inputs);
        const layer = { ...shape, weights, bias: take(shape.outputs), pruned: take(shape.outputs), first: filters };
        layers[shape.name] = layer;
        filters += shape.outputs;
      }
      const blocks = Object.keys(layers).filter((name) => name.endsWith(".conv1"));
      const prefixes = blocks.map((name) => name.slice(0, -"conv1".length));
      const features = layers[prefixes[prefixes.length - 1] + "conv2"].outputs;
      const head = { weights: take(packed.classes * features), bias: take(packed.classes) };
      return { mean: packed.mean, std: packed.std, layers, prefixes, head, classes: packed.classes };
    }

    /* A copy in which the filters of these numbers give out a constant, as after pruning. */
    function prune(network, numbers) {
      const layers = {};
      for (const [name, layer] of Object.entries(network.layers)) {
        const mine = numbers.map((number) => number - layer.first).filter((f) => f >= 0 && f < layer.outputs);
        const copy = { ...layer };
        if (mine.length && layer.first >= 0) {
          copy.weights = layer.weights.slice();
          copy.bias = layer.bias.slice();
          const length = layer.weights.length / layer.outputs;
          for (const f of mine) {
            copy.weights.fill(0, f * length, (f + 1) * length);
            copy.bias[f] = layer.pruned[f];
          }
        }
        layers[name] = copy;
      }
      return { ...network, layers };
    }

    /* A square map with a border of one zero around it. */
    function emptyMap(side, channels) {
      return { side, channels, values: new Float32Array((side + 2) ** 2 * channels) };
    }

    /* Calls `visit` with the first place of every row inside the border, and the length of a row. */
    function eachRow(map, visit) {
      const row = map.side * map.channels;
      for (let y = 1; y <= map.side; y++) visit((y * (map.side + 2) + 1) * map.channels, row);
    }

    /* The map with negative values set to zero; in place if it is not needed again. */
    function rectified(map, inPlace) {
      const values = inPlace ? map.values : map.values.slice();
      for (let i = 0; i < values.length; i++) if (values[i] < 0) values[i] = 0;
      return { ...map, values };
    }

    /* One row for each position of the output: the patch that its filters see. An even number of rows. */
    function patchRows(map, layer, side) {
      const { size, stride, inputs } = layer;
      const width = map.side + 2;
      const start = size === 3 ? 0 : 1; // a filter of one pixel does not see the border
      const length = size * size * inputs;
      const rows = new Float32Array((side * side + 1) * length);
      let to = 0;
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          for (let dy = 0; dy < size; dy++) {
            let from = ((y * stride + dy + start) * width + x * stride + start) * inputs;
            for (const end = to + size * inputs; to < end; ) rows[to++] = map.values[from++];
          }
      return rows;
    }

    /* The convolution with its bias. Two positions and four filters at a time: each number is read less often. */
    function convolve(map, layer) {
      const side = Math.floor((map.side - 1) / layer.stride) + 1;
      const rows = patchRows(map, layer, side);
      const length = rows.length / (side * side + 1);
      const result = emptyMap(side, layer.outputs);
      const place = (p) => ((Math.floor(p / side) + 1) * (side + 2) + (p % side) + 1) * layer.outputs;
      for (let p = 0; p < side * side; p += 2)
        multiply(rows, p * length, length, layer, result.values, place(p), p + 1 < side * side ? place(p + 1) : -1);
      return result;
    }

    function multiply(rows, start, length, layer, values, to, toNext) {
      const { weights, bias, outputs } = layer;
      for (let f = 0; f < outputs; f += 4) {
        let a0 = bias[f], a1 = bias[f + 1], a2 = bias[f + 2], a3 = bias[f + 3];
        let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
        let w0 = f * length, w1 = w0 + length, w2 = w1 + length, w3 = w2 + length;
        for (let i = start, end = start + length; i < end; i++) {
          const a = rows[i], b = rows[i + length];
          const u0 = weights[w0++], u1 = weights[w1++], u2 = weights[w2++], u3 = weights[w3++];
          a0 += a * u0; a1 += a * u1; a2 += a * u2; a3 += a * u3;
          b0 += b * u0; b1 += b * u1; b2 += b * u2; b3 += b * u3;
        }
        values[to + f] = a0; values[to + f + 1] = a1; values[to + f + 2] = a2; values[to + f + 3] = a3;
        if (toNext < 0) continue;
        values[toNext + f] = b0; values[toNext + f + 1] = b1; values[toNext + f + 2] = b2; values[toNext + f + 3] = b3;
      }
    }

    /* A residual block: two convolutions, and the block's input beside them, by a convolution where it changes shape. */
    function block(map, layers, prefix) {
      const active = rectified(map, true);
      const inner = rectified(convolve(active, layers[prefix + "conv1"]), true);
      const result = convolve(inner, layers[prefix + "conv2"]);
      const shortcut = layers[prefix + "shortcut"];
      const kept = (shortcut ? convolve(active, shortcut) : active).values;
      eachRow(result, (from, count) => {
        for (let i = from; i < from + count; i++) result.values[i] += kept[i];
      });
      return result;
    }

    /* The logits of one image, whose pixels are numbers in [0, 1]. */
    function logits(network, pixels) {
      const side = Math.sqrt(pixels.length);
      let map = emptyMap(side, 1);
      let next = 0;
      eachRow(map, (from, count) => {
        for (let i = from; i < from + count; i++) map.values[i] = (pixels[next++] - network.mean) / network.std;
      });
      map = convolve(map, network.layers.stem);
      for (const prefix of network.prefixes) map = block(map, network.layers, prefix);
      const { values, channels } = rectified(map, true);
      const means = new Float64Array(channels);
      for (let i = 0; i < values.length; i++) means[i % channels] += values[i] / map.side ** 2;
      const { weights, bias } = network.head;
      return Array.from(bias, (b, k) => means.reduce((sum, m, c) => sum + m * weights[k * channels + c], b));
    }

    /* Answers a message: loads a network, or computes the logits of several images, of a pruned network if asked. */
    const loaded = {};
    function answer({ name, packed, pruned, images }) {
      if (packed) loaded[name] = load(packed);
      if (!images) return null;
      const network = pruned ? prune(loaded[name], pruned) : loaded[name];
      return images.map((pixels) => logits(network, pixels));
    }
    return { load, prune, logits, answer };
  }

  globalThis.bdlibPlayground ??= {};
  Object.assign(globalThis.bdlibPlayground, { makeNetworks });
})();
