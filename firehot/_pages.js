// Shows on a page why its newer code is not served, and reloads it: `firehot serve`.
(() => {
  "use strict";
  const script = document.currentScript;
  if (!script || window.__firehot) return;
  window.__firehot = true;
  const url = new URL(script.src);
  const mine = url.searchParams.get("generation");
  const follows = url.searchParams.get("live") === "1" || url.searchParams.get("kind") === "error";
  const key = "firehot-generation";
  let source = null;
  let host = null;

  function hide() {
    if (host) host.remove();
    host = null;
  }

  function show(text) {
    hide();
    host = document.createElement("firehot-overlay");
    // A page's own styles do not reach into it.
    const root = host.attachShadow({ mode: "open" });
    const box = document.createElement("div");
    box.style.cssText =
      "position:fixed;inset:0;z-index:2147483647;overflow:auto;box-sizing:border-box;padding:2rem;" +
      "background:rgba(24,24,28,.94);color:#eee;font:14px/1.5 ui-monospace,Menlo,Consolas,monospace";
    const title = document.createElement("div");
    title.textContent = "The last save does not start. This page is the code before it. (Esc hides this.)";
    title.style.cssText = "color:#ff8a80;font-weight:bold;margin-bottom:1rem";
    const trace = document.createElement("pre");
    trace.textContent = text;
    trace.style.cssText = "margin:0;white-space:pre-wrap;font:inherit";
    box.append(title, trace);
    root.append(box);
    document.documentElement.append(host);
  }

  // A page from a cache names an old generation for ever: it is reloaded once for each new one.
  function isNew(generation) {
    try {
      if (sessionStorage.getItem(key) === generation) return false;
      sessionStorage.setItem(key, generation);
    } catch {
      return false;
    }
    return true;
  }

  function hear(event) {
    const told = JSON.parse(event.data);
    if (told.error !== null) {
      show(told.error);
      return;
    }
    hide();
    if (follows && told.generation !== mine && isNew(told.generation)) location.reload();
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(new URL("events", url));
    source.onmessage = hear;
  }

  // A browser opens six connections to one host: pages that nobody sees hold none.
  function close() {
    if (source) source.close();
    source = null;
  }

  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
})();
