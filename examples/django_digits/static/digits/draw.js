// The sheet to draw on, and asking about what is drawn. No library, no request but to this site.
"use strict";

const form = document.querySelector("form");
const sheet = form.querySelector("canvas");
const seen = document.querySelector(".seen");
const answer = document.querySelector(".answer");
const status = answer.querySelector(".status");
const words = status.querySelector("[role=status]");
const seconds = status.querySelector(".seconds");
const recogniseButton = form.querySelector(".primary");
const clearButton = form.querySelector(".clear");

// More than three times what the site waits for a silent Redis: then it has an answer to tell.
const REQUEST_MS = 10_000;
const SLOW_MS = 5000;
const FIRST_LOOK_MS = 60, MOST_BETWEEN_LOOKS_MS = 1000;
// In pixels of the page.
const PEN = 14, LEAST_STEP = 2, KEY_STEP = 10;
const SLOW = {
  queued: "No worker has taken your drawing yet. Is one running?",
  waiting: "The model takes longer than usual…",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let strokes = [];
let stroke = null; // the one that grows
let cursor = null; // where the keyboard's pen is
let isPenDown = false;
let asked = 0; // counts questions: answers to earlier ones are dropped

// Drawing

function paint() {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = sheet.getBoundingClientRect();
  sheet.width = width * scale;
  sheet.height = height * scale;
  const pen = sheet.getContext("2d");
  const style = getComputedStyle(sheet);
  pen.scale(scale, scale);
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = style.color;
  for (const points of strokes) {
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (const point of points) pen.lineTo(...point);
    pen.stroke();
  }
  if (cursor && document.activeElement === sheet) {
    pen.beginPath();
    pen.lineWidth = 2;
    pen.strokeStyle = pen.fillStyle = style.accentColor;
    pen.arc(...cursor, PEN / 2 + 3, 0, 2 * Math.PI);
    pen.stroke();
    if (isPenDown) pen.fill();
  }
  form.classList.toggle("drawn", strokes.length > 0 || cursor !== null);
  recogniseButton.disabled = clearButton.disabled = strokes.length === 0;
}

function begin(point) {
  stroke = [point];
  strokes.push(stroke);
}

function extend(point) {
  const last = stroke[stroke.length - 1];
  if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= LEAST_STEP) stroke.push(point);
}

function clear() {
  strokes = [];
  stroke = cursor = null;
  isPenDown = false;
  asked += 1;
  answer.classList.add("stale");
  say("", "Nothing asked yet.");
  paint();
}

function positions(event) {
  const { left, top } = sheet.getBoundingClientRect();
  // A browser joins the moves of one frame; a fast hand needs them all.
  const moves = event.getCoalescedEvents?.() ?? [];
  return (moves.length ? moves : [event]).map((move) => [move.clientX - left, move.clientY - top]);
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  sheet.setPointerCapture(event.pointerId);
  cursor = null;
  isPenDown = false; // the keyboard's
  begin(positions(event)[0]);
  paint();
});
sheet.addEventListener("pointermove", (event) => {
  if (!stroke || !event.isPrimary || isPenDown) return;
  positions(event).forEach(extend);
  paint();
});
for (const end of ["pointerup", "pointercancel"]) {
  sheet.addEventListener(end, () => { if (!isPenDown) stroke = null; });
}

sheet.addEventListener("keydown", (event) => {
  const { width, height } = sheet.getBoundingClientRect();
  if (event.key in ARROWS) {
    const [right, down] = ARROWS[event.key];
    const [x, y] = cursor ?? [width / 2, height / 2];
    cursor = [clamp(x + right * KEY_STEP, width), clamp(y + down * KEY_STEP, height)];
    if (isPenDown) extend(cursor);
  } else if (event.key === " ") {
    cursor ??= [width / 2, height / 2];
    isPenDown = !isPenDown;
    if (isPenDown) begin(cursor);
    else stroke = null;
  } else if (event.key === "Enter") {
    form.requestSubmit(recogniseButton);
  } else if (event.key === "Escape") {
    clear();
  } else {
    return;
  }
  event.preventDefault();
  paint();
});

function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

clearButton.addEventListener("click", clear);
for (const event of ["focus", "blur"]) sheet.addEventListener(event, paint);
new ResizeObserver(paint).observe(sheet);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); look(); });

// Asking

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!strokes.length) return;
  const question = ++asked;
  answer.classList.add("stale");
  say("waiting", "Sending your drawing…");
  try {
    const shown = await recognise(question);
    if (shown && question === asked) show(shown);
  } catch (error) {
    if (question === asked) say("failed", error.message);
  }
});

async function recognise(question) {
  const beganMs = performance.now();
  const patienceMs = Number(form.dataset.patienceS) * 1000;
  const token = form.elements.csrfmiddlewaretoken.value;
  const headers = { "Content-Type": "application/json", "X-CSRFToken": token };
  const sent = await request(form.action, { method: "POST", headers, body: JSON.stringify({ strokes }) });
  if (question !== asked) return null;
  image = sent.image;
  look();
  let pauseMs = FIRST_LOOK_MS;
  let retry = null; // why it was last tried again
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    if (question !== asked) return null;
    const elapsedMs = performance.now() - beganMs;
    const told = await request(sent.answer, {}, elapsedMs < patienceMs);
    if (question !== asked) return null;
    if (told.state === "retrying") retry = told;
    if (told.state === "done") return { ...told, roundTripMs: performance.now() - beganMs };
    if (told.state === "failed") throw new Error(told.message);
    if (elapsedMs > patienceMs) throw new Error(lost(told));
    // While it is being tried again, the reason holds until there is an answer.
    const now = told.state === "waiting" ? retry ?? told : told;
    if (elapsedMs > SLOW_MS) say(now.state, SLOW[now.state] ?? now.message, elapsedMs);
    else say(now.state, now.message);
    pauseMs = Math.min(pauseMs * 1.4, MOST_BETWEEN_LOOKS_MS);
  }
}

// A look that fails is made again while there is patience: the site may be restarting.
async function request(url, options, isPatient = false) {
  let response, body;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.timeout(REQUEST_MS) });
    body = await response.json();
  } catch {
    if (isPatient && !response) return { state: "unreached", message: "This site can't be reached. Trying again…" };
    throw new Error(response ? refused(response) : "This site can't be reached. Please try again.");
  }
  if (isPatient && response.status === 503) return { state: "unreached", message: body.message };
  if (!response.ok) throw new Error(body.message ?? refused(response));
  return body;
}

function refused(response) {
  if (response.status === 403) return "This page is too old to send drawings from. Please reload it.";
  return `The site answered with an error (${response.status}). Please try again later.`;
}

function lost(told) {
  return told.state === "queued"
    ? "No worker took your drawing, or it was lost on the way. Please try again."
    : "There is no answer yet. Please try again later.";
}

// Showing

let image = null;

function look() {
  if (!image) return;
  const pen = seen.getContext("2d");
  pen.clearRect(0, 0, 8, 8);
  pen.fillStyle = getComputedStyle(seen).color;
  image.forEach((row, y) => row.forEach(([grey], x) => {
    pen.globalAlpha = grey;
    pen.fillRect(x, y, 1, 1);
  }));
}

function say(state, text, elapsedMs) {
  seconds.textContent = elapsedMs ? `${Math.round(elapsedMs / 1000)} s` : "";
  status.className = `status ${state}`;
  // The same words again would be read out again.
  if (words.textContent !== text) words.textContent = text;
}

function show({ scores, receipt, roundTripMs }) {
  const best = scores.indexOf(Math.max(...scores));
  document.querySelectorAll(".bars li").forEach((row, digit) => {
    row.classList.toggle("best", digit === best);
    row.querySelector(".bar").style.width = `${scores[digit] * 100}%`;
    row.querySelector(".percent").textContent = percent(scores[digit]);
  });
  document.querySelector(".digit").textContent = best;
  const told = { ...receipt, round_trip_ms: roundTripMs };
  document.querySelectorAll("[data-receipt]").forEach((value) => {
    const name = value.dataset.receipt;
    value.textContent = name.endsWith("_ms") ? milliseconds(told[name]) : told[name];
  });
  answer.classList.remove("stale");
  say("done", `This is ${best === 8 ? "an" : "a"} ${best}, with ${percent(scores[best])} certainty.`);
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

function milliseconds(value) {
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}

answer.classList.add("stale");
paint();
