// SPDX-License-Identifier: Apache-2.0
// The chassis slot by slot: the dispatcher above, a card for each blade, and who serves what.

import {h} from "./dom.js";
import {bytes, count, duration, micro, named, parts, percent, rate, stateOf} from "./words.js";

export function chassis(live, rates, may) {
  return [
    dispatcher(live, rates),
    h("ol", {class: "slots", "aria-label": "Blades"},
      live.blades.map((blade) => slot(blade, checksOf(live, blade), rates.blades[blade.id] ?? {}, may)))
  ];
}

const state = ({tone, sign, word}) => h("span", {class: `state ${tone}`}, h("span", {"aria-hidden": "true"}, sign), ` ${word}`);
const fact = (name, value, raw, label, extra) =>
    h("div", null, h("dt", null, label), h("dd", {"data-fact": name, "data-value": raw}, value, extra));

function dispatcher({status, stats}, rates) {
  const connected = status.dataplane?.connected;
  const answers = connected && stats.uptime_s !== undefined;
  const shown = !connected ? {tone: "bad", sign: "✕", word: "not connected"} :
      answers              ? {tone: "good", sign: "●", word: "forwarding"} :
                             {tone: "bad", sign: "✕", word: "does not answer"};
  return h(
      "section", {class: `dispatcher ${shown.tone}`, "aria-labelledby": "dispatcher-name"},
      h("header", null, h("h3", {id: "dispatcher-name"}, "Dispatcher"), state(shown),
        h("p", {class: "quiet"},
          connected ? `keyrail-dp ${status.dataplane.version}, ${status.dataplane.workers} ${
                          status.dataplane.workers === 1 ? "worker" : "workers"}` :
                      "keyrail-dp")),
      h("dl", {class: "facts"}, fact("flows", answers ? count(stats.flows) : "–", stats.flows, "flows"),
        fact("rx.rate", answers ? `${rate(rates.rx)}/s` : "–", null, "packets in"),
        fact("moves.moved", count(stats.moves?.moved), stats.moves?.moved, "sessions moved"),
        fact("moves.under_way", count(stats.moves?.under_way), stats.moves?.under_way, "under way"),
        fact("moves.p50_us", stats.moves?.moved ? micro(stats.moves.p50_us) : "–", stats.moves?.p50_us, "a move takes")),
      h("ul", {class: "ports", "aria-label": "Ports"},
        (stats.ports ?? [])
            .map(
                (port) =>
                    h("li", {class: port.link_up ? "good" : "bad"}, h("span", {"aria-hidden": "true"}, port.link_up ? "●" : "✕"),
                      ` ${port.name}`, h("span", {class: "hidden"}, port.link_up ? " up" : " without link")))));
}

/** keyraild's own checks; none in one that makes none. */
const checksOf = (live, blade) => (live.stats.checks ?? []).filter((check) => check.blade === blade.id);

function slot(blade, found, rates, may) {
  const shown = stateOf(blade);
  const ails = shown.tone === "good" && (blade.faults?.length > 0 || blade.agent?.connected === false);
  return h(
      "li", {class: `slot ${ails ? "warn" : shown.tone}`, "data-key": `slot${blade.id}`, "data-blade": blade.id},
      h("article", {"aria-labelledby": `blade${blade.id}`},
        h("header", null, h("span", {class: "number", "aria-label": `slot ${blade.id}`}, String(blade.id).padStart(2, "0")),
          h("h3", {id: `blade${blade.id}`}, named(blade)), h("span", {class: shown.tone}, state(shown))),
        (blade.why_down || blade.disabled) && h("p", {class: "why"}, blade.disabled ? "disabled by an operator" : blade.why_down),
        h("dl", {class: "facts"},
          fact(`blade.${blade.id}.sessions`, count(blade.sessions), blade.sessions, "sessions", flow(rates.sessions)),
          fact(`blade.${blade.id}.connections`, `${rate(rates.flows)}/s`, null, "connections"),
          fact(`blade.${blade.id}.resumption`, percent(rates.resumed / (rates.resumed + rates.full)), null, "resumed")),
        load(blade), drain(blade), checks(blade, found), faults(blade), actions(blade, may),
        h("details", {class: "more"}, h("summary", null, "More", h("span", {class: "hidden"}, ` of ${named(blade)}`)),
          more(blade))));
}

/** Sessions that come and go, as they do. */
function flow(change) {
  if (!Number.isFinite(change) || Math.abs(change) < 0.05) return null;
  return h("span", {class: `change ${change > 0 ? "in" : "out"}`}, `${change > 0 ? "+" : "−"}${rate(Math.abs(change))}/s`);
}

function load(blade) {
  const over = blade.load > blade.load_limit;
  return h(
      "div", {class: "load"}, h("span", {class: "label", id: `load${blade.id}`}, "load"),
      h("svg", {
        class: `bar ${over ? "warn" : ""}`,
        viewBox: "0 0 100 6",
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `load ${blade.load} percent, limit ${blade.load_limit}`
      },
        h("rect", {class: "track", width: 100, height: 6}),
        h("rect", {class: "value", width: Math.min(100, blade.load), height: 6}),
        blade.load_limit < 100 && h("rect", {class: "limit", x: blade.load_limit - 0.5, width: 1, height: 6})),
      h("span", {class: "number", "data-fact": `blade.${blade.id}.load`, "data-value": blade.load},
        `${Math.round(blade.load)} %`));
}

function drain(blade) {
  const at = blade.drain;
  if (!at) return null;
  const all = at.moved + at.left, share = all === 0 ? 1 : at.moved / all;
  const said = at.empty ? `Empty after ${duration(at.seconds)}: ${count(at.moved)} sessions moved` :
                          `${count(at.moved)} of ${count(all)} sessions moved${
                              at.estimate_s === null ? "" : `, about ${duration(at.estimate_s)} to go`}`;
  const until =
      at.deadline_ms ? h("p", {class: "quiet"}, `to be free by ${new Date(at.deadline_ms).toLocaleTimeString()}`) : null;
  return h(
      "div", {class: "drain"},
      h("svg", {
        class: "bar info",
        viewBox: "0 0 100 6",
        preserveAspectRatio: "none",
        role: "progressbar",
        "aria-label": `drain of ${named(blade)}`,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.round(100 * share),
        "aria-valuetext": said
      },
        h("rect", {class: "track", width: 100, height: 6}), h("rect", {class: "value", width: 100 * share, height: 6})),
      h("p", null, said, at.failed > 0 && h("span", {class: "warn"}, `; ${count(at.failed)} failed`),
        at.empty ? "" : `, ${count(at.rate)}/s at most`),
      until);
}

/** What the agent says of each address, and keyraild's own checks. */
function checks(blade, found) {
  const rows = [];
  for (const server of blade.servers ?? []) {
    const addresses = server.addresses?.length ? server.addresses : [{address: "", listening: server.listening}];
    for (const one of addresses) rows.push(serverRow(one, server.port));
  }
  if (blade.agent && !blade.agent.connected) rows.push(row("bad", "agent", "not connected"));
  rows.push(...found.map(checkRow));
  return rows.length === 0 ? null : h("ul", {class: "checks", "aria-label": "Checks"}, rows);
}

function serverRow(one, port) {
  const wrong = one.address_here === false ? "no address of this blade" :
      !one.listening                       ? "nobody listens" :
      one.hangs                            ? "does not answer" :
                                             "";
  const remark = wrong ? "" : one.without_hooks ? "without the hook library" : one.mptcp ? "by MPTCP" : "";
  const where =
      one.address ? (one.address.includes(":") ? `[${one.address}]:${port}` : `${one.address}:${port}`) : `port ${port}`;
  return row(wrong ? "bad" : remark ? "warn" : "good", where, wrong || remark || "listens");
}

/** The answer that it got, and how long that took. */
function checkRow(check) {
  const tone = check.state === "up" ? "good" : check.state === "down" ? "bad" : "warn";
  const {last} = check;
  const said = check.trouble ||
      (last ? [last.why || last.answer, last.good && last.resumed ? "resumed" : "", last.took_us ? micro(last.took_us) : ""]
                  .filter(Boolean)
                  .join(", ") :
              "no answer yet");
  const held = check.held_ms ? `; stays out for ${duration(check.held_ms / 1000)}` :
      check.share < 100 ? `; ${check.share} % of its clients` :
                          "";
  return row(tone, `${check.type} ${check.address}`, `${said}${held}${check.fail_open ? "; ignored, too many are ill" : ""}`);
}

const row = (tone, what, said) =>
    h("li", {class: tone}, h("span", {class: "sign", "aria-hidden": "true"}, SIGNS[tone]),
      h("span", null, h("code", null, what), " ", h("span", {class: "said"}, said)));
const SIGNS = {
  good: "✓",
  bad: "✕",
  warn: "!"
};

function faults(blade) {
  const more = (blade.faults ?? []).filter((fault) => fault !== blade.why_down);
  return more.length === 0 ? null : h("ul", {class: "faults", "aria-label": "Faults"}, more.map((fault) => h("li", null, fault)));
}

function actions(blade, may) {
  if (!may) return null;
  const verb = blade.draining ? ["resume", "Take clients again"] : ["drain", "Drain…"];
  return h(
      "p", {class: "actions"},
      h("button", {
        type: "button",
        "data-action": verb[0],
        "data-blade": blade.id,
        "aria-label": `${verb[1].replace("…", "")}: ${named(blade)}`
      },
        verb[1]));
}

function more(blade) {
  const agent = blade.agent ?? {};
  const rows = [
    ["address", blade.address],
    ["agent", `${agent.address ?? "–"}, ${agent.connected ? `connected, ${agent.version || "?"}` : "not connected"}`],
    ["session store", bytes(blade.store_bytes ?? 0)], ["kernel", agent.kernel || "–"],
    ["accept program", agent.accept_program ? "works" : "none"], ["resumed, in all", count(blade.resumed)],
    ["full handshakes, in all", count(blade.full)], ["load limit", `${blade.load_limit} %`]
  ];
  if (blade.weight !== undefined) rows.push(["weight", `${blade.weight} %`]);
  return h(
      "dl", null, rows.map(([name, said]) => [h("dt", null, name), h("dd", null, said)]),
      (agent.problems ?? []).map((problem) => [h("dt", null, "problem"), h("dd", null, problem)]));
}

export function services(live) {
  const rows = live.status.services.flatMap((service) => parts(service).map((part, at) => serviceRow(service, part, at > 0)));
  return h(
      "div", {class: "scrolls", tabindex: 0, role: "group", "aria-label": "Services, a table"},
      h("table", {class: "wide"},
        h("thead", null,
          h("tr", null,
            ["service", "addresses", "pool", "bound", "blades that take clients"].map((name) => h("th", {scope: "col"}, name)))),
        h("tbody", null, rows)));
}

function serviceRow(service, part, is_route) {
  const all = (part.blades ?? []).length, up = part.blades_up ?? 0;
  const tone = up === 0 ? "bad" : up < all ? "warn" : "good";
  const binding = service.binding ? service.binding.now : service.steering === "tuple" ? "by addresses" : "–";
  return h(
      "tr", {"data-service": part.what},
      h("th", {scope: "row"},
        is_route ? h("span", {class: "route"}, `${part.sni}${part.alpn ? ` (${part.alpn})` : ""}`) : service.name),
      h("td", null,
        is_route ? "" :
                   service.addresses.map(
                       (address) => h(
                           "code", null, address.includes(":") ? `[${address}]:${service.port}` : `${address}:${service.port}`))),
      h("td", null, part.pool), h("td", {title: service.binding?.why ?? ""}, is_route ? "" : binding),
      h("td", null,
        h("span", {class: `state ${tone}`},
          h("span", {"aria-hidden": "true"},
            up === 0     ? "✕" :
                up < all ? "▲" :
                           "●"),
          " ",
          h("span", {"data-fact": `service.${part.what}.blades_up`, "data-value": up},
            up === 0 ? `none of ${all}` : `${up} of ${all}`))));
}

/** The latest moves: who had the session, who has it, how it went. null: this keyraild does not list them. */
export function moves(list, live) {
  if (!list) return null;
  const name = (id) => named(live.blades.find((blade) => blade.id === id) ?? {id});
  const some = [
    ...list.under_way.map((move) => ({...move, result: "under way"})),
    ...[...list.latest].sort((one, other) => other.ended_ms - one.ended_ms)
  ].slice(0, 8);
  if (some.length === 0) return h("p", {class: "empty"}, "No session was moved yet.");
  return h(
      "ol", {class: "moves", "aria-label": "Latest moves"},
      some.map(
          (move) =>
              h("li", {"data-key": `move${move.order}`}, h("code", null, `${move.session.slice(0, 8)}…`),
                h("span", null, `${name(move.from)} → ${name(move.to)}`), h("span", {class: "quiet"}, move.service),
                h("span",
                  {class: move.result === "moved"  ? "state good" :
                       move.result === "under way" ? "state info" :
                                                     "state warn"},
                  move.result),
                h("span", {class: "quiet"}, move.took_us ? micro(move.took_us) : ""))));
}
