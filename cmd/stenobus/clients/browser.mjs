// Opens a gateway's page in headless Chromium, whose microphone is a file, presses Speak,
// and exits with 0 if every given word is among the finals that the page shows.
//
//   node browser.mjs URL WAVFILE WORD...
//
// KEY is the API key to type, SHOT a name for screenshots: SHOT-phone.png and
// SHOT-desktop.png. CHROMIUM is the browser, /usr/bin/chromium by default.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { chromium } from "playwright-core";

const [url, file, ...words] = process.argv.slice(2);
if (words.length === 0) {
  console.error("usage: node browser.mjs URL WAVFILE WORD...");
  process.exit(2);
}

const patience = 60_000; // ms, for anything that the page waits for

// seconds is how long a WAV file with a plain header plays.
function seconds(name) {
  const wav = readFileSync(name);
  return (wav.length - 44) / wav.readUInt32LE(28);
}

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
async function shoot(page) {
  if (!process.env.SHOT) return;
  for (const [name, width, height] of [["phone", 390, 844], ["desktop", 1280, 900]]) {
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: `${process.env.SHOT}-${name}.png`, fullPage: true });
  }
}

async function run() {
  const page = await browser.newPage();
  const wrong = []; // what the console says is wrong: a policy that blocks the page's own code shows here
  page.on("console", (m) => m.type() === "error" && wrong.push(m.text()));
  page.on("pageerror", (err) => wrong.push(String(err)));
  await page.goto(url);
  if (process.env.KEY) await page.fill("#key", process.env.KEY);
  await page.click("#speak");
  await page.waitForFunction(() => /^Listening|^The|^Un|^No |^Some/.test(document.querySelector("#status").textContent), null, { timeout: patience });
  await page.waitForTimeout((seconds(file) + 1) * 1000); // the file plays once, at its own pace
  await shoot(page);
  if (await page.isEnabled("#speak") && (await page.textContent("#speak")) === "Stop") await page.click("#speak");
  await page.waitForFunction(() => document.querySelector("#speak").textContent === "Speak", null, { timeout: patience });
  const heard = (await page.locator("#finals").innerText()).replace(/\s+/g, " ");
  const status = await page.textContent("#status");
  console.log(`heard: ${heard}\nstatus: ${status}`);
  for (const w of wrong) console.log(`console: ${w}`);
  const spoken = heard.toLowerCase().split(/[^\p{L}\p{N}']+/u);
  const missing = words.filter((w) => !spoken.includes(w.toLowerCase()));
  if (missing.length > 0) console.log(`missing: ${missing.join(", ")}`);
  return missing.length === 0 && wrong.length === 0 ? 0 : 1;
}

let status = 1;
try {
  status = await run();
} catch (err) {
  console.error(err.message);
}
await browser.close();
process.exit(status);
