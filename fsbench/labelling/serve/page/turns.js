// Changes of a photo are made one after the other, in the order in which they were asked for. A region of clicks takes
// its turn before its mask is there: what is done to the photo after it waits, and other photos do not.

const last = new Map(); // by photo: resolves when the last change that was asked for is made

// runs `job` when it is its turn; resolves to what it returns
export function inTurn(image, job) {
  const turn = (last.get(image) ?? Promise.resolve()).then(job);
  const end = turn.catch(() => {}).then(() => last.get(image) === end && last.delete(image));
  last.set(image, end);
  return turn;
}

// resolves when every change that was asked for so far is made
export const settled = () => Promise.all([...last.values()]);
