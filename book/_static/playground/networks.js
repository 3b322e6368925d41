/* The networks of one playground, in a worker that is made from the source of network.js, so that the page stays
   responsive; where a browser allows no worker, in the page. */
(() => {
  "use strict";
  const { makeNetworks } = globalThis.bdlibPlayground;

  /* The networks behind one playground: `logits` answers by a promise, from a worker where there may be one. */
  class Networks {
    constructor() {
      this.waiting = new Map();
      this.next = 0;
      this.own = null;
      try {
        const source = `const networks = (${makeNetworks})();
          onmessage = ({ data }) => postMessage({ id: data.id, result: networks.answer(data) });`;
        this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
        this.worker.onmessage = ({ data }) => this.settle(data.id, data.result);
        this.worker.onerror = () => this.withoutWorker();
      } catch {
        this.withoutWorker();
      }
    }

    /* Computes in the page from now on; what was asked before is asked again, in order. */
    withoutWorker() {
      this.worker?.terminate();
      this.worker = null;
      this.own = makeNetworks();
      for (const [id, { message }] of this.waiting) setTimeout(() => this.settle(id, this.own.answer(message)));
    }

    settle(id, result) {
      this.waiting.get(id)?.resolve(result);
      this.waiting.delete(id);
    }

    ask(message) {
      const id = this.next++;
      return new Promise((resolve) => {
        this.waiting.set(id, { message, resolve });
        if (this.worker) this.worker.postMessage({ id, ...message });
        else setTimeout(() => this.settle(id, this.own.answer(message)));
      });
    }

    load(name, packed) {
      return this.ask({ name, packed });
    }

    /* The logits of each of the images, in order; `pruned` lists filters that give out a constant. */
    logits(name, images, pruned) {
      return this.ask({ name, images, pruned });
    }
  }

  /* Logits as probabilities. */
  function softmax(values) {
    const highest = Math.max(...values);
    const powers = values.map((value) => Math.exp(value - highest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  Object.assign(globalThis.bdlibPlayground, { Networks, softmax });
})();
