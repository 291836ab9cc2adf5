// A worker in a frame: a page that is opened as a file may not start the one of the site's search.
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.appendChild(this.frame);
    const inside = this.frame.contentWindow;
    inside.document.open();
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    inside.importScripts = (...urls) =>
      urls.reduce(
        (before, each) =>
          before.then(
            () =>
              new Promise((done, failed) => {
                const script = inside.document.createElement("script");
                Object.assign(script, { src: each, onload: done, onerror: failed });
                inside.document.body.appendChild(script);
              }),
          ),
        Promise.resolve(),
      );
    this.loaded = new Promise((done) => {
      const script = inside.document.createElement("script");
      Object.assign(script, { src: url, onload: done });
      inside.document.write("<!DOCTYPE html><body></body>");
      inside.document.close();
      inside.document.body.appendChild(script);
    });
  }

  postMessage(data) {
    this.loaded.then(() =>
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })),
    );
  }

  terminate() {
    this.frame.remove();
  }
}

if (location.protocol === "file:") {
  window.Worker = FrameWorker;
}
