// The tool that segments at clicks: points on one object, and the mask that the server's network makes of them.
// The mask is a preview until the object is settled; then it becomes labels in one step, as soon as it is there.

import { message, say, unsay } from "./messages.js";
import { inTurn } from "./turns.js";

const MOST_CLICKS = 200; // on one object; the server takes no more
const TAKE = matchMedia("(pointer: coarse)").matches
  ? "tap Take region to take it; press Remove to tap what is to be left out"
  : "press Enter to take it";
const find = (id) => document.getElementById(id);

export class Clicks {
  // on: what the owner gives
  //   ask(object): resolves to the step and the layer of { image, number, points }
  //   take(step, image, before): makes a step of the photo's labels, and takes the message `before` back; resolves to
  //     whether that worked
  //   shown(): name of the photo on which there may be clicks, if any
  //   clicked(): points came or went
  //   settled(): a region is on its way, or is no more
  constructor(on) {
    this.on = on;
    this.object = null; // that is clicked on; the next click begins one
    this.queue = Promise.resolve(); // of requests: one at a time, so that answers come in the order of the clicks
    this.settling = new Set(); // objects whose regions are on their way
    this.shown = null; // object whose mask is the preview
    this.problem = ""; // the last message about clicks
  }

  get points() {
    return this.object?.points ?? [];
  }

  // objects of a photo whose regions are on their way
  waiting(image) {
    return [...this.settling].filter((object) => object.image === image);
  }

  // adds: whether the object is at this point
  add(image, number, [x, y], adds) {
    if (this.object && this.object.number !== number) this.settle(); // one that came back, of another class
    if (!adds && !this.object) return this.tell("Click on the object first, then on what is to be left out.");
    if (this.points.length >= MOST_CLICKS) return say(`An object has ${MOST_CLICKS} clicks at most. Take the region, then begin another.`);
    this.object ??= begun(image, number);
    this.object.points.push([x, y, adds]);
    this.enqueue();
  }

  back() {
    this.object.points.pop();
    if (this.points.length) this.enqueue();
    else this.drop();
  }

  enqueue() {
    const object = this.object;
    object.version += 1;
    object.before = this.problem; // a mask of these points takes it back, and none that comes later
    object.asked = this.queue = this.queue.then(() => this.request(object));
    this.tell();
    this.on.clicked();
  }

  async request(object) {
    const { image, number, version, before } = object;
    if (object.dropped || object.answered === version) return; // an earlier turn has asked for the latest points
    const points = [...object.points];
    try {
      const { step, layer } = await this.on.ask({ image, number, points });
      object.good = { points, step, layer };
      if (!object.dropped && version === object.version) this.answer(object);
      unsay(before);
    } catch (error) {
      // an error of points that nobody waits for any more is not said
      if (!object.dropped && version === object.version) this.fail(object, error.message);
    }
  }

  // the object has the mask of its last good answer
  answer(object) {
    object.answered = object.version;
    if (object !== this.object) return;
    this.shown = object;
    find("clicked").src = object.good.layer;
    find("clicked").hidden = false;
    this.tell();
  }

  // goes back to the points that have a mask; where none have, the object is dropped
  fail(object, problem) {
    const goesOn = object === this.object || (!this.object && object.image === this.on.shown());
    const lost = object !== this.object && !(object.good && goesOn);
    this.problem = lost ? `A region of ${object.image} is lost: ${problem}` : problem;
    say(this.problem);
    if (!object.good || !goesOn) return this.leave(object);
    this.object = object; // one that was settled is a preview again: without its last clicks it may not be what was wanted
    this.release(object);
    object.points = [...object.good.points];
    object.version += 1;
    this.answer(object);
    this.on.clicked();
  }

  // makes labels of the object, if there is one; resolves to whether all regions of the photo that were on their way
  // became labels
  settle(image = this.object?.image) {
    const { object } = this;
    if (object) {
      const ended = new Promise((resolve) => (object.end = resolve));
      const before = message();
      this.object = null;
      this.settling.add(object);
      object.taken = inTurn(object.image, () => this.label(object, ended, before));
      this.tell();
      this.on.clicked();
      this.on.settled();
    }
    return Promise.all(this.waiting(image).map((one) => one.taken)).then((all) => all.every(Boolean));
  }

  // ended: resolves to false when the object is dropped or clicked on again
  // before: the message that stood when the object was settled
  async label(object, ended, before) {
    if ((await Promise.race([ended, object.asked])) === false) return false;
    const step = object.good?.step;
    object.end = null; // from here on it is too late to drop it
    const taken = !step || (await this.on.take(step, object.image, before));
    if (this.shown === object && !(step && taken)) this.clean();
    this.release(object);
    this.tell();
    return taken;
  }

  // the object's region is no more on its way
  release(object) {
    if (!this.settling.delete(object)) return;
    object.end?.(false);
    object.end = null;
    this.on.settled();
  }

  // drops the object that is clicked on
  drop() {
    if (this.object) this.leave(this.object);
  }

  // drops the regions of a photo that are on their way
  recall(image) {
    for (const object of this.waiting(image)) if (object.end) this.leave(object);
  }

  leave(object) {
    object.dropped = true;
    this.release(object);
    if (object === this.object) {
      this.object = null;
      this.on.clicked();
    }
    if (this.shown === object) this.clean();
    this.tell();
  }

  // hides the preview of an object that is no more clicked on
  clean() {
    if (this.shown && this.shown === this.object) return;
    this.shown = null;
    find("clicked").hidden = true;
    find("clicked").removeAttribute("src");
  }

  tell(hint = "") {
    const { object } = this;
    const waits = object && object.answered !== object.version;
    const state = waits ? "finding the object …" : object?.good?.step ? TAKE : "nothing is found here";
    const count = this.points.length === 1 ? "1 click" : `${this.points.length} clicks`;
    find("clicks-state").textContent = object ? `${count}: ${state}` : hint;
    find("take-region").disabled = find("back-click").disabled = !object;
    find("drop-region").disabled = !object && !this.waiting(this.on.shown()).length;
  }
}

const begun = (image, number) => ({ image, number, points: [], version: 0, answered: 0, before: "", good: null, dropped: false });
