// Moves of shards: those under way, those that are over, and what placement does next.

import { get, Refused, Silent } from "./api.js";
import { badge, el, facts, table } from "./dom.js";
import { count, moment, plural, since, streamName } from "./words.js";

const UNDER_WAY_MAX = 200;
const OVER_MAX = 50;
const STEPS = ["waiting", "staging", "fencing", "done"];
const TONES = { done: "good", failed: "bad", cancelled: "dim", waiting: "dim", staging: "note", fencing: "note" };

export class Moves {
  static path = "moves";
  static title = "Moves";
  static everyMs = 2_000;

  constructor() {
    this.moves = null;
    this.latest = null;
    this.plan = null;
    this.whyNoPlan = "";
  }

  async load(signal) {
    const [moves, latest] = await Promise.all([
      get("/v1/shard-moves", { under_way: true, page_size: UNDER_WAY_MAX }, { signal }),
      get("/v1/shard-moves", { page_size: UNDER_WAY_MAX }, { signal }),
    ]);
    [this.moves, this.latest] = [moves.data, latest.data];
    try {
      this.plan = (await get("/v1/placement/plan", {}, { signal })).data;
      this.whyNoPlan = "";
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Silent)) throw error;
      [this.plan, this.whyNoPlan] = [null, error.message];
    }
  }

  render() {
    if (!this.moves) return el("p", { class: "quiet" }, "Asking…");
    const under = this.moves.items;
    const over = this.latest.items.filter((one) => !STEPS.slice(0, 3).includes(one.status)).slice(0, OVER_MAX);
    const more = this.moves.next_page_token ? "at least " : "";
    return [
      this.placement(),
      table(`${more}${plural(under.length, "move")} under way`, columns(true), under, { key: (one) => one.move_id, empty: "Nothing moves." }),
      table("Moves that are over, newest first", columns(false), over, { key: (one) => one.move_id, empty: "None that is remembered." }),
    ];
  }

  placement() {
    if (!this.plan) return el("p", { class: "trouble" }, `What placement does next, only the leader knows: ${this.whyNoPlan}`);
    const { plan, is_paused, paused_reason, under_replicated, unplaced } = this.plan;
    return [
      is_paused ? el("p", { class: "trouble" }, el("strong", {}, "Placement is paused: "), paused_reason, " Only moves that operators order begin.") : null,
      facts([
        ["Moves planned next", count(plan.moves.length)],
        ["Shards with too few copies", count(under_replicated)],
        ["Shards not placed or not led", count(unplaced.length)],
      ]),
      plan.blocked_by.length ? table("What cannot be done, and why", [
        { title: "Stream", kind: "name", cell: streamName },
        { title: "Shard", kind: "number", cell: (one) => count(one.shard_id) },
        { title: "Why", kind: "prose", cell: (one) => one.why },
      ], plan.blocked_by.slice(0, OVER_MAX), { key: (one) => `${streamName(one)}#${one.shard_id}` }) : null,
    ];
  }
}

function columns(isUnderWay) {
  return [
    { title: "Stream", kind: "name", cell: (one) => streamName(one) },
    { title: "Shard", kind: "number", cell: (one) => count(one.shard_id) },
    { title: "Step", cell: step },
    { title: isUnderWay ? "In this step for" : "Ended", kind: "number", cell: (one) => (isUnderWay ? since(one.since) : moment(one.since)) },
    { title: "What", cell: (one) => (one.kind === "leader" ? "leadership" : one.from_broker ? "a copy" : "one more copy") },
    { title: "From", cell: (one) => one.from_broker || "–" },
    { title: "To", cell: (one) => one.to_broker },
    { title: "Because of", cell: (one) => one.reason },
    { title: isUnderWay ? "Waits for" : "Why", kind: "prose", cell: (one) => one.blocked_by || "–" },
  ];
}

function step(one) {
  const at = STEPS.indexOf(one.status);
  return [badge(one.status, TONES[one.status] ?? "dim"), at >= 0 && at < 3 ? el("span", { class: "quiet" }, ` ${at + 1} of 4`) : null];
}
