// Numbers, times and names in words. Times show local, and UTC on hover.
import { h } from "./dom.js";

let skew = 0;

/** Takes the server's clock as the right one. */
export function setServerTime(iso) {
  skew = Date.parse(iso) - Date.now();
}

/** Now, by the server's clock, in ms. */
export const serverNow = () => Date.now() + skew;

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const short = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const dated = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

export const clockTime = (ms) => clock.format(ms);

/** The same moment in UTC, for hovering. */
export function utc(ms) {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A local time without more date than it needs. */
export function localTime(ms, seconds = false) {
  const today = Math.abs(serverNow() - ms) < 12 * 3600e3;
  return (today ? (seconds ? clock : short) : dated).format(ms);
}

/** A <time> that shows local time, and UTC on hover. */
export function time(iso, { seconds = false, label } = {}) {
  const ms = Date.parse(iso);
  return h("time", { datetime: iso, title: utc(ms) }, label ?? localTime(ms, seconds));
}

/** A length of time in at most two units: 42 s, 5 min, 1 h 20 min. */
export function duration(ms) {
  const s = Math.max(0, ms / 1000);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 4 });

/** A plain number with as many digits as it deserves. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return compact.format(value);
  if (size >= 100 || Number.isInteger(value)) return whole.format(value);
  return new Intl.NumberFormat(undefined, {
    maximumFractionDigits: size >= 10 ? 1 : size >= 1 ? 2 : 4,
  }).format(value);
}

/** A value of a series, by its kind and unit. */
export function value(v, kind, unit) {
  if (v === null || v === undefined) return "no data";
  if (kind === "ratio") {
    const percent = v * 100;
    return `${percent >= 10 ? percent.toFixed(1) : percent.toFixed(2)} %`;
  }
  return unit ? `${number(v)} ${unit}` : number(v);
}

/** A limit, as somebody would write it: 5 %, not 5.00 %. */
export function limit(v, kind, unit) {
  return kind === "ratio" ? `${Number((v * 100).toFixed(2))} %` : value(v, kind, unit);
}

const NAMES = {
  plays: "Plays", eligible_plays: "Eligible plays", listeners: "Listeners",
  error_rate: "Error rate", skip_rate: "Skip rate", completion: "Completion",
};

/** A measure's name as people say it: startup_p95 -> Startup p95. */
export function measureName(name) {
  if (NAMES[name]) return NAMES[name];
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The name in a series key, before its tags. */
export function nameOf(key) {
  const inside = key.slice(key.indexOf("|") + 1);
  return decodeURIComponent(inside.slice(0, inside.indexOf("{")));
}

/** What a series is about, for a title. */
export const seriesName = (key) => measureName(nameOf(key));

/** Tag values side by side: FR · ios; nothing for a total. */
export const tagText = (tags) => Object.values(tags).join(" · ");

const kinds = new Map();

/** Learns from series how the numbers of their measures are to be read. */
export function learnKinds(series) {
  for (const s of series) if (s.kind !== "gauge") kinds.set(s.measure, { kind: s.kind, unit: s.unit });
}

/** Kind and unit of a measure, which an alert itself does not carry. */
export const kindOf = (measure) => kinds.get(measure) ?? { kind: "gauge", unit: "" };

/** One line that names an alert. */
export function alertTitle(alert) {
  if (alert.summary) return alert.summary;
  const where = tagText(alert.tags);
  const name = alert.measure === "value" ? nameOf(alert.series) : alert.measure;
  return `Unusual ${measureName(name).toLowerCase()}${where ? `, ${where}` : ""}`;
}

/** What is wrong, in the rule's own words. */
export function alertWords(alert) {
  return `${alert.reason.charAt(0).toUpperCase()}${alert.reason.slice(1)}.`;
}

export const STATES = { firing: "Firing", resolved: "Resolved", retracted: "Retracted", pending: "Pending" };
