// SPDX-License-Identifier: Apache-2.0
// What became of packets, in words, and what handshakes cost.

import {h} from "./dom.js";
import {count, duration, micro, rate} from "./words.js";

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Packets that were dropped, by why; those of now first. */
export function drops(live, rates, texts) {
  if (live.stats.reasons === undefined)
    return h("p", {class: "empty"}, "keyrail-dp does not say: it is not connected, or does not answer.");
  const rows =
      Object.entries(live.stats.reasons)
          .filter(([name, number]) => name.startsWith("drop_") && number > 0)
          .map(
              ([name, number]) =>
                  ({name, number, now: rates.reasons[name] ?? 0, text: texts[name] ?? name.slice(5).replaceAll("_", " ")}))
          .sort((one, other) => other.now - one.now || other.number - one.number);
  const lost = live.stats.conserved === false ?
      h("p", {class: "warn"}, "The counters do not add up at this moment: rx is not tx + punt + held + drops.") :
      null;
  const head =
      h("p", null, h("b", {"data-fact": "drops", "data-value": live.stats.drops}, count(live.stats.drops)),
        ` dropped of ${count(live.stats.rx)} packets since keyrail-dp started, ${duration(live.stats.uptime_s)} ago; `,
        h("b", null, `${rate(rates.drops)}/s`), " now");
  if (rows.length === 0) return [lost, head, h("p", {class: "empty"}, "No packet was dropped.")];
  const most = Math.max(...rows.map((row) => row.number));
  return [
    lost, head,
    h("table", {class: "drops"},
      h("thead", null,
        h("tr", null, h("th", {scope: "col"}, "why"), h("th", {scope: "col"}, "packets"), h("th", {scope: "col"}, "now"))),
      h("tbody", null,
        rows.map(
            (row) =>
                h("tr", {"data-key": row.name}, h("th", {scope: "row"}, sentence(row.text), h("code", null, row.name)),
                  h("td", null, h("span", {"data-fact": `reason.${row.name}`, "data-value": row.number}, count(row.number)),
                    h("svg", {class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true"},
                      h("rect", {class: "value", width: Math.max(0.5, (100 * row.number) / most), height: 6}))),
                  h("td", null, row.now > 0 ? `${rate(row.now)}/s` : "–")))))
  ];
}

/** Per service and TLS version: what a handshake costs, and what was saved. */
export function costs(live) {
  const rows = (live.stats.economics?.handshakes ?? []).filter((one) => one.full.count + one.resumed.count > 0);
  if (rows.length === 0) return h("p", {class: "empty"}, "No handshake was measured yet.");
  return h(
      "div", {class: "scrolls", tabindex: 0, role: "group", "aria-label": "Costs of handshakes, a table"},
      h("table", {class: "wide"},
        h("thead", null,
          h("tr", null,
            ["service", "TLS", "full", "resumed", "full costs", "resumed costs", "CPU saved"].map(
                (name) => h("th", {scope: "col"}, name)))),
        h("tbody", null,
          rows.map(
              (one) =>
                  h("tr", null, h("th", {scope: "row"}, one.service), h("td", null, one.tls_version),
                    h("td", null, count(one.full.count)), h("td", null, count(one.resumed.count)),
                    h("td", null, micro(one.full.cpu_us ?? NaN)), h("td", null, micro(one.resumed.cpu_us ?? NaN)),
                    h("td", null, duration(one.cpu_saved_seconds)))))));
}
