// Which view is shown, when it asks again, and what is said where it cannot be shown.

import { Refused, Silent } from "./api.js";
import { Audit } from "./audit.js";
import { Brokers } from "./brokers.js";
import { Changes } from "./changes.js";
import { Cluster } from "./cluster.js";
import { el, show } from "./dom.js";
import { Moves } from "./moves.js";
import { Pulse } from "./pulse.js";
import * as session from "./session.js";
import { SignIn } from "./sign-in.js";
import { Streams } from "./streams.js";
import { moment } from "./words.js";

const VIEWS = [Cluster, Brokers, Streams, Moves, Changes, Audit];
const PULSE_MS = 2_000;
const RETRY_MS = 4_000;

const at = (id) => document.getElementById(id);
const pulse = new Pulse();
let view = null; // the one that is shown
let problem = null; // why it shows nothing new
let asking = null; // aborts what the view waits for
let timer = 0;
let notice = ""; // what the sign-in has to explain

/** Tell people who do not see it; only what is new. */
function announce(text) {
  if (at("announcer").textContent !== text) at("announcer").textContent = text;
}

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path, query: new URLSearchParams(query ?? "") };
}

function go() {
  const { path, query } = place();
  const found = path === SignIn.path ? SignIn : VIEWS.find((one) => one.path === path) ?? Cluster;
  stop();
  problem = null;
  view = new found({ pulse, query, changed: draw, announce });
  document.title = `${found.title} – Felix`;
  draw();
  ask();
}

function stop() {
  asking?.abort();
  clearTimeout(timer);
  view?.stop?.();
}

/** Let the view ask the node, now and then again and again. */
async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  const asked = view;
  let waitMs = asked.constructor.everyMs;
  if (asked.load && !document.hidden && !pulse.isLockedOut && !pulse.isFirst) {
    try {
      await asked.load(mine.signal);
      if (mine.signal.aborted) return;
      problem = null;
    } catch (error) {
      if (mine.signal.aborted) return;
      if (!(error instanceof Refused || error instanceof Silent)) throw error;
      problem = error;
      waitMs = isFinal(error) ? 0 : Math.max(RETRY_MS, error.retryAfterMs ?? 0);
      if (error.status === 401) leave();
    }
    draw();
  }
  if (waitMs) timer = setTimeout(ask, waitMs);
}

/** Asked again it would be refused again, and stand in the audit trail once more. */
const isFinal = (error) => error?.status === 401 || error?.status === 403;

/** The token is not taken any more. */
function leave() {
  if (!session.claims()) return;
  notice = "The node did not take the token: it may have expired, been revoked, or be for another cluster. Sign in again.";
  session.signOut();
}

async function beat() {
  const wasWaiting = pulse.isLockedOut || pulse.isFirst;
  if (!document.hidden) {
    await pulse.beat();
    if (pulse.error?.status === 401) leave();
    announce(pulse.summary());
    draw();
    if (wasWaiting && !pulse.isLockedOut) ask();
  }
  clearTimeout(beat.timer); // a sign-in may have begun another one meanwhile
  beat.timer = setTimeout(beat, PULSE_MS);
}

function draw() {
  show(at("nav"), pulse.isLockedOut ? [] : el("ul", {}, VIEWS.map((one) =>
    el("li", {}, el("a", { href: `#/${one.path}`, "aria-current": view instanceof one ? "page" : null }, one.title)))));
  show(at("who"), who());
  show(at("pulse"), pulse.render());
  if (pulse.isLockedOut || view instanceof SignIn) {
    show(at("main"), new SignIn().render(notice));
  } else if (pulse.isFirst) {
    show(at("main"), el("p", { class: "quiet" }, "Asking this node…"));
  } else {
    show(at("main"), el("h1", {}, view.constructor.title), problem ? trouble(problem) : null, isFinal(problem) ? null : view.render());
    if (!isFinal(problem)) view.drawn?.();
  }
}

function who() {
  const claims = session.claims();
  if (!claims) return pulse.isLockedOut ? [] : [el("a", { href: `#/${SignIn.path}` }, "Sign in")];
  const until = moment(new Date(claims.exp * 1000).toISOString());
  const life = session.renews() ? "renewed by itself" : `until ${until}`;
  return [el("span", {}, `${claims.tid}, ${life}`), el("button", { type: "button", "data-do": "sign-out" }, "Sign out")];
}

/** A refusal, and what to do about it. */
function trouble(error) {
  const said = error instanceof Refused
    ? `${error.status} ${error.code}: ${error.message}` : `The node does not answer: ${error.message}.`;
  return el("div", { class: "trouble", role: "alert" },
    el("p", {}, el("strong", {}, said)), el("p", {}, advice(error)),
    error.requestId ? el("p", { class: "quiet" }, `Request ${error.requestId}: the audit trail and the node's log have it.`) : null);
}

function advice(error) {
  switch (error.status) {
    case 401:
      return ["This needs a token, also where the doors are open. ", el("a", { href: `#/${SignIn.path}` }, "Sign in"), "."];
    case 403:
      return "This token does not reach it. Views of the whole cluster need cluster.view on cluster:*, which only a rule of the "
        + "tenant felix-operators gives, and only a token with the audience felix-controlplane holds. Let an operator add "
        + "that rule, then sign in anew: a token keeps what it was given.";
    case 410:
      return "This node keeps no history so far back. It begins anew with what is there now.";
    case 429:
      return "Too much was asked from this address. It goes on by itself more slowly.";
    case 503:
      return "Only the leader knows this, and there is none just now, or it is out of reach. It is asked again by itself. "
        + "If it stays so: felix-admin cluster status, and docs/recovery.md for a quorum that does not come back.";
    case undefined:
      return "It is asked again every few seconds. What is below is from before. Other nodes have the same page.";
    default:
      return "It is asked again by itself. If it stays so, look for the request in the node's log.";
  }
}

async function signIn(form) {
  at("sign-in-fault").textContent = "";
  const fault = await new SignIn().submit(form);
  if (fault) {
    at("sign-in-fault").textContent = fault;
    return;
  }
  notice = "";
  if (place().path === SignIn.path) location.hash = "#/";
}

function act(event) {
  const target = event.target.closest?.("[data-do]");
  if (!target) return;
  const isControl = target.matches("select, input");
  if (isControl !== (event.type === "input")) return;
  if (target.dataset.do === "sign-out") {
    notice = "";
    session.signOut();
  } else {
    view.act?.(target.dataset.do, target, ask);
  }
}

document.addEventListener("click", act);
document.addEventListener("input", act);
document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.matches("#by-token, #by-exchange")) signIn(event.target);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) { beat(); ask(); } });
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its target must not take the place of the view in the address
  at("main").focus();
});
addEventListener("hashchange", () => { go(); at("main").focus(); scrollTo(0, 0); });
session.listen(() => beat());

go();
beat();
