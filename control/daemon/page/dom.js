// SPDX-License-Identifier: Apache-2.0
// Elements from descriptions, and a tree that is changed only where it differs: what has the focus keeps it, what
// was opened stays open.

const DRAWN = new Set(["svg", "g", "path", "line", "rect", "text", "circle", "polyline"]);

/** h("p", {class: "x"}, "text", other). false, null and undefined are no attributes and no children. */
export function h(tag, attributes, ...children) {
  const element = DRAWN.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(9)
                     .filter((child) => child !== false && child !== null && child !== undefined)
                     .map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** The children of `parent` become these. Those with the same data-key, or the same place and tag, stay the same elements. */
export function fill(parent, ...nodes) {
  const wanted = h("div", null, ...nodes).childNodes;
  children(parent, [...wanted]);
}

function children(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children)
    if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const next of wanted) {
    let old = next.dataset?.key ? keyed.get(next.dataset.key) : at;
    if (old && !next.dataset?.key && old.dataset?.key) old = null;
    if (old && same(old, next)) {
      if (old !== at) parent.insertBefore(old, at);
      change(old, next);
      at = old.nextSibling;
    } else {
      parent.insertBefore(next, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

const same = (old, next) => old.nodeType === next.nodeType && old.nodeName === next.nodeName;

function change(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const {name, value} of [...next.attributes])
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const {name} of [...old.attributes])
    if (!next.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
  children(old, [...next.childNodes]);
}

/** The user's own: what was opened. */
const kept = (element, name) => element.nodeName === "DETAILS" && name === "open";

export const $ = (selector) => document.querySelector(selector);
