// What the page and the viewer share.

export const $ = (selector) => document.querySelector(selector);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Seconds as a person reads them: 0:07, 1:02:03.
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (parts[0] ? `${parts[0]}:${String(parts[1]).padStart(2, "0")}` : `${parts[1]}`) + `:${String(parts[2]).padStart(2, "0")}`;
}

// A second of a file. That of a short file in tenths, so that two frames differ.
export const second = (at, duration) => (duration < 60 ? `${at.toFixed(1)} s` : clock(at));

// A stretch; a short one in tenths of seconds.
export function span(start, end) {
  return end - start < 3 && end < 60 ? `${start.toFixed(1)}–${end.toFixed(1)} s` : `${clock(start)}–${clock(end)}`;
}

export function poster(id, at) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", src: `/api/videos/${id}/poster?at=${at.toFixed(2)}` });
  image.addEventListener("error", () => image.remove());
  return image;
}

// Why a file is not sent, and after how many seconds to try again. A media element tells neither. Null if it is sent.
export async function refusal(url) {
  const answer = await fetch(url).catch(() => null);
  if (!answer) return { error: GONE };
  if (answer.ok) {
    await answer.body.cancel();
    return null;
  }
  const said = await answer.json().catch(() => null);
  return { error: said?.error ?? odd(answer), again: BUSY.includes(answer.status) && wait(answer) };
}

const TRIES = 5; // of a server that is busy, or not ready

const BUSY = [429, 503];
const GONE = "The server does not answer: is `structalign serve` still running?";
const odd = (answer) => `The server answers ${answer.status}: try again.`;
const wait = (answer) => Number(answer.headers.get("Retry-After")) || 1; // seconds

// The API's answer. Its errors are raised with their text.
export async function ask(url, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  for (let tried = 1; ; tried++) {
    let answer;
    try {
      answer = await fetch(url, options);
    } catch {
      throw new Error(GONE);
    }
    if (BUSY.includes(answer.status) && tried < TRIES) {
      await new Promise((done) => setTimeout(done, 1000 * wait(answer)));
      continue;
    }
    if (answer.status === 401) location.assign("/login");
    const said = await answer.json().catch(() => null); // a proxy may answer anything
    if (!answer.ok || !said) throw new Error(said?.error ?? odd(answer));
    return said;
  }
}
