// Masks as COCO's compressed runs. Each character from "0" on holds 5 bits of a number, the lowest first, and whether
// more follow; from the third number on it is the difference to the last but one. Runs go down the columns, background
// first.

function rleRuns(text) {
  const runs = [];
  let value = 0, shift = 0;
  for (const character of text) {
    const bits = character.charCodeAt(0) - 48;
    if (bits < 0 || bits > 63 || shift > 40) throw new Error("these are no runs");
    value += (bits & 31) * 2 ** shift;
    shift += 5;
    if (bits & 32) continue;
    if (bits & 16) value -= 2 ** shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    value = shift = 0;
  }
  if (shift) throw new Error("the last run is cut off");
  return runs;
}

// Return the mask as 0 and 1, row by row.
function decodeRle(text, height, width) {
  const mask = new Uint8Array(height * width);
  let place = 0, isForeground = false;
  for (const run of rleRuns(text)) {
    if (run < 0 || place + run > mask.length) throw new Error("the runs do not fit the mask");
    if (isForeground) {
      for (let i = place; i < place + run; i++) mask[(i % height) * width + Math.floor(i / height)] = 1;
    }
    place += run;
    isForeground = !isForeground;
  }
  if (place !== mask.length) throw new Error("the runs do not fill the mask");
  return mask;
}
