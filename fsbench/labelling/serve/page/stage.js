// The photo with its layers, and the tools that draw on it. Points are in pixels of the photo itself.

import { Clicks } from "./clicks.js";
import { layer } from "./server.js";

const LONGEST = 1600; // side of the pictures that the server sends
const NEAR = 9; // pixels of the screen: a click this near to the first corner closes a polygon
const MARK = 6; // pixels of the screen: radius of a click's mark
const find = (id) => document.getElementById(id);

export class Stage {
  // draw: is given each finished step and the name of the photo that it was drawn on
  // regions: `ask` and `take` of the clicks, see Clicks
  // changed: is called when another photo is seen, and when regions are on their way or no more
  constructor(draw, regions, changed) {
    this.draw = draw;
    this.clicks = new Clicks({
      ...regions,
      shown: () => (this.tool === "click" ? this.shown : null),
      clicked: () => this.redraw(),
      settled: changed,
    });
    this.changed = changed;
    this.shown = null; // name of the photo that is seen; null while the next one is loaded
    this.tool = "brush";
    this.number = 1;
    this.removes = false; // whether tools take labels away, whatever their class
    this.removing = false; // the same of the stroke that is being drawn, where Alt counts, too
    this.color = "#888";
    this.zoom = 1;
    this.image = null;
    this.points = []; // of the stroke that is being drawn
    this.waits = new Map(); // by photo: how many of its strokes the server has not answered
    this.kept = null; // copy of the canvas with the strokes of the photo that wait for their answers
    this.element = find("stage");
    this.canvas = find("live");
    this.context = this.canvas.getContext("2d");
    const first = (act) => (event) => { if (event.isPrimary) act(event); }; // a second finger does nothing
    find("frame").addEventListener("pointerdown", first((event) => this.press(event))); // may begin beside the photo
    this.canvas.addEventListener("pointermove", first((event) => this.drag(event)));
    this.canvas.addEventListener("pointerup", first((event) => this.release(event)));
    this.canvas.addEventListener("pointercancel", first(() => this.cancel()));
    this.canvas.addEventListener("dblclick", () => this.tool === "polygon" && this.close());
    find("labels").addEventListener("load", () => this.clean());
    find("labels").addEventListener("load", () => this.clicks.clean());
    find("photo").addEventListener("load", () => this.seen());
    new ResizeObserver(() => this.fit()).observe(find("frame"));
  }

  show(image) {
    const changed = !this.image || this.image.name !== image.name;
    this.image = image;
    this.element.hidden = false;
    find("empty").hidden = true;
    if (changed) {
      this.shown = this.kept = null;
      this.cancel();
      this.clicks.clean();
      this.zoom = 1;
      const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
      this.canvas.width = Math.max(1, Math.round(image.width * scale));
      this.canvas.height = Math.max(1, Math.round(image.height * scale));
      this.source("photo", layer("image", image.name, ""));
      this.fit();
    }
    this.source("labels", layer("labels", image.name, image.revision));
    const shown = image.forecast && find("show").checked;
    find("prediction").hidden = !shown;
    if (shown) this.source("prediction", layer("prediction", image.name, image.forecast.id));
  }

  // the photo is decoded: only now is it drawn on
  seen() {
    if (!this.image || find("photo").getAttribute("src") !== layer("image", this.image.name, "")) return;
    this.shown = this.image.name;
    this.changed();
    this.clicks.tell();
  }

  hide() {
    this.cancel();
    this.image = this.shown = null;
    find("photo").removeAttribute("src"); // so that the same photo is loaded again
    this.element.hidden = true;
    find("empty").hidden = false;
  }

  source(id, address) {
    if (find(id).getAttribute("src") !== address) find(id).setAttribute("src", address);
  }

  fit() {
    if (!this.image) return;
    const frame = find("frame");
    const highest = 0.7 * window.innerHeight;
    const width = Math.min(frame.clientWidth - 2, (highest * this.image.width) / this.image.height);
    this.element.style.width = `${Math.max(40, width * this.zoom)}px`;
    this.element.classList.toggle("move", this.tool === "move");
    if (this.clicks.object) this.redraw(); // the marks have their size on the screen
  }

  magnify(factor) {
    this.zoom = Math.min(16, Math.max(1, this.zoom * factor));
    this.fit();
  }

  choose(tool) {
    this.clicks.settle();
    this.cancel();
    this.tool = tool;
    this.fit();
    this.clicks.tell();
  }

  remove(removes) {
    this.removes = this.removing = removes; // of a polygon that is being drawn, too
    this.redraw();
  }

  // whether a polygon or clicks wait for their end
  get drawing() {
    return this.points.length > 0 || this.clicks.object !== null;
  }

  // number that a stroke gives its pixels
  get drawn() {
    return this.removing ? 0 : this.number;
  }

  // pixels of the photo for one pixel of the screen
  get scale() {
    return this.image.width / this.canvas.getBoundingClientRect().width;
  }

  get radius() {
    return Math.max(0.5, Number(find("radius").value) * this.scale);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * this.scale, (event.clientY - box.top) * this.scale];
  }

  press(event) {
    if (event.button !== 0 || this.tool === "move" || !this.shown) return;
    const { target } = event;
    const bars = target === find("frame") && (event.offsetX >= target.clientWidth || event.offsetY >= target.clientHeight);
    if (bars || (event.pointerType === "touch" && target !== this.canvas)) return;
    event.preventDefault();
    const point = this.point(event);
    if (this.tool === "click") {
      const within = [[0, this.image.width], [0, this.image.height]].map(([low, high], i) => Math.min(high, Math.max(low, point[i])));
      if (target === this.canvas) this.clicks.add(this.shown, this.number, within, !(this.removes || event.altKey));
      return;
    }
    if (!this.points.length) this.removing = this.tool === "eraser" || this.removes || event.altKey;
    if (this.tool === "polygon") {
      const [first] = this.points;
      const closes = this.points.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < NEAR * this.scale;
      if (closes) return this.close();
      const latest = this.points.at(-1);
      if (!latest || Math.hypot(point[0] - latest[0], point[1] - latest[1]) > this.scale) this.points.push(point);
    } else {
      this.canvas.setPointerCapture(event.pointerId);
      this.points = [point];
      this.draws = true;
    }
    this.sketch(point);
  }

  drag(event) {
    if (!this.image) return;
    const point = this.point(event);
    if (this.draws && this.tool === "box") this.points[1] = point;
    else if (this.draws) for (const one of event.getCoalescedEvents?.() ?? [event]) this.points.push(this.point(one));
    if (this.points.length) this.sketch(point);
  }

  release(event) {
    if (!this.draws) return;
    this.draws = false;
    const { points, drawn: number } = this;
    this.points = [];
    if (this.tool === "box") {
      if (points.length === 2) this.finish({ kind: "box", number, points });
      else this.clean();
    } else {
      this.finish({ kind: "brush", number, radius: this.radius, points: thinned(points, this.scale) });
    }
    event.preventDefault();
  }

  // ends what is being drawn, and keeps it
  close() {
    if (this.clicks.object) return this.clicks.settle();
    const points = this.points;
    this.points = [];
    if (points.length > 2) this.finish({ kind: "polygon", number: this.drawn, points });
    else this.clean();
  }

  back() {
    if (this.clicks.object) return this.clicks.back();
    this.points.pop();
    this.redraw();
  }

  // drops the stroke that is being drawn
  clear() {
    this.points = [];
    this.draws = false;
    this.redraw();
  }

  // drops clicks, too
  cancel() {
    this.clicks.drop();
    this.clear();
  }

  // drops what is being drawn; where nothing is, the regions that are on their way
  escape() {
    if (this.drawing) this.cancel();
    else this.clicks.recall(this.shown);
  }

  async finish(step) {
    const image = this.shown;
    this.kept = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.kept.getContext("2d").drawImage(this.canvas, 0, 0);
    const wait = (count) => this.waits.set(image, (this.waits.get(image) ?? 0) + count);
    wait(1);
    const answer = await this.draw(step, image).finally(() => wait(-1));
    if (answer !== undefined || this.shown !== image) return;
    this.kept = null;
    this.redraw();
  }

  // strokes on the photo that is seen which the server has not answered
  get pending() {
    return this.waits.get(this.shown) ?? 0;
  }

  // the server's layer shows the stroke now
  clean() {
    if (!this.points.length) this.redraw();
  }

  // leaves the strokes that wait for their answers
  wipe() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.context.globalAlpha = 1;
    if (this.pending && this.kept) this.context.drawImage(this.kept, 0, 0);
  }

  redraw() {
    this.wipe();
    if (this.points.length) this.sketch(this.points.at(-1));
    this.mark();
  }

  // the clicks: a disc with + on the object, a dark one with − beside it
  mark() {
    const context = this.context;
    const scale = this.image ? this.canvas.width / this.image.width : 1;
    for (const [x, y, adds] of this.clicks.points) {
      const pixel = this.scale * scale; // of the screen, in those of the canvas
      const arm = 3.5 * pixel;
      const [ground, ink] = adds ? ["#ffffff", "#1b1f24"] : ["#1b1f24", "#ffffff"];
      const at = [x * scale, y * scale];
      context.globalAlpha = 1;
      context.fillStyle = ground;
      context.strokeStyle = ink;
      context.lineWidth = 1.5 * pixel;
      context.beginPath();
      context.arc(...at, MARK * pixel, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
      context.beginPath();
      context.moveTo(at[0] - arm, at[1]);
      context.lineTo(at[0] + arm, at[1]);
      if (adds) {
        context.moveTo(at[0], at[1] - arm);
        context.lineTo(at[0], at[1] + arm);
      }
      context.stroke();
    }
  }

  sketch(pointer) {
    const context = this.context;
    const scale = this.canvas.width / this.image.width;
    const at = ([x, y]) => [x * scale, y * scale];
    const color = this.removing ? "#ffffff" : this.color;
    this.wipe();
    context.globalAlpha = 0.55;
    context.strokeStyle = context.fillStyle = color;
    context.beginPath();
    if (this.tool === "box") {
      const [[left, top], [right, bottom]] = [at(this.points[0]), at(this.points[1] ?? this.points[0])];
      context.fillRect(left, top, right - left, bottom - top);
    } else if (this.tool === "polygon") {
      for (const point of [...this.points, pointer]) context.lineTo(...at(point));
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 2 * this.scale * scale;
      context.stroke();
      for (const point of this.points) {
        const [x, y] = at(point);
        const side = 7 * this.scale * scale;
        context.fillRect(x - side / 2, y - side / 2, side, side);
      }
    } else {
      context.lineCap = context.lineJoin = "round";
      context.lineWidth = 2 * this.radius * scale;
      context.moveTo(...at(this.points[0]));
      for (const point of this.points) context.lineTo(...at(point));
      context.stroke();
    }
  }
}

// without points nearer than a pixel of the screen to the one before
function thinned(points, least) {
  const kept = [points[0]];
  for (const point of points) {
    const [x, y] = kept.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) >= least) kept.push(point);
  }
  return kept.slice(0, 20000);
}
