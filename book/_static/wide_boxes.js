// A formula or a figure that is wider than the page scrolls in a box of its own. With the keyboard this takes a box that
// can be reached.
function reachWideBoxes() {
  for (const box of document.querySelectorAll("div.math, .wide-figure")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
window.addEventListener("load", reachWideBoxes);
window.addEventListener("resize", reachWideBoxes);
