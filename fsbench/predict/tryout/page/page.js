// The page asks the server for the session's state, shows it, and sends what is drawn. Points are in pixels of the photo.

const find = (id) => document.getElementById(id);
const canvas = find("live");
const context = canvas.getContext("2d");
let session = null; // the server's state
let image = null; // that is on the stage, as the state describes it
let number = 1; // of the class that is marked
let tool = "";
let stroke = null; // points of the stroke that is being drawn
let object = null; // { points, replaces } of the object that is clicked on
let removes = false; // whether the stroke or click takes marks away
let last = Promise.resolve(); // requests go out one after the other, so that strokes arrive in their order

const address = (kind, name, version) => `/api/${kind}?name=${encodeURIComponent(name)}&version=${version}`;

function say(problem) {
  find("problem").textContent = problem;
  find("problem").hidden = !problem;
}

async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error("The server does not answer. Start fsbench demo again.");
  });
  const content = await answer.json().catch(() => ({ error: `The server answered ${answer.status}; reload the page.` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

// sends a change, then shows the session; resolves to nothing where it failed
// body: a file, or what returns an object when it is its turn
function send(path, body) {
  last = last.then(async () => {
    try {
      const answer = await ask(path, { method: "POST", body: body instanceof File ? body : JSON.stringify(body()) });
      say("");
      return answer;
    } catch (error) {
      say(error.message);
    } finally {
      await refresh();
    }
  });
  return last;
}

function upload(files) {
  for (const file of files) send(`/api/upload?name=${encodeURIComponent(file.name)}`, file);
}

async function refresh() {
  session = await ask("/api/state").catch((error) => say(error.message)) ?? session;
  if (session) show();
}

// where the masks of a photo are: its marks, or its prediction; empty where there are none
function masks({ name, marked, revision, prediction }) {
  if (marked) return address("labels", name, revision);
  return prediction === null ? "" : address("prediction", name, prediction);
}

const about = (one) => (one.marked ? "example: marked by you" : one.summary);

function show() {
  const { images, classes, waiting, method } = session;
  const marked = images.filter((one) => one.marked).length;
  const state = waiting ? `${method} works on ${waiting} photos …` : `found by ${method} from ${marked} marked`;
  image = images.find((one) => one.name === image?.name) ?? images[0];
  tool ||= session.clicks ? "click" : "brush";
  find("status").textContent = marked ? state : "";
  find("toy").hidden = !session.toy;
  find("examples").hidden = images.length > 0;
  find("save").hidden = !marked || waiting > 0;
  find("export").hidden = find("save").hidden || !session.exportable;
  const buttons = find("classes").children; // they and the cards stay: a new element would lose a click that began on it
  classes.slice(buttons.length).forEach(addClass);
  [...buttons].forEach((button, place) => button.setAttribute("aria-pressed", place + 1 === number));
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
  document.querySelector("[data-tool=click]").hidden = !session.clicks;
  find("next-object").hidden = tool !== "click";
  find("next-object").disabled = !object;
  find("undo").disabled = !image?.can_undo;
  images.slice(find("grid").children.length).forEach(addCard);
  images.forEach((one, place) => fillCard(find("grid").children[place], one));
  find("stage").hidden = !image;
  find("empty").hidden = Boolean(image);
  find("about").textContent = image ? `${image.name} · ${about(image) || "mark what you look for"}` : "";
  if (image) stage();
}

function addClass(name) {
  const button = find("class").content.firstElementChild.cloneNode(true);
  const own = find("classes").children.length + 1;
  button.firstElementChild.style.background = session.colors[own - 1];
  button.append(name);
  button.onclick = () => change(() => (number = own));
  find("classes").append(button);
}

function addCard({ name }) {
  const card = find("card").content.firstElementChild.cloneNode(true);
  card.querySelector("img").src = address("image", name, 0);
  card.querySelector("b").textContent = name;
  card.onclick = () => change(() => (image = { name }));
  find("grid").append(card);
}

function fillCard(card, one) {
  card.setAttribute("aria-pressed", one === image);
  card.querySelector("i").textContent = card.title = about(one);
  source(card.querySelectorAll("img")[1], masks(one));
}

function source(picture, path) {
  picture.hidden = !path;
  if (path && picture.getAttribute("src") !== path) picture.src = path;
}

function stage() {
  source(find("photo"), address("image", image.name, 0));
  source(find("layer"), masks(image));
  const width = Math.min(find("desk").clientWidth, (0.68 * innerHeight * image.width) / image.height);
  const size = { width: Math.round(width), height: Math.round((width * image.height) / image.width) };
  Object.assign(find("stage").style, { width: `${size.width}px`, height: `${size.height}px` });
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  else if (masks(image)) return; // what was drawn stays until the masks are loaded
  wipe();
}

// shows something else: the object that is clicked on is finished
function change(act) {
  object = null;
  act();
  wipe();
  show();
}

// pixels of the photo for one of the screen
const scale = () => image.width / canvas.getBoundingClientRect().width;

function point(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * scale(), (event.clientY - box.top) * scale()];
}

// leaves the clicks alone: a white disc on the object, a dark one on what is left out
function wipe() {
  if (stroke) return;
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const [x, y, adds] of object?.points ?? []) {
    context.beginPath();
    context.arc(x / scale(), y / scale(), 6, 0, 2 * Math.PI);
    [context.fillStyle, context.strokeStyle] = adds ? ["#fff", "#1b1f24"] : ["#1b1f24", "#fff"];
    context.fill();
    context.stroke();
  }
}

function sketch() {
  const at = stroke.map(([x, y]) => [x / scale(), y / scale()]);
  const [[left, top], [right, bottom]] = [at[0], at.at(-1)];
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.globalAlpha = 0.55;
  context.strokeStyle = context.fillStyle = removes ? "#fff" : session.colors[number - 1];
  context.lineWidth = 2 * find("radius").value;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  for (const place of at) context.lineTo(...place);
  if (tool === "box") context.fillRect(left, top, right - left, bottom - top);
  else context.stroke();
  context.globalAlpha = 1;
}

async function click(place) {
  const clicked = (object ??= { points: [], replaces: null });
  clicked.points.push([...place, !removes]);
  wipe();
  const body = { kind: "clicks", image: image.name, number, points: [...clicked.points] };
  const revision = await send("/api/draw", () => ({ ...body, replaces: clicked.replaces }));
  if (revision === undefined) clicked.points.pop();
  else clicked.replaces = revision;
  wipe();
}

function press(event) {
  if (!event.isPrimary || event.button !== 0) return;
  event.preventDefault();
  if (!session.classes.length) {
    say("Say what you look for first, then mark it.");
    return find("class-name").focus();
  }
  removes = find("remove").getAttribute("aria-pressed") === "true" || event.altKey;
  if (tool === "click") return click(point(event));
  canvas.setPointerCapture(event.pointerId);
  stroke = [point(event)];
  sketch();
}

function drag(event) {
  if (!stroke || !event.isPrimary) return;
  for (const one of event.getCoalescedEvents?.() ?? [event]) stroke.push(point(one));
  sketch();
}

function release() {
  if (!stroke) return;
  const mark = { kind: tool, image: image.name, number: removes ? 0 : number };
  if (tool === "brush") Object.assign(mark, { radius: find("radius").value * scale(), points: stroke.slice(0, 20000) });
  else mark.points = [stroke[0], stroke.at(-1)];
  stroke = null;
  send("/api/draw", () => mark);
}

canvas.onpointerdown = press;
canvas.onpointermove = drag;
canvas.onpointerup = release;
canvas.onpointercancel = () => { stroke = null; wipe(); };
find("layer").onload = wipe;
find("undo").onclick = () => { const { name } = image; change(() => send("/api/undo", () => ({ image: name }))); };
find("remove").onclick = ({ target }) => target.setAttribute("aria-pressed", target.getAttribute("aria-pressed") !== "true");
find("next-object").onclick = () => change(() => {});
find("examples").onclick = () => send("/api/examples", () => ({}));
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => change(() => (tool = button.dataset.tool));
find("files").onchange = ({ target }) => { upload([...target.files]); target.value = ""; };
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => { event.preventDefault(); upload([...event.dataTransfer.files]); };
find("new-class").onsubmit = async (event) => {
  event.preventDefault();
  const added = await send("/api/add-class", () => ({ name: find("class-name").value }));
  if (added === undefined) return;
  find("class-name").value = "";
  change(() => (number = added));
};
// a file takes seconds to write; what is wrong is said, where a link would save it as a file
find("export").onclick = async ({ target }) => {
  target.disabled = true;
  find("status").textContent = "writing the file …";
  try {
    const answer = await fetch("/api/export");
    if (!answer.ok) throw new Error((await answer.json()).error);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "thing.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say("");
  } catch (error) {
    say(error.message);
  } finally {
    target.disabled = false;
    refresh();
  }
};
const keys = { b: "[data-tool=brush]", r: "[data-tool=box]", c: "[data-tool=click]", x: "#remove", z: "#undo", Enter: "#next-object" };
document.onkeydown = ({ key, target, ctrlKey, metaKey }) => {
  const taken = ctrlKey || metaKey || target.id === "class-name" || (key === "Enter" && target !== document.body);
  if (!taken) document.querySelector(keys[key] ?? "#none")?.click();
};
addEventListener("resize", () => image && stage());
setInterval(() => session?.waiting && refresh(), 700);
refresh();
