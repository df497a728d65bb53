// Members, roles, lag, and how long commits take.

import { commitChart } from "./chart.js";
import { badge, el, facts, table } from "./dom.js";
import { count, plural, short } from "./words.js";

const TONES = { leader: "good", follower: "plain", learner: "note", candidate: "warn" };

export class Cluster {
  static path = "cluster";
  static title = "Cluster";
  static everyMs = 0; // the line above asks for all of it

  constructor({ pulse }) {
    this.pulse = pulse;
  }

  render() {
    const found = this.pulse.led;
    if (!found) return el("p", { class: "quiet" }, "The cluster is not shown: this token has no sight of it.");
    const voters = found.members.filter((one) => one.voter).length;
    const isLed = this.pulse.hasLeader;
    return [
      table(`${plural(found.members.length, "member")}, ${plural(voters, "voter")}`, [
        { title: "Name", cell: (one) => one.name },
        { title: "Role", cell: (one) => badge(one.role, TONES[one.role] ?? "dim") },
        { title: "State", cell: (one) => state(one, isLed) },
        { title: "Lag, entries", kind: "number", cell: (one) => count(one.lag) },
        { title: "On disk up to", kind: "number", cell: (one) => count(one.match_index) },
        { title: "Vote", cell: (one) => (one.voter ? (one.leaving ? "yes, leaving" : "yes") : "no") },
        { title: "Level", kind: "number", cell: (one) => count(one.level) },
        { title: "HTTP", cell: (one) => one.addresses.http || "–" },
        { title: "Identity", cell: (one) => el("code", { title: one.id }, short(one.id, 8)) },
      ], found.members, { key: (one) => one.id, mark: (one) => (one.active === false ? "off" : null) }),
      isLed ? null : el("p", { class: "quiet" }, "Lag, and who is heard from, only a leader knows."),
      el("h2", {}, "Commit latency"),
      found.commit_window_s
        ? [commitChart(found.commit_windows, found.commit_window_s),
           el("p", { class: "quiet" }, `As ${this.pulse.name(found.node_id)} measured it while it led: what another one measured before is not here.`)]
        : el("p", { class: "quiet" }, "The leader is of a build that does not say."),
      el("h2", {}, "State"),
      facts([
        ["Term", count(found.term)], ["Committed", count(found.commit_index)], ["Applied", count(found.applied_index)],
        ["Version", count(found.version)], ["Epoch", count(found.epoch)], ["Feature level", count(found.feature_level)],
        ["Membership", found.change_under_way ? badge("changes just now", "note") : "settled"],
        ["Cluster", el("code", {}, found.cluster_id)], ["Digest", el("code", {}, found.digest)],
      ]),
    ];
  }
}

function state(one, isLed) {
  if (!isLed || one.active === null) return badge("not known", "dim");
  return one.active ? badge("heard from", "good") : badge("silent", "bad");
}
