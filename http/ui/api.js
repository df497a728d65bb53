// How this page asks: only its own node, only with GET once it is signed in, never with a token in a URL.

import * as session from "./session.js";

const PATIENCE_MS = 12_000;

/** A refusal: what the envelope of the API says. */
export class Refused extends Error {
  constructor(status, body, retryAfterS) {
    super(body.message || `the node answered ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.details = body.details || {};
    this.requestId = body.request_id || "";
    this.retryAfterMs = (Number(retryAfterS) || 0) * 1000;
  }
}

/** The node cannot be reached at all. */
export class Silent extends Error {}

/**
 * Read from this node. `{data, version, ageMs}`: what is said, as of which version, and how old that
 * is at most (null where the leader was asked).
 */
export async function get(path, parameters = {}, { signal, waitMs = 0, asked = "stale" } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ consistency: asked, ...parameters })) {
    if (value !== "" && value !== null && value !== undefined) query.set(name, value);
  }
  const token = await session.token();
  const signals = [AbortSignal.timeout(PATIENCE_MS + waitMs), ...(signal ? [signal] : [])];
  const answer = await answered(`${path}?${query}`, {
    headers: token ? { Authorization: `Bearer ${token}` } : {}, signal: AbortSignal.any(signals),
  });
  const age = answer.headers.get("X-Felix-Age-Ms");
  return {
    data: await answer.json(),
    version: Number(answer.headers.get("X-Felix-Version")),
    ageMs: age === null ? null : Number(age),
  };
}

/** Trade tokens. */
export async function post(path, body, headers = {}) {
  const answer = await answered(path, {
    method: "POST", headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return answer.json();
}

async function answered(url, options) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", credentials: "omit", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Silent(error.name === "TimeoutError" ? "it did not answer in time" : "it cannot be reached");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, body, answer.headers.get("Retry-After"));
}
