"use strict";
(() => {
  // A browser checks the integrity of what a server sends; of a file beside the page, opened from disk, it cannot.
  const { src, integrity } = document.currentScript.dataset;
  const script = document.createElement("script");
  script.src = src;
  if (location.protocol !== "file:") Object.assign(script, { integrity, crossOrigin: "anonymous" });
  script.addEventListener("load", () => dispatchEvent(new Event("plotly")));
  script.addEventListener("error", () => {
    const note = document.createElement("p");
    note.className = "missing";
    note.textContent = "Figures could not be drawn: " + src + " is not beside this page, or is not the file it was made with.";
    document.getElementById("main").prepend(note);
  });
  document.head.append(script);
})();
