// The list of alerts: kept by id at its newest version, shown firing first and newest first.
import { $, h, text } from "./dom.js";
import { STATES, alertTitle, alertWords, duration, serverNow, tagText, time } from "./format.js";
import { lateness } from "./pulse.js";

const SHOWN = 100;
const LATELY = 5;
const LATELY_MS = 2 * 3600e3;
const SEVERITIES = ["page", "ticket"];

export class AlertList {
  constructor() {
    this.alerts = new Map();
    this.show = "open";
    this.ready = false;
    this.selected = null;
    this.element = $("incidents");
  }

  /** Takes a version in; true if it is news: another state than the page knew. */
  take(alert) {
    const known = this.alerts.get(alert.id);
    if (known && known.revision >= alert.revision) return false;
    this.alerts.set(alert.id, alert);
    return known?.state !== alert.state;
  }

  /** Those that are firing, the gravest and newest first. */
  get firing() {
    const rank = (a) => (SEVERITIES.indexOf(a.severity) + SEVERITIES.length + 1) % (SEVERITIES.length + 1);
    return this.newest((a) => a.state === "firing").sort((a, b) => rank(a) - rank(b));
  }

  newest(wanted) {
    return [...this.alerts.values()].filter(wanted).sort((a, b) => Date.parse(b.started_at) - Date.parse(a.started_at));
  }

  /** Everything about one series, for its chart. */
  about(series) {
    return [...this.alerts.values()].filter((a) => a.series === series);
  }

  /** Alerts that this one speaks for: slices that it explains. */
  spokenFor(id) {
    return this.newest((a) => a.parent === id && a.state === "firing");
  }

  /** Those that are firing and speak for themselves: one for each thing that is wrong. */
  get speaking() {
    return this.firing.filter((a) => !this.alerts.has(a.parent));
  }

  /** What is listed: rows, and a heading where another kind of row begins. */
  listed() {
    const over = this.newest((a) => a.state !== "firing" && (this.show === "all" || !a.parent));
    const firing = this.show === "all" ? this.firing : this.speaking;
    if (this.show === "all") return [...firing, ...over].slice(0, SHOWN);
    const since = serverNow() - LATELY_MS;
    const lately = over.filter((a) => Date.parse(a.updated_at) > since).slice(0, LATELY);
    return [...(firing.length ? firing.slice(0, SHOWN) : ["nothing"]), ...(lately.length ? ["lately", ...lately] : [])];
  }

  /** Draws the list anew. What is there stays where it is, and so do focus and scroll. */
  render() {
    const { element } = this;
    if (!this.ready) return;
    element.setAttribute("aria-busy", "false");
    const rows = new Map([...element.querySelectorAll("[data-id]")].map((r) => [r.dataset.id, r]));
    const next = this.listed().map((alert) => {
      if (alert === "nothing") return this.quiet();
      if (alert === "lately") return (this.heading ??= h("li", { class: "subhead" }, "Over, in the last two hours"));
      const row = rows.get(alert.id);
      return row?.dataset.revision === this.version(alert) ? row : this.row(alert, row !== undefined);
    });
    if (!next.length) next.push(this.quiet());
    const focused = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    next.forEach((row, i) => {
      if (element.children[i] !== row) element.insertBefore(row, element.children[i] ?? null);
    });
    while (element.children.length > next.length) element.lastChild.remove();
    if (focused && !element.contains(document.activeElement)) {
      element.querySelector(`[data-id="${CSS.escape(focused)}"] a`)?.focus();
    }
    for (const row of element.children) {
      row.querySelector("a")?.toggleAttribute("aria-current", row.dataset.id === this.selected);
    }
    this.tick();
  }

  /** What a row shows: drawn anew when it is another. */
  version(alert) {
    return `${alert.revision}/${this.spokenFor(alert.id).length}`;
  }

  /** What stands where no alert does; in words that change while it does. */
  quiet() {
    const item = h("li", { class: "nothing" }, h("strong"), h("span"));
    this.sayQuiet(item);
    return item;
  }

  sayQuiet(item) {
    const open = this.show === "open";
    const late = lateness();
    const [what, why] = item.children;
    text(what, late ? "No alerts yet: still reading." : open ? "Nothing is firing." : "No alerts yet.");
    text(why, late
      ? `What is read is ${late} real time; alerts appear here as it comes nearer.`
      : open
        ? "New alerts appear here the moment a rule is met. “All” shows what has passed."
        : "Alerts appear here as soon as a rule is met.");
  }

  row(alert, known) {
    const where = tagText(alert.tags);
    const others = this.spokenFor(alert.id).length;
    const fade = { animationend: (event) => event.currentTarget.classList.remove("fresh") };
    return h("li", { class: `incident ${alert.severity} ${alert.state}${known ? "" : " fresh"}`, data: { id: alert.id, revision: this.version(alert) }, on: fade },
      h("a", { href: `#alert/${encodeURIComponent(alert.id)}` },
        h("span", { class: "line" },
          h("span", { class: `severity ${alert.severity}` }, alert.severity),
          h("span", { class: `state ${alert.state}` }, STATES[alert.state]),
          h("span", { class: "ago", data: { since: alert.started_at, until: alert.resolved_at ?? "" } })),
        h("strong", {}, alertTitle(alert)),
        h("span", { class: "words" }, alertWords(alert)),
        h("span", { class: "meta" },
          h("span", {}, "since ", time(alert.started_at)),
          h("span", { class: "rule" }, alert.rule),
          where ? h("span", {}, where) : null,
          others ? h("span", { class: "others" }, `speaks for ${others} more`) : null)));
  }

  /** Moves the ages on. */
  tick() {
    const nothing = this.element.querySelector(".nothing");
    if (nothing) this.sayQuiet(nothing);
    for (const age of this.element.querySelectorAll(".ago")) {
      const { since, until } = age.dataset;
      const end = until ? Date.parse(until) : serverNow();
      text(age, `${until ? "lasted " : ""}${duration(end - Date.parse(since))}`);
    }
  }
}

/** Says a change of state aloud, to those who listen to the page. */
export function announce(alert) {
  text($("announcer"), `${STATES[alert.state]}, ${alert.severity}: ${alertTitle(alert)}. ${alertWords(alert)}`);
}
