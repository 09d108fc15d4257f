// Paper is light: a page that is dark on the screen becomes light while it is printed.
{
  const root = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => {
    theme = root.theme;
    root.theme = "light";
  });
  addEventListener("afterprint", () => (root.theme = theme));
}
