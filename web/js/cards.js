// The busiest series as small charts. What is firing comes first, then the totals, then the rest.
import { get } from "./api.js";
import { $, h, text } from "./dom.js";
import { seriesName, serverNow, tagText, value } from "./format.js";
import { Plot } from "./plot.js";

const MOST = 8;
const TOTALS = ["plays", "error_rate", "startup_p95", "listeners"];
const AHEAD_MS = 5_000;

/** Which series deserve a chart: at most `most`, the ones in trouble first. */
export function pick(series, firing, most = MOST) {
  const byKey = new Map(series.map((s) => [s.key, s]));
  const chosen = new Map();
  const add = (s) => s && chosen.size < most && chosen.set(s.key, s);
  for (const alert of firing.slice(0, most - 3)) add(byKey.get(alert.series));
  for (const measure of TOTALS) add(series.find((s) => s.measure === measure && !Object.keys(s.tags).length));
  for (const s of series.filter((s) => s.kind === "gauge").slice(0, 2)) add(s);
  for (const s of series.filter((s) => s.measure === "plays")) add(s);
  for (const s of series) add(s);
  return [...chosen.values()];
}

export class Cards {
  constructor(alerts) {
    this.alerts = alerts;
    this.cards = new Map();
    this.span = 1800_000;
    this.query = "";
    this.element = $("cards");
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const card = this.cards.get(target.dataset.key);
        if (!card) continue;
        const appears = isIntersecting && !card.plot.visible;
        card.plot.visible = isIntersecting;
        if (appears) card.plot.draw();
      }
    }, { rootMargin: "400px" });
  }

  /** Shows these series; cards that are there stay where they can. */
  async show(series) {
    this.element.setAttribute("aria-busy", "false");
    const keep = new Set(series.map((s) => s.key));
    for (const [key, card] of this.cards) {
      if (keep.has(key)) continue;
      this.seen.unobserve(card.element);
      card.plot.close();
      card.element.remove();
      this.cards.delete(key);
    }
    if (!series.length) {
      this.element.replaceChildren(this.empty());
      return;
    }
    for (const stale of this.element.querySelectorAll(".skeleton, .nothing")) stale.remove();
    const fresh = series.filter((s) => !this.cards.has(s.key));
    for (const s of fresh) this.add(s);
    series.forEach((s, i) => {
      const { element } = this.cards.get(s.key);
      if (this.element.children[i] !== element) this.element.insertBefore(element, this.element.children[i] ?? null);
    });
    for (const s of series) this.cards.get(s.key).info = s;
    await Promise.all(fresh.map((s) => this.load(this.cards.get(s.key))));
  }

  empty() {
    const token = $("sign-out").hidden ? "" : " \\\n  -H 'Authorization: Bearer …'";
    return this.query
      ? h("p", { class: "nothing" }, h("strong", {}, "No series fits."), h("span", {}, `Nothing contains “${this.query}”.`))
      : h("div", { class: "nothing" }, h("strong", {}, "No series yet."),
        h("span", {}, "Publish a first event, and its series appears here within seconds:"),
        h("pre", {}, `curl ${location.origin}/api/v1/metrics -H 'Content-Type: application/json'${token} \\\n  -d '{"name": "requests", "value": 42, "tags": {"host": "a"}}'`));
  }

  add(series) {
    const where = tagText(series.tags);
    const chart = h("div", { class: "chart" });
    const now = h("span", { class: "now" }, "–");
    const link = h("a", { href: `#series/${encodeURIComponent(series.key)}` },
      h("span", { class: "name" }, seriesName(series.key)), where ? h("span", { class: "tags" }, where) : h("span", { class: "tags all" }, "all"));
    const element = h("article", { class: "card", data: { key: series.key } },
      h("h2", {}, link, now), chart);
    const plot = new Plot(chart, series.key, {
      size: "detect", every: series.size_ms,
      onData: (p) => {
        const last = p.points.at(-1);
        text(now, last ? value(last.value, p.series.kind, p.series.unit) : "no data");
        const per = last && series.kind === "count" ? last.at - last.start : 0;
        now.dataset.unit = per === 60_000 ? "/ min" : per === 1000 ? "/ s" : per ? `/ ${per / 1000} s` : "";
      },
    });
    this.cards.set(series.key, { element, plot, info: series, timer: 0, revised: false });
    this.element.append(element);
    this.seen.observe(element);
  }

  /** The span that a card shows: up to now, or to where its data ends if that is long ago. */
  range(card) {
    const end = Date.parse(card.info.last_start) + card.info.size_ms;
    const now = serverNow();
    const to = now - end > this.span / 2 ? end + AHEAD_MS : now + AHEAD_MS;
    return [to - this.span, to];
  }

  async load(card) {
    this.alarm(card);
    try {
      await card.plot.load(...this.range(card).map(Math.round));
      card.element.classList.remove("failed");
    } catch (error) {
      card.element.classList.add("failed");
      card.element.title = error.message;
    }
  }

  /** Gives a card the alerts of its series, and the colour of the gravest that is firing. */
  alarm(card) {
    card.plot.alerts = this.alerts.about(card.info.key);
    const gravest = this.alerts.firing.find((a) => a.series === card.info.key);
    card.element.className = `card ${gravest?.severity ?? ""}`;
  }

  /** Loads every card anew: another span, or back after being away. */
  reload() {
    return Promise.all([...this.cards.values()].map((card) => this.load(card)));
  }

  /** A window has closed: its card goes on, a moment later, with all that came meanwhile. */
  reading(reading) {
    const card = this.cards.get(reading.series);
    if (!card) return;
    card.info = { ...card.info, last_start: reading.start };
    card.revised ||= reading.revision > 0;
    clearTimeout(card.timer);
    card.timer = setTimeout(() => {
      const { revised } = card;
      card.revised = false;
      card.plot.extend(...this.range(card).map(Math.round), revised).catch(() => {});
    }, 250);
  }

  /** An alert changed: its chart shows it. */
  mark(alert) {
    const card = this.cards.get(alert.series);
    if (!card) return;
    this.alarm(card);
    this.reading({ series: alert.series, start: card.info.last_start, revision: 1 });
  }

  /** Draws all again, in new colours. */
  redraw() {
    for (const { plot } of this.cards.values()) if (plot.loaded) plot.draw();
  }

  /** Series whose key or tags contain a text. */
  async find(query) {
    this.query = query;
    const found = await get("/api/v1/series", { q: query, stream: "live", limit: MOST * 2 });
    return found.items;
  }

  get keys() {
    return [...this.cards.keys()];
  }
}
