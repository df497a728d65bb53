// The line above every view: who leads, what this node knows, and how old that is.

import { get, Refused, Silent } from "./api.js";
import { badge, el } from "./dom.js";
import * as session from "./session.js";
import { AGE_UNKNOWN_MS, count, moment, time } from "./words.js";

export class Pulse {
  constructor() {
    this.led = null; // the cluster as its leader sees it, or this node where there is none
    this.own = null; // as this node sees it
    this.ageMs = null; // how old what this node has may be
    this.error = null;
    this.refused = null; // whose token it was that was refused last
    this.heardAt = "";
    this.isFirst = true;
    this.isClosed = false; // without a token nothing is told here
  }

  /** Ask both. Every refusal stands in the audit trail, so nothing is asked that will be refused. */
  async beat() {
    if (this.isClosed && !session.claims()) return;
    if (this.error?.status === 403 && this.refused === session.claims()) return;
    try {
      const own = await get("/v1/cluster");
      const led = await get("/v1/cluster", {}, { asked: "linearizable" });
      [this.led, this.own, this.ageMs, this.error] = [led.data, own.data, own.ageMs, null];
      this.heardAt = new Date().toISOString();
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Silent)) throw error;
      this.error = error;
      this.isClosed ||= error.status === 401;
      this.refused = session.claims();
    }
    this.isFirst = false;
  }

  get isLockedOut() {
    return this.error?.status === 401 || (this.isClosed && !session.claims());
  }

  get hasLeader() {
    return Boolean(this.led?.leader_id);
  }

  name(id) {
    return this.led?.members.find((one) => one.id === id)?.name ?? id;
  }

  /** What has changed for somebody who only listens. */
  summary() {
    if (this.isLockedOut) return "Sign in to see the cluster.";
    if (this.error) return this.error instanceof Silent ? "This node does not answer." : "The cluster cannot be shown.";
    const alarms = this.led.alarms.length ? ` ${this.led.alarms.length} alarms.` : "";
    return (this.hasLeader ? `${this.name(this.led.leader_id)} leads.` : "There is no leader.") + alarms;
  }

  render() {
    if (this.isFirst || this.isLockedOut) return [];
    if (this.error && !this.led) {
      return [el("p", { class: "line" }, badge("not shown", "dim"), el("span", {}, this.error.message))];
    }
    const [led, own] = [this.led, this.own];
    const age = this.ageMs >= AGE_UNKNOWN_MS ? "of unknown age" : `at most ${time(this.ageMs)} old`;
    const lines = [el("p", { class: "line" },
      this.hasLeader ? badge("leader", "good") : badge("no leader", "bad"),
      this.hasLeader ? el("strong", {}, this.name(led.leader_id)) : null,
      el("span", {}, `term ${count(led.term)}`),
      el("span", {}, `version ${count(own.version)}`),
      el("span", { id: "age" }, `seen through ${this.name(own.node_id)}, ${age}`))];
    if (this.error) {
      lines.push(warning(`This node does not answer: ${this.error.message}. What is below is from ${moment(this.heardAt)}.`,
        "Other nodes have the same page."));
    } else if (!this.hasLeader) {
      lines.push(warning(`No leader: nothing can be changed now. What is below is what ${this.name(own.node_id)} knew, ${age}.`,
        "Brokers go on with what they have. Make sure that most voters run and reach each other; docs/recovery.md if they are lost for good."));
    }
    if (led.alarms.length) {
      lines.push(el("ul", { class: "alarms", "aria-label": "Alarms" }, led.alarms.map((one) => el("li", {}, one))));
    }
    return lines;
  }
}

const warning = (what, next) => el("div", { class: "trouble" }, el("p", {}, el("strong", {}, what)), el("p", {}, next));
