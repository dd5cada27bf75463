// SPDX-License-Identifier: Apache-2.0
// From counters to rates, over the last frames (ten seconds or so). A counter that begins anew has no rate for a moment. Pure.

const growth = (now, before, seconds) =>
    (seconds > 0 && Number.isFinite(now) && Number.isFinite(before) && now >= before ? (now - before) / seconds : NaN);

export function ratesOf(frames) {
  const now = frames.at(-1), before = frames[0];
  const seconds = (now.unix_ms - before.unix_ms) / 1000;
  const per = (of) => growth(of(now), of(before), seconds);
  const rates = {
    rx: per((frame) => frame.stats.rx),
    drops: per((frame) => frame.stats.drops),
    moved: per((frame) => frame.stats.moves?.moved),
    reasons: {},
    blades: {}
  };
  for (const name of Object.keys(now.stats.reasons ?? {})) rates.reasons[name] = per((frame) => frame.stats.reasons?.[name]);
  rates.flows = 0;
  for (const blade of now.blades) {
    const of = (frame, list) => list(frame)?.find((one) => one.id === blade.id);
    const from = (key, list) => per((frame) => of(frame, list)?.[key]);
    const reports = (frame) => frame.blades, counters = (frame) => frame.stats.blades;
    const flows = from("flows", counters);
    const was = of(before, reports)?.sessions;
    rates.blades[blade.id] = {
      flows,
      resumed: from("resumed", reports),
      full: from("full", reports),
      sessions: seconds > 0 && Number.isFinite(was) ? (blade.sessions - was) / seconds : NaN
    };
    rates.flows += Number.isFinite(flows) ? flows : 0;
  }
  return rates;
}
