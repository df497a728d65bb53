// Brokers: how they do, what they hold, and why they get no shards.

import { get } from "./api.js";
import { badge, choice, el, field, table } from "./dom.js";
import { count, plural, rounded, since, time } from "./words.js";

const PAGE = 100;
const TONES = { active: "good", draining: "note", drained: "dim", down: "bad" };

export class Brokers {
  static path = "brokers";
  static title = "Brokers";
  static everyMs = 3_000;

  constructor({ query, changed }) {
    this.changed = changed;
    this.filters = { filter: query.get("filter") ?? "", status: query.get("status") ?? "", availability_zone: query.get("zone") ?? "" };
    this.tokens = [""]; // of the pages up to this one
    this.page = null;
  }

  async load(signal) {
    const asked = { ...this.filters, page_size: PAGE, page_token: this.tokens.at(-1) };
    this.page = (await get("/v1/brokers", asked, { signal })).data;
  }

  act(what, target, ask) {
    if (what === "filter") {
      this.filters[target.id] = target.value.trim();
      this.tokens = [""];
    } else if (what === "next") {
      this.tokens.push(this.page.next_page_token);
    } else if (what === "first") {
      this.tokens = [""];
    }
    ask();
  }

  render() {
    const items = this.page?.items ?? [];
    const more = this.page?.next_page_token;
    const isUnknown = items.length > 0 && items.every((one) => !one.health);
    return [
      el("form", { class: "filters", role: "search", "aria-label": "Filter brokers" },
        field("Name contains", el("input", { id: "filter", type: "search", value: this.filters.filter, "data-do": "filter", autocomplete: "off" })),
        field("Status", choice("status", [["", "any"], "active", "draining", "drained", "down"], this.filters.status)),
        field("Zone", el("input", { id: "availability_zone", type: "search", value: this.filters.availability_zone, "data-do": "filter", autocomplete: "off" }))),
      isUnknown ? el("p", { class: "trouble" }, "How brokers do, only the leader hears, and there is none to ask. Status and zone are from this node's own state.") : null,
      this.page
        ? table(caption(items, more, this.tokens.length), columns(), items, {
            key: (one) => one.broker.broker_id,
            empty: "No broker. A broker appears here once it has registered, see docs/brokers.md.",
            mark: (one) => (one.broker.status === "down" ? "off" : null),
          })
        : el("p", { class: "quiet" }, "Asking…"),
      more || this.tokens.length > 1
        ? el("nav", { class: "pager", "aria-label": "Pages of brokers" },
            el("button", { type: "button", "data-do": "first", disabled: this.tokens.length === 1 }, "First page"),
            el("button", { type: "button", "data-do": "next", disabled: !more }, "Next page"))
        : null,
    ];
  }
}

function caption(items, more, page) {
  return more || page > 1 ? `Brokers, page ${page}` : plural(items.length, "broker");
}

function columns() {
  return [
    { title: "Broker", cell: (one) => el("a", { href: `#/streams?broker=${encodeURIComponent(one.broker.broker_id)}` }, one.broker.broker_id) },
    { title: "Status", cell: ({ broker }) => [badge(broker.status, TONES[broker.status] ?? "dim"), broker.drain && broker.status === "down" ? badge("to be drained", "note") : null] },
    { title: "For", kind: "number", cell: ({ broker }) => since(broker.status_since) },
    { title: "Zone", cell: ({ broker }) => [broker.availability_zone || "–", broker.region ? ` (${broker.region})` : ""] },
    { title: "Feels", kind: "prose", cell: feels },
    { title: "Gets shards", kind: "prose", cell: gets },
    { title: "Copies", kind: "number", cell: ({ broker, health }) => (health ? count(health.copies) + (broker.capacity.max_shards ? ` of ${count(broker.capacity.max_shards)}` : "") : "–") },
    { title: "Leads", kind: "number", cell: ({ health }) => count(health?.leads) },
    { title: "Behind", kind: "number", cell: behind },
    { title: "Heard", kind: "number", cell: ({ health }) => (health?.heard_ms_ago === null || !health ? "–" : `${time(health.heard_ms_ago)} ago`) },
    { title: "Published/s", kind: "number", cell: ({ health }) => (health ? rounded(health.metrics.publish_per_s) : "–") },
    { title: "CPU", kind: "number", cell: ({ health }) => (health ? `${Math.round(health.metrics.cpu_ratio * 100)} %` : "–") },
    { title: "Address", cell: ({ broker }) => broker.address },
  ];
}

function feels({ broker, health }) {
  if (!health || broker.status === "down") return broker.status_reason || "–";
  return health.status.healthy ? badge("healthy", "good") : [badge("unhealthy", "warn"), " ", health.status.message];
}

function gets({ health }) {
  if (!health) return "–";
  return health.accepts_shards ? "yes" : [badge("no", "dim"), " ", health.why_not];
}

function behind({ health }) {
  if (!health) return "–";
  if (health.is_wrong) return badge("wrong digest", "bad");
  return health.lag_versions ? plural(health.lag_versions, "version") : "0";
}
