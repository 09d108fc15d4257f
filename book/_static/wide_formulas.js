// A formula that is wider than the page scrolls in a box of its own. With the keyboard this takes a box that can be reached.
function reachWideFormulas() {
  for (const box of document.querySelectorAll("div.math")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
window.addEventListener("load", reachWideFormulas);
window.addEventListener("resize", reachWideFormulas);
