// The search page. Its state is in the fragment of the address, which no server gets.
// Names and captions reach the page only as text: nothing here writes HTML.

import { show, close, isOpen } from "./viewer.js";
import { ask, clock, make, poster, $ } from "./tools.js";

const PAGE = 24; // videos asked for at a time
const PAUSE = 350; // milliseconds without typing, after which a search begins
const LOOK = 2000; // milliseconds between two checks of the index
const FILTERS = ["category", "task", "folder"];
const MOST = 2000; // candidates that can be ranked
const FAR = 4; // standard deviations above the average that fill a bar, at least

let asked = 0; // number of the newest search; results of older ones are not shown
let next = null; // asks for the next results
let candidates = null; // how many are ranked, if not all
let loading = false;
let generation = null;
let timer = null; // runs while typed text waits for its search
let lost = ""; // what was shown when the server did not answer

const results = $("#results");

// The query and filters of the fragment.
function wanted() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(["q", "like", ...FILTERS].map((key) => [key, fragment.get(key) ?? ""]));
}

function link(change) {
  const all = { ...wanted(), ...change };
  return "#" + new URLSearchParams(Object.entries(all).filter(([, value]) => value));
}

function stopWaiting() {
  clearTimeout(timer);
  timer = null;
}

function go(change, replace = false) {
  stopWaiting();
  const to = link(change);
  if (to === location.hash || (to === "#" && !location.hash)) return;
  history[replace ? "replaceState" : "pushState"](null, "", to === "#" ? location.pathname : to);
  begin();
}

async function begin(ranked = null) {
  const { q, like, ...filters } = wanted();
  const number = ++asked;
  if (timer === null) $("#query").value = q; // else someone typed while the page still loaded
  for (const name of FILTERS) $(`#${name}`).value = filters[name];
  results.replaceChildren();
  $("#end").textContent = "";
  $("#state").textContent = "";
  $("#state").classList.remove("error");
  $("#heading").hidden = true;
  next = null;
  candidates = ranked;
  loading = false;
  document.title = q ? `${q}: find the video` : "Find the video";
  $("#filters").hidden = Boolean(like); // the most similar are asked for without filters
  $("#examples").hidden = Boolean(q || like) || !$("#examples ul").childElementCount;
  if (like) {
    const about = await ask(`/api/videos/${encodeURIComponent(like)}`).catch(fail);
    if (number !== asked || !about) return;
    $("#heading").textContent = `Like ${about.file}`;
    $("#heading").hidden = false;
    next = (offset) => ask(`/api/similar/${encodeURIComponent(like)}?limit=${PAGE}&offset=${offset}`);
  } else if (q.trim()) {
    const body = { query: q };
    for (const name of FILTERS) if (filters[name]) body[name] = filters[name];
    next = (offset) => ask("/api/search", { ...body, limit: PAGE, offset, candidates });
  }
  await more();
}

async function more() {
  if (!next || loading) return;
  loading = true;
  const number = asked;
  try {
    const there = results.querySelectorAll(".card").length;
    if (!there) $("#state").textContent = "Searching …";
    const found = await next(there);
    if (number !== asked) return;
    add(found.hits, there);
    candidates = found.candidates || null; // later pages continue the same order
    if (found.end) next = null;
    const count = there + found.hits.length;
    const noun = count === 1 ? "video" : "videos";
    $("#state").textContent = [found.note, found.end ? `${count} ${noun}` : `The best ${count} ${noun}`].filter(Boolean).join(" · ");
    $("#end").replaceChildren(...(found.end ? ending(count, noun, found.more) : []));
  } catch (error) {
    if (number === asked) fail(error);
    next = null;
  } finally {
    if (number === asked) loading = false;
  }
  if (next && number === asked && $("#end").getBoundingClientRect().top < innerHeight + 400) await more();
}

// What is said after the last result. Where only candidates were ranked, more of them can be.
function ending(count, noun, further) {
  const { q, like, ...filters } = wanted();
  if (!count && like) return ["The index has no other video."];
  if (!count) return [Object.values(filters).some(Boolean) ? "No video passes the filters." : "The index has no video yet."];
  if (candidates === null) return [`That is all: ${count} ${noun}.`];
  const said = `The order ends here: only ${candidates.toLocaleString("en")} candidates were ranked. `;
  if (!further) return [said];
  const button = make("button", { type: "button" }, "Rank twice as many");
  const doubled = Math.min(2 * candidates, MOST);
  button.addEventListener("click", () => begin(doubled));
  return [said, button];
}

function fail(error) {
  $("#state").textContent = error.message;
  $("#state").classList.add("error");
}

function add(hits, there) {
  const far = Math.max(FAR, ...hits.map((hit) => hit.above), Number(results.dataset.far) || 0);
  if (!there) results.dataset.far = far;
  for (const hit of hits) {
    if (hit.weak && !results.querySelector(".line")) {
      const text = "Weak matches: no training caption and no stored video is like your query. Perhaps no video shows it.";
      results.append(make("li", { className: "line" }, text));
    }
    results.append(make("li", { className: hit.weak ? "weak" : "" }, card(hit, Number(results.dataset.far))));
  }
}

function card(hit, far) {
  const picture = make("span", { className: "picture" }, poster(hit.id, hit.at), make("time", {}, clock(hit.at)));
  const bar = make("i");
  bar.style.width = `${Math.max(2, Math.min(100, (100 * hit.above) / far))}%`;
  const words = `${hit.above.toFixed(1)} standard deviations above an average video`;
  const about = [hit.category, hit.task, hit.weak ? "weak" : ""].filter(Boolean).join(" · ");
  const button = make(
    "button",
    // a screen reader says the file first
    { className: "card", type: "button", title: words, ariaLabel: [hit.file, `at ${clock(hit.at)}`, about, words].filter(Boolean).join(", ") },
    picture,
    make("span", { className: "score" }, bar),
    make("span", { className: "file" }, hit.file),
    make("span", { className: "about" }, about),
  );
  const endPreview = preview(button, picture, hit);
  button.addEventListener("click", () => {
    endPreview();
    show(hit, wanted().like ? "" : wanted().q);
  });
  return button;
}

const STILL = matchMedia("(prefers-reduced-motion: reduce)");

// A silent preview, shortly after hover or focus begins.
function preview(button, picture, hit) {
  let waiting;
  const begin = () => {
    if (waiting || STILL.matches) return;
    waiting = setTimeout(() => {
      const url = `/api/videos/${hit.id}/preview?at=${Math.max(0, Math.min(hit.at - 0.5, hit.duration - 1)).toFixed(2)}`;
      const video = make("video", { muted: true, loop: true, playsInline: true, autoplay: true, src: url });
      video.setAttribute("aria-hidden", "true");
      video.addEventListener("error", () => video.remove());
      picture.insertBefore(video, picture.querySelector("time"));
    }, 250);
  };
  const end = () => {
    clearTimeout(waiting);
    waiting = undefined;
    for (const video of picture.querySelectorAll("video")) {
      video.removeAttribute("src"); // ends the request
      video.load();
      video.remove();
    }
  };
  button.addEventListener("pointerenter", begin);
  button.addEventListener("focus", begin);
  button.addEventListener("pointerleave", end);
  button.addEventListener("blur", end);
  return end;
}

// The content of the index, and the progress of indexing.
async function look() {
  try {
    const about = await ask("/api/index");
    if (lost && $("#state").textContent === lost) {
      $("#state").textContent = "";
      $("#state").classList.remove("error");
      if (generation !== null && !results.childElementCount) await begin();
    }
    lost = "";
    const indexed = about.indexing;
    $("#counts").textContent = `${about.videos.toLocaleString("en")} ${about.videos === 1 ? "video" : "videos"}${about.note ? ` · ${about.note}` : ""}`;
    $("#report").hidden = !about.report;
    $("#indexing").hidden = !indexed;
    if (indexed) {
      $("#indexing span").textContent = indexed.total ? `Indexing: ${indexed.done} of ${indexed.total} files` : "Indexing …";
      const bar = $("#indexing progress");
      if (indexed.total) Object.assign(bar, { max: indexed.total, value: indexed.done });
      else bar.removeAttribute("value");
    }
    if (generation !== about.generation_key) {
      const first = generation === null;
      generation = about.generation_key;
      choices("category", about.categories);
      choices("task", about.tasks);
      choices("folder", about.folders);
      $("#examples ul").replaceChildren(
        ...about.examples.map((text) => {
          const button = make("button", { type: "button" }, text);
          button.addEventListener("click", () => go({ q: text, like: "" }));
          return make("li", {}, button);
        }),
      );
      if (first) await begin();
      else if (!isOpen() && !results.childElementCount) await begin();
    }
    setTimeout(look, indexed ? LOOK / 2 : LOOK);
  } catch (error) {
    fail(error);
    lost = error.message;
    setTimeout(look, LOOK);
  }
}

function choices(name, values) {
  const select = $(`#${name}`);
  const chosen = wanted()[name];
  select.replaceChildren(make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, value)));
  select.value = chosen;
  select.parentElement.hidden = values.length < 2;
}

$("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ q: $("#query").value.trim(), like: "" });
});
$("#query").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const typed = $("#query").value;
    go({ q: typed.trim(), like: "" }, true);
    if ($("#query").value !== typed) $("#query").value = typed;
  }, PAUSE);
});
for (const name of FILTERS) {
  $(`#${name}`).addEventListener("change", (event) => go({ q: $("#query").value.trim(), [name]: event.target.value }));
}
$("#like").addEventListener("click", () => {
  const id = $("#viewer").dataset.id;
  close();
  $("#query").focus(); // the card that had the focus is about to go
  go({ like: id, q: "", category: "", task: "", folder: "" });
});
addEventListener("popstate", () => {
  close();
  stopWaiting();
  begin();
});
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), { rootMargin: "400px" }).observe($("#end"));

addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select");
  if (isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
  const cards = [...results.querySelectorAll(".card")];
  const here = cards.indexOf(document.activeElement);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("#query").select();
  } else if (event.key === "Escape" && here >= 0) {
    $("#query").focus();
  } else if (event.key === "ArrowDown" && event.target === $("#query") && cards.length) {
    event.preventDefault();
    cards[0].focus();
  } else if (here >= 0 && event.key.startsWith("Arrow")) {
    event.preventDefault();
    const columns = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (here + step < 0) $("#query").focus();
    else cards[Math.min(here + step, cards.length - 1)].focus();
  }
});

look();
