// SPDX-License-Identifier: Apache-2.0
// How numbers are written, and what is to be said about the chassis. Pure: what comes in is an answer of the API.

export const count = (value) => (Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "–");

/** Three digits are enough for a rate. */
export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  return value >= 100 ? count(value) :
      value >= 10     ? value.toFixed(0) :
      value >= 1      ? value.toFixed(1) :
      value < 0.01    ? "<0.01" :
                        value.toFixed(2);
}

/** 100 % is all of them, not nearly all. */
export function percent(value) {
  if (!Number.isFinite(value)) return "–";
  const digits = Number.isInteger(100 * value) ? 0 : value > 0.9995 ? 2 : 1;
  return `${(Math.floor(100 * value * 10 ** digits) / 10 ** digits).toFixed(digits)} %`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 2 * 86400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function micro(us) {
  if (!Number.isFinite(us)) return "–";
  return us < 1000 ? `${Math.round(us)} µs` :
      us < 1e6 ? `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms` :
                 `${(us / 1e6).toFixed(1)} s`;
}

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1000;
  return `${value >= 100 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

const pad = (number) => String(number).padStart(2, "0");
/** The browser's own clock and zone. */
export function clock(unix_ms) {
  const at = new Date(unix_ms);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}
export function day(unix_ms) {
  const at = new Date(unix_ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(unix_ms)}`;
}

const plural = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;
export const named = (blade) => (blade.name ? `${blade.name}` : `blade ${blade.id}`);

/** A state as a word and a sign: colour alone says nothing. */
export const STATES = {
  up: {word: "up", sign: "●", tone: "good"},
  overloaded: {word: "overloaded", sign: "▲", tone: "warn"},
  draining: {word: "draining", sign: "◐", tone: "info"},
  empty: {word: "drained", sign: "○", tone: "info"},
  down: {word: "down", sign: "✕", tone: "bad"},
  gone: {word: "gone", sign: "✕", tone: "bad"},
};
export function stateOf(blade) {
  if (blade.gone) return STATES.gone;
  if (blade.state === "draining" && blade.drain?.empty) return STATES.empty;
  return STATES[blade.state] ?? {word: blade.state, sign: "?", tone: "warn"};
}

/** The parts of a service that clients ask for: itself, and its routes. */
export function parts(service) {
  const routes = (service.routes ??
                  []).map((route) => ({...route, what: `${service.name}, ${route.sni}${route.alpn ? ` (${route.alpn})` : ""}`}));
  return [{...service, what: service.name}, ...routes];
}

const say = (tone, title, detail = "", key = title) => ({tone, title, detail, key});

function ofDispatcher(live) {
  const {status, stats} = live;
  const found = [];
  if (!status.dataplane?.connected) {
    found.push(
        say("bad", "keyraild has no connection to keyrail-dp",
            "If keyrail-dp is not running, no packet passes this dispatcher. See: systemctl status keyrail-dp", "dp"));
  } else if (stats.uptime_s === undefined) {
    found.push(
        say("bad", "keyrail-dp does not answer",
            "It is connected and says nothing: it hangs, or was stopped. Packets may not pass. " +
                "See: systemctl status keyrail-dp",
            "dp"));
  } else {
    if (status.dataplane.snapshot_generation < status.snapshot_generation - 1)
      found.push(
          say("warn", "keyrail-dp works by an older snapshot",
              `It has ${status.dataplane.snapshot_generation}, the newest is ${status.snapshot_generation}.`));
    for (const port of stats.ports ?? [])
      if (port.link_up === false)
        found.push(say("bad", `Port ${port.name} has no link`, "Look at its cable and at the other end."));
  }
  return found;
}

function ofServices(live) {
  const found = [];
  const services = live.status.services ?? [];
  if (services.length === 0)
    found.push(say("warn", "No service is configured", "Nobody is served. keyrail config example shows one."));
  for (const service of services) {
    if (service.disabled)
      found.push(say("warn", `Service ${service.name} is disabled`, "An operator wants it so: its new clients are refused."));
    if (service.fail_open)
      found.push(
          say("warn", `Service ${service.name}: checks are ignored`,
              "Too many of its blades are ill at once: they take clients all the same."));
    for (const part of service.disabled ? [] : parts(service))
      if (!(part.blades_up > 0))
        found.push(
            say("bad", `Service ${part.what} has no blade that takes clients`,
                `None of ${plural((part.blades ?? []).length, "blade")} of pool ${part.pool}: new clients are refused.`));
      else if (part.blades_up === 1 && (part.blades ?? []).length > 1)
        found.push(
            say("warn", `Service ${part.what} is down to one blade`,
                `1 of ${part.blades.length} of pool ${part.pool} takes new clients.`));
  }
  return found;
}

function ofBlade(blade) {
  const who = `${named(blade)} (slot ${blade.id})`;
  const found = [];
  if (blade.gone)
    found.push(say("bad", `${who} is gone`, "It does not answer at all: what it had is bound anew."));
  else if (blade.disabled)
    found.push(say("info", `${who} is disabled`, "An operator wants it so: it takes no new clients."));
  else if (blade.state === "down")
    found.push(say("warn", `${who} takes no clients`, blade.why_down || "Nobody knows why."));
  if (blade.state !== "down" && blade.agent && !blade.agent.connected)
    found.push(
        say("warn", `${who} has no agent`,
            "keyraild has no connection to it: nobody can tell how the blade is, and no session can be moved."));
  if (blade.state === "overloaded")
    found.push(say("warn", `${who} is over its load limit`, "It gets no new clients until it is clearly below."));
  for (const fault of blade.faults ?? [])
    if (fault !== blade.why_down) found.push(say("warn", `${who}: ${fault}`));
  if (blade.drain && blade.drain.failed > 0 && !blade.drain.empty)
    found.push(say("warn", `${who}: ${plural(blade.drain.failed, "session")} could not be moved`, "Tried again every second."));
  return found;
}

function ofRest(live) {
  const found = [];
  for (const [kind, repository] of Object.entries(live.status.repositories ?? {})) {
    if (!repository.up) found.push(say("warn", `Repository ${kind} is down`, repository.problem || ""));
    if (repository.lost > 0)
      found.push(
          say("warn", `Repository ${kind} has lost ${plural(repository.lost, "change")}`,
              "There was no room for them while it was away."));
  }
  for (const left of live.status.left ?? [])
    found.push(
        say("info", `${named(left)} (slot ${left.id}) is configured no more`,
            left.gone ? "It is gone." : "The flows that it has live on."));
  if (live.status.settled === false) found.push(say("info", "keyraild has just started", "It waits for the blades to report."));
  return found;
}

/** What is wrong, the worst first; empty: all is well. */
export function problems(live) {
  const order = {bad: 0, warn: 1, info: 2};
  return [...ofDispatcher(live), ...ofServices(live), ...(live.blades ?? []).flatMap(ofBlade), ...ofRest(live)].sort(
      (one, other) => order[one.tone] - order[other.tone]);
}

/** One line for the whole chassis; `said`: it is the first of what was found. */
export function verdict(live, found) {
  const worst = found[0]?.tone;
  if (worst === "bad") return {tone: "bad", sign: "✕", text: found[0].title, detail: found[0].detail, said: true};
  if (worst === "warn") {
    const number = found.filter((one) => one.tone === "warn").length;
    return number === 1 ? {tone: "warn", sign: "▲", text: found[0].title, detail: found[0].detail, said: true} :
                          {tone: "warn", sign: "▲", text: `${number} things to look at`};
  }
  const taking = live.blades.filter((blade) => blade.takes_new).length;
  return {
    tone: "good",
    sign: "●",
    text: `All is well: ${plural(taking, "blade")} ${taking === 1 ? "takes" : "take"} clients for ${
        plural(live.status.services.length, "service")}`
  };
}

/** Services whose last blade this one is. */
export function lastOf(live, blade) {
  const takes = new Set(live.blades.filter((one) => one.takes_new && one.id !== blade.id).map((one) => one.id));
  return live.status.services.flatMap(parts)
      .filter((part) => (part.blades ?? []).includes(blade.id) && !part.blades.some((id) => takes.has(id)))
      .map((part) => part.what);
}
