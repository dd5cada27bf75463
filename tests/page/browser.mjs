// SPDX-License-Identifier: Apache-2.0
// Headless Chromium by Playwright, for the tests in Python (support/browser.py): a command in JSON a line, an answer a line.

import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import {createInterface} from "node:readline";

const modules = createRequire(`${process.env.KR_MODULES}/`);
const {chromium} = modules("playwright-core");
/** Asked for, and 404 where keyraild does not list moves. */
const NOT_YET = /\/v1\/moves$/;
const AXE = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");
const browser =
    await chromium.launch({executablePath: process.env.KR_CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"]});
let page = null;
let mistakes = [];

const COMMANDS = {
  /** A fresh browser: width, height, color (light, dark), certificate {origin, certPath, keyPath}, touch. */
  async open({url, width = 1366, height = 900, color = "light", certificate, touch = false}) {
    await page?.context().close();
    mistakes = [];
    const context = await browser.newContext({
      viewport: {width, height},
      colorScheme: color,
      reducedMotion: "reduce",
      hasTouch: touch,
      bypassCSP: false,
      ignoreHTTPSErrors: Boolean(certificate) || url.startsWith("https:"),
      ...(certificate ? {clientCertificates: [certificate]} : {})
    });
    page = await context.newPage();
    page.on("pageerror", (error) => mistakes.push(String(error)));
    page.on(
        "console",
        (message) => message.type() === "error" && !NOT_YET.test(message.location().url) &&
            mistakes.push(`${message.text()} ${message.location().url}`));
    page.on(
        "request",
        (request) => !request.url().startsWith(new URL(url).origin) && !request.url().startsWith("data:") &&
            mistakes.push(`from elsewhere: ${request.url()}`));
    const answer = await page.goto(url);
    return {status: answer.status(), text: answer.status() === 200 ? "" : await answer.text()};
  },
  text: ({at}) => page.locator(at).first().innerText(),
  async values({at}) {
    return page.locator(at).evaluateAll(
        (all) => Object.fromEntries(all.map((one) => [one.dataset.fact, one.dataset.value ?? null])));
  },
  count: ({at}) => page.locator(at).count(),
  async click({at}) {
    await page.locator(at).first().click({timeout: 10000});
    return true;
  },
  async fill({at, text}) {
    await page.locator(at).first().fill(text);
    return true;
  },
  async press({key}) {
    await page.keyboard.press(key);
    return true;
  },
  /** What has the focus. */
  focused: () => page.evaluate(
      () => `${document.activeElement.tagName} ${document.activeElement.dataset.action ?? ""} ${
          document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim().slice(0, 60)}`),
  js: ({code}) => page.evaluate(code),
  /** Asked from outside: the page itself may evaluate nothing. */
  async wait({code, seconds = 10}) {
    for (const end = Date.now() + seconds * 1000; !await page.evaluate(code);) {
      if (Date.now() > end) throw new Error(`not within ${seconds} s: ${code}`);
      await new Promise((done) => setTimeout(done, 50));
    }
    return true;
  },
  async screenshot({path, full = true}) {
    await page.screenshot({path, fullPage: full});
    return true;
  },
  /** What axe-core finds: only what it calls serious or critical. */
  async axe() {
    // As a tool in the page's own world would be: the page allows no scripts of others.
    await page.evaluate(AXE);
    const found = await page.evaluate(() => globalThis.axe.run(document, {resultTypes: ["violations"]}));
    return found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
        .map(
            (one) => `${one.id}: ${one.help}: ${
                one.nodes.map((node) => `${node.target.join(" ")} ${node.failureSummary}`).slice(0, 4).join(" | ")}`);
  },
  mistakes: () => mistakes,
};

for await (const line of createInterface({input: process.stdin})) {
  const {command, ...how} = JSON.parse(line);
  let answer;
  try {
    answer = {value: (await COMMANDS[command](how)) ?? null};
  } catch (error) {
    answer = {error: String(error.message ?? error)};
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
