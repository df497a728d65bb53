// Changes of the metadata as they happen: the long poll of the API.

import { get } from "./api.js";

const WAIT_MS = 15_000;
const BATCH = 500;
const PACE_MS = 3_000;

export class Feed {
  /** Give the changes after `version`. */
  constructor(version) {
    this.version = version;
    this.epoch = 0;
  }

  /** Wait for changes, or for a while; a gap is a refusal with 409 or 410: begin anew. */
  async next(signal) {
    let found;
    try {
      found = await this.ask(signal, WAIT_MS);
    } catch (error) {
      if (error.status !== 429) throw error;
      await rest(signal, PACE_MS); // others wait here already: ask now and then instead
      found = await this.ask(signal, 0);
    }
    this.epoch = found.data.epoch;
    this.version = found.data.last;
    return found.data.updates;
  }

  ask(signal, waitMs) {
    const asked = { from_version: this.version, epoch: this.epoch, wait_ms: waitMs, limit: BATCH };
    return get("/v1/metadata/watch", asked, { signal, waitMs });
  }
}

export const isGap = (error) => error.status === 409 || error.status === 410;

function rest(signal, ms) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
