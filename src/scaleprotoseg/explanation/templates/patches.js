// Training patches: buttons that show the images at the top of the page, and the dialog that enlarges them.

// Width in pixels of the region that extends `reach` cells to each side of its cell.
const regionPixels = (reach, pixels, cells) => Math.round(((2 * reach + 1) * pixels) / cells);

function patch(prototype) {
  const { id, source } = prototype;
  if (source === null) return el("span", { class: "patch unknown" }, `#${id}: source unknown`);
  return el(
    "button",
    { type: "button", class: "patch", "data-prototype": id, "aria-label": `Enlarge prototype ${id}, from ${source.image}` },
    svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#patch-${id}` })),
  );
}

function describePatch(model, prototype) {
  const { source } = prototype;
  const [left, top, right, bottom] = source.box;
  const facts = [
    ["Class", className(model, prototype.class)],
    ["Training image", source.image],
    ["Scale", String(prototype.scale + 1)],
    ["Box", `columns ${left} to ${right - 1}, rows ${top} to ${bottom - 1} of ${source.image_size.join(" × ")} pixels`],
    ["Cell", `row ${source.cell[0]}, column ${source.cell[1]} of the feature map`],
    ["Squared distance", `${decimals(source.distance, 4)} between the trained prototype and this patch`],
  ];
  return el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function enablePatches(model) {
  const dialog = document.querySelector("#patch-dialog");
  const byId = new Map(model.prototypes.map((prototype) => [String(prototype.id), prototype]));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-prototype]");
    if (!button) return;
    const prototype = byId.get(button.dataset.prototype);
    dialog.querySelector(".dialog-body").replaceChildren(
      el("h2", {}, `Prototype #${prototype.id}`),
      svg("svg", { class: "enlarged", role: "img", "aria-label": "The training patch and its surroundings" },
        svg("use", { href: `#patch-${prototype.id}` })),
      el("p", { class: "hint" }, "The box is the region of the training image that is shown for the scale of the prototype. The encoder has a larger receptive field, so its surroundings also have some influence."),
      describePatch(model, prototype),
    );
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
