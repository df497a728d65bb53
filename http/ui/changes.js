// Changes of the metadata, live.

import { badge, el, table } from "./dom.js";
import { Feed, isGap } from "./feed.js";
import { count, moment, plural, streamName } from "./words.js";

const BACK = 100; // versions before now to begin with
const KEPT = 300;
const TONES = { CREATE: "good", UPDATE: "note", DELETE: "bad" };

export class Changes {
  static path = "changes";
  static title = "Changes";
  static everyMs = 50; // the feed waits by itself

  constructor({ pulse, changed, announce }) {
    this.pulse = pulse;
    this.changed = changed;
    this.announce = announce;
    this.feed = null;
    this.items = []; // the newest first
    this.isPaused = false;
    this.held = []; // what came meanwhile
    this.gap = "";
  }

  async load(signal) {
    if (!this.feed) {
      const now = this.pulse.own?.version;
      if (now === undefined) return;
      this.feed = new Feed(Math.max(0, now - BACK));
    }
    const isFirst = !this.items.length;
    try {
      this.take(await this.feed.next(signal), isFirst);
    } catch (error) {
      if (!isGap(error)) throw error;
      const { oldest, current } = error.details;
      this.gap = "Changes before these are no longer kept by this node.";
      this.feed = new Feed(Number(error.code === "compacted" && oldest ? Math.max(oldest, current - BACK) : current ?? 0));
    }
  }

  take(updates, isFirst) {
    if (!updates.length) return;
    const fresh = updates.toReversed();
    if (this.isPaused) {
      this.held = [...fresh, ...this.held].slice(0, KEPT);
      return;
    }
    this.items = [...fresh, ...this.items].slice(0, KEPT);
    if (!isFirst) this.announce(`${plural(fresh.length, "change")}, the newest: ${said(fresh[0])}`);
  }

  act(what) {
    if (what !== "pause") return;
    this.isPaused = !this.isPaused;
    if (!this.isPaused) {
      this.items = [...this.held, ...this.items].slice(0, KEPT);
      this.held = [];
    }
    this.changed();
  }

  render() {
    return [
      el("p", { class: "tools" },
        el("button", { type: "button", "data-do": "pause", "aria-pressed": String(this.isPaused) }, this.isPaused ? "Go on" : "Pause"),
        el("span", { class: "quiet" }, this.isPaused ? `${plural(this.held.length, "change")} held back.` : "New ones come in at the top as they happen.")),
      this.gap ? el("p", { class: "quiet" }, this.gap) : null,
      table("Changes, newest first", [
        { title: "Version", kind: "number", cell: (one) => count(one.version) },
        { title: "At", cell: (one) => (one.type === "DELETE" ? "–" : moment(one.payload.updated_at)) },
        { title: "What", cell: (one) => badge(one.type.toLowerCase(), TONES[one.type]) },
        { title: "Kind", cell: (one) => one.kind },
        { title: "Name", kind: "name", cell: nameOf },
        { title: "Now", kind: "prose", cell: now },
      ], this.items, { key: (one) => one.version, empty: "No changes yet." }),
    ];
  }
}

const said = (one) => `${one.type.toLowerCase()} ${one.kind} ${nameOf(one)}`;

function nameOf({ kind, payload }) {
  switch (kind) {
    case "Broker": return payload.broker_id;
    case "Bridge": return payload.name;
    case "Stream": case "ShardPlacement": return streamName(payload);
    default: {
      const last = payload.namespace && payload.cache ? `${payload.namespace}/${payload.cache}` : payload.namespace ?? payload.kid ?? payload.principal;
      return last ? `${payload.tenant_id}/${last}` : payload.tenant_id ?? payload.name ?? "–";
    }
  }
}

/** What there is to say of the object after the change, in a few words. */
function now({ type, kind, payload }) {
  if (type === "DELETE") return "gone";
  switch (kind) {
    case "Broker": return `${payload.status}${payload.status_reason ? `: ${payload.status_reason}` : ""}${payload.drain ? ", to be drained" : ""}`;
    case "Stream": return payload.deleted_at ? `deleted, gone for good ${moment(payload.purge_at)}`
      : `${plural(payload.shards, "shard")}, ${payload.durability}, ${plural(payload.replication_factor, "copy", "copies")}`;
    case "ShardPlacement": return `led by ${payload.placements.map((one) => one.leader || "nobody").slice(0, 8).join(", ")}${payload.placements.length > 8 ? "…" : ""}`;
    case "SigningKey": return payload.state;
    case "TokenRevocation": return `void if issued before ${moment(payload.before)}`;
    default: return payload.display_name ?? payload.description ?? "–";
  }
}
