// Requests to the server. Changes are sent one after the other, so that strokes arrive in the order they were drawn.

let last = Promise.resolve();

export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. What was drawn before is saved; start fsbench demo again.");
  }
  const content = await answer.json().catch(() => ({ error: `The server answered ${answer.status}; reload the page.` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

// a request that changes nothing, which waits for no other
export function send(name, body) {
  return ask(`/api/${name}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

export function post(name, body) {
  const job = last.then(() => send(name, body));
  last = job.catch(() => {});
  return job;
}

export function upload(file) {
  const job = last.then(() => ask(`/api/upload?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file }));
  last = job.catch(() => {});
  return job;
}

export const layer = (kind, name, version) =>
  `/api/${kind}?name=${encodeURIComponent(name)}&version=${encodeURIComponent(version)}`;
