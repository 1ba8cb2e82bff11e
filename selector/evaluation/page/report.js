// The parts of the report that a reader changes: number of shots, lines brought out, confusion matrix, queries.
// What comes from data is set as text, never as markup.
"use strict";
(() => {
  const MATRIX_LABELS = 20; // more do not fit a screen: the others are pooled until all are asked for
  const WHOLE_MATRIX = 150; // labels; a table of more cells would stall a phone
  const AT_ONCE = 20; // queries
  const data = JSON.parse(at("data").textContent);
  const runs = Object.entries(data.runs);
  let [, run] = runs[runs.length - 1];
  let shownQueries = AT_ONCE;

  function at(id) {
    return document.getElementById(id);
  }

  function make(tag, kind, ...inside) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    element.append(...inside);
    return element;
  }

  function percent(share) {
    return (100 * share).toFixed(1);
  }

  // Fills a select and keeps what was chosen where that is still offered.
  function offer(select, options, first) {
    const before = select.value || first;
    select.replaceChildren(...options.map(([value, name]) => new Option(name, value)));
    if (options.some(([value]) => String(value) === before)) select.value = before;
  }

  function chooseShots(shots) {
    run = data.runs[shots];
    for (const panel of document.querySelectorAll("[data-shots]")) panel.hidden = panel.dataset.shots !== shots;
    const methods = run.methods.map((number) => [number, data.methods[number]]);
    if (at("confusion")) {
      offer(at("confusion-method"), methods, String(run.recommended));
      drawConfusion();
    }
    offer(at("query-method"), [["", "all methods"], ...methods], "");
    listQueries();
  }

  // Lines stay out while their buttons are pressed; the one under the pointer or the focus comes out for that long.
  function bringOut(passing) {
    const out = new Set([...document.querySelectorAll(".legend [aria-pressed=true]")].map((own) => own.dataset.series));
    if (passing !== undefined) out.add(passing);
    for (const line of document.querySelectorAll("svg .series")) {
      line.classList.toggle("out", out.has(line.dataset.series));
      line.classList.toggle("faded", out.size > 0 && !out.has(line.dataset.series));
    }
  }

  function connectCurve() {
    for (const button of document.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        bringOut();
      });
    }
    for (const own of document.querySelectorAll("[data-series]")) {
      own.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && bringOut(own.dataset.series));
      own.addEventListener("pointerleave", () => bringOut());
    }
  }

  // The labels with most mistakes, in the order of the task; the last row and column pool the others.
  function matrixLabels(pairs, most) {
    const numbers = data.labels.map((_, number) => number);
    if (numbers.length <= most) return numbers;
    const mistakes = numbers.map(() => 0);
    for (const [gold, answer, count] of pairs) {
      if (gold !== answer) {
        mistakes[gold] += count;
        mistakes[answer] += count;
      }
    }
    return numbers.sort((one, other) => mistakes[other] - mistakes[one]).slice(0, most).sort((one, other) => one - other);
  }

  function pooledCounts(pairs, labels) {
    const place = new Map(labels.map((label, number) => [label, number]));
    const size = labels.length + (labels.length < data.labels.length ? 1 : 0);
    const counts = Array.from({ length: size }, () => new Array(size).fill(0));
    let pooledRight = 0;
    for (const [gold, answer, count] of pairs) {
      counts[place.get(gold) ?? size - 1][place.get(answer) ?? size - 1] += count;
      if (gold === answer && !place.has(gold)) pooledRight += count;
    }
    return { counts, pooledRight };
  }

  function matrixCell(count, total, right, title) {
    const cell = make("td", count ? (right ? "hit" : "miss") : "", count ? String(count) : "·");
    // Never so dark that the number cannot be read.
    if (count) cell.style.setProperty("--share", `${(8 + (52 * count) / total).toFixed(0)}%`);
    cell.title = title;
    return cell;
  }

  function drawConfusion() {
    const pairs = run.confusion[at("confusion-method").value];
    const count = data.labels.length;
    at("confusion-whole").hidden = count <= MATRIX_LABELS;
    at("confusion-size").textContent = count <= WHOLE_MATRIX ? `all ${count} labels` : `${WHOLE_MATRIX} of ${count} labels`;
    const labels = matrixLabels(pairs, at("confusion-all").checked ? WHOLE_MATRIX : MATRIX_LABELS);
    const pooled = labels.length < count;
    const names = labels.map((label) => data.labels[label]);
    if (pooled) names.push(`${count - labels.length} others`);
    const { counts, pooledRight } = pooledCounts(pairs, labels);
    const heading = (name) => {
      const cell = make("th", "", make("span", "", name));
      cell.scope = "col";
      cell.title = name;
      return cell;
    };
    const corner = make("th", "corner", "answer →", make("br"), "gold ↓");
    const head = make("tr", "", corner, ...names.map(heading), heading("recall, %"));
    const rows = counts.map((own, gold) => {
      const total = own.reduce((sum, value) => sum + value, 0);
      const header = make("th", "", names[gold]);
      header.scope = "row";
      header.title = names[gold];
      const right = pooled && gold === labels.length ? pooledRight : own[gold];
      const cells = own.map((value, answer) =>
        matrixCell(value, total, gold === answer, `${value} of ${total} ${names[gold]} answered ${names[answer]}`),
      );
      return make("tr", "", header, ...cells, make("td", "recall", total ? percent(right / total) : ""));
    });
    at("confusion").replaceChildren(make("table", "matrix", make("thead", "", head), make("tbody", "", ...rows)));
    const often = pairs.filter(([gold, answer]) => gold !== answer).sort((one, other) => other[2] - one[2]).slice(0, 5);
    const listed = often.map(([gold, answer, times]) => `${data.labels[gold]} as ${data.labels[answer]} (${times})`);
    at("confusion-note").textContent =
      "Counts of queries, over all seeds and pools. " +
      (listed.length ? `Most often mistaken: ${listed.join(", ")}.` : "There is no mistake.") +
      (pooled ? ` Shown are the ${labels.length} labels with most mistakes; the others are pooled.` : "");
  }

  function wanted(place, chosen) {
    const answers = run.answers[place];
    const filter = at("query-filter").value;
    const sought = at("query-text").value.trim().toLowerCase();
    if (sought && !data.queries[place].some((part) => part.toLowerCase().includes(sought))) return false;
    if (filter === "differ") return answers.some((answer) => answer[0] !== answers[0][0]);
    if (filter === "wrong") return answers.every((answer, own) => !answer[1] || (chosen >= 0 && own !== chosen));
    return true;
  }

  function answerCard(number, [answer, right, chance, goldChance, demonstrations]) {
    const verdict = make("em", right ? "right" : "wrong", `${right ? "✓" : "✗"} ${answer}`);
    const chances = [];
    if (chance !== null) chances.push(chance.toFixed(2));
    if (!right && goldChance !== null) chances.push(`gold label ${goldChance.toFixed(2)}`);
    const line = make("p", "", verdict, chances.length ? ` (${chances.join(", ")})` : "", right ? ", right" : ", wrong");
    const items = demonstrations.map((own) => {
      const [label, text] = data.demonstrations[own];
      return make("li", "", make("b", "", label ?? ""), ` ${text}`);
    });
    const card = make("article", "", make("h3", "", data.methods[number]), line);
    if (items.length) card.append(make("ol", "", ...items));
    return card;
  }

  function queryEntry(place, chosen) {
    const [gold, text] = data.queries[place];
    const answers = run.answers[place];
    const right = answers.filter((answer) => answer[1]).length;
    const marks = make("span", "marks", ...answers.map((answer) => make("i", answer[1] ? "right" : "")));
    run.methods.forEach((number, own) => (marks.children[own].title = data.methods[number]));
    marks.setAttribute("aria-hidden", "true");
    const told = chosen < 0 ? `${right} of ${answers.length} right` : `answered ${answers[chosen][0]}`;
    const entry = make(
      "details",
      "",
      make("summary", "", make("span", "text", text), marks, make("span", "gold", make("b", "", gold), `, ${told}`)),
    );
    entry.addEventListener("toggle", () => {
      if (!entry.open || entry.childElementCount > 1) return;
      const cards = run.methods.map((number, own) => (chosen < 0 || own === chosen ? answerCard(number, answers[own]) : ""));
      entry.append(make("div", "answers", ...cards));
    });
    return entry;
  }

  function listQueries() {
    const method = at("query-method").value;
    const chosen = method === "" ? -1 : run.methods.indexOf(Number(method));
    const found = data.queries.map((_, place) => place).filter((place) => wanted(place, chosen));
    const listed = found.slice(0, shownQueries);
    at("queries").replaceChildren(...listed.map((place) => queryEntry(place, chosen)));
    at("query-count").textContent = `${found.length} of ${data.queries.length} queries` +
      (listed.length < found.length ? `, the first ${listed.length} are listed` : "");
    at("query-more").hidden = listed.length === found.length;
  }

  function connectQueries() {
    for (const id of ["query-filter", "query-method", "query-text"]) {
      at(id).addEventListener("input", () => {
        shownQueries = AT_ONCE;
        listQueries();
      });
    }
    at("query-more").addEventListener("click", () => {
      const next = shownQueries;
      shownQueries += AT_ONCE;
      listQueries();
      at("queries").children[next].querySelector("summary").focus();
    });
  }

  document.documentElement.classList.add("scripted");
  for (const choice of document.querySelectorAll("input[name=shots]")) {
    choice.addEventListener("change", () => chooseShots(choice.value));
  }
  if (at("confusion")) {
    for (const id of ["confusion-method", "confusion-all"]) at(id).addEventListener("input", drawConfusion);
  }
  connectCurve();
  connectQueries();
  // A browser may keep a choice over a reload.
  const kept = document.querySelector("input[name=shots]:checked");
  chooseShots(kept ? kept.value : runs[runs.length - 1][0]);
})();
