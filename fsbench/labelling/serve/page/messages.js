// The line at the top of the page that says what went wrong.

const line = document.getElementById("problem");

export function say(problem) {
  line.textContent = problem;
  line.hidden = !problem;
}

// the message that stands there
export const message = () => line.textContent;

// takes a message back, unless another one stands there by now
export function unsay(problem) {
  if (line.textContent === problem) say("");
}
