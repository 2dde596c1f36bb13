// The scatter plot of two methods' IoU: a rectangle is brushed, a click opens the nearest episode.

const MARGIN = { left: 44, right: 12, top: 10, bottom: 40 }, REACH = 14;

class Scatter {
  constructor(canvas, episodes, { brush, pick }) {
    Object.assign(this, { canvas, episodes, start: null });
    canvas.addEventListener("pointerdown", (event) => {
      this.start = pointIn(canvas, event);
      this.isDrag = false;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.start) return;
      const [x, y] = pointIn(canvas, event), [x0, y0] = this.start;
      this.isDrag ||= Math.hypot(x - x0, y - y0) > 4;
      if (this.isDrag) brush(this.rectangle(this.start, [x, y]));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (this.start && !this.isDrag) {
        const found = this.nearest(pointIn(canvas, event));
        if (found >= 0) pick(found);
        else brush(null);
      }
      this.start = null;
    });
    canvas.addEventListener("pointercancel", () => { this.start = null; });
  }

  // Screen place of thousandths, and back.
  place(x, y) {
    const { left, right, top, bottom } = MARGIN, { clientWidth: width, clientHeight: height } = this.canvas;
    return [left + (x / 1000) * (width - left - right), height - bottom - (y / 1000) * (height - top - bottom)];
  }

  value([x, y]) {
    const { left, right, top, bottom } = MARGIN, { clientWidth: width, clientHeight: height } = this.canvas;
    const shares = [(x - left) / (width - left - right), (height - bottom - y) / (height - top - bottom)];
    return shares.map((share) => Math.round(1000 * Math.min(1, Math.max(0, share))));
  }

  rectangle(from, to) {
    const [x0, y0] = this.value(from), [x1, y1] = this.value(to);
    return [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
  }

  // Return the episode nearest to a point of the screen, one that is shown where there is any; -1 where none is near.
  nearest([px, py]) {
    const { iou } = this.episodes, { a, b } = this.state;
    let found = -1, least = REACH;
    for (let i = 0; i < this.episodes.count; i++) {
      if (iou[a][i] < 0 || iou[b][i] < 0) continue;
      const [x, y] = this.place(iou[a][i], iou[b][i]);
      const distance = Math.hypot(x - px, y - py) + (this.fails[i] ? REACH / 2 : 0);
      if (distance < least) [found, least] = [i, distance];
    }
    return found;
  }

  draw(state, filters) {
    Object.assign(this, { state, fails: filters.fails });
    const { context, width, height } = fittedContext(this.canvas), { iou, methods, count } = this.episodes;
    const ink = cssColor("--ink"), soft = cssColor("--soft"), line = cssColor("--line"), strong = cssColor("--link");
    this.drawAxes(context, width, height, line, soft);
    const x = iou[state.a], y = iou[state.b], drawn = [];
    for (let i = 0; i < count; i++) if (x[i] >= 0 && y[i] >= 0) drawn.push(i);
    for (const [isShown, color, opacity, side] of [[false, soft, 0.25, 2], [true, strong, drawn.length > 800 ? 0.5 : 0.85, drawn.length > 800 ? 3 : 5]]) {
      context.fillStyle = color;
      context.globalAlpha = opacity;
      for (const i of drawn) {
        if ((this.fails[i] === 0) !== isShown) continue;
        const [px, py] = this.place(x[i], y[i]);
        context.fillRect(px - side / 2, py - side / 2, side, side);
      }
    }
    context.globalAlpha = 1;
    if (state.brush) {
      const [left, right, low, high] = state.brush, [x0, y0] = this.place(left, high), [x1, y1] = this.place(right, low);
      context.strokeStyle = ink;
      context.setLineDash([5, 3]);
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
      context.setLineDash([]);
    }
    if (state.episode >= 0 && x[state.episode] >= 0 && y[state.episode] >= 0) {
      context.strokeStyle = ink;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(...this.place(x[state.episode], y[state.episode]), 7, 0, 7);
      context.stroke();
    }
    return drawn.length;
  }

  drawAxes(context, width, height, line, soft) {
    context.font = "12px system-ui, sans-serif";
    context.strokeStyle = line;
    context.fillStyle = soft;
    for (let tick = 0; tick <= 1000; tick += 200) {
      const [x, y] = this.place(tick, tick), [left, bottom] = this.place(0, 0), [right, top] = this.place(1000, 1000);
      context.strokeRect(x, top, 0, bottom - top);
      context.strokeRect(left, y, right - left, 0);
      context.textAlign = "center";
      context.fillText(String(tick / 10), x, bottom + 15);
      context.textAlign = "right";
      context.fillText(String(tick / 10), left - 6, y + 4);
    }
    context.beginPath(); // equal IoU
    context.moveTo(...this.place(0, 0));
    context.lineTo(...this.place(1000, 1000));
    context.stroke();
    context.textAlign = "center";
    context.fillText("IoU of A, %", (MARGIN.left + width) / 2, height - 6);
    context.save();
    context.translate(12, (height - MARGIN.bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("IoU of B, %", 0, 0);
    context.restore();
  }
}
