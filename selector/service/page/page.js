"use strict";
(() => {
  const own = (id) => document.getElementById(id);
  const PAGE = 10;
  let token = "", about = null, asked = null, turn = 0, listed = 0;
  const before = ["", ""]; // what each side has shown, to mark what is new

  /** Makes an element; text is only ever text. */
  function made(name, { text, kind, ...rest } = {}, ...children) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    for (const [key, value] of Object.entries(rest)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  async function call(method, path, body) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    let reply;
    try {
      reply = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    } catch {
      throw new Error("The service cannot be reached.");
    }
    const content = await reply.json().catch(() => ({}));
    if (reply.status === 401) own("access").hidden = false;
    if (!reply.ok) {
      const error = content.error;
      throw new Error(error ? `${error.found}; expected ${error.expected}. ${error.remedy}` : `status ${reply.status}`);
    }
    return content;
  }

  function alarm(text) {
    own("alarm").textContent = text;
    own("alarm").hidden = !text;
  }
  const say = (text) => { own("status").textContent = text; };
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
  const number = (value) => value.toFixed(3).replace("-", "−");
  const percent = (value) => `${(100 * value).toFixed(1)} %`;

  /** Runs what a person started; a failure is shown where everybody sees it. */
  async function doing(work, button) {
    if (button) button.disabled = true;
    alarm("");
    try {
      await work();
    } catch (error) {
      say("");
      alarm(error.message);
    } finally {
      if (button) button.disabled = false;
    }
  }

  function fieldInputs(place, prefix) {
    const names = [...about.fields, ...(about.choices ? ["choices, one a line"] : [])];
    place.replaceChildren(...names.map((name, at) => {
      const area = made("textarea", { id: `${prefix}-${at}`, rows: at < about.fields.length ? 2 : 3, maxlength: 20000 });
      area.required = at < about.fields.length;
      // A line is for the text; Control and Enter send.
      area.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) area.form.requestSubmit();
      });
      return made("div", { kind: "field" }, made("label", { text: name, for: area.id }), area);
    }));
  }

  function fieldValues(prefix) {
    const fields = Object.fromEntries(about.fields.map((name, at) => [name, own(`${prefix}-${at}`).value]));
    if (!about.choices) return { fields };
    const lines = own(`${prefix}-${about.fields.length}`).value.split("\n");
    return { fields, choices: lines.map((line) => line.trim()).filter(Boolean) };
  }

  function options(select, names, chosen) {
    select.replaceChildren(...names.map((name) => {
      const option = made("option", { text: name || "nothing", value: name });
      option.selected = name === chosen;
      return option;
    }));
  }

  function fieldText(fields) {
    const entries = Object.entries(fields);
    const place = made("p", { kind: "text" });
    if (entries.length === 1) place.textContent = entries[0][1];
    else entries.forEach(([name, value], at) => {
      place.append(...(at ? ["\n"] : []), made("b", { text: `${name} ` }), value);
    });
    return place;
  }

  function removal(uid) {
    const button = made("button", { kind: "plain", type: "button", text: "Remove", "aria-label": `Remove ${uid} from the pool` });
    button.addEventListener("click", () => doing(() => edit("DELETE", `/pool/examples/${encodeURIComponent(uid)}`, null, `Removed ${uid}.`), button));
    return button;
  }

  function fact(name, value, kind = "") {
    return made("div", {}, made("dt", { text: name }), made("dd", { text: value, kind }));
  }

  function demonstration(one, at, fresh) {
    const item = made("li", { kind: fresh ? "new" : "" });
    const name = made("b", {}, made("span", { kind: "place", text: `${at + 1}. ` }), one.label, made("span", { kind: "place", text: ` · ${one.uid}${fresh ? " · new" : ""}` }));
    const why = made("dl", { kind: "why" }, fact("score", number(one.score)), fact("similarity", number(one.similarity)));
    if (one.influence !== null) why.append(fact("influence", `${signed(one.influence)} nats`, one.influence < 0 ? "against" : "for"));
    if (!one.shown) why.append(fact("left out", "no room in the context window", "against"));
    item.append(made("div", { kind: "head" }, name, removal(one.uid)), fieldText(one.fields), why);
    if (one.rival) {
      const told = `Nearest not chosen: ${one.rival.label} · ${one.rival.uid} (similarity ${number(one.rival.similarity)}; to this one ${number(one.rival.likeness)})`;
      item.append(made("div", { kind: "rival" }, made("p", { kind: "quiet", text: told }), fieldText(one.rival.fields)));
    }
    return item;
  }

  function bars(prediction) {
    const list = made("dl", { kind: "bars", "aria-label": "Label probabilities" });
    const entries = Object.entries(prediction.probabilities).sort((one, other) => other[1] - one[1]);
    for (const [label, value] of entries) {
      const bar = made("i");
      bar.style.width = `${100 * value}%`;
      const kind = label === prediction.label ? "first" : "";
      list.append(made("dt", { text: label, kind }), made("dd", { "aria-hidden": "true" }, made("span", { kind: "track" }, bar)), made("dd", { text: percent(value), kind }));
    }
    return list;
  }

  function side(result, place) {
    const uids = result.demonstrations.map((one) => one.uid);
    const known = before[place] && before[place].key === asked.key + result.method ? before[place].uids : null;
    before[place] = { key: asked.key + result.method, uids };
    const panel = made("article", { kind: "panel", "aria-label": result.method }, made("h2", { text: result.method }));
    if (result.prediction) {
      const told = result.prediction.text && result.prediction.text !== result.prediction.label ? result.prediction.text : "the language model's answer";
      panel.append(made("p", { kind: "answer", text: result.prediction.label || "(nothing)" }, made("small", { text: told })));
      if (Object.keys(result.prediction.probabilities).length) panel.append(bars(result.prediction));
    }
    const count = uids.length;
    panel.append(made("p", { kind: "quiet", text: count ? `${count} in prompt order; the last stands next to the query.` : "No demonstrations." }));
    panel.append(made("ol", { kind: "shown" }, ...result.demonstrations.map((one, at) => demonstration(one, at, known !== null && !known.includes(one.uid)))));
    const prompt = made("pre", { text: result.prompt, tabindex: "0", "aria-label": `Prompt of ${result.method}` });
    panel.append(made("details", {}, made("summary", { text: "The prompt" }), prompt));
    const changed = known !== null && known.join("\n") !== uids.join("\n");
    return { panel, changed };
  }

  /** A side without an answer says why; the other is shown all the same. */
  function failedSide(method, error) {
    const panel = made("article", { kind: "panel", "aria-label": method }, made("h2", { text: method }));
    panel.append(made("p", { kind: "alarm", role: "alert", text: error.message }));
    return { panel, changed: false };
  }

  /** Gives the methods that have chosen, and whether a choice has changed; null when a later question was asked. */
  async function choose() {
    const own_turn = ++turn;
    own("results").classList.add("waiting");
    try {
      const sides = await Promise.allSettled(asked.methods.map((method) => call("POST", "/explain", { ...asked.request, method })));
      if (own_turn !== turn) return null;
      const chosen = asked.methods.filter((_, at) => sides[at].status === "fulfilled");
      const shown = sides.map((one, at) => one.status === "fulfilled" ? side(one.value, at) : failedSide(asked.methods[at], one.reason));
      const open = [...own("results").children].map((panel) => Boolean(panel.querySelector("details[open]")));
      own("results").replaceChildren(...shown.map((one) => one.panel));
      own("legend").hidden = !chosen.length;
      shown.forEach((one, at) => one.panel.querySelectorAll("details").forEach((details) => { details.open = Boolean(open[at]); }));
      return { chosen, changed: shown.some((one) => one.changed) };
    } finally {
      if (own_turn === turn) own("results").classList.remove("waiting");
    }
  }

  async function edit(method, path, body, told) {
    const reply = await call(method, path, body);
    about.pool_size = reply.pool_size;
    facts();
    await list(false);
    const result = asked ? await choose() : null;
    const told_of_choice = !result || !result.chosen.length ? "" : result.changed ? " The choice has changed." : " The choice is the same.";
    say(`${told || `Added ${reply.uid}.`} ${reply.pool_size.toLocaleString("en")} examples in the pool.` + told_of_choice);
  }

  async function list(on) {
    const offset = on ? listed : 0;
    const query = new URLSearchParams({ containing: own("containing").value, offset, limit: PAGE });
    const page = await call("GET", `/pool/examples?${query}`);
    const items = page.examples.map((one) => made("li", {},
      made("div", { kind: "head" }, made("b", { text: one.label }, made("span", { text: ` · ${one.uid}` })), removal(one.uid)), fieldText(one.fields)));
    if (on) own("pool").append(...items);
    else own("pool").replaceChildren(...items);
    listed = offset + items.length;
    own("more").hidden = listed >= page.matching;
    own("pool-facts").textContent = `${page.matching.toLocaleString("en")} of ${page.pool_size.toLocaleString("en")} examples, the newest first. ` +
      (about.edits_kept ? "Edits are kept when the service ends." : "Edits end with the service.");
  }

  function facts() {
    own("facts").textContent = `${about.pool_size.toLocaleString("en")} examples in the pool · ` +
      (about.language_model ? "with its language model" : "without a language model") + ` · version ${about.version}`;
  }

  async function start() {
    about = await call("GET", "/about");
    own("access").hidden = true;
    own("task").textContent = about.task;
    document.title = `${about.task} · shotsmith`;
    facts();
    fieldInputs(own("fields"), "field");
    fieldInputs(own("add-fields"), "add-field");
    options(own("method-0"), about.methods, about.methods[0]);
    options(own("method-1"), ["", ...about.methods], ["nearest", "bm25"].find((name) => name !== about.methods[0] && about.methods.includes(name)) || about.methods[1] || "");
    options(own("orderer"), about.orderers, "given");
    own("shots").value = Math.min(about.shots, Number(own("shots").max));
    const label = about.labels.length ? made("select", { id: "add-label" }) : made("input", { id: "add-label", required: "", maxlength: 20000 });
    if (about.labels.length) options(label, about.labels, about.labels[0]);
    own("add-label-place").replaceChildren(made("label", { text: "Label", for: "add-label" }), label);
    await list(false);
  }

  own("access").addEventListener("submit", (event) => {
    event.preventDefault();
    token = own("token").value.trim();
    doing(start, event.submitter);
  });
  own("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    doing(async () => {
      const query = fieldValues("field");
      const methods = [own("method-0").value, own("method-1").value].filter((name, at, all) => name && all.indexOf(name) === at);
      const request = { query, shots: Number(own("shots").value), orderer: own("orderer").value };
      asked = { request, methods, key: JSON.stringify(request) };
      say("Choosing …");
      const result = await choose();
      if (result) say(result.chosen.length ? `Chosen by ${result.chosen.join(" and ")}.` : "");
    }, event.submitter);
  });
  own("add").addEventListener("submit", (event) => {
    event.preventDefault();
    doing(async () => {
      await edit("POST", "/pool/examples", { ...fieldValues("add-field"), label: own("add-label").value }, "");
      own("add").reset();
    }, event.submitter);
  });
  own("search").addEventListener("submit", (event) => {
    event.preventDefault();
    doing(() => list(false), event.submitter);
  });
  own("more").addEventListener("click", () => doing(() => list(true), own("more")));
  doing(start);
})();
