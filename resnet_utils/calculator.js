// The calculator of interactive.py, the only figure whose numbers are computed in the page.
{
  const count = (number) => number.toLocaleString("en-US");

  const calculate = (says, form) => {
    const { channels, squeeze, kernel, side } = form.elements;
    const [C, r, k] = [channels, squeeze, kernel].map((control) => Number(control.value));
    const fitting = [...squeeze.options].map((option) => option.value).filter((value) => C % value === 0);
    let problem = "";
    if (!(Number.isInteger(C) && C >= 1 && C <= channels.max))
      problem = `The channels must be a whole number from 1 to ${count(Number(channels.max))}.`;
    else if (C % r)
      problem = `A squeeze of ${r} does not divide ${count(C)} channels. Of the values to choose from, these do: ${fitting.join(", ")}.`;
    channels.setAttribute("aria-invalid", Boolean(problem));

    const size = { C, k, M: C / r, 1: 1 };
    const layers = [...form.querySelectorAll("[data-layer]")].map((row) => {
      const [kernel, before, after] = row.dataset.layer.split(" ").map((word) => size[word]);
      return { row, kernel, before, after, weights: kernel * kernel * before * after };
    });
    const most = Math.max(...layers.map(({ weights }) => weights));
    for (const { row, kernel, before, after, weights } of layers) {
      const [left, right] = [50 * before / C, 50 * after / C];
      const points = `${50 - left} 0 ${50 + left} 0 ${50 + right} 9 ${50 - right} 9`;
      row.cells[0].textContent = problem ? "–" : `${kernel} x ${kernel}, ${count(before)} → ${count(after)}`;
      row.querySelector("span").textContent = problem ? "–" : count(weights);
      row.querySelector("polygon").setAttribute("points", problem ? "" : points);
      row.querySelector("rect").setAttribute("width", problem ? 0 : `${Number((100 * weights / most).toPrecision(6))}%`);
    }
    const sums = [...form.querySelectorAll("tbody")].map((body) =>
      layers.reduce((sum, { row, weights }) => sum + (body.contains(row) ? weights : 0), 0));
    form.querySelectorAll(".sum").forEach((cell, i) => { cell.textContent = problem ? "–" : count(sums[i]); });

    const [basic_work, bottleneck_work] = sums.map((sum) => (sum * side.value ** 2 / 1e9).toFixed(3));
    const values = {
      channels: count(C), squeeze: r, side: side.value, ratio: (sums[0] / sums[1]).toFixed(2),
      basic: count(sums[0]), bottleneck: count(sums[1]), basic_work, bottleneck_work,
    };
    says.textContent = problem || says.dataset.sentence.replace(/{(\w+)}/g, (_, name) => values[name]);
  };

  for (const says of document.querySelectorAll(".rnm-figure [data-sentence]:not([data-ready])")) {
    says.dataset.ready = "";
    const form = says.parentElement.querySelector("form");
    form.addEventListener("input", () => calculate(says, form));
    calculate(says, form);
  }
}
