// Opens a gateway's page in headless Chromium, whose microphone is a file, presses Speak,
// and cuts the page's connection in the middle of the file. It exits with 0 if every given
// word is among the finals that the page shows, the page says that nothing was lost, and a
// wrong key and a microphone that is not allowed are told.
//
//   node browser.mjs URL WAVFILE WORD...
//
// KEY is the API key to type, SHOT a name for screenshots: SHOT-phone-STATE.png and
// SHOT-desktop-STATE.png. CHROMIUM is the browser, /usr/bin/chromium by default.
import { readFileSync } from "node:fs";
import net from "node:net";
import { resolve } from "node:path";
import { chromium } from "playwright-core";

const [url, file, ...words] = process.argv.slice(2);
if (words.length === 0) {
  console.error("usage: node browser.mjs URL WAVFILE WORD...");
  process.exit(2);
}

const patience = 60_000; // ms, for anything that the page waits for
const away = 1500; // ms for which nothing gets through

// seconds is how long a WAV file with a plain header plays.
function seconds(name) {
  const wav = readFileSync(name);
  return (wav.length - 44) / wav.readUInt32LE(28);
}

// A wire stands between browser and gateway, and can be cut.
class Wire {
  constructor(to) {
    this.to = to;
    this.whole = true;
    this.sockets = new Set();
    this.server = net.createServer((client) => this.join(client));
  }

  listen() {
    return new Promise((done) => this.server.listen(0, "127.0.0.1", () => done(this.server.address().port)));
  }

  join(client) {
    if (!this.whole) return client.resetAndDestroy();
    const gateway = net.connect(this.to.port, this.to.hostname);
    for (const [one, other] of [[client, gateway], [gateway, client]]) {
      this.sockets.add(one);
      one.on("error", () => {}); // close follows
      one.on("close", () => { this.sockets.delete(one); other.destroy(); });
      one.pipe(other);
    }
  }

  cut() {
    this.whole = false;
    for (const s of this.sockets) s.resetAndDestroy();
  }

  mend() { this.whole = true; }
}

const wire = new Wire(new URL(url));
const through = new URL(url);
through.port = await wire.listen();

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-audio-capture=${resolve(file)}%noloop`,
  ],
});

// shoot takes a picture at each width.
async function shoot(page, state) {
  if (!process.env.SHOT) return;
  for (const [name, width, height] of [["phone", 390, 844], ["desktop", 1280, 900]]) {
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: `${process.env.SHOT}-${name}-${state}.png`, fullPage: true });
  }
}

const says = (page, text) => page.waitForFunction(
  (re) => new RegExp(re).test(document.querySelector("#status").textContent), text, { timeout: patience });

// refused presses Speak where it can't succeed, and returns what the page says.
async function refused(name, key, before) {
  const page = await browser.newPage();
  if (before) await page.addInitScript(before);
  await page.goto(url);
  await page.fill("#key", key);
  await page.press("#key", "Enter");
  await page.waitForSelector("#status.alarm", { timeout: patience });
  await shoot(page, name);
  const text = await page.textContent("#status");
  const again = await page.isEnabled("#speak") && await page.textContent("#speak") === "Speak";
  await page.close();
  return again ? text : `${text} (and Speak can't be pressed again)`;
}

async function run() {
  const wrong = []; // what is not as it should be
  const page = await browser.newPage();
  // What the console says: a policy that blocks the page's own code shows here.
  page.on("console", (m) => m.type() === "error" && wire.whole && wrong.push(`console: ${m.text()}`));
  page.on("pageerror", (err) => wrong.push(`script: ${err}`));
  await page.goto(through.href);
  if (process.env.KEY) await page.fill("#key", process.env.KEY);
  await page.click("#speak");
  await says(page, "^Listening|^The|^Un|^No |^Some");
  const half = (seconds(file) * 1000) / 2; // the file plays once, at its own pace
  await page.waitForTimeout(half);
  wire.cut();
  await says(page, "^The connection was lost");
  await page.waitForTimeout(away);
  await shoot(page, "away");
  wire.mend();
  await says(page, "^Listening");
  await page.waitForTimeout(half + 1000);
  await shoot(page, "listening");
  if (await page.isEnabled("#speak") && (await page.textContent("#speak")) === "Stop") await page.click("#speak");
  await page.waitForFunction(() => document.querySelector("#speak").textContent === "Speak", null, { timeout: patience });
  await shoot(page, "done");
  const heard = (await page.locator("#finals").innerText()).replace(/\s+/g, " ");
  const status = await page.textContent("#status");
  console.log(`heard: ${heard}\nstatus: ${status}`);
  if (!/lost once\. Nothing that you said was lost\.$/.test(status)) wrong.push(`status: ${status}`);
  const spoken = heard.toLowerCase().split(/[^\p{L}\p{N}']+/u);
  const missing = words.filter((w) => !spoken.includes(w.toLowerCase()));
  if (missing.length > 0) wrong.push(`missing: ${missing.join(", ")}`);

  if (process.env.KEY) {
    const text = await refused("key", "wrong");
    if (!/does not know this API key\.$/.test(text)) wrong.push(`a wrong key: ${text}`);
  }
  const denied = await refused("denied", process.env.KEY || "", () => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  if (!/^The microphone was not allowed\./.test(denied)) wrong.push(`no microphone: ${denied}`);
  for (const w of wrong) console.log(w);
  return wrong.length === 0 ? 0 : 1;
}

let status = 1;
try {
  status = await run();
} catch (err) {
  console.error(err.message);
}
await browser.close();
process.exit(status);
