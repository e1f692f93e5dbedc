// The video from the second that matched, with its frames, words and other moments.

import { ask, make, poster, refusal, second, span, $ } from "./tools.js";

const LOOK = 1500; // milliseconds between two checks for the whole copy
const STEPS = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -60, PageUp: 60 }; // seconds

let shown = 0; // number of the shown video; answers about earlier ones are dropped
let playing = null; // the source of the pictures, and its first second in the file
let aim = null; // the second that was asked for last, until its answer is there
let hit = null;
let timer;
let failed = 0; // how often the browser could not play what it was sent

const viewer = $("#viewer");
const video = $("#video");

export const isOpen = () => viewer.open;

export function close() {
  viewer.close();
}

// Drop the previous video's frames, since pending requests would delay the next one's.
function forget() {
  for (const image of viewer.querySelectorAll("#heat img")) image.removeAttribute("src");
  $("#heat div").replaceChildren();
}

export async function show(found, query) {
  const number = ++shown;
  hit = found;
  failed = 0;
  viewer.dataset.id = hit.id;
  $("#name").textContent = hit.file;
  $("#heat").hidden = !query;
  forget();
  $("#playing").textContent = "";
  moments();
  line();
  if (!viewer.open) viewer.showModal();
  video.focus(); // so that the space bar pauses it
  await play(hit.at, number);
  if (query && number === shown) {
    await seen(); // its frames must not take the decoder from the video
    heat(query, number);
  }
}

// Until the video plays or fails.
const seen = () => new Promise((done) => {
  for (const event of ["playing", "error"]) video.addEventListener(event, done, { once: true });
  setTimeout(done, 3000);
});

async function play(at, number = shown, paused = false) {
  clearTimeout(timer);
  const mine = { at };
  aim = mine;
  try {
    const about = await ask(`/api/videos/${hit.id}?at=${at.toFixed(2)}`);
    if (mine !== aim) return; // another second, or another video, was asked for meanwhile
    aim = null;
    start(about.play, at, paused);
    if (!about.play.whole && about.copied) timer = setTimeout(() => follow(number), LOOK);
  } catch (error) {
    if (mine !== aim) return;
    aim = null;
    $("#playing").textContent = error.message;
  }
}

function start(from, at, paused) {
  playing = from;
  video.poster = `/api/videos/${hit.id}/poster?at=${hit.at.toFixed(2)}`; // the card's poster, which is there at once
  video.src = from.url;
  video.currentTime = Math.max(0, at - from.start);
  if (!paused) video.play().catch(() => {});
  const text = "This browser cannot play the file itself, so it is converted, half a minute at a time.";
  $("#playing").textContent = from.whole ? "" : `${text} The line shows which part.`;
  line();
}

// As soon as the whole copy is there, it takes over at the same second.
async function follow(number) {
  const at = now();
  const about = await ask(`/api/videos/${hit.id}?at=${at.toFixed(2)}`).catch(() => null);
  if (number !== shown || !viewer.open || aim) return;
  if (about?.play.whole) start(about.play, now(), video.paused);
  else if (about?.copied !== false) timer = setTimeout(() => follow(number), LOOK);
}

// A position on the line, including its end.
const place = (at, whole) => `min(${(100 * at) / whole}%, 100% - 3px)`;

const now = () => video.currentTime + (playing?.start ?? 0);

// Go to a second of the file. A stretch that is still being made can only be played from its beginning.
function seek(at) {
  const to = at - (playing?.start ?? 0);
  const reached = [...Array(video.seekable.length).keys()].some((part) => to >= video.seekable.start(part) && to < video.seekable.end(part));
  if (playing && (playing.whole || reached)) {
    aim = null;
    video.currentTime = to;
    video.play().catch(() => {});
  } else play(at);
}

function moments() {
  const list = $("#moments ul");
  list.replaceChildren(
    ...hit.moments.map((moment, number) => {
      const button = make("button", { type: "button", className: number ? "" : "best" }, span(moment.start, moment.end));
      button.addEventListener("click", () => seek(moment.at));
      return make("li", {}, button);
    }),
  );
}

const length = () => Math.max(hit.duration, hit.end, 0.1);

// The whole file as a line: the converted part, the moments, the match, and the current position.
function line() {
  const whole = length();
  const mark = (className, from, to = from) => {
    const element = make("i", { className });
    element.style.left = place(from, whole);
    if (to > from) element.style.width = `${(100 * (to - from)) / whole}%`;
    return element;
  };
  const made = playing && !playing.whole ? [mark("made", playing.start, Math.min(whole, playing.start + 30))] : [];
  const marks = hit.moments.map((moment) => mark("moment", moment.start, moment.end));
  $("#line").replaceChildren(...made, ...marks, mark("match", hit.at), mark("now", Math.min(whole, now())));
  $("#line").ariaValueMax = whole.toFixed(1);
  here();
}

// Show the current position on the line.
function here() {
  const [at, whole] = [Math.min(now(), length()), length()];
  $("#line .now").style.left = place(at, whole);
  $("#line").ariaValueNow = at.toFixed(1);
  $("#line").ariaValueText = `${second(at, whole)} of ${second(whole, whole)}`;
}

async function heat(query, number) {
  const found = await ask("/api/explain", { query, id: hit.id }).catch(() => null);
  if (number !== shown || !found?.words.length) return;
  const all = found.words.flatMap((word) => word.cosines);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const best = nearest(found.times, hit.at);
  const frames = found.times.map((at, place) => {
    const when = second(at, length()) + (place === best ? ", the best match" : "");
    const button = make("button", { type: "button", ariaLabel: `Play from ${when}`, title: when }, poster(hit.id, at));
    button.addEventListener("click", () => seek(at));
    return make("th", { scope: "col", className: place === best ? "best" : "" }, button);
  });
  const rows = found.words.map((word) =>
    make("tr", {}, make("th", { scope: "row" }, word.word), ...word.cosines.map((cosine) => {
      const cell = make("td", { title: `${word.word}: ${cosine.toFixed(2)}`, ariaLabel: cosine.toFixed(2) });
      const share = high > low ? (cosine - low) / (high - low) : 0;
      cell.style.background = `color-mix(in oklab, var(--accent) ${Math.round(90 * share)}%, var(--paper))`;
      return cell;
    })),
  );
  $("#heat div").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...frames)), make("tbody", {}, ...rows)));
  const { offsetLeft, offsetWidth } = $("#heat .best");
  $("#heat div").scrollLeft = offsetLeft + offsetWidth / 2 - $("#heat div").clientWidth / 2; // the frame that matches is in sight
}

const nearest = (times, at) => times.reduce((best, time, place) => (Math.abs(time - at) < Math.abs(times[best] - at) ? place : best), 0);

video.addEventListener("timeupdate", () => viewer.open && here());
$("#line").addEventListener("click", ({ clientX }) => {
  const { left, width } = $("#line").getBoundingClientRect();
  seek((length() * (clientX - left)) / width);
});
$("#line").addEventListener("keydown", (event) => {
  if (!(event.key in STEPS)) return;
  event.preventDefault();
  seek(Math.max(0, Math.min((aim?.at ?? now()) + STEPS[event.key], length() - 0.1)));
});
video.addEventListener("ended", () => {
  if (!aim && !playing.whole && now() < hit.duration - 1) play(now());
});
video.addEventListener("error", async () => {
  if (!video.getAttribute("src") || aim) return;
  const [number, at] = [shown, now()];
  clearTimeout(timer);
  const refused = await refusal(playing.url);
  if (number !== shown || aim) return;
  if (refused) $("#playing").textContent = refused.error;
  else if (!failed++) play(at, number); // it may have been refused only for a moment
  else $("#playing").textContent = "This browser cannot play the file: open it in another player.";
  if (refused?.again) timer = setTimeout(() => play(at, number), 1000 * refused.again);
});
viewer.addEventListener("close", () => {
  shown++;
  aim = null;
  clearTimeout(timer);
  video.removeAttribute("src"); // ends the request and its job
  video.removeAttribute("poster");
  video.load();
  playing = null;
  forget();
});
viewer.addEventListener("click", (event) => event.target === viewer && close());
$("#close").addEventListener("click", close);
