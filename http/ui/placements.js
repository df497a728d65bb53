// All placements and brokers, read once in pages and kept current by the feed.

import { get } from "./api.js";
import { Feed } from "./feed.js";
import { streamName } from "./words.js";

const PAGE = 1_000;

export class Placements {
  constructor() {
    this.streams = new Map(); // by name, in the order of names
    this.brokers = new Map();
    this.feed = null;
    this.changes = 0; // counts what makes another picture
  }

  /** Read everything; `progressed` hears of each page. */
  async readAll(signal, progressed) {
    const [streams, brokers] = [new Map(), new Map()];
    let first = null;
    for await (const page of pages("/v1/brokers", signal)) {
      first ??= page.version;
      for (const { broker } of page.data.items) brokers.set(broker.broker_id, broker);
    }
    for await (const page of pages("/v1/placements", signal)) {
      for (const row of page.data.items) streams.set(streamName(row), looked(row));
      progressed(streams.size);
    }
    [this.streams, this.brokers] = [streams, brokers];
    this.feed = new Feed(first); // what a later page had already is told again, and is not newer
    this.changes += 1;
  }

  /** Wait for changes and put them in. */
  async follow(signal) {
    let [isNew, isOutOfOrder] = [false, false];
    for (const { version, type, kind, payload } of await this.feed.next(signal)) {
      const rows = kind === "ShardPlacement" ? this.streams : kind === "Broker" ? this.brokers : null;
      if (!rows) continue;
      const key = kind === "Broker" ? payload.broker_id : streamName(payload);
      const known = rows.get(key);
      if (known && known.version > version) continue;
      if (type === "DELETE") rows.delete(key);
      else rows.set(key, kind === "Broker" ? payload : looked(payload));
      isNew ||= Boolean(known) !== (type !== "DELETE") || known?.version !== version;
      isOutOfOrder ||= !known && rows === this.streams;
    }
    if (isOutOfOrder) this.streams = inOrder(this.streams);
    if (isNew) this.changes += 1;
  }

  zoneOf(broker) {
    return this.brokers.get(broker)?.availability_zone || "no zone";
  }
}

async function* pages(path, signal) {
  let token = "";
  do {
    const page = await get(path, { page_size: PAGE, page_token: token }, { signal });
    yield page;
    token = page.data.next_page_token;
  } while (token);
}

/** Note what is wrong with a stream's shards, once for all the times it is shown. */
function looked(row) {
  const name = streamName(row);
  let [leaderless, behind, fenced] = [0, 0, 0];
  for (const one of row.placements) {
    if (!one.leader) leaderless += 1;
    else if (one.is_fenced) fenced += 1;
    if (copiesOf(one).some((broker) => !one.in_sync.includes(broker))) behind += 1;
  }
  return { ...row, name, lower: name.toLowerCase(), leaderless, behind, fenced, isWell: !(leaderless || behind || fenced) };
}

export const copiesOf = (shard) => (shard.leader ? [shard.leader, ...shard.replicas] : shard.replicas);

function inOrder(rows) {
  return new Map([...rows].sort(([one], [other]) => (one < other ? -1 : 1)));
}
