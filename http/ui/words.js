// Numbers and times as people read them.

const NUMBER = new Intl.NumberFormat("en");
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** A node that has heard nothing at all says a day. */
export const AGE_UNKNOWN_MS = 86_400_000;

export const count = (number) => (number === null || number === undefined ? "–" : NUMBER.format(number));

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A length of time, in its largest sensible unit. */
export function time(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / AGE_UNKNOWN_MS)} days`;
}

/** Microseconds, as milliseconds with what matters. */
export const millis = (us) => (us >= 100_000 ? count(Math.round(us / 1000)) : (us / 1000).toFixed(us >= 10_000 ? 1 : 2));

/** RFC 3339 as a local time; with the day unless it is today's. */
export function moment(text) {
  if (!text) return "–";
  const at = new Date(text);
  return at.toDateString() === new Date().toDateString() ? CLOCK.format(at) : DAY.format(at);
}

export const since = (text) => (text ? time(Math.max(0, Date.now() - Date.parse(text))) : "–");

export const rounded = (number) => (number < 100 ? String(Math.round(number * 10) / 10) : count(Math.round(number)));

export const short = (text, length = 12) => (text.length > length ? `${text.slice(0, length)}…` : text);

export const streamName = (one) => `${one.tenant_id}/${one.namespace}/${one.stream}`;
