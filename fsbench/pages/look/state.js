"use strict";
// What a reader has chosen, in the address of the page: ?sort=-mIoU.mean&find=emat. An address may be anybody's: who
// reads a value checks it.
const pageState = {
  get(name) { return new URLSearchParams(location.search).get(name); },
  set(changes) { // name -> value; null, false and "" take it out
    const state = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === false || value === "") state.delete(name); else state.set(name, value);
    }
    const query = state.size ? `?${state}` : location.pathname;
    try { history.replaceState(null, "", query + location.hash); } catch { /* a browser that keeps addresses of files */ }
  },
};
