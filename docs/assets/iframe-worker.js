// Browsers start no worker from a file: address, where search runs its index in one. There a hidden
// frame takes the worker's place; it has the part of the interface that search uses.
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.appendChild(this.frame);
    const inside = this.frame.contentWindow;
    const script = new URL(url, location).href;
    const scripts = `importScripts = (...urls) => urls.reduce((before, url) => before.then(() =>
      new Promise((done, failed) => { const script = document.createElement("script");
        script.src = new URL(url, "${script}").href; script.onload = done; script.onerror = failed;
        document.body.appendChild(script) })), Promise.resolve())`;
    inside.document.open();
    inside.document.write(`<body><script>${scripts};
      postMessage = data => parent.postMessage(data, "*")</script><script src="${script}"></script>`);
    inside.document.close();
    this.inside = inside;
    this.ready = new Promise(done => { inside.onload = done; });
    addEventListener("message", event => {
      if (event.source === inside)
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
    });
  }
  postMessage(data) {
    this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
  }
  terminate() { this.frame.remove(); }
}
if (location.protocol === "file:") window.Worker = FrameWorker;
