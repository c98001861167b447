// Takes the fragment that the server sends once a second and keeps the age of the data honest in between.
// Without this script the page refreshes itself.
(() => {
  "use strict";
  const STALE_MS = 5000;
  const live = document.getElementById("live");
  let received = performance.now();

  const age = () => {
    const stamp = document.getElementById("age");
    if (!stamp) return;
    const ms = Number(stamp.dataset.ageMs) + (performance.now() - received);
    const stale = ms > STALE_MS;
    stamp.textContent = stale ? `stale: data ${Math.round(ms / 1000)} s old` : `data ${(ms / 1000).toFixed(1)} s old`;
    document.body.classList.toggle("stale", stale);
  };

  const show = (fragment) => {
    // Somebody who marks text to copy it keeps it.
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && live.contains(selection.anchorNode)) return;
    const scrolled = [...live.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    const focused = [...live.querySelectorAll("a, .scroll")].indexOf(document.activeElement);
    live.innerHTML = fragment;
    live.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] || 0; });
    if (focused >= 0) live.querySelectorAll("a, .scroll")[focused]?.focus({ preventScroll: true });
    const title = live.querySelector("[data-title]");
    if (title) document.title = title.dataset.title;
    received = performance.now();
    age();
  };

  new EventSource("/events").onmessage = (event) => show(event.data);
  setInterval(age, 250);
})();
