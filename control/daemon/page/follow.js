// SPDX-License-Identifier: Apache-2.0
// keyraild's API as the page uses it: what it says on and on, by server-sent events, and single requests.

const SILENCE_MS = 3500;  // keyraild sends the chassis every second
const WAITS_MS = [250, 500, 1000, 2000];

/** An error object of the API; `status` is HTTP's, 0 when nothing came. */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.fix = error.fix ?? "";
  }
}

async function refusal(answer) {
  const error = await answer.json().then((body) => body.error, () => null);
  return new Refused(answer.status, error ?? {message: `HTTP status ${answer.status}`});
}

/** GET, or POST of `body`; `revision`: only while that one is in force. */
export async function ask(path, body, revision) {
  const match = revision === undefined ? {} : {"If-Match": `"${revision}"`};
  const how = body === undefined ?
      {} :
      {method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json", ...match}};
  let answer;
  try {
    answer = await fetch(path, {...how, cache: "no-store", signal: AbortSignal.timeout(15000)});
  } catch {
    throw new Refused(0, {message: "keyraild does not answer", fix: "nothing is known of what became of it"});
  }
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}

/** Takes a stream's text apart: `heard(kind, data, id)` for each event. */
function reader(heard) {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = {};
      for (const line of block.split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
      }
      if (fields.data) heard(fields.event, JSON.parse(fields.data), fields.id);
    }
  };
}

/**
 * Follows for ever. `heard(kind, data)`; `link(state)`: {live: true}, or {live: false, why, fix, status}. keyraild that says
 * nothing for a while counts as gone, whatever becomes of the connection.
 */
export async function follow(path, heard, link) {
  let last = "";
  for (let tries = 0;; tries++) {
    const abort = new AbortController();
    let timer = 0;
    const word = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      word();
      const answer = await fetch(path, {
        headers: {Accept: "text/event-stream", ...(last ? {"Last-Event-ID": last} : {})},
        cache: "no-store",
        signal: abort.signal
      });
      if (!answer.ok) throw await refusal(answer);
      const take = reader((kind, data, id) => {
        if (id) last = id;
        if (kind === "chassis") {
          word();
          tries = 0;
          link({live: true});
        }
        heard(kind, data);
      });
      const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const {done, value} = await text.read();
        if (done) break;
        take(value);
      }
      link({live: false, status: 0, why: "keyraild has ended the connection", fix: ""});
    } catch (error) {
      const known = error instanceof Refused;
      link({
        live: false,
        status: known ? error.status : 0,
        why: known ? error.message : "keyraild does not answer",
        fix: known ? error.fix : ""
      });
    }
    clearTimeout(timer);
    abort.abort();
    await new Promise((done) => setTimeout(done, WAITS_MS[Math.min(tries, WAITS_MS.length - 1)]));
  }
}
