// Filters of the table of claims: section, status, a word. Without this script all rows show.
const table = document.querySelector("table.claims");
if (table) {
  const rows = [...table.tBodies[0].rows];
  const unique = (values) => [...new Set(values)];
  const sections = unique(rows.flatMap((row) => row.dataset.sections.split("|")));
  const statuses = unique(rows.map((row) => row.dataset.status)).sort();
  const place = document.querySelector(".claims-filters");
  const choice = (name, values) => {
    const label = document.createElement("label");
    label.textContent = `${name} `;
    const select = document.createElement("select");
    select.name = name;
    for (const value of ["all", ...values]) select.add(new Option(value, value));
    label.append(select);
    place.append(label);
    return select;
  };
  const section = choice("section", sections);
  const status = choice("status", statuses);
  const label = document.createElement("label");
  label.textContent = "word ";
  const word = document.createElement("input");
  word.type = "search";
  word.name = "word";
  label.append(word);
  const count = document.createElement("output");
  place.append(label, count);
  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      const fits =
        (section.value === "all" || row.dataset.sections.split("|").includes(section.value)) &&
        (status.value === "all" || row.dataset.status === status.value) &&
        row.textContent.toLowerCase().includes(word.value.toLowerCase());
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  };
  for (const field of [section, status, word]) field.addEventListener("input", filter);
  filter();
}
