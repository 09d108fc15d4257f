// Makes the figures of interactive.py answer to their controls.
{
  const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

  // Shows the parts whose choices are all made, and says the numbers that the table has of them.
  const choose = (figure, form) => {
    const chosen = new Set(new FormData(form).values());
    const fits = ({ dataset }) => dataset.when?.split(" ").every((code) => chosen.has(code));
    for (const part of form.querySelectorAll("[data-when]")) part.toggleAttribute("hidden", !fits(part));

    const says = figure.querySelector(".says");
    const [head, ...rows] = figure.querySelectorAll("tr");
    const found = rows.filter(fits).flatMap(({ cells }) => [...head.cells].filter(fits).map((title) => {
      const names = [cells[0].textContent, title.textContent];
      const [item, other] = says.dataset.item === "row" ? names : names.reverse();
      return { item: `${item}: ${cells[title.cellIndex].textContent}`, other };
    }));
    const others = [...new Set(found.map(({ other }) => other))].join(", ");
    const list = element("ul", "");
    list.append(...found.map(({ item }) => element("li", item)));
    says.replaceChildren(element("p", found.length ? `${says.dataset.what}: ${others}` : "Nothing is chosen."), list);

    const words = [...form.querySelectorAll(":checked")].filter((input) => !input.closest("[hidden]")).map((input) =>
      `${input.closest("fieldset").firstChild.textContent} ${input.parentElement.textContent}`);
    for (const picture of form.querySelectorAll("[role=img]")) {
      picture.dataset.what ??= picture.getAttribute("aria-label");
      picture.setAttribute("aria-label", `${picture.dataset.what} Shown: ${words.join(", ")}.`);
    }
  };

  for (const figure of document.querySelectorAll(".rnm-figure:not([data-ready])")) {
    figure.dataset.ready = "";
    const form = figure.querySelector("form");
    for (const fieldset of form.querySelectorAll("fieldset")) fieldset.disabled = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    if (figure.querySelector("[data-item]")) {
      form.addEventListener("input", () => choose(figure, form));
      choose(figure, form);
    }
  }
}
