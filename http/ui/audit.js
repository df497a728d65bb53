// The audit trail: who did what, from where, with which result.

import { get } from "./api.js";
import { badge, choice, el, field, table } from "./dom.js";
import { count, moment, short } from "./words.js";

const PAGE = 100;
const ABOUT_SHOWN = 70;
const TYPED = [["tenant", "Tenant"], ["principal", "Principal"], ["operation", "Operation"], ["request_id", "Request"]];

export class Audit {
  static path = "audit";
  static title = "Audit";
  static everyMs = 0;

  constructor({ query }) {
    this.filters = { tenant: "", principal: "", operation: "", result: "", request_id: query.get("request") ?? "" };
    this.before = [""]; // of the pages up to this one
    this.page = null;
  }

  async load(signal) {
    const asked = { ...this.filters, page_size: PAGE, before: this.before.at(-1) };
    this.page = (await get("/v1/audit", asked, { signal })).data;
  }

  act(what, target, ask) {
    if (what === "filter") {
      this.filters[target.id] = target.value.trim();
      this.before = [""];
    } else if (what === "older") {
      this.before.push(this.page.next_before);
    } else {
      this.before = [""];
    }
    ask();
  }

  render() {
    const items = this.page?.items ?? [];
    return [
      el("form", { class: "filters", role: "search", "aria-label": "Filter the audit trail" },
        TYPED.map(([id, label]) => field(label, el("input", { id, type: "search", value: this.filters[id], "data-do": "filter", autocomplete: "off", spellcheck: "false" }))),
        field("Result", choice("result", [["", "any"], ["success", "success"], "forbidden", "unauthorized", "conflict", "not_found", "overloaded"], this.filters.result))),
      el("p", { class: "tools" },
        el("button", { type: "button", "data-do": "newest" }, "Newest"),
        el("button", { type: "button", "data-do": "older", disabled: !this.page?.next_before }, "Older"),
        this.page ? el("span", { class: "quiet" }, `Records ${count(this.page.first_sequence)} to ${count(this.page.last_sequence)} are kept.`) : null),
      this.page ? table("Audit trail, newest first", columns(), items, {
        key: (one) => one.sequence,
        empty: this.page.next_before ? "Nothing in this part of the trail: look at older ones." : "Nothing fits.",
        mark: (one) => (one.result === "success" ? null : "off"),
      }) : el("p", { class: "quiet" }, "Asking…"),
    ];
  }
}

function columns() {
  return [
    { title: "Record", kind: "number", cell: (one) => count(one.sequence) },
    { title: "At", cell: (one) => moment(one.timestamp) },
    { title: "Operation", cell: (one) => [one.operation, one.count > 1 ? ` ×${count(one.count)}` : ""] },
    { title: "Result", cell: (one) => badge(one.result, one.result === "success" ? "good" : "bad") },
    { title: "About", kind: "prose", cell: (one) => about(one.object) },
    { title: "Tenant", cell: (one) => one.tenant || "–" },
    { title: "By", cell: (one) => el("span", { title: one.principal }, one.principal ? short(one.principal, 24) : "–") },
    { title: "From", cell: (one) => one.source || "–" },
    { title: "Why", kind: "prose", cell: (one) => one.reason || "–" },
    { title: "Request", cell: (one) => el("span", { title: one.request_id }, one.request_id ? short(one.request_id) : "–") },
  ];
}

/** What concerns many things at once is long: it is folded. */
function about(text) {
  if (text.length <= ABOUT_SHOWN) return text || "–";
  return el("details", {}, el("summary", {}, short(text, ABOUT_SHOWN)), text);
}
