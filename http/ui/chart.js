// A chart of few lines over time, with a table of the same for who cannot see it.

import { el, svg, table } from "./dom.js";
import { count, millis, plural } from "./words.js";

// The picture is stretched to the width there is; lines keep theirs, and words stand beside it.
const [WIDTH, HEIGHT] = [600, 100];
const WINDOWS = 60; // as many as a node keeps, so that the picture has the same scale from the start

/** The smallest of 1, 2, 5, 10, 20… that is not below. */
export function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
}

/** Draw windows of commits; `windowS` is the length of one, the last one is now. */
export function commitChart(measured, windowS) {
  const before = Array(Math.max(0, WINDOWS - measured.length)).fill({ commits: 0, p50_us: 0, p99_us: 0, max_us: 0 });
  const windows = [...before, ...measured];
  const top = niceTop(Math.max(100, ...windows.map((one) => one.p99_us)));
  const x = (at) => (WIDTH * at) / Math.max(1, windows.length - 1);
  const y = (us) => HEIGHT * (1 - Math.min(us, top) / top);
  const length = spell(windows.length * windowS);
  const total = windows.reduce((sum, one) => sum + one.commits, 0);
  const worst = Math.max(0, ...windows.map((one) => one.max_us));
  const says = total
    ? `${plural(total, "commit")} in ${length}, the slowest took ${millis(worst)} ms.`
    : `No commits in ${length}.`;
  return el("figure", { class: "chart" },
    el("figcaption", {},
      el("span", { class: "key usual" }, "half of the commits"), el("span", { class: "key slow" }, "99 of 100"),
      el("span", {}, `milliseconds, every ${windowS} s. ${says}`)),
    el("div", { class: "plot" },
      el("div", { class: "heights", "aria-hidden": "true" }, [1, 0.5, 0].map((share) => el("span", {}, `${(share * top) / 1000} ms`))),
      svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `Commit latency over time. ${says}` },
        [0, 0.5, 1].map((share) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(share * top), y2: y(share * top) })),
        line(windows, "p99_us", "slow", x, y),
        line(windows, "p50_us", "usual", x, y)),
      el("div", { class: "times", "aria-hidden": "true" }, el("span", {}, `${length} ago`), el("span", {}, "now"))),
    el("details", {}, el("summary", {}, "As a table"),
      table("Commit latency", [
        { title: "Until", cell: (row) => (row.ago ? `${spell(row.ago)} ago` : "now") },
        { title: "Commits", kind: "number", cell: (row) => count(row.commits) },
        { title: "Half, ms", kind: "number", cell: (row) => (row.commits ? millis(row.p50_us) : "–") },
        { title: "99 of 100, ms", kind: "number", cell: (row) => (row.commits ? millis(row.p99_us) : "–") },
        { title: "Slowest, ms", kind: "number", cell: (row) => (row.commits ? millis(row.max_us) : "–") },
      ], measured.map((one, at) => ({ ...one, ago: (measured.length - 1 - at) * windowS })).reverse())));
}

/** A line that ends where nothing was committed; a window between two such is a point. */
function line(windows, member, style, x, y) {
  const has = (at) => windows[at]?.commits > 0;
  const place = (at) => `${x(at).toFixed(1)} ${y(windows[at][member]).toFixed(1)}`;
  const all = windows.map((_, at) => at).filter(has);
  const path = all.map((at) => (has(at - 1) ? "L" : "M") + place(at)).join("");
  const points = all.filter((at) => !has(at - 1) && !has(at + 1)).map((at) => `M${place(at)}h0.01`).join("");
  return [
    svg("path", { class: `line ${style}`, d: path || "M0 0" }), svg("path", { class: `dots ${style}`, d: points || "M0 0" }),
  ];
}

function spell(seconds) {
  const minutes = Math.floor(seconds / 60);
  return [minutes ? `${minutes} min` : "", seconds % 60 ? `${seconds % 60} s` : ""].filter(Boolean).join(" ");
}
