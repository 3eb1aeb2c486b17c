// Streams a sample through the official Deepgram library, unchanged, to a running
// Stenobus, and fails unless it comes back as text and the connection ends in order.
//
//   node deepgram.mjs ws://127.0.0.1:8080 ../samples/sessions.wav "stop the program" machine
//
// STENOBUS_KEY is the API key where clients need one; STENOBUS_SPEED is how much faster
// than real time the sample is sent, 1 by default.

import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { DeepgramClient } from "@deepgram/sdk";

const [url, file, ...words] = process.argv.slice(2);
if (!url || !file || words.length === 0) {
  console.error("usage: node deepgram.mjs URL AUDIOFILE WORD...");
  process.exit(2);
}
const speed = Number(process.env.STENOBUS_SPEED ?? 1);
const patience = 120_000; // ms for everything

// sample reads a WAV file as raw samples and an Ogg file as it is.
function sample(bytes) {
  if (bytes.toString("latin1", 0, 4) === "OggS") {
    const last = bytes.lastIndexOf("OggS");
    return { audio: bytes, seconds: Number(bytes.readBigInt64LE(last + 6)) / 48_000, asked: {} };
  }
  const data = bytes.indexOf("data") + 8;
  const [channels, rate] = [bytes.readUInt16LE(22), bytes.readUInt32LE(24)];
  return {
    audio: bytes.subarray(data),
    seconds: (bytes.length - data) / (2 * channels * rate),
    asked: { encoding: "linear16", sample_rate: rate, channels },
  };
}

// talk is one connection, told as promises.
async function talk(asked) {
  const client = new DeepgramClient({ apiKey: process.env.STENOBUS_KEY ?? "none", baseUrl: url });
  const socket = await client.listen.v1.connect({
    model: "nova-3", language: "en-US", smart_format: true, punctuate: true,
    interim_results: true, utterance_end_ms: 1000, vad_events: true, endpointing: 300,
    reconnectAttempts: 0, ...asked,
  });
  const heard = { finals: [], interims: 0, types: {} };
  const once = {};
  heard.finalized = new Promise((resolve) => { once.finalized = resolve; });
  heard.closed = new Promise((resolve) => { once.closed = resolve; });
  socket.on("message", (m) => {
    heard.types[m.type] = (heard.types[m.type] ?? 0) + 1;
    if (m.type === "Metadata") heard.metadata = m;
    if (m.type !== "Results") return;
    const { transcript } = m.channel.alternatives[0];
    if (!m.is_final) heard.interims++;
    else if (transcript) heard.finals.push(transcript);
    if (m.from_finalize) once.finalized();
  });
  socket.on("error", (err) => { once.closed({ code: 0, reason: err.message }); });
  socket.on("close", (event) => once.closed(event));
  socket.connect();
  await Promise.race([socket.waitForOpen(), heard.closed.then((c) => { throw new Error(`closed with ${c.code} ${c.reason}`); })]);
  return { socket, heard };
}

async function main() {
  const { audio, seconds, asked } = sample(await readFile(file));
  const { socket, heard } = await talk(asked);
  const step = 100; // ms
  const size = 2 * Math.ceil((audio.length / seconds) * (step / 1000) / 2); // whole samples
  const began = Date.now();
  for (let at = 0, n = 0; at < audio.length; at += size, n++) {
    socket.sendMedia(audio.subarray(at, at + size));
    await sleep(Math.max(0, began + ((n + 1) * step) / speed - Date.now()));
  }
  socket.sendFinalize({ type: "Finalize" });
  await Promise.race([heard.finalized, heard.closed]);
  socket.sendCloseStream({ type: "CloseStream" });
  const close = await heard.closed;

  const text = heard.finals.join(" ").toLowerCase();
  const missing = words.filter((w) => !text.includes(w.toLowerCase()));
  console.log(JSON.stringify({ text, interims: heard.interims, types: heard.types, duration: heard.metadata?.duration, close: close.code }));
  if (missing.length > 0) throw new Error(`not heard: ${missing.join(", ")}`);
  if (!heard.metadata) throw new Error("no Metadata came");
  if (Math.abs(heard.metadata.duration - seconds) > 0.5) throw new Error(`${seconds} s were sent, Metadata says ${heard.metadata.duration}`);
  if (close.code !== 1000) throw new Error(`closed with ${close.code} ${close.reason}`);
}

globalThis.setTimeout(() => {
  console.error(`not done after ${patience / 1000} s`);
  process.exit(1);
}, patience).unref();

main().then(() => process.exit(0), (err) => {
  console.error(err.message);
  process.exit(1);
});
