// One series on screen: its points are fetched once, then continued as new windows close.
import { findings, windows } from "./api.js";
import { draw, erase } from "./charts.js";

const MAX_POINTS = 1500;
const REVISED_MS = 10 * 60_000;

export class Plot {
  /** `options`: { size, threshold, large, onData }. */
  constructor(element, key, options) {
    this.element = element;
    this.key = key;
    this.options = options;
    this.series = { kind: "gauge", unit: "" };
    this.points = [];
    this.marks = [];
    this.alerts = [];
    this.range = [0, 1];
    this.loaded = false;
    this.visible = true;
  }

  /** Fetches [from, to) and draws it. */
  async load(from, to) {
    this.range = [from, to];
    const [found, marks] = await Promise.all([
      windows(this.key, { from, to, step: this.step(to - from), size: this.options.size, limit: 5000 }),
      findings(this.key, { from, to }),
    ]);
    if (this.range[0] !== from) return;
    this.series = found;
    this.points = found.points.map(point);
    this.marks = marks.items.map(mark);
    this.loaded = true;
    await this.draw();
  }

  /** Spans with more windows than a chart shows are asked for more coarsely. */
  step(span) {
    const { every } = this.options;
    const steps = span / every;
    return steps > MAX_POINTS ? Math.ceil(steps / MAX_POINTS) * every : undefined;
  }

  /** Continues to `to`, re-reading the last minutes where late events revised them. */
  async extend(from, to, revised) {
    if (!this.loaded) return;
    this.range = [from, to];
    const last = this.points.at(-1)?.start ?? from;
    const since = Math.max(from, revised ? last - REVISED_MS : last);
    const [found, marks] = await Promise.all([
      windows(this.key, { from: since, to, step: this.step(to - from), size: this.options.size, limit: 5000 }),
      findings(this.key, { from: since - 60_000, to: to + 60_000 }),
    ]);
    const fresh = found.points.map(point);
    const before = fresh.length ? fresh[0].start : Infinity;
    this.points = [...this.points.filter((p) => p.start < before), ...fresh].filter((p) => p.at >= from);
    const known = new Set(marks.items.map((m) => `${m.incident}/${m.state}/${m.at}`));
    this.marks = [...this.marks.filter((m) => m.at >= from && !known.has(m.id)), ...marks.items.map(mark)];
    await this.draw();
  }

  async draw() {
    const { options, points, marks, alerts, range, series } = this;
    options.onData?.(this);
    if (!this.visible || !this.element.isConnected) return;
    await draw(this.element, {
      series, points, marks, alerts, range, threshold: options.threshold ?? null, large: options.large ?? false,
    });
  }

  close() {
    erase(this.element);
  }
}

/** A window stands at its end: only then is its value known. */
const point = (p) => ({ ...p, start: Date.parse(p.start), at: Date.parse(p.end) });
const mark = (m) => ({ ...m, id: `${m.incident}/${m.state}/${m.at}`, at: Date.parse(m.at) });
