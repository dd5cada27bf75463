// SPDX-License-Identifier: Apache-2.0
// The configuration: what is in force, who applied what, and what is different.

import {h} from "./dom.js";
import {day, duration} from "./words.js";

/** One on trial: it goes back by itself unless it is confirmed. */
export function trial(pending, now_ms, may) {
  if (!pending) return null;
  const left = Math.max(0, Math.ceil((pending.until_ms - now_ms) / 1000));
  return h(
      "section", {class: "notice info", "aria-label": "Configuration on trial", "data-key": "trial"},
      h("p", null, h("b", null, `Revision ${pending.revision} is on trial.`),
        ` Unless it is confirmed, revision ${pending.back_to} comes back in `, h("b", {class: "countdown"}, `${left} s`), "."),
      may &&
          h("p", {class: "actions"}, h("button", {type: "button", class: "first", "data-action": "confirm"}, "Confirm: it stays"),
            h("button", {type: "button", "data-action": "cancel"}, "Go back now")));
}

const RESULTS = {
  applied: ["good", "✓"],
  confirmed: ["good", "✓"],
  pending: ["info", "◐"],
  "rolled back": ["warn", "↩"]
};

export function history(revisions, chosen) {
  if (!revisions) return h("p", {class: "empty"}, "…");
  if (revisions.length === 0) return h("p", {class: "empty"}, "Nothing was applied yet.");
  return h("ol", {class: "revisions"}, [...revisions].reverse().map((one) => {
    const [tone, sign] = RESULTS[one.result] ?? ["warn", "?"];
    return h(
        "li", {"data-key": `revision${one.revision}`},
        h("button", {
          type: "button",
          "data-action": "revision",
          "data-revision": one.revision,
          "aria-pressed": chosen === one.revision ? "true" : "false"
        },
          h("span", {class: "number"}, one.revision),
          h("span", {class: "what"}, h("span", null, one.message || `${one.from} by ${one.actor}`),
            h("span", {class: "quiet"},
              `${day(one.unix_ms)} · ${one.actor}${one.message ? ` · ${one.from}` : ""}${one.why ? ` · ${one.why}` : ""}`)),
          h("span", {class: `state ${tone}`}, h("span", {"aria-hidden": "true"}, sign), ` ${one.result}`),
          one.in_force && h("span", {class: "badge"}, "in force")));
  }));
}

/** diff: {before, after, changes, effects, mistakes}, or {error}; null: being asked for. */
export function difference(diff) {
  if (!diff) return h("p", {class: "empty"}, "Choose a revision to see what it changed.");
  if (diff.error) return h("p", {class: "bad"}, diff.error);
  const title =
      h("h3", null,
        diff.before === null ? `Revision ${diff.after} is the first that is known` :
                               `What revision ${diff.after} changed from ${diff.before}`);
  if (!diff.changes) return [title, h("p", {class: "empty"}, diff.before === null ? "There is nothing to compare it to." : "…")];
  if (diff.changes.length === 0) return [title, h("p", {class: "empty"}, "Nothing: the same objects and keys.")];
  return [
    title,
    h("div", {class: "scrolls", tabindex: 0, role: "group", "aria-label": "Differences, a table"},
      h("table", {class: "diff wide"},
        h("thead", null, h("tr", null, ["object", "key", "before", "after"].map((name) => h("th", {scope: "col"}, name)))),
        h("tbody", null,
          diff.changes.map(
              (change) =>
                  h("tr", null, h("th", {scope: "row"}, h("code", null, change.object)),
                    h("td", null, h("code", null, change.key || "–")),
                    h("td", null, change.before ? h("del", null, change.before) : "–"),
                    h("td", null, change.after ? h("ins", null, change.after) : "–"))))))
  ];
}

export const inForce = (config) =>
    h("p", null, "Revision ", h("b", {"data-fact": "config.revision", "data-value": config.revision}, config.revision),
      " is in force",
      config.pending ? `, on trial for ${duration(Math.max(0, (config.pending.until_ms - Date.now()) / 1000))}.` : ".");
