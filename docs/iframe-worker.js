// Browsers start no worker from a page on disk. There the search's worker runs in a hidden frame of the page instead,
// which takes its messages and answers as a worker does. The theme's offline plugin makes the index a script, too.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(file) {
      super();
      this.scope = new Promise((resolve) => {
        const frame = document.createElement("iframe");
        frame.hidden = true;
        frame.onload = () => { // at once, or a little later: browsers differ
          const script = frame.contentDocument.createElement("script"), scope = frame.contentWindow;
          scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          script.onload = () => resolve(scope);
          script.src = file;
          frame.contentDocument.head.append(script);
        };
        document.body.append(frame);
      });
    }

    async postMessage(data) {
      (await this.scope).dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
