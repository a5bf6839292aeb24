// Charts: a value, the band that was expected, findings as marks, alerts as shaded spans.
import { $ } from "./dom.js";
import { limit as limitText, utc, value as valueText } from "./format.js";

const MOST_BANDS = 40;
const HOVER = '%{text}<br><span style="font-size:11px">%{customdata}</span><extra></extra>';

let library;

/** The chart library, once it has loaded; it comes after the page, which does not wait for it. */
export function charts() {
  library ??= new Promise((resolve, reject) => {
    if (window.Plotly) resolve(window.Plotly);
    const script = $("charts-library");
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => reject(new Error("the chart library did not load")));
  });
  return library;
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function palette() {
  return {
    text: style("--muted"), line: style("--hair"), value: style("--value"), band: style("--band"),
    surface: style("--raised"), strong: style("--text"), learning: style("--faint"),
    page: style("--page"), ticket: style("--ticket"), info: style("--info"), good: style("--good"),
    font: getComputedStyle(document.body).fontFamily,
  };
}

const severityColour = (colours, severity) => colours[severity] ?? colours.info;

/** Splits points where windows are missing, so that a gap stays a gap. */
function withGaps(points) {
  const out = [];
  const steps = points.slice(1).map((p, i) => p.at - points[i].at).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 0;
  points.forEach((p, i) => {
    if (i && p.at - points[i - 1].at > 2.5 * usual) out.push({ at: p.at - usual, value: null, low: null, high: null });
    out.push(p);
  });
  return out;
}

/** Stretches of points that all have a band: the library fills across gaps between them. */
function bands(points) {
  const out = [];
  let stretch = [];
  for (const p of points) {
    if (p.low !== null && p.high !== null) stretch.push(p);
    else if (stretch.length) {
      out.push(stretch);
      stretch = [];
    }
  }
  if (stretch.length) out.push(stretch);
  return out.slice(-MOST_BANDS);
}

function bandTraces(points, colours) {
  return bands(points).flatMap((stretch) => {
    const edge = { x: stretch.map((p) => new Date(p.at)), mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
    return [
      { ...edge, name: "low", y: stretch.map((p) => p.low) },
      { ...edge, name: "expected", y: stretch.map((p) => p.high), fill: "tonexty", fillcolor: colours.band },
    ];
  });
}

function words(p, series) {
  if (p.value === null) return "no data";
  const v = (x) => valueText(x, series.kind, series.unit);
  const expected = p.low === null ? "" : `<br>expected ${v(p.low)} – ${v(p.high)}`;
  return `<b>${v(p.value)}</b>${expected}${p.learning ? "<br>still learning" : ""}${p.revision ? `<br>revised ${p.revision}×` : ""}`;
}

function traces(points, marks, series, colours) {
  const all = withGaps(points);
  const x = all.map((p) => new Date(p.at));
  // The two lines meet: a point at which learning ends belongs to both.
  const learning = all.map((p, i) => (p.learning || all[i - 1]?.learning ? p.value : null));
  const known = all.map((p) => (p.learning ? null : p.value));
  const lines = { x, mode: "lines", connectgaps: false };
  const hover = { text: all.map((p) => words(p, series)), customdata: all.map((p) => utc(p.at)), hovertemplate: HOVER };
  const out = bandTraces(all, colours);
  if (learning.some((v) => v !== null)) {
    out.push({ ...lines, ...hover, name: "learning", y: learning, line: { color: colours.learning, width: 1.75, dash: "dot" } });
  }
  out.push({ ...lines, ...hover, name: "value", y: known, line: { color: colours.value, width: 1.75 } });
  if (marks.length) out.push(markTrace(marks, series, colours));
  return out;
}

function markTrace(marks, series, colours) {
  const symbols = { firing: "circle", pending: "circle-open", resolved: "diamond-open", retracted: "x-thin-open" };
  const colour = (m) => (m.state === "resolved" ? colours.good : severityColour(colours, m.severity));
  return {
    x: marks.map((m) => new Date(m.at)), y: marks.map((m) => m.value), name: "findings", mode: "markers",
    marker: {
      size: 9, symbol: marks.map((m) => symbols[m.state] ?? "circle"), color: marks.map(colour),
      line: { width: 1.5, color: marks.map((m) => (m.state === "firing" ? colours.surface : colour(m))) },
    },
    text: marks.map((m) => `<b>${m.state}</b> · ${m.rule}<br>${m.reason}`),
    hovertemplate: "%{text}<extra></extra>",
  };
}

/** Alerts as spans from their beginning to their end, or to the chart's. */
function spans(alerts, range, colours) {
  return alerts.flatMap((a) => {
    const from = Math.max(Date.parse(a.started_at), range[0]);
    const to = Math.min(a.resolved_at ? Date.parse(a.resolved_at) : range[1], range[1]);
    if (to <= from || a.state === "retracted") return [];
    const color = severityColour(colours, a.severity);
    const base = { type: "rect", xref: "x", yref: "paper", layer: "below", line: { width: 0 } };
    return [
      { ...base, x0: new Date(from), x1: new Date(to), y0: 0, y1: 1, fillcolor: color, opacity: 0.13 },
      { ...base, x0: new Date(from), x1: new Date(to), y0: 0.985, y1: 1, fillcolor: color, opacity: 0.9 },
    ];
  });
}

function thresholdLine(threshold, colours) {
  return {
    type: "line", xref: "paper", x0: 0, x1: 1, y0: threshold, y1: threshold,
    line: { color: colours.strong, width: 1, dash: "dash" }, opacity: 0.55,
  };
}

/** From zero where that does not press the line against the top; with room at both ends. */
function heights({ points, marks, series, threshold }) {
  const values = [...points.flatMap((p) => [p.value, p.low, p.high]), ...marks.map((m) => m.value), threshold];
  const known = values.filter((v) => v !== null && v !== undefined);
  if (!known.length) return [0, 1];
  const least = series.kind === "ratio" ? 0.01 : 0;
  const top = Math.max(least, ...known);
  const bottom = Math.min(...known);
  if (bottom >= 0 && bottom < 0.45 * top) return [0, top * 1.1];
  const room = 0.12 * (top - bottom) || Math.abs(top) * 0.1 || 1;
  return [bottom - room, top + room];
}

function layout(chart, colours) {
  const { series, range, alerts, threshold, large } = chart;
  const ratio = series.kind === "ratio";
  const axis = { color: colours.text, gridcolor: colours.line, zeroline: false, fixedrange: true, tickfont: { size: 11 } };
  const shapes = spans(alerts, range, colours);
  if (threshold !== null) shapes.push(thresholdLine(threshold, colours));
  return {
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: colours.font, color: colours.text },
    margin: large ? { l: 56, r: 12, t: 10, b: 34 } : { l: 44, r: 8, t: 6, b: 26 },
    showlegend: false,
    hovermode: "closest",
    hoverdistance: 40,
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { family: colours.font, color: colours.strong, size: 12 }, align: "left" },
    xaxis: { ...axis, type: "date", range: range.map((t) => new Date(t)), showgrid: false, ticklabelstandoff: 5, nticks: large ? 8 : 4, tickformatstops: TICKS },
    yaxis: {
      ...axis, nticks: large ? 6 : 4, tickformat: ratio ? ".1~%" : ".3~s", range: heights(chart),
    },
    shapes,
    annotations: threshold === null || !large ? [] : [{
      xref: "paper", x: 0.004, y: threshold, xanchor: "left", yanchor: "bottom", showarrow: false,
      text: `limit ${limitText(threshold, series.kind, series.unit)}`, font: { size: 11, color: colours.text },
    }],
  };
}

const TICKS = [
  { dtickrange: [null, 60_000], value: "%H:%M:%S" },
  { dtickrange: [60_000, 86_400_000], value: "%H:%M" },
  { dtickrange: [86_400_000, null], value: "%e %b" },
];

/**
 * Draws or updates a chart in an element. `chart`: { series, points, marks, alerts, range,
 * threshold, large }; times of points in ms under `at`.
 */
export async function draw(element, chart) {
  const plotly = await charts();
  if (!element.isConnected) return;
  const colours = palette();
  // Dates, not numbers: the library shows dates in local time, and numbers in UTC.
  await plotly.react(element, traces(chart.points, chart.marks, chart.series, colours), layout(chart, colours), {
    displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false, showTips: false,
  });
  element.dataset.drawn = String(chart.points.length);
}

/** Frees what a chart holds. */
export async function erase(element) {
  if (window.Plotly && element.data) window.Plotly.purge(element);
}
