// Elements. Text goes in as text: there is no markup from data anywhere.

/** @typedef {Node | string | number | false | null | undefined} Child */
/** @typedef {Child | readonly Child[] | readonly (readonly Child[])[]} Children */
/**
 * @template {string} T
 * @typedef {T extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[T]
 *   : T extends `${infer Name extends keyof HTMLElementTagNameMap}.${string}` ? HTMLElementTagNameMap[Name]
 *   : HTMLElement} ElementOf
 */

/**
 * An element. The tag may carry classes, as `p.sub`; properties that start with `on` are listeners.
 * @template {string} T
 * @param {T} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Children} children
 * @returns {ElementOf<T>}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split('.');
  /** @type {any} */
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === false || value === undefined || value === null) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value' || key === 'checked') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  const isShown = (/** @type {unknown} */ child) => child !== null && child !== undefined && child !== false;
  element.append(...children.flat(2).filter(isShown));
  return element;
}

/**
 * An address, a name of the configuration, a code: written from left to right in every language, and set apart from it.
 * @param {string} text
 */
export const verbatim = (text) => h('bdi', { dir: 'ltr' }, text);

/**
 * What somebody named as they liked, in whatever direction.
 * @param {string} text
 */
export const named = (text) => h('bdi', null, text);

const SVG = 'http://www.w3.org/2000/svg';

/**
 * A picture of paths, each with its class.
 * @param {string} viewBox
 * @param {[string, string][]} paths
 */
export function drawing(viewBox, paths) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', viewBox);
  svg.setAttribute('aria-hidden', 'true');
  for (const [name, d] of paths) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    path.setAttribute('class', name);
    svg.append(path);
  }
  return svg;
}
