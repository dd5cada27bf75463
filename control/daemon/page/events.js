// SPDX-License-Identifier: Apache-2.0
// What happened, and who did it; the latest first.

import {h} from "./dom.js";
import {clock, day} from "./words.js";

const SHOWN = 200;
const TONES = [
  [/down|refused|failed|lost|no_blade|gone|revoked|stuck|rolled_back/, "bad"],
  [/pending|drain|overload|flapping|hidden|cancel/, "warn"], [/up$|resumed|confirmed|applied|done|blade_again/, "good"]
];
const tone = (kind) => TONES.find(([pattern]) => pattern.test(kind))?.[1] ?? "info";

export function list(events, words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found =
      events.filter((event) => wanted.every((word) => `${event.kind} ${event.text} ${event.actor}`.toLowerCase().includes(word)));
  if (found.length === 0)
    return h(
        "p", {class: "empty"},
        events.length === 0 ? "Nothing has happened since keyraild started." : "No event has these words.");
  const shown = found.slice(-SHOWN).reverse();
  return [
    h("ol", {class: "events", tabindex: 0, "aria-label": "Events, the latest first"},
      shown.map(
          (event) =>
              h("li", {class: tone(event.kind), "data-key": `event${event.id}`},
                h("time", {datetime: new Date(event.unix_ms).toISOString(), title: day(event.unix_ms)}, clock(event.unix_ms)),
                h("code", null, event.kind), h("span", {class: "text"}, event.text), h("span", {class: "quiet"}, event.actor)))),
    found.length > SHOWN && h("p", {class: "quiet"}, `The latest ${SHOWN} of ${found.length}. keyrail event list has all.`)
  ];
}
