// Building elements. Text always goes in as text: nothing that the API says is ever read as HTML.

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/**
 * An element. Properties: `class`, `data` (an object), `on` (listeners), anything else is an
 * attribute; null and false leave it out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** Sets text only where it differs, so that screen readers and selections are left in peace. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** A small line of numbers as an SVG, filled below. */
export function sparkline(values, width = 120, height = 30) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const known = values.filter((v) => v !== null);
  if (known.length < 2) return svg;
  const top = Math.max(...known);
  const bottom = Math.min(0, ...known);
  const x = (i) => (i / (values.length - 1)) * width;
  const y = (v) => height - 2 - ((v - bottom) / (top - bottom || 1)) * (height - 4);
  let line = "";
  let pen = "M";
  values.forEach((v, i) => {
    if (v === null) pen = "M";
    else {
      line += `${pen}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
      pen = "L";
    }
  });
  for (const [kind, path] of [["area", `${line}L${width} ${height}L0 ${height}Z`], ["line", line]]) {
    const element = document.createElementNS(namespace, "path");
    element.setAttribute("d", path);
    element.setAttribute("class", kind);
    svg.append(element);
  }
  return svg;
}
