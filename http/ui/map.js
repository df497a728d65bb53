// A picture of who holds what: a box for each broker, in it a square for each copy of a shard.

import { badge, el } from "./dom.js";
import { copiesOf } from "./placements.js";
import { count } from "./words.js";

export const BOXES_MAX = 200;
const WIDTH = 188;
const KINDS = ["leads", "fenced", "follows", "behind", "leaderless"];
export const LEGEND = [
  ["leads", "leads"], ["follows", "follows, in sync"], ["behind", "not in sync"], ["fenced", "leads, hands over"],
  ["leaderless", "a shard without a leader"],
];

/**
 * Sort the copies of streams into boxes, by zone and broker: `Map(zone, Map(broker, {copies, says}))`;
 * what leads comes first, what nobody leads last.
 */
export function boxesOf(placements, rows, wanted) {
  const boxes = new Map();
  const empty = () => Object.fromEntries(KINDS.map((kind) => [kind, []]));
  for (const broker of [...placements.brokers.keys()].sort()) {
    if (wanted(broker)) boxes.set(broker, empty());
  }
  for (const row of rows) {
    for (const shard of row.placements) {
      for (const broker of copiesOf(shard)) {
        if (!wanted(broker)) continue;
        if (!boxes.has(broker)) boxes.set(broker, empty()); // it has been removed, with its data
        const kind = kindOf(shard, broker);
        boxes.get(broker)[kind].push({ row, shard, kind });
      }
    }
  }
  const zones = new Map();
  for (const [broker, byKind] of boxes) {
    const zone = placements.zoneOf(broker);
    if (!zones.has(zone)) zones.set(zone, new Map());
    const says = KINDS.filter((kind) => byKind[kind].length)
      .map((kind) => `${count(byKind[kind].length)} ${wordOf(kind)}`).join(", ") || "none of these";
    zones.get(zone).set(broker, { copies: KINDS.flatMap((kind) => byKind[kind]), says });
  }
  return new Map([...zones].sort(([one], [other]) => (one < other ? -1 : 1)));
}

export const wordOf = (kind) => LEGEND.find(([one]) => one === kind)[1];

function kindOf(shard, broker) {
  if (!shard.leader) return "leaderless";
  if (!shard.in_sync.includes(broker)) return "behind";
  if (shard.leader !== broker) return "follows";
  return shard.is_fenced ? "fenced" : "leads";
}

/** Lay the boxes out; `draw` fills them. */
export function layout(zones, placements) {
  let left = BOXES_MAX;
  return [...zones].map(([zone, brokers]) => {
    const shown = [...brokers].slice(0, Math.max(0, left));
    left -= shown.length;
    const hidden = brokers.size - shown.length;
    return el("section", { class: "zone", "aria-label": zone },
      el("h3", {}, zone),
      el("div", { class: "boxes" }, shown.map(([broker, held]) => box(broker, held.says, placements))),
      hidden ? el("p", { class: "quiet" }, `${count(hidden)} more brokers: choose a zone or a broker above.`) : null);
  });
}

function box(broker, says, placements) {
  const status = placements.brokers.get(broker)?.status ?? "removed";
  return el("figure", { class: "box", "data-key": broker },
    el("figcaption", {}, el("strong", {}, broker), " ",
      status === "active" ? null : badge(status, status === "down" || status === "removed" ? "bad" : "note"),
      el("span", { class: "quiet" }, ` ${says}`)),
    el("canvas", { "data-own": true, "data-broker": broker, role: "img", "aria-label": `${broker}: ${says}` }));
}

const pitchOf = (many) => (many <= 90 ? 14 : many <= 500 ? 9 : many <= 2_500 ? 5 : 3);

/** Draw the squares of one box. */
export function draw(canvas, copies) {
  const style = getComputedStyle(canvas);
  const pitch = pitchOf(copies.length);
  const across = Math.floor(WIDTH / pitch);
  const height = Math.max(1, Math.ceil(copies.length / across)) * pitch;
  const scale = devicePixelRatio || 1;
  canvas.width = WIDTH * scale;
  canvas.height = height * scale;
  const brush = canvas.getContext("2d");
  brush.scale(scale, scale);
  const colours = Object.fromEntries(KINDS.map((kind) => [kind, style.getPropertyValue(`--${kind}`).trim()]));
  const size = pitch > 5 ? pitch - 2 : pitch - 1;
  copies.forEach(({ kind }, at) => {
    const [x, y] = [(at % across) * pitch, Math.floor(at / across) * pitch];
    brush.fillStyle = brush.strokeStyle = colours[kind];
    if (size < 7 || kind === "leads") brush.fillRect(x, y, size, size);
    else marked(brush, kind, x, y, size);
  });
}

/** Tell the kinds apart by their shape too, where there is room. */
function marked(brush, kind, x, y, size) {
  brush.lineWidth = 1.5;
  brush.strokeRect(x + 0.75, y + 0.75, size - 1.5, size - 1.5);
  brush.beginPath();
  if (kind === "behind" || kind === "leaderless") brush.moveTo(x, y + size), brush.lineTo(x + size, y);
  if (kind === "leaderless") brush.moveTo(x, y), brush.lineTo(x + size, y + size);
  if (kind === "fenced") brush.rect(x + size / 2 - 1.5, y + size / 2 - 1.5, 3, 3);
  brush.stroke();
}

/** Which copy a pointer is on. */
export function pointed(canvas, copies, event) {
  const pitch = pitchOf(copies.length);
  const across = Math.floor(WIDTH / pitch);
  const [column, line] = [Math.floor(event.offsetX / pitch), Math.floor(event.offsetY / pitch)];
  return column < across ? copies[line * across + column] : undefined;
}
