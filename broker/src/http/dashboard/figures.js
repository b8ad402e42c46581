// What is worked out of the metrics: rates between two looks, and histograms over the last minute.

import { parseMetrics } from "./api.js";

const KEPT_MS = 60_000;

export class Figures {
  #looks = [];

  // Takes a page of metrics in; a broker that was started anew begins from nothing.
  add(page) {
    const look = { at: performance.now(), samples: parseMetrics(page) };
    const start = (of) => of?.samples.get("process_start_time_seconds")?.[0]?.value;
    if (start(this.#looks.at(-1)) !== start(look)) this.#looks = [];
    this.#looks.push(look);
    while (this.#looks.length > 2 && look.at - this.#looks[0].at > KEPT_MS) this.#looks.shift();
  }

  // The samples of a name now.
  all(name) {
    return this.#looks.at(-1)?.samples.get(name) ?? [];
  }

  // The sum of the samples of a name that have these labels.
  now(name, labels = {}) {
    return sum(this.#looks.at(-1), name, labels);
  }

  // What a counter grew by in a second, between the last two looks.
  rate(name, labels = {}) {
    const [before, after] = this.#looks.slice(-2);
    if (!after) return 0;
    const grown = sum(after, name, labels) - sum(before, name, labels);
    return (grown * 1000) / (after.at - before.at);
  }

  // The buckets of a histogram over the last minute: their bounds in seconds, and how many fell into each.
  buckets(name, labels = {}) {
    const [first, last] = [this.#looks[0], this.#looks.at(-1)];
    if (!last) return [];
    const bounds = new Set(last.samples.get(`${name}_bucket`)?.map((sample) => sample.labels.le));
    let before = 0;
    return [...bounds].map((le) => {
      const of = { ...labels, le };
      const grown = sum(last, `${name}_bucket`, of) - (first === last ? 0 : sum(first, `${name}_bucket`, of));
      const bucket = { bound: le === "+Inf" ? Infinity : Number(le), count: grown - before };
      before = grown;
      return bucket;
    });
  }
}

// The bound below which so large a part of all lies.
export function quantile(buckets, part) {
  const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  let seen = 0;
  for (const bucket of buckets) {
    seen += bucket.count;
    if (seen > 0 && seen >= all * part) return bucket.bound;
  }
  return NaN;
}

function sum(look, name, labels) {
  let total = 0;
  for (const sample of look?.samples.get(name) ?? []) {
    if (Object.entries(labels).every(([label, value]) => sample.labels[label] === value)) total += sample.value;
  }
  return total;
}
