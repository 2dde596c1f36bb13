// What the page does: it asks the server for the session's state, shows it, and sends what was done.

import { message, say, unsay } from "./messages.js";
import { showClasses, showComparison, showExported, showFormats, showProjectProblems, showQuality, showQueue } from "./panels.js";
import { ask, post, send, upload } from "./server.js";
import { Stage } from "./stage.js";
import { inTurn, settled } from "./turns.js";

const find = (id) => document.getElementById(id);
let session = null;
let changes = 0; // that were sent or answered
let asked = 0; // changes of photos that were asked for
let current = null; // name of the photo on the stage
let number = 1; // of the class that is drawn
const finishing = new Set(); // names of photos for which Done was pressed, and is not answered yet

async function draw(step, image) {
  if (step.number <= session.classes.length && session.classes.length) return changePhoto("draw", { image, step });
  stage.clear();
  say("Name a class first, then paint its objects.");
}

// makes labels of a region, whose turn it is; whether that worked
async function take(step, image, before) {
  const answer = await deliver("draw", { image, step }, before);
  if (answer) refresh().catch((error) => say(error.message));
  return Boolean(answer);
}

// the mask of clicks
async function click(object) {
  if (!session.classes.length) throw new Error("Name a class first, then click on its objects.");
  return send("click", object);
}

const regions = { ask: click, take };
const stage = new Stage(draw, regions, () => session && render(session.images.find((one) => one.name === current)));

// name of the photo that is seen; null while another one was asked for and is not there yet
const seen = () => (stage.shown === current ? current : null);

// sends a change; resolves to nothing where it failed
// before: the message that stood when it was asked for; success takes back that one, and none that came since
async function deliver(name, body, before) {
  try {
    changes += 1;
    const answer = await post(name, body);
    changes += 1;
    unsay(before);
    return answer;
  } catch (error) {
    say(error.message);
    stage.clear();
  }
}

// sends a change, and shows the session after it
async function change(name, body, turn = (job) => job()) {
  const before = message();
  const answer = await turn(() => deliver(name, body, before));
  if (answer === undefined) return;
  try {
    await refresh();
    return answer;
  } catch (error) {
    say(error.message);
  }
}

// a job that reads every photo: changes of them that were asked for come first
async function afterAll(job) {
  await settled();
  return job();
}

// a change of a photo: regions of it that are on their way come first
function changePhoto(name, body) {
  asked += 1;
  return change(name, body, (job) => inTurn(body.image, job));
}

async function refresh() {
  const before = changes;
  const answer = await ask("/api/state");
  if (before !== changes && session) return; // older than the last change, which asks again
  session = answer;
  const image = session.images.find((one) => one.name === current);
  if (!image) current = null;
  render(image);
}

function render(image) {
  const { images, classes } = session;
  if (number > classes.length) number = Math.max(1, classes.length);
  stage.number = number;
  stage.color = session.colors[number - 1] ?? "#888888";
  showProjectProblems(session);
  showQueue(session, current, open);
  showClasses(session, number, chooseClass);
  showQuality(session);
  showComparison(session);
  showFormats(session, exportAs);
  const select = find("method");
  if (select.options.length !== session.methods.length)
    select.replaceChildren(...session.methods.map((name) => new Option(name, name)));
  select.value = session.method;
  find("toy").hidden = !session.toy;
  find("examples").hidden = images.length > 0;
  const predicts = session.problem || (session.waiting ? `Predicting: ${session.waiting} photos left` : "");
  find("work").textContent = [onTheirWay(stage.clicks.settling.size), predicts].filter(Boolean).join("; ");
  if (image) stage.show(image);
  else stage.hide();
  const here = seen() ? image : undefined;
  find("undo").disabled = !here?.can_undo;
  find("redo").disabled = !here?.can_redo;
  find("accept").disabled = !here?.forecast;
  find("done").disabled = !here || here.done;
  find("clear").disabled = !here;
  find("remove").disabled = !image;
  find("rename").disabled = !classes.length;
  find("labels").hidden = !find("show-labels").checked;
  find("about").textContent = here ? describe(here) : image ? "Loading the photo." : "";
  document.querySelector("[data-tool=click]").hidden = find("click-keys").hidden = !session.clicks;
  find("clicks").hidden = stage.tool !== "click";
  for (const button of document.querySelectorAll("[data-tool]"))
    button.setAttribute("aria-pressed", String(button.dataset.tool === stage.tool));
  find("take-away").setAttribute("aria-pressed", String(stage.removes));
  find("take-away").disabled = ["eraser", "move"].includes(stage.tool);
}

const onTheirWay = (count) => count && (count === 1 ? "1 region is on its way" : `${count} regions are on their way`);

function describe(image) {
  const parts = [`${image.name}, ${image.width} × ${image.height} pixels`];
  if (image.forecast) parts.push(`striped: prediction of ${image.forecast.method} from ${image.forecast.supports} labelled photos`);
  if (image.problem) parts.push(`not predicted: ${image.problem}`);
  if (image.done) parts.push("labelled; drawing opens it again");
  return `${parts.join("; ")}.`;
}

async function open(name) {
  if (name !== current) stage.clicks.settle();
  current = name;
  await change("view", { image: name });
}

// the next photo in the queue's order that is not labelled
async function next() {
  const waiting = session.images.find((image) => !image.done && image.name !== current);
  if (waiting) await open(waiting.name);
}

async function done() {
  const image = seen();
  if (!image || finishing.has(image)) return;
  finishing.add(image);
  const before = asked;
  const taken = stage.clicks.settle(image);
  const turn = (job) => inTurn(image, async () => ((await taken) ? job() : undefined));
  const finished = await change("finish", { image }, turn);
  finishing.delete(image);
  const goesOn = asked !== before || stage.drawing || stage.clicks.waiting(image).length; // more is drawn meanwhile
  if (finished && current === image && !goesOn) await next();
}

function chooseClass(chosen) {
  if (chosen !== number) stage.clicks.settle();
  number = chosen;
  render(session.images.find((image) => image.name === current));
}

function chooseTool(tool) {
  stage.choose(tool);
  render(session.images.find((image) => image.name === current));
}

function toggleRemoval() {
  stage.remove(!stage.removes);
  render(session.images.find((image) => image.name === current));
}

async function exportAs(kind) {
  const exported = await change("export", { format: kind }, afterAll);
  if (exported) showExported(exported);
}

async function add(files) {
  const problems = [];
  for (const file of files) {
    find("work").textContent = `Adding ${file.name}`;
    try {
      const image = await upload(file);
      changes += 1;
      current ??= image.name;
    } catch (error) {
      problems.push(`${file.name}: ${error.message}`);
    }
  }
  await refresh();
  say(problems.join(" "));
  if (current) await post("view", { image: current });
}

function pressed(event) {
  if (event.repeat && event.key === "Enter") return event.preventDefault(); // held: one photo is done, not all
  const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !session) return;
  const tools = { b: "brush", e: "eraser", p: "polygon", r: "box", m: "move", ...(session.clicks && { c: "click" }) };
  const buttons = { z: "undo", y: "redo", a: "accept", x: "take-away", "+": "closer", "-": "farther" };
  const key = event.key.toLowerCase();
  const { drawing } = stage;
  if (key === "enter" && event.target.closest("#clicks")) return; // its buttons do as they say
  if (key === "enter" && event.target.matches("button, summary, a") && !drawing) return;
  if (tools[key]) chooseTool(tools[key]);
  else if (buttons[key]) find(buttons[key]).click();
  else if (key === "enter") drawing ? stage.close() : done();
  else if (key === "escape") stage.escape();
  else if (key === "backspace" && drawing) stage.back();
  else if (key === "n") next();
  else if (key === "[" || key === "]") find("radius").stepUp(key === "]" ? 2 : -2);
  else if (Number(key) >= 1 && Number(key) <= session.classes.length) chooseClass(Number(key));
  else return;
  event.preventDefault();
}

const onSeen = (name, more = {}) => () => seen() && changePhoto(name, { image: seen(), ...more });
find("undo").onclick = onSeen("draw", { step: { kind: "undo" } });
find("redo").onclick = onSeen("draw", { step: { kind: "redo" } });
find("clear").onclick = onSeen("draw", { step: { kind: "clear" } });
find("accept").onclick = () => {
  const forecast = seen() && stage.image.forecast;
  if (forecast) changePhoto("accept", { image: seen(), forecast: forecast.id });
};
find("done").onclick = done;
find("take-region").onclick = () => stage.close();
find("back-click").onclick = () => stage.back();
find("drop-region").onclick = () => stage.escape();
find("take-away").onclick = () => session && toggleRemoval();
find("remove").onclick = () => {
  if (!window.confirm(`Take ${current} out? Its files go to the folder removed.`)) return;
  stage.clicks.recall(current);
  changePhoto("remove", { image: current });
};
find("examples").onclick = async () => {
  await change("examples", {});
  if (!current) await next();
};
find("closer").onclick = () => stage.magnify(1.5);
find("farther").onclick = () => stage.magnify(1 / 1.5);
find("compare").onclick = () => change("compare", {}, afterAll);
find("method").onchange = (event) => change("method", { method: event.target.value });
find("show").onchange = find("show-labels").onchange = () => refresh();
find("files").onchange = (event) => add([...event.target.files]).then(() => (event.target.value = ""));
find("new-class").onsubmit = async (event) => {
  event.preventDefault();
  const chosen = await change("add-class", { name: find("class-name").value });
  if (!chosen) return;
  find("class-name").value = "";
  chooseClass(chosen);
};
find("rename").onclick = async () => {
  const name = find("class-name").value;
  if (!name) return say("Write the new name into the field first.");
  await change("rename-class", { number, name });
  find("class-name").value = "";
};
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => chooseTool(button.dataset.tool);
document.addEventListener("keydown", pressed);
document.addEventListener("keydown", (event) => event.key === "Alt" && event.preventDefault()); // opens no menu
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});
document.addEventListener("dragleave", () => find("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  add([...event.dataTransfer.files]);
});

// the browser asks before it leaves a page with regions that are on their way
window.addEventListener("beforeunload", (event) => stage.clicks.settling.size && event.preventDefault());

async function watch() {
  try {
    await refresh();
    if (!current && session.images.length) await next();
  } catch (error) {
    say(error.message);
  }
  const busy = session && (session.waiting || session.compared);
  setTimeout(watch, busy ? 700 : 2500);
}
watch();
