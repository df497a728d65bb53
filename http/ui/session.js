// Who has signed in. The token is in the memory of this tab and in its sessionStorage, so that a reload
// keeps it; the refresh token is in memory only: a second tab with the same one would end the session.

import { post } from "./api.js";

const KEPT = "felix.token";
const RENEW_AT = 0.7; // of the token's life
const CLOSE_MS = 5_000;

let held = read(sessionStorage.getItem(KEPT));
let refresh = "";
let renewal = null;
let onChange = () => {};

/** Hear of every sign-in, renewal and sign-out. */
export function listen(heard) {
  onChange = heard;
}

/** What the token says of itself; null without one. Only the node can tell whether that is true. */
export const claims = () => held?.claims ?? null;

export const renews = () => refresh !== "";

/** The token to show, renewed first if it is time for that; empty without one. */
export async function token() {
  if (held && refresh && Date.now() > held.renewAtMs) {
    renewal ??= renew().finally(() => { renewal = null; });
    await renewal;
  }
  return held?.text ?? "";
}

/** Take a Felix token. Says what is wrong with it, or nothing. */
export function paste(text) {
  const found = read(text.trim());
  if (!found) return "This is no Felix token: it should be three parts of letters and digits, with points between them.";
  if (found.claims.iss !== "felix-auth") {
    return "This token is not one of Felix. If your identity provider gave it to you, exchange it with the other form.";
  }
  if (found.expiresMs <= Date.now()) return "This token has expired: get a new one.";
  keep(found, "");
  return "";
}

/** Trade a token of an identity provider. Throws Refused and Silent. */
export async function exchange(tenant, text) {
  const path = `/v1/tenants/${encodeURIComponent(tenant.trim())}/token/exchange`;
  const headers = { Authorization: `Bearer ${text.trim()}` };
  const got = await post(path, { audience: "felix-controlplane", refresh: true }, headers);
  keep(read(got.felix_token), got.refresh_token ?? "");
}

export function signOut() {
  keep(null, "");
}

async function renew() {
  const path = `/v1/tenants/${encodeURIComponent(held.claims.tid)}/token/refresh`;
  const headers = { "Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-") };
  const body = { refresh_token: refresh };
  const started = held;
  try {
    const got = await post(path, body, headers).catch(() => post(path, body, headers));
    if (held === started) keep(read(got.felix_token), got.refresh_token ?? "");
  } catch (error) {
    if (error.status === 401 || error.status === 403) refresh = "";
    else if (held) held.renewAtMs = Date.now() + CLOSE_MS; // the old one is good for a while yet
  }
}

function keep(found, refreshToken) {
  held = found;
  refresh = refreshToken;
  if (found) sessionStorage.setItem(KEPT, found.text);
  else sessionStorage.removeItem(KEPT);
  onChange();
}

function read(text) {
  const parts = (text ?? "").split(".");
  if (parts.length !== 3) return null;
  try {
    const bytes = Uint8Array.from(atob(parts[1].replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    const found = JSON.parse(new TextDecoder().decode(bytes));
    const expiresMs = Number(found.exp) * 1000;
    const renewAtMs = Date.now() + RENEW_AT * (expiresMs - Date.now());
    return { text, claims: found, expiresMs, renewAtMs };
  } catch {
    return null;
  }
}
