// Streams, their shards, and who holds them: a map, and a list in pages.

import { get, Refused, Silent } from "./api.js";
import { badge, choice, el, facts, field, pager, table } from "./dom.js";
import { isGap } from "./feed.js";
import { boxesOf, draw, layout, LEGEND, pointed, wordOf } from "./map.js";
import { copiesOf, Placements } from "./placements.js";
import { count, moment, plural, streamName } from "./words.js";

const ROWS = 50;
const PLAN_MS = 10_000;
const UNPLACED_SHOWN = 100;

export class Streams {
  static path = "streams";
  static title = "Streams";
  static everyMs = 50; // the feed waits by itself

  constructor({ query, changed, announce }) {
    this.changed = changed;
    this.announce = announce;
    this.filters = { name: query.get("name") ?? "", broker: query.get("broker") ?? "", zone: query.get("zone") ?? "", state: query.get("state") ?? "" };
    this.placements = new Placements();
    this.read = 0;
    this.isComplete = false;
    this.page = 0;
    this.opened = null; // {name, stream, why, isShown}
    this.plan = null;
    this.planAt = 0;
    this.kept = {}; // what was worked out from the placements and the filters
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => { this.kept.painted = new WeakSet(); this.drawn(); };
    this.scheme.addEventListener("change", this.repaint);
  }

  stop() {
    this.scheme.removeEventListener("change", this.repaint);
  }

  async load(signal) {
    if (Date.now() - this.planAt > PLAN_MS) await this.readPlan(signal);
    if (this.isComplete) {
      try {
        await this.placements.follow(signal);
      } catch (error) {
        if (!isGap(error)) throw error;
        this.isComplete = false;
      }
      return;
    }
    await this.placements.readAll(signal, (many) => { this.read = many; this.changed(); });
    this.isComplete = true;
    this.announce(`${plural(this.placements.streams.size, "stream")} read.`);
  }

  async readPlan(signal) {
    this.planAt = Date.now();
    try {
      this.plan = (await get("/v1/placement/plan", {}, { signal })).data;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Silent)) throw error;
      this.plan = null;
    }
  }

  act(what, target) {
    if (what === "filter") {
      this.filters[target.id] = target.value.trim();
      this.page = 0;
    } else if (what === "page") {
      this.page = Number(target.dataset.to);
    } else if (what === "open") {
      this.open(target.dataset.name);
    } else if (what === "close") {
      document.getElementById("detail").close();
    }
    this.changed();
  }

  /** The rows that the filters leave, and the boxes of the map; again only if something has changed. */
  looked() {
    const { name, broker, zone, state } = this.filters;
    const mark = JSON.stringify([this.placements.changes, name, broker, zone, state]);
    if (this.kept.mark !== mark) {
      const text = name.toLowerCase();
      const isWanted = (one) => (!broker || one === broker) && (!zone || this.placements.zoneOf(one) === zone);
      const anywhere = !broker && !zone;
      const rows = [...this.placements.streams.values()].filter((row) =>
        row.lower.includes(text) && (!state || fits(row, state))
        && (anywhere || row.placements.some((shard) => copiesOf(shard).some(isWanted))));
      this.kept = { mark, rows, zones: boxesOf(this.placements, rows, isWanted), painted: new WeakSet() };
    }
    return this.kept;
  }

  render() {
    if (!this.isComplete) {
      return el("p", { class: "quiet" }, this.read ? `${count(this.read)} streams read…` : "Reading placements…");
    }
    const { rows, zones } = this.looked();
    const pages = Math.ceil(rows.length / ROWS);
    this.page = Math.max(0, Math.min(this.page, pages - 1));
    const shown = rows.slice(this.page * ROWS, (this.page + 1) * ROWS);
    const all = this.placements.streams.size;
    return [
      this.detail(),
      this.filterForm(),
      el("p", { class: "quiet" }, rows.length === all ? `${plural(all, "placed stream")}.` : `${count(rows.length)} of ${plural(all, "placed stream")}.`),
      this.unplaced(),
      el("h2", {}, "Who holds the shards"),
      el("p", { class: "legend" }, LEGEND.map(([kind, word]) => el("span", { class: `key ${kind}` }, word))),
      layout(zones, this.placements),
      el("p", { id: "pointed", class: "pointed", "data-own": true }, "Point at a square to see its shard, click to see its stream. The list below tells the same."),
      el("h2", {}, "List"),
      table(pages > 1 ? `Streams, page ${this.page + 1} of ${pages}` : "Streams", columns(), shown, {
        key: (row) => row.name,
        empty: all ? "No stream fits these filters." : "No stream is placed.",
        mark: (row) => (row.leaderless ? "off" : null),
      }),
      pages > 1 ? pager(this.page, pages, "streams") : null,
    ];
  }

  filterForm() {
    const brokers = [...this.placements.brokers.keys()].sort();
    const zones = [...new Set(brokers.map((one) => this.placements.zoneOf(one)))].sort();
    return el("form", { class: "filters", role: "search", "aria-label": "Filter streams" },
      field("Name contains", el("input", { id: "name", type: "search", value: this.filters.name, "data-do": "filter", autocomplete: "off" })),
      field("Broker", choice("broker", [["", "any"], ...brokers], this.filters.broker)),
      field("Zone", choice("zone", [["", "any"], ...zones], this.filters.zone)),
      field("State", choice("state", [["", "any"], ["trouble", "not well"], ["leaderless", "without a leader"], ["behind", "not in sync"], ["fenced", "handing over"]], this.filters.state)));
  }

  unplaced() {
    if (!this.plan?.unplaced.length) return null;
    const rows = this.plan.unplaced.slice(0, UNPLACED_SHOWN);
    return table(`${plural(this.plan.unplaced.length, "shard")} that nobody leads or holds`, [
      { title: "Stream", kind: "name", cell: streamName },
      { title: "Shard", kind: "number", cell: (row) => count(row.shard_id) },
      { title: "Why", kind: "prose", cell: (row) => row.why },
    ], rows, { key: (row) => `${streamName(row)}#${row.shard_id}` });
  }

  drawn() {
    const dialog = document.getElementById("detail");
    if (dialog && this.opened && !this.opened.isShown) {
      this.opened.isShown = true; // once: one that was just closed must not come back
      if (!dialog.open) dialog.showModal();
      dialog.onclose = () => { this.opened = null; this.changed(); };
    }
    if (!this.isComplete) return;
    const boxes = new Map([...this.kept.zones.values()].flatMap((zone) => [...zone]));
    for (const canvas of document.querySelectorAll("canvas[data-broker]")) {
      if (!this.kept.painted.has(canvas)) this.paint(canvas, boxes.get(canvas.dataset.broker));
    }
  }

  paint(canvas, { copies, says }) {
    const broker = canvas.dataset.broker;
    this.kept.painted.add(canvas);
    draw(canvas, copies);
    canvas.setAttribute("aria-label", `${broker}: ${says}`);
    canvas.onpointermove = (event) => say(pointed(canvas, copies, event), broker);
    canvas.onclick = (event) => {
      const found = pointed(canvas, copies, event);
      if (found) this.open(found.row.name);
    };
  }

  async open(name) {
    const row = this.placements.streams.get(name);
    if (!row) return;
    const opened = { name, stream: null, isShown: false };
    this.opened = opened;
    this.changed();
    const part = (text) => encodeURIComponent(text);
    try {
      const path = `/v1/tenants/${part(row.tenant_id)}/namespaces/${part(row.namespace)}/streams/${part(row.stream)}`;
      opened.stream = (await get(path)).data;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Silent)) throw error;
      opened.why = error.message;
    }
    this.changed();
  }

  detail() {
    const row = this.opened && this.placements.streams.get(this.opened.name);
    const { stream, why } = this.opened ?? {};
    return el("dialog", { id: "detail", "aria-labelledby": "detail-title" }, row ? [
      el("h2", { id: "detail-title" }, row.name),
      stream ? facts([
        ["Durability", stream.durability], ["Copies wanted", count(stream.replication_factor)], ["Acknowledged by", stream.ack_policy],
        ["Kept for", stream.retention.max_age_seconds ? `${count(stream.retention.max_age_seconds)} s` : "ever"],
        ["Kept up to", stream.retention.max_size_bytes ? `${count(stream.retention.max_size_bytes)} bytes` : "no limit"],
        ["Placed anew", moment(row.updated_at)],
        ...(stream.deleted_at ? [["Deleted", moment(stream.deleted_at)], ["Gone for good", moment(stream.purge_at)]] : []),
      ]) : el("p", { class: "quiet" }, why ?? "Asking…"),
      table("Shards", [
        { title: "Shard", cell: (one) => count(one.shard_id) },
        { title: "Leader", cell: (one) => one.leader || badge("none", "bad") },
        { title: "Other copies", cell: (one) => one.replicas.join(", ") || "–" },
        { title: "Not in sync", cell: (one) => copiesOf(one).filter((broker) => !one.in_sync.includes(broker)).join(", ") || "–" },
        { title: "Generation", kind: "number", cell: (one) => count(one.generation) },
        { title: "State", kind: "prose", cell: (one) => (one.is_fenced ? "hands over" : one.reason || "serves") },
      ], row.placements, { key: (one) => one.shard_id }),
      el("button", { type: "button", "data-do": "close" }, "Close"),
    ] : el("h2", { id: "detail-title" }, "Stream"));
  }
}

const fits = (row, state) => (state === "trouble" ? !row.isWell : row[state] > 0);

function say(found, broker) {
  if (!found) return;
  const text = `${found.row.name}, shard ${found.shard.shard_id} on ${broker}: ${wordOf(found.kind)}`;
  document.getElementById("pointed").textContent = text;
}

function columns() {
  return [
    { title: "Stream", kind: "name", cell: (row) => el("button", { type: "button", class: "link", "data-do": "open", "data-name": row.name }, row.name) },
    { title: "Shards", kind: "number", cell: (row) => count(row.placements.length) },
    { title: "Copies", kind: "number", cell: (row) => count(row.placements.reduce((sum, one) => sum + copiesOf(one).length, 0)) },
    { title: "Led by", cell: leaders },
    { title: "State", cell: state },
  ];
}

function leaders(row) {
  const names = [...new Set(row.placements.map((one) => one.leader).filter(Boolean))];
  return names.length > 4 ? `${names.slice(0, 4).join(", ")} and ${names.length - 4} more` : names.join(", ") || "nobody";
}

function state(row) {
  if (row.isWell) return badge("well", "good");
  return [
    row.leaderless ? badge(`${row.leaderless} without a leader`, "bad") : null,
    row.behind ? badge(`${row.behind} not in sync`, "warn") : null,
    row.fenced ? badge(`${row.fenced} handing over`, "note") : null,
  ];
}
