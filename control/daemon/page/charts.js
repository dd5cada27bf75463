// SPDX-License-Identifier: Apache-2.0
// Lines over the last hour, drawn by hand in SVG: a pointer or the arrow keys read them off, and the same numbers are in a table.

import {h} from "./dom.js";
import {clock} from "./words.js";

const WIDTH = 560, HEIGHT = 148, LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 22;
const POINTS = 180;  // more are joined: as many as one can see

/** So that a grid line is a number that people say. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** Joins neighbours: rates are means, weighted by time. */
export function joined(samples) {
  const each = Math.max(1, Math.ceil(samples.length / POINTS));
  const all = [];
  for (let at = 0; at < samples.length; at += each) {
    const some = samples.slice(at, at + each);
    const sum = (key) => some.reduce((total, sample) => total + sample[key], 0);
    all.push({
      unix_ms: some.at(-1).unix_ms,
      seconds: sum("seconds"),
      resumed: sum("resumed"),
      full: sum("full"),
      moved: sum("moved"),
      moves_failed: sum("moves_failed"),
      drops: sum("drops"),
      cpu_saved_s: sum("cpu_saved_s")
    });
  }
  return all;
}

/**
 * A chart of `points` {unix_ms, values: [number or null for each of `lines`]}. lines: [{name, tone}]; top: the axis ends there,
 * or at what is needed; write: how a value is written; now: at the right edge; span_ms: from left to right.
 */
export function chart({key, title, points, lines, write, top, now, span_ms, read}) {
  const highest = top ?? ceiling(Math.max(0, ...points.flatMap((point) => point.values.map((value) => value ?? 0))));
  const x = (ms) => LEFT + (WIDTH - LEFT - RIGHT) * (1 - (now - ms) / span_ms);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(value, highest) / highest);
  const grid = [0, 0.5, 1].map(
      (share) =>
          [h("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(share * highest), y2: y(share * highest)}),
           h("text", {class: "tick", x: LEFT - 6, y: y(share * highest) + 3.5, "text-anchor": "end"}, write(share * highest))]);
  const minutes = span_ms / 60000;
  const times = [1, 0.75, 0.5, 0.25, 0].map(
      (share) =>
          h("text", {
            class: "tick",
            x: x(now - share * span_ms),
            y: HEIGHT - 6,
            "text-anchor": share === 1 ? "start" :
                share === 0            ? "end" :
                                         "middle"
          },
            share === 0 ? "now" : `−${+ (share * minutes).toFixed(1)} min`));
  const drawn = lines.map((line, at) => path(points, at, line, x, y));
  const chosen = read === undefined || read === null ? null : points[Math.max(0, Math.min(points.length - 1, read))];
  const latest = points.at(-1);
  const spoken = `${title}. ${
      lines.map((line, at) => `${line.name}: ${latest ? value(latest.values[at], write) : "nothing known"}`).join(", ")}.`;
  return h(
      "figure", {class: "chart", "data-key": key},
      h("figcaption", null, h("h3", null, title), legend(lines, chosen ?? latest, write, chosen)),
      h("svg", {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        tabindex: 0,
        "data-chart": key,
        "aria-label": `${spoken} Arrow keys read it off.`
      },
        grid, times, drawn,
        chosen && h("line", {class: "hair", x1: x(chosen.unix_ms), x2: x(chosen.unix_ms), y1: TOP, y2: HEIGHT - BOTTOM}),
        points.length === 0 &&
            h("text", {class: "tick", x: (WIDTH + LEFT) / 2, y: HEIGHT / 2, "text-anchor": "middle"},
              "The first sample comes in a few seconds")),
      table(title, points, lines, write));
}

const value = (number, write) => (number === null || number === undefined ? "–" : write(number));

function legend(lines, point, write, chosen) {
  return h(
      "p", {class: "legend"}, h("span", {class: "when"}, chosen ? clock(chosen.unix_ms) : "now"),
      lines.map(
          (line, at) =>
              h("span", {class: `key ${line.tone}`}, h("span", {class: "swatch", "aria-hidden": "true"}), `${line.name} `,
                h("b", null, point ? value(point.values[at], write) : "–"))));
}

/** Where nothing is known there is no line. */
function path(points, at, line, x, y) {
  const pieces = [];
  let piece = null;
  for (const point of points) {
    const number = point.values[at];
    if (number === null || number === undefined)
      piece = null;
    else if (piece)
      piece.push(point);
    else
      pieces.push(piece = [point]);
  }
  const along = (some) => some.map((point) => `${x(point.unix_ms).toFixed(1)} ${y(point.values[at]).toFixed(1)}`).join("L");
  return pieces.map(
      (some) =>
          h("g", {class: `line ${line.tone}`},
            line.filled && some.length > 1 && h("path", {
              class: "area",
              d: `M${x(some[0].unix_ms).toFixed(1)} ${y(0)}L${along(some)}L${x(some.at(-1).unix_ms).toFixed(1)} ${y(0)}Z`
            }),
            some.length > 1 ? h("path", {class: "stroke", d: `M${along(some)}`}) :
                              h("circle", {cx: x(some[0].unix_ms), cy: y(some[0].values[at]), r: 2})));
}

/** One row a minute or so: what a screen reader, or a person who wants numbers, reads. */
function table(title, points, lines, write) {
  const each = Math.max(1, Math.ceil(points.length / 12));
  const rows = points.filter((_, at) => (points.length - 1 - at) % each === 0).reverse();
  return h(
      "details", {class: "numbers"}, h("summary", null, "Numbers", h("span", {class: "hidden"}, ` of ${title}`)),
      h("table", null,
        h("thead", null, h("tr", null, h("th", {scope: "col"}, "time"), lines.map((line) => h("th", {scope: "col"}, line.name)))),
        h("tbody", null,
          rows.map(
              (point) =>
                  h("tr", null, h("th", {scope: "row"}, clock(point.unix_ms)),
                    lines.map((_, at) => h("td", null, value(point.values[at], write))))))));
}

/** The point of `points` below a pointer at `client_x` over `svg`. */
export function pointAt(svg, client_x, points, now, span_ms) {
  const box = svg.getBoundingClientRect();
  const at = ((client_x - box.left) / box.width) * WIDTH;
  const ms = now - span_ms * (1 - (at - LEFT) / (WIDTH - LEFT - RIGHT));
  let nearest = 0;
  points.forEach((point, index) => {
    if (Math.abs(point.unix_ms - ms) < Math.abs(points[nearest].unix_ms - ms)) nearest = index;
  });
  return nearest;
}
