// SPDX-License-Identifier: Apache-2.0
// The page: what keyraild says becomes what is seen. All that is known is in `known`; show() draws it.

import {act} from "./actions.js";
import {chart, joined, pointAt} from "./charts.js";
import {chassis, moves, services} from "./chassis.js";
import {difference, history, inForce, trial} from "./config.js";
import {$, fill, h} from "./dom.js";
import {list} from "./events.js";
import {ask, follow} from "./follow.js";
import {costs, drops} from "./packets.js";
import {ratesOf} from "./rates.js";
import {clock, count, day, duration, percent, problems, rate, verdict} from "./words.js";

const SPAN_MS = 3600000, EVENTS = 1000, SAMPLES = 720, MINUTE = 12;

const known = {
  live: null,
  frames: [],
  you: null,
  version: "",
  link: {live: false, why: ""},
  lost_at: 0,
  heard_at: 0,
  skew_ms: 0,
  events: [],
  samples: [],
  texts: {},
  revisions: null,
  moves: null,
  moves_at: "",
  chosen: null,
  diff: null,
  words: "",
  read: {}
};

const may = () => known.you?.role === "admin" && known.link.live;

// --- what keyraild says

function heard(kind, data) {
  if (kind === "hello") {
    known.you = data.you;
    if (known.version && known.version !== data.version) location.reload();  // the page of another keyraild
    known.version = data.version;
    refresh();
  } else if (kind === "chassis") {
    const before = known.live?.config;
    known.live = data;
    known.heard_at = Date.now();
    known.skew_ms = data.unix_ms - Date.now();
    known.frames = [...known.frames.slice(-11), data];
    if (data.trend && data.trend.unix_ms > (known.samples.at(-1)?.unix_ms ?? 0))
      known.samples = [...known.samples, data.trend].slice(-SAMPLES);
    refreshMoves(data.stats.moves);
    if (before && before.revision !== data.config.revision) refreshHistory();
  } else if (kind === "event") {
    if (data.id <= (known.events.at(-1)?.id ?? 0)) return;
    known.events = [...known.events, data].slice(-EVENTS);
    if (data.kind.startsWith("config.")) refreshHistory();
  }
  soon();
}

function link(state) {
  if (!state.live && known.link.live) known.lost_at = Date.now();
  if (!state.live && !known.lost_at) known.lost_at = Date.now();
  if (state.live && !known.link.live) known.frames = known.frames.slice(-1);
  known.link = state;
  if (state.live) known.lost_at = 0;
  soon();
}

/** What the stream does not say: asked for once for each connection. */
async function refresh() {
  refreshHistory();
  const [trend, stats] = await Promise.all([ask("/v1/trend"), ask("/v1/stats")].map((asked) => asked.catch(() => null)));
  if (trend) known.samples = trend.samples;
  if (stats)
    known.texts =
        Object.fromEntries(stats.counters.filter((text) => text.of === "reasons").map((text) => [text.name, text.meaning]));
  soon();
}

async function refreshHistory() {
  const answer = await ask("/v1/config/history").catch(() => null);
  if (answer) known.revisions = answer.revisions;
  soon();
}

/** Whenever there were some. An older keyraild does not list them. */
async function refreshMoves(counters) {
  const at = JSON.stringify([counters?.moved, counters?.under_way, counters?.refused, counters?.lost]);
  if (at === known.moves_at || known.moves_at === "never") return;
  known.moves_at = at;
  const answer = await ask("/v1/moves").catch((error) => error);
  if (answer.status === 404)
    known.moves_at = "never";
  else if (answer.latest)
    known.moves = answer;
  soon();
}

async function choose(number) {
  const before = Math.max(0, ...known.revisions.map((one) => one.revision).filter((one) => one < number)) || null;
  known.chosen = number;
  known.diff = {before, after: number, changes: null};
  soon();
  if (before === null) return;
  const diff = await ask("/v1/config/diff", {before, after: number}).catch((error) => ({error: error.message}));
  if (known.chosen === number) known.diff = {before, after: number, ...diff};
  soon();
}

// --- what is seen

let drawing = 0;
function soon() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    show();
  });
}

function show() {
  showLink();
  if (!known.live) return;
  const {live} = known;
  const found = problems(live);
  const rates = ratesOf(known.frames);
  document.title = `${known.link.live ? verdict(live, found).sign : "✕"} ${live.status.chassis} · Keyrail`;
  document.body.classList.toggle("stale", !known.link.live);
  fill($("#chassis-name"), live.status.chassis);
  showVerdict(live, found);
  fill($("#trial"), trial(live.config.pending, Date.now() + known.skew_ms, may()));
  fill($("#figures"), figures(live, rates));
  fill($("#chassis"), chassis(live, rates, may()));
  fill($("#moves"), moves(known.moves, live));
  fill($("#services"), services(live));
  fill($("#charts"), charts());
  fill($("#costs"), costs(live));
  fill($("#reasons"), drops(live, rates, known.texts));
  fill($("#in-force"), inForce(live.config));
  fill($("#history"), history(known.revisions, known.chosen));
  fill($("#diff"), difference(known.diff));
  fill($("#event-list"), list(known.events, known.words));
  fill($("#version"), `keyraild ${live.status.version}, up ${duration(live.status.uptime_s)}`);
}

function showLink() {
  const {live, why, fix, status} = known.link;
  const at = $("#link");
  at.dataset.link = live ? "live" : known.lost_at ? "lost" : "connecting";
  fill(at, h("span", {"aria-hidden": "true"}, live ? "●" : "✕"), live ? " live" : " not live");
  fill($("#you"), known.you ? `${known.you.name}, ${known.you.role === "admin" ? "may change things" : "may look"}` : "");
  if (live || !known.lost_at) return fill($("#lost"));
  const since = known.heard_at || known.lost_at;
  const refused = status >= 400;
  fill(
      $("#lost"),
      h("section", {class: "notice bad"},
        h("p", null,
          h("b", null,
            refused            ? "keyraild refuses this page." :
                known.heard_at ? "keyraild is gone." :
                                 "keyraild cannot be reached."),
          refused ? ` ${why}${fix ? `; ${fix}` : ""}.` :
              known.heard_at      ? ` Nothing was heard of it since ${clock(since)} (${
                                   duration((Date.now() - since) / 1000)}). Everything below is what it said last.` :
                                    ` ${why}.`),
        !refused &&
            h("p", {class: "quiet"},
                   "keyrail-dp goes on by what it was told last: connections are served. No session is moved, no blade is drained and nothing is changed until keyraild is back. " +
                       "On the dispatcher: systemctl status keyraild. This page tries again by itself.")));
}

function showVerdict(live, found) {
  const said = verdict(live, found);
  const old = !known.link.live;
  const more = !old && said.said ? found.slice(1) : found;
  fill(
      $("#verdict"),
      h("section", {class: `verdict ${old ? "unknown" : said.tone}`, "aria-label": "How the chassis is"},
        h("p", {class: "line"}, h("span", {class: "sign", "aria-hidden": "true"}, old ? "?" : said.sign),
          h("strong", {id: "verdict-text"}, old ? "How the chassis is now is not known" : said.text)),
        !old && said.detail && h("p", {class: "detail"}, said.detail),
        more.length > 0 &&
            h("ul", {class: "problems"},
              more.map(
                  (one) =>
                      h("li", {class: one.tone, "data-key": one.key},
                        h("span", {class: "sign", "aria-hidden": "true"}, {bad: "✕", warn: "▲", info: "i"}[one.tone]),
                        h("span", null, h("b", null, one.title), one.detail && ` ${one.detail}`))))));
  if (!old && showVerdict.before !== said.text) fill($("#said"), h("p", {class: "hidden"}, said.text));
  showVerdict.before = old ? "" : said.text;
}

function figures(live, rates) {
  const minute = known.samples.slice(-MINUTE);
  const sum = (key) => minute.reduce((total, sample) => total + sample[key], 0);
  const handshakes = sum("resumed") + sum("full"), seconds = sum("seconds");
  const sessions = live.blades.reduce((total, blade) => total + (blade.sessions ?? 0), 0);
  const one = (key, label, value, detail, raw) =>
      h("div", {class: "figure", "data-key": key}, h("p", {class: "label"}, label),
        h("p", {class: "value", "data-fact": key, "data-value": raw}, value), h("p", {class: "quiet"}, detail));
  const saved = live.stats.economics?.handshake_cpu_saved_seconds ?? 0;
  return [
    one("resumption", "Resumed, last minute", handshakes ? percent(sum("resumed") / handshakes) : "–",
        handshakes ? `of ${count(handshakes)} handshakes` : "no handshakes"),
    one("saved", "CPU saved", `${saved >= 90 ? duration(saved) : `${saved.toFixed(1)} s`}`,
        seconds ? `now ${(sum("cpu_saved_s") / seconds).toFixed(2)} cores` : "by resumptions", saved),
    one("connections", "Connections", `${rate(rates.flows)}/s`, `${count(live.stats.flows)} open`),
    one("sessions", "Sessions", count(sessions), `${count(live.status.moved_sessions)} away from home`, sessions),
    one("moves", "Moves", `${rate(rates.moved)}/s`, `${count(live.stats.moves?.under_way)} under way`),
    one("dropped", "Drops", live.stats.drops === undefined ? "–" : `${rate(rates.drops)}/s`,
        live.stats.drops === undefined ? "not known" : `${count(live.stats.drops)} in all`)
  ];
}

function chartData() {
  const points = joined(known.samples);
  const per = (sample, key) => (sample.seconds > 0 ? sample[key] / sample.seconds : null);
  const of = (values) => points.map((sample) => ({unix_ms: sample.unix_ms, values: values(sample)}));
  return {
    resumption: {
      title: "Resumption rate",
      top: 1,
      write: percent,
      lines: [{name: "resumed", tone: "one", filled: true}],
      points: of((sample) => [sample.resumed + sample.full > 0 ? sample.resumed / (sample.resumed + sample.full) : null])
    },
    handshakes: {
      title: "Handshakes a second",
      write: rate,
      lines: [{name: "resumed", tone: "one"}, {name: "full", tone: "two"}],
      points: of((sample) => [per(sample, "resumed"), per(sample, "full")])
    },
    saved: {
      title: "Handshake CPU saved, in cores",
      write: (value) =>
          (value === 0     ? "0" :
               value < 0.1 ? value.toFixed(3) :
                             value.toFixed(2)),
      lines: [{name: "saved", tone: "one", filled: true}],
      points: of((sample) => [per(sample, "cpu_saved_s")])
    },
    moves: {
      title: "Sessions moved a second",
      write: rate,
      lines: [{name: "moved", tone: "one"}, {name: "failed", tone: "two"}],
      points: of((sample) => [per(sample, "moved"), per(sample, "moves_failed")])
    },
  };
}

function window_of() {
  const now = known.samples.at(-1)?.unix_ms ?? Date.now();
  const first = known.samples[0]?.unix_ms ?? now;
  const span_ms = [300000, 900000, 1800000, SPAN_MS].find((span) => span >= now - first) ?? SPAN_MS;
  return {now, span_ms};
}

const charts = () =>
    Object.entries(chartData()).map(([key, what]) => chart({key, ...what, ...window_of(), read: known.read[key]}));

// --- what the user does

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (!button) return;
  if (button.dataset.action === "revision") return void choose(Number(button.dataset.revision));
  if (button.dataset.action === "theme") return theme(true);
  act(button.dataset.action, known, Number(button.dataset.blade), say);
});
$("#words").addEventListener("input", (event) => {
  known.words = event.target.value;
  soon();
});
for (const kind of ["pointermove", "pointerleave"])
  document.addEventListener(kind, (event) => {
    const svg = event.target.closest?.("[data-chart]");
    const key = svg?.dataset.chart;
    if (!key && Object.keys(known.read).length === 0) return;
    const {now, span_ms} = window_of();
    known.read = key && kind === "pointermove" ? {[key]: pointAt(svg, event.clientX, chartData()[key].points, now, span_ms)} : {};
    soon();
  }, true);
document.addEventListener("keydown", (event) => {
  const key = document.activeElement?.dataset?.chart;
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!key || !step) return;
  event.preventDefault();
  const {points, lines, write} = chartData()[key];
  if (points.length === 0) return;
  const at = Math.max(0, Math.min(points.length - 1, (known.read[key] ?? points.length) + step));
  known.read = {[key]: at};
  fill(
      $("#said"),
      h("p", {class: "hidden"},
        `${clock(points[at].unix_ms)}: ${
            lines
                .map(
                    (line, index) =>
                        `${line.name} ${points[at].values[index] === null ? "nothing" : write(points[at].values[index])}`)
                .join(", ")}`));
  soon();
});

/** A message that goes by itself. */
function say(tone, text) {
  const message = h("p", {class: `message ${tone}`}, text);
  $("#said").append(message);
  setTimeout(() => message.remove(), 9000);
}

function theme(next) {
  const all = ["auto", "dark", "light"];
  let now = "auto";
  try {
    now = localStorage.getItem("theme") ?? "auto";
    if (next) localStorage.setItem("theme", (now = all[(all.indexOf(now) + 1) % all.length]));
  } catch { /* it is remembered nowhere */
  }
  document.documentElement.dataset.theme = now;
  $("#theme").textContent = `Theme: ${now === "auto" ? "automatic" : now}`;
}

theme(false);
setInterval(() => (known.link.live && !known.live?.config.pending ? null : soon()), 1000);  // what counts seconds
follow("/v1/live", heard, link);
window.keyrail = {
  known,
  day
};  // for people with a console
