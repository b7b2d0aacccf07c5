// Starts everything; views inside closed details start when they are opened.

const element = document.querySelector("#data");
if (element) {
  const data = JSON.parse(element.textContent);
  const model = new Model(data.model);
  enablePatches(model);

  const started = new WeakSet();
  const start = (root) => {
    if (started.has(root)) return;
    started.add(root);
    new View(root, model, data.pictures[Number(root.dataset.picture)]);
  };

  const drawMaps = (root) => {
    if (started.has(root)) return;
    started.add(root);
    const index = Number(root.dataset.maps);
    const evidence = new Evidence(model, data.pictures[index]);
    const photo = loadPhoto(index);
    for (const place of root.querySelectorAll("[data-unit-map]")) {
      const unit = Number(place.dataset.unitMap);
      place.replaceChildren(miniature(evidence, photo, evidence.map(evidence.units, unit), place.dataset.label));
    }
  };

  const begin = (scope) => {
    const reached = (root) => !root.parentElement.closest("details:not([open])");
    [...scope.querySelectorAll(".view")].filter(reached).forEach(start);
    [...scope.querySelectorAll("[data-maps]")].filter(reached).forEach(drawMaps);
  };
  begin(document);
  window.addEventListener("beforeprint", () => {
    for (const card of document.querySelectorAll(".card details")) card.open = true;
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.open) begin(event.target);
  }, true);
}
