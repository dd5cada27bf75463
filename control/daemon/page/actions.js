// SPDX-License-Identifier: Apache-2.0
// What an admin does from here. Each asks first, and says what will happen.

import {$, fill, h} from "./dom.js";
import {ask} from "./follow.js";
import {count, duration, lastOf, named} from "./words.js";

const RATE = 2000;

/** Shows the dialog; resolves to the form's values, or null when it was closed otherwise. */
function asked(title, body, yes, tone) {
  const dialog = $("#dialog");
  fill(
      $("#dialog-form"), h("h2", {id: "dialog-title"}, title), body,
      h("p", {class: "actions"}, h("button", {value: "yes", class: `first ${tone}`}, yes),
        h("button", {value: "", formnovalidate: true}, "Leave it")));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(new FormData($("#dialog-form")));
      done(dialog.returnValue === "yes" ? values : null);
      fill($("#dialog-form"));
    }, {once: true});
  });
}

async function askDrain(live, blade) {
  const last = lastOf(live, blade);
  const body = [
    h("p", null,
      `New clients go to other blades at once. Its ${count(blade.sessions)} sessions are moved to them, which takes about ${
          duration(blade.sessions / RATE)}; connections that it has go on.`),
    last.length > 0 &&
        h("p", {class: "bad", role: "alert"},
          h("b", null, `It is the last blade of ${last.join(" and ")}: new clients will be refused.`)),
    h("p", {class: "field"},
      h("label",
        { for: "rate"
        },
        "Sessions a second, at most"),
      h("input", {id: "rate", name: "rate", type: "number", min: 1, max: 100000, value: RATE, required: true})),
    h("p", {class: "field"},
      h("label",
        { for: "deadline"
        },
        "To be free in (minutes; empty: no matter when)"),
      h("input", {id: "deadline", name: "deadline", type: "number", min: 1, max: 10080})),
    last.length > 0 &&
        h("p", {class: "field"},
          h("label",
            { for: "sure"
            },
            `Write “${named(blade)}” to go on`),
          h("input",
            {id: "sure", name: "sure", required: true, autocomplete: "off", pattern: named(blade).replace(/[.]/g, "\\.")}))
  ];
  const values = await asked(`Drain ${named(blade)}?`, body, "Drain it", last.length > 0 ? "bad" : "");
  if (!values) return null;
  return {rate: Number(values.rate), ...(values.deadline ? {deadline_s: 60 * Number(values.deadline)} : {})};
}

const ACTIONS = {
  async drain({live}, blade) {
    const wish = await askDrain(live, blade);
    if (!wish) return "";
    const answer = await ask(`/v1/blades/${blade.id}/drain`, wish);
    return [`${named(blade)} drains`, ...(answer.notes ?? [])].join("; ");
  },
  async resume(_, blade) {
    const sure = await asked(
        `Let ${named(blade)} take clients again?`,
        h("p", null, "It gets new clients at once. Sessions that were moved stay where they are."), "Take clients again", "");
    if (!sure) return "";
    await ask(`/v1/blades/${blade.id}/resume`, {});
    return `${named(blade)} takes clients again`;
  },
  async confirm({live}) {
    const {pending} = live.config;
    const sure =
        pending && await asked(`Confirm revision ${pending.revision}?`, h("p", null, "It stays in force."), "Confirm", "");
    if (!sure) return "";
    await ask("/v1/config/confirm", {}, pending.revision);
    return `Revision ${pending.revision} stays`;
  },
  async cancel({live}) {
    const {pending} = live.config;
    const sure = pending &&
        await asked(`Go back to revision ${pending.back_to} now?`,
                    h("p", null, `Revision ${pending.revision} is in force no more.`), "Go back", "");
    if (!sure) return "";
    await ask("/v1/config/cancel", {}, pending.revision);
    return `Revision ${pending.back_to} is back`;
  },
};

export async function act(name, known, id, say) {
  const blade = known.live?.blades.find((one) => one.id === id);
  try {
    const done = await ACTIONS[name]?.(known, blade);
    if (done) say("good", done);
  } catch (error) {
    say("bad", `${error.message}${error.fix ? `; ${error.fix}` : ""}`);
  }
}
