// Elements: made and found.

export const $ = (id) => document.getElementById(id);

/** Make an element with properties and children; texts become text nodes, never markup. */
export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

/** Make a button that does something when it is pressed. */
export function button(text, action, className = "") {
  const node = element("button", { type: "button", className }, text);
  node.addEventListener("click", action);
  return node;
}
