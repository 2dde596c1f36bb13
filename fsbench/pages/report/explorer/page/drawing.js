// Small helpers for elements and canvases.

function element(id) { return document.getElementById(id); }

function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text; // never as HTML: names are anybody's
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Give a canvas as many pixels as the screen has for it; returns its context, in CSS pixels, and its size.
function fittedContext(canvas) {
  const width = Math.max(1, canvas.clientWidth), height = Math.max(1, canvas.clientHeight), ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Return a function that does `work` at the next frame, once however often it is asked.
function oncePerFrame(work) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => { isAsked = false; work(); });
  };
}

// Return a function that does the work once, when it was not called for a while, or the page is left.
function afterPause(work) {
  let timer = 0;
  addEventListener("pagehide", () => {
    if (timer) work();
  });
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => { timer = 0; work(); }, 150);
  };
}

function pointIn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
