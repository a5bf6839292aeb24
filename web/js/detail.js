// One alert, or one series, in full: a large chart, the facts, what happened, what was sent.
import { CallFailed, alert as getAlert } from "./api.js";
import { $, h } from "./dom.js";
import {
  STATES, alertTitle, alertWords, duration, kindOf, limit, seriesName, serverNow, tagText, time, value,
} from "./format.js";
import { Plot } from "./plot.js";

const BEFORE_MS = 20 * 60_000;
const AFTER_MS = 10 * 60_000;
const AHEAD_MS = 5_000;

export class Detail {
  constructor(alerts) {
    this.alerts = alerts;
    this.element = $("detail");
    this.plot = null;
    this.key = null;
    this.shown = null;
    this.timer = 0;
  }

  close() {
    this.plot?.close();
    this.plot = this.key = this.shown = null;
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  /** Shows an alert; again for the same one, it keeps the place of the reader. */
  async alert(id) {
    const again = this.shown === id;
    this.shown = id;
    this.element.hidden = false;
    if (!again) this.element.replaceChildren(this.back(), h("div", { class: "skeleton hero" }));
    let found;
    try {
      found = await getAlert(id);
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      this.element.replaceChildren(this.back(), h("p", { class: "nothing" }, h("strong", {}, "This alert cannot be shown."), h("span", {}, error.message)));
      return;
    }
    if (this.shown !== id) return;
    this.draw(found);
  }

  draw({ alert, history, deliveries }) {
    this.plot?.close();
    const chart = h("div", { class: "chart large" });
    this.element.replaceChildren(
      this.back(),
      h("header", { class: "title" },
        h("p", { class: "line" },
          h("span", { class: `severity ${alert.severity}` }, alert.severity),
          h("span", { class: `state ${alert.state}` }, STATES[alert.state]),
          h("span", { class: "rule" }, alert.rule)),
        h("h1", { tabindex: "-1" }, alertTitle(alert)),
        h("p", { class: "words" }, alertWords(alert))),
      chart,
      facts(alert),
      h("div", { class: "columns" }, versions(history), sent(deliveries)));
    this.element.querySelector("h1").focus({ preventScroll: true });
    const { kind } = kindOf(alert.measure);
    this.key = alert.series;
    // A limit is held against the finest windows, a detector judges its own.
    const threshold = alert.kind === "threshold" && alert.threshold !== null;
    this.plot = new Plot(chart, alert.series, {
      size: threshold && kind !== "gauge" ? undefined : "detect",
      every: 10_000, threshold: threshold ? alert.threshold : null, large: true,
    });
    this.plot.alerts = this.alerts.about(alert.series);
    if (!this.plot.alerts.some((a) => a.id === alert.id)) this.plot.alerts.push(alert);
    const from = Date.parse(alert.started_at) - BEFORE_MS;
    const end = alert.resolved_at ? Date.parse(alert.resolved_at) + AFTER_MS : serverNow() + AHEAD_MS;
    this.range = () => [from, alert.resolved_at ? end : serverNow() + AHEAD_MS];
    this.plot.load(from, Math.round(end)).catch((error) => this.failed(chart, error));
  }

  /** Shows a series. */
  async series(key, span) {
    this.close();
    this.shown = this.key = key;
    this.element.hidden = false;
    const chart = h("div", { class: "chart large" });
    const list = h("section", { class: "log" }, h("h2", {}, "Findings"));
    const inside = key.slice(key.indexOf("{") + 1, -1);
    const tags = inside ? inside.split(",").map((t) => t.split("=").map(decodeURIComponent)) : [];
    this.element.replaceChildren(this.back(),
      h("header", { class: "title" }, h("h1", { tabindex: "-1" }, seriesName(key)),
        h("p", { class: "words" }, tags.length ? tags.map(([n, v]) => `${n} ${v}`).join(", ") : "all together"),
        h("p", { class: "mono" }, key)),
      chart, list);
    this.element.querySelector("h1").focus({ preventScroll: true });
    this.plot = new Plot(chart, key, { size: "detect", every: 10_000, large: true, onData: (p) => findingList(list, p.marks) });
    this.plot.alerts = this.alerts.about(key);
    this.range = () => [serverNow() - span, serverNow() + AHEAD_MS];
    try {
      await this.plot.load(...this.range().map(Math.round));
    } catch (error) {
      this.failed(chart, error);
    }
  }

  failed(chart, error) {
    chart.replaceChildren(h("p", { class: "nothing" }, h("strong", {}, "The chart cannot be drawn."), h("span", {}, error.message)));
  }

  /** A window of the shown series has closed. */
  reading(reading) {
    if (reading.series !== this.key || !this.plot) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.plot?.extend(...this.range().map(Math.round), reading.revision > 0).catch(() => {});
    }, 250);
  }

  redraw() {
    if (this.plot?.loaded) this.plot.draw();
  }

  back() {
    return h("a", { class: "back", href: "#" }, "← All series");
  }
}

function facts(alert) {
  const { kind, unit } = kindOf(alert.measure);
  const v = (x) => value(x, kind, unit);
  const end = alert.resolved_at ? Date.parse(alert.resolved_at) : serverNow();
  const rows = [
    ["Value", alert.value === null ? null : v(alert.value)],
    ["Limit", alert.kind === "threshold" && alert.threshold !== null ? limit(alert.threshold, kind, unit) : null],
    ["Expected", alert.low === null ? null : `${v(alert.low)} – ${v(alert.high)}`],
    ["Peak", alert.peak === null ? null : v(alert.peak)],
    ["Surprise", alert.score === null ? null : `${alert.score.toFixed(1)}${alert.threshold === null ? "" : ` of ${alert.threshold}`}`],
    ["Looks like", alert.shape],
    ["As rare as", alert.tail && `one in ${Number((1 / alert.tail).toPrecision(2))} of its surprises`],
    ["Because of", Object.entries(alert.contributions ?? {}).map(([name, share]) => `${name} ${Math.round(100 * share)} %`).join(" · ")],
    ["Told by", alert.parent && h("a", { href: `#alert/${encodeURIComponent(alert.parent)}` }, "the alert that explains it")],
    ["Shares", (alert.shares ?? []).map((s) => `${tagText(s.tags) || "all"} ${Math.round(100 * s.share)} %`).join(" · ")],
    ["Began", time(alert.started_at, { seconds: true })],
    ["Fired", time(alert.fired_at, { seconds: true })],
    ["Resolved", alert.resolved_at && time(alert.resolved_at, { seconds: true })],
    [alert.resolved_at ? "Lasted" : "For", duration(end - Date.parse(alert.started_at))],
    ["Where", tagText(alert.tags) || "everywhere"],
    ["Delay", alert.seen_at && `${duration(Date.parse(alert.seen_at) - Date.parse(alert.fired_at))} after event time`],
    ["Rule", `${alert.rule} (${alert.rule_version.slice(0, 8)})`],
  ];
  return h("dl", { class: "facts" }, rows.filter(([, x]) => x).map(([name, x]) =>
    h("div", { class: name.toLowerCase() }, h("dt", {}, name), h("dd", {}, x))));
}

function versions(history) {
  const items = history.slice().reverse().map((a) => {
    const revision = a.revision ? ` · revision ${a.revision}` : "";
    return h("li", { class: a.state },
      h("span", { class: "when" }, time(a.updated_at, { seconds: true })),
      h("strong", {}, `${STATES[a.state]}${revision}`),
      h("span", {}, a.reason));
  });
  return h("section", { class: "log" }, h("h2", {}, "History"), h("ol", {}, items));
}

function sent(deliveries) {
  const items = deliveries.slice().reverse().map((d) => h("li", { class: d.outcome },
    h("span", { class: "when" }, time(d.at, { seconds: true })),
    h("strong", {}, `${d.receiver} · ${d.transition}`),
    h("span", {}, [d.outcome, d.status ? `HTTP ${d.status}` : null, `${d.attempts} ${d.attempts === 1 ? "try" : "tries"}`, d.reason || null].filter(Boolean).join(" · "))));
  return h("section", { class: "log" }, h("h2", {}, "Deliveries"),
    items.length ? h("ol", {}, items) : h("p", { class: "none" }, "Nothing was sent about this alert."));
}

function findingList(section, marks) {
  const items = marks.slice().reverse().map((m) => h("li", { class: m.state },
    h("span", { class: "when" }, time(new Date(m.at).toISOString(), { seconds: true })),
    h("a", { href: `#alert/${encodeURIComponent(m.incident)}` }, h("strong", {}, `${STATES[m.state]} · ${m.rule}`)),
    h("span", {}, m.reason)));
  const body = items.length ? h("ol", {}, items) : h("p", { class: "none" }, "No rule has changed its state here in this span.");
  section.replaceChildren(h("h2", {}, "Findings"), body);
}
