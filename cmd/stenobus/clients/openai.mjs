// Transcribes a file through a gateway with the official package openai, unchanged:
//
//   node openai.mjs http://127.0.0.1:8080/v1 AUDIOFILE WORD...
//
// AUDIOFILE is WAV with 16-bit samples, or raw mono samples at 24 kHz. An API key is
// read from STENOBUS_KEY. It does so twice: by OpenAIRealtimeWebSocket, which shows the
// key in a subprotocol, with turns by server_vad, and by OpenAIRealtimeWS, which shows
// it in a header, with turns by commit. It exits 0 if both times the completed
// transcripts hold every WORD.
//
// The package puts no intent into the URL and speaks only TLS by itself; both classes
// take from their caller what changes that.
import { readFileSync } from 'node:fs';
import net from 'node:net';
import OpenAI from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { WebSocket } from 'ws';

const RATE = 24000; // samples/s, the only rate of the API's audio/pcm
const FRAME = RATE / 10; // samples in one append
const SPEED = 4; // times real time
const WAIT = 60_000; // ms for one pass

const [url, file, ...words] = process.argv.slice(2);
if (!url || !file || words.length === 0) {
  console.error('usage: node openai.mjs URL AUDIOFILE WORD...');
  process.exit(2);
}
const plain = new URL(url).protocol === 'http:';
const client = new OpenAI({ apiKey: process.env.STENOBUS_KEY || 'none', baseURL: url });
globalThis.WebSocket ??= WebSocket; // Node 20 has none of its own

function browser() {
  return new OpenAIRealtimeWebSocket({
    model: 'gpt-4o-transcribe',
    onURL: (u) => {
      u.searchParams.set('intent', 'transcription');
      if (plain) u.protocol = 'ws:';
    },
  }, client);
}

function server() {
  const options = {
    finishRequest: (request) => {
      request.path += '&intent=transcription';
      request.end();
    },
  };
  if (plain) options.createConnection = ({ host, port }) => net.connect({ host, port });
  return new OpenAIRealtimeWS({ model: 'gpt-4o-transcribe', options }, client);
}

// samples reads mono samples at RATE.
function samples(path) {
  const data = readFileSync(path);
  if (data.toString('latin1', 0, 4) !== 'RIFF') {
    return Int16Array.from({ length: data.length >> 1 }, (_, i) => data.readInt16LE(2 * i));
  }
  let format;
  for (let at = 12; at + 8 <= data.length;) {
    const name = data.toString('latin1', at, at + 4);
    const size = data.readUInt32LE(at + 4);
    const body = data.subarray(at + 8, at + 8 + size);
    if (name === 'fmt ') {
      format = { channels: body.readUInt16LE(2), rate: body.readUInt32LE(4), bits: body.readUInt16LE(14) };
    } else if (name === 'data') {
      if (format?.bits !== 16) throw new Error(`${path}: only 16-bit samples are read`);
      return resample(body, format);
    }
    at += 8 + size + (size & 1);
  }
  throw new Error(`${path}: no audio in it`);
}

// resample draws straight lines between the samples of the first channel.
function resample(body, { channels, rate }) {
  const n = Math.floor(body.length / (2 * channels));
  const sample = (i) => body.readInt16LE(2 * channels * Math.min(i, n - 1));
  return Int16Array.from({ length: Math.floor((n * RATE) / rate) }, (_, i) => {
    const at = (i * rate) / RATE;
    const k = Math.floor(at);
    return Math.round(sample(k) + (at - k) * (sample(k + 1) - sample(k)));
  });
}

// stream appends audio at SPEED, with a second of silence behind it.
async function stream(rt, pcm) {
  const all = new Int16Array(pcm.length + RATE);
  all.set(pcm);
  for (let at = 0; at < all.length; at += FRAME) {
    const part = all.subarray(at, at + FRAME);
    const audio = Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString('base64');
    rt.send({ type: 'input_audio_buffer.append', audio });
    await new Promise((r) => setTimeout(r, (1000 * FRAME) / RATE / SPEED));
  }
}

// transcribe does one pass and returns its transcripts. By commit there is one; by
// server_vad the pass is over when every word was heard.
function transcribe(rt, turnDetection, pcm) {
  return new Promise((resolve, reject) => {
    const heard = [];
    const deltas = new Map();
    const late = setTimeout(() => reject(new Error(`only heard: ${heard.join(' | ')}`)), WAIT);
    const fail = (why) => {
      clearTimeout(late);
      reject(why);
    };
    rt.on('error', fail);
    rt.on('session.created', () => rt.send({
      type: 'session.update',
      session: {
        type: 'transcription',
        audio: {
          input: {
            format: { type: 'audio/pcm', rate: RATE },
            transcription: { model: 'gpt-4o-transcribe', language: 'en' },
            turn_detection: turnDetection,
          },
        },
      },
    }));
    rt.on('session.updated', async () => {
      await stream(rt, pcm);
      if (!turnDetection) rt.send({ type: 'input_audio_buffer.commit' });
    });
    rt.on('conversation.item.input_audio_transcription.delta', ({ item_id, delta }) => {
      deltas.set(item_id, (deltas.get(item_id) ?? '') + delta);
    });
    rt.on('conversation.item.input_audio_transcription.completed', ({ item_id, transcript, usage }) => {
      heard.push(transcript);
      console.log(`  ${usage.seconds.toFixed(1)} s: ${transcript} (by deltas: ${deltas.get(item_id)})`);
      if (turnDetection && missing(heard).length > 0) return;
      clearTimeout(late);
      rt.close();
      resolve(heard);
    });
    const closed = (code, reason) => fail(new Error(`closed: ${code.code ?? code} ${code.reason ?? reason ?? ''}`));
    if (rt.socket.on) rt.socket.on('close', closed);
    else rt.socket.addEventListener('close', closed);
  });
}

function missing(heard) {
  const all = ` ${heard.join(' ').toLowerCase().replace(/[^a-z0-9']+/g, ' ')} `;
  return words.filter((w) => !all.includes(` ${w.toLowerCase()} `));
}

const pcm = samples(file);
for (const [name, connect, turnDetection] of [
  ['OpenAIRealtimeWebSocket, server_vad', browser, { type: 'server_vad', threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500 }],
  ['OpenAIRealtimeWS, commit', server, null],
]) {
  console.log(name);
  const lost = missing(await transcribe(connect(), turnDetection, pcm));
  if (lost.length > 0) {
    console.error(`not heard: ${lost.join(', ')}`);
    process.exit(1);
  }
}
