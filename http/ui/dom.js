// Elements without markup as text: nothing that the API says can become a tag.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; attributes that are null or false are left out. */
export function el(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an element of SVG. */
export function svg(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

/**
 * Make the children of `parent` equal to `fresh`, and leave alone what is equal already: a page that
 * is renewed every few seconds must not take away the focus, a selection or a scroll position.
 * Listeners are not carried over: there is one on the document, see `data-do` in main.js.
 */
export function show(parent, ...fresh) {
  const wanted = fresh.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false)
    .map((one) => (one instanceof Node ? one : document.createTextNode(String(one))));
  wanted.forEach((node, at) => {
    const old = parent.childNodes[at];
    if (old) become(old, node);
    else parent.append(node);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function become(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const isOther = old.nodeName !== fresh.nodeName || key(old) !== key(fresh);
  if (isOther || old.nodeType !== Node.ELEMENT_NODE) {
    old.replaceWith(fresh);
    return;
  }
  if (old.hasAttribute("data-own")) return; // it draws itself
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  show(old, ...fresh.childNodes);
}

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") ?? node.id : null);

/**
 * Make a table. A column is `{title, cell, kind}`: `cell` gives text or nodes for a row, `kind` is a
 * class; the first column heads its row. It scrolls sideways on its own where it is wider than the page.
 */
export function table(caption, columns, rows, { key: keyOf, empty, mark } = {}) {
  const head = columns.map((one) => el("th", { scope: "col", class: one.kind }, one.title));
  const body = rows.map((row) =>
    el("tr", { "data-key": keyOf?.(row), class: mark?.(row) },
      columns.map((one, at) =>
        at ? el("td", { class: one.kind }, one.cell(row)) : el("th", { scope: "row", class: one.kind }, one.cell(row)))));
  if (!rows.length) {
    body.push(el("tr", {}, el("td", { colspan: columns.length, class: "empty" }, empty ?? "None.")));
  }
  return el("div", { class: "wide", role: "region", "aria-label": caption, tabindex: 0 },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

/** A word with a colour; the word says it all by itself. */
export const badge = (word, tone) => el("span", { class: `badge ${tone}` }, word);

/** Names and values. */
export const facts = (pairs) =>
  el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));

/** A labelled control; `control` needs an id. */
export const field = (label, control) =>
  el("p", { class: "field" }, el("label", { for: control.id }, label), control);

/** A select of words or `[value, word]`. */
export function choice(id, options, chosen) {
  return el("select", { id, "data-do": "filter" }, options.map((one) => {
    const [value, word] = Array.isArray(one) ? one : [one, one];
    return el("option", { value, selected: value === chosen }, word);
  }));
}

/** Buttons to the page before and the next. */
export function pager(at, pages, what) {
  return el("nav", { class: "pager", "aria-label": `Pages of ${what}` },
    el("button", { type: "button", "data-do": "page", "data-to": at - 1, disabled: at <= 0 }, "Previous"),
    el("span", {}, `Page ${at + 1} of ${Math.max(1, pages)}`),
    el("button", { type: "button", "data-do": "page", "data-to": at + 1, disabled: at + 1 >= pages }, "Next"));
}
