// The strip of vital signs: rate, open alerts, lag, and how each part is.
import { $, h, sparkline, text } from "./dom.js";
import { clockTime, duration, number, serverNow } from "./format.js";

const LATE_MS = 60_000;
const LOST_MS = 180_000;

let newest = null;

const PARTS = {
  store: "Store", feed: "Alert feed", producer: "Event intake",
  "worker/plays": "Ingest, plays", "worker/metrics": "Ingest, metrics",
  "worker/partials": "Windows", "worker/findings": "Alerting",
  "notify/notifications": "Notifications", worker: "Worker",
};
const ORDER = { ok: 0, unknown: 1, behind: 2, down: 3 };

/** The numbers of the overview. */
export function showOverview(overview) {
  newest = overview.newest_window_end && Date.parse(overview.newest_window_end);
  text($("rate"), overview.plays_per_second === null ? "–" : number(overview.plays_per_second));
  const rates = overview.rates.map((r) => r.per_second);
  const minutes = Math.round((rates.length * 10) / 60);
  text($("rate-note"), rates.length > 1 ? `last ${minutes} min, peak ${number(Math.max(...rates))}` : "waiting for the first window");
  $("rate-spark").replaceChildren(sparkline(rates, 160, 36));
  showLag();
}

/** How old the newest closed window is; it grows between two calls. */
export function showLag() {
  const lag = newest === null ? null : serverNow() - newest;
  const state = lag === null ? "none" : lag > LOST_MS ? "bad" : lag > LATE_MS ? "late" : "good";
  $("vital-lag").dataset.state = state;
  text($("lag"), lag === null ? "–" : duration(lag));
  text($("lag-note"), newest === null ? "no windows yet" : `windows closed to ${clockTime(newest)}`);
}

/** How far what is shown is behind, in words: empty unless it is late, and still being read. */
export function lateness() {
  const lag = newest === null ? 0 : serverNow() - newest;
  return lag > LATE_MS ? `${duration(lag)} behind` : "";
}

/** Counts of what is firing. */
export function showOpen(firing) {
  const counts = new Map();
  for (const a of firing) counts.set(a.severity, (counts.get(a.severity) ?? 0) + 1);
  text($("open"), String(firing.length));
  const late = lateness();
  $("vital-alerts").dataset.state = counts.has("page") ? "bad" : firing.length ? "late" : late ? "none" : "good";
  const words = [...counts].sort().map(([severity, n]) => `${n} ${severity}`);
  text($("open-note"), words.join(" · ") || (late ? `none yet: still reading, ${late}` : "all quiet"));
  document.title = firing.length ? `(${firing.length}) Backbeat` : "Backbeat";
}

/** The parts by name, worst first; the topics that one store reads share a line. */
function merged(parts) {
  const lines = new Map();
  for (const part of parts) {
    if (part.name === "lag") continue;
    const name = PARTS[part.name] ?? `Sink, ${part.name.split("/")[0]}`;
    const line = lines.get(name) ?? { name, status: "ok", lag: 0, detail: part.detail };
    if (ORDER[part.status] > ORDER[line.status]) line.status = part.status;
    line.lag += part.lag ?? 0;
    lines.set(name, line);
  }
  return [...lines.values()].sort((a, b) => ORDER[b.status] - ORDER[a.status] || b.lag - a.lag);
}

/** How the parts are: the worst in front, all of them on demand. */
export function showParts(health) {
  const lines = merged(health.parts);
  const wrong = lines.filter((p) => p.status !== "ok");
  const waiting = lines.reduce((sum, p) => sum + p.lag, 0);
  const [worst] = lines;
  const words = { down: `${wrong.length} down`, behind: `${wrong.length} behind`, unknown: `${wrong.length} unknown` };
  text($("parts-figure"), wrong.length ? words[worst.status] : "All well");
  text($("parts-note"), wrong.length ? worstWords(worst) : waiting ? `${number(waiting)} records on their way` : `${lines.length} parts, nothing waits`);
  $("vital-parts").dataset.state = !wrong.length ? "good" : health.status === "not_ready" ? "bad" : "late";
  $("parts").replaceChildren(...lines.map((p) => h("li", { class: p.status, title: p.detail },
    h("i", { "aria-hidden": "true" }), h("span", {}, p.name),
    h("b", {}, p.lag ? `${number(p.lag)} to do` : p.status))));
}

function worstWords(part) {
  if (part.status === "behind") return `${part.name}: ${number(part.lag)} records to do`;
  return part.detail ? `${part.name}: ${part.detail}` : part.name;
}

/** Readiness itself could not be asked. */
export function showPartsUnknown() {
  $("vital-parts").dataset.state = "bad";
  text($("parts-figure"), "No answer");
  text($("parts-note"), "the API cannot be reached");
}

$("parts-more").addEventListener("click", () => {
  const open = $("parts").hidden;
  $("parts").hidden = !open;
  $("parts-more").setAttribute("aria-expanded", String(open));
  text($("parts-more"), open ? "Show less" : "Show all");
});
