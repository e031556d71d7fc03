// What a script of the page says by itself, and which keys of the catalogues it names. It is read as a tree, so that
// what stands in a comment or is the name of a class is not taken for words.

import { parsers } from 'prettier/plugins/acorn';

/** What is no text of ours: names of products, of headers, of commands; what SVG and developers read. */
const NAMES = new Set([
  ...['Edge', 'Opera', 'Firefox', 'Chrome', 'Safari', 'Android', 'Windows', 'Mac OS', 'Linux'],
  ...['Firefox/', 'Chrome/', 'Safari/', 'HeadlessChrome/', 'Edg/'],
  ...['Bearer', 'Bearer ', 'Content-Type', 'X-Doorward-Key', 'doorward setup-link', 'theft-…@demo.example.com'],
  ...['xMidYMax slice', 'nobody is signed in', 'CrOS', 'ChromeOS'],
]);

/** Functions that show what they are given, and which of it: from where on, or at which places. */
const SHOWING = {
  ...{ h: (i) => i > 0, card: () => true, toast: () => true, addStep: () => true, fact: () => true },
  ...{ field: (i) => i !== 1, newPasswordField: (i) => i === 0, asyncSection: (i) => i === 2 },
  ...{ shownOnce: (i) => i === 0 || i === 2, claimsTable: (i) => i === 0, unfoldButton: (i) => i < 2 },
};
/** Methods and properties that show what they are given. */
const SHOWING_METHODS = /^(?:append|prepend|replaceChildren|showError)$/;
const SHOWING_PROPERTIES = /^(?:textContent|innerText|title|placeholder|ariaLabel|label)$/;
/** Members of the objects that are given to functions which make elements. */
const SHOWN_MEMBERS =
  /^(?:title|label|busy|done|text|placeholder|alt|aria-label|aria-description|aria-roledescription)$/;
const TRANSLATING = /^(?:t|fill|has)$/;

/**
 * @param {string} source
 * @param {Record<string, unknown>} catalogue
 * @returns {{ words: string[], unknown: string[], used: Set<string> }} what it says, the keys there are not, and those
 *   there are
 */
export function wordsOf(source, catalogue) {
  const words = [];
  const unknown = [];
  const used = new Set();
  const keys = Object.keys(catalogue);
  const groups = new Set(keys.filter((key) => key.includes('.')).map((key) => key.split('.')[0]));
  const looksLikeKey = (text) => /^[a-z]+\.[a-zA-Z-]+$/.test(text) && groups.has(text.split('.')[0]);

  function note(text, context) {
    if (Object.hasOwn(catalogue, text)) return used.add(text);
    if (context === 'key' || (context !== 'tag' && looksLikeKey(text))) return unknown.push(text);
    const rest = text.replaceAll('Doorward', '');
    if (NAMES.has(text)) return undefined;
    const isSaid = /\s\p{L}/u.test(rest) || /^\p{Lu}\p{Ll}/u.test(rest) || /(?!\p{ASCII})\p{L}/u.test(rest);
    if (isSaid || (context === 'shown' && /\p{L}/u.test(rest))) words.push(text);
    return undefined;
  }

  function members(object, isButton) {
    for (const { key, value, computed } of object.properties) {
      if (!value) continue;
      const name = key.name ?? key.value;
      if (computed) visit(key);
      if (value.type === 'ObjectExpression') members(value, isButton);
      else visit(value, SHOWN_MEMBERS.test(name) || (isButton && /^(?:name|action)$/.test(name)) ? 'shown' : '');
    }
  }

  function call({ callee, arguments: given }, context) {
    const name = callee.name ?? '';
    const method = callee.property?.name ?? '';
    visit(callee);
    // Selectors name elements and are not shown.
    if (/^(?:querySelector|closest|matches)/.test(method)) return;
    if (TRANSLATING.test(name)) {
      visit(given[0], 'key');
      for (const value of given.slice(1)) visit(value);
      return;
    }
    // What machines say is no text: `GET /health` is the same in every language.
    const isCode = name === 'h' && /^code$|\.mono$/.test(given[0].value);
    for (const [i, argument] of given.entries()) {
      if (argument.type === 'ObjectExpression') {
        members(argument, name === 'actionButton');
        continue;
      }
      const isShown =
        (SHOWING[name]?.(i) && !isCode) || SHOWING_METHODS.test(method) || (method && context === 'shown');
      // A tag may look like a key: `label.check`.
      visit(argument, isShown ? 'shown' : name === 'h' && i === 0 ? 'tag' : '');
    }
  }

  /** @param {string} [context] `shown` where text reaches the page, `key` where a key stands, `tag` */
  function visit(node, context = '') {
    if (Array.isArray(node)) return node.forEach((each) => visit(each, context));
    if (!node?.type) return undefined;
    switch (node.type) {
      case 'ImportDeclaration':
      case 'ImportExpression':
      case 'ExportAllDeclaration':
        return undefined;
      case 'Literal':
        return typeof node.value === 'string' ? note(node.value, context) : undefined;
      case 'TemplateLiteral': {
        const [head] = node.quasis;
        const prefix = head.value.cooked;
        if (context === 'key') {
          const named = keys.filter((key) => key.startsWith(prefix));
          if (!prefix.endsWith('.') || !named.length) unknown.push(`${prefix}…`);
          for (const key of named) used.add(key);
          return undefined;
        }
        for (const { value } of node.quasis) note(value.cooked, context);
        return visit(node.expressions);
      }
      case 'CallExpression':
      case 'NewExpression':
        return call(node, context);
      case 'ConditionalExpression':
        visit(node.test);
        visit(node.consequent, context);
        return visit(node.alternate, context);
      case 'LogicalExpression':
        visit(node.left, node.operator === '&&' ? '' : context);
        return visit(node.right, context);
      case 'BinaryExpression':
        visit(node.left, node.operator === '+' ? context : '');
        return visit(node.right, node.operator === '+' ? context : '');
      case 'AssignmentExpression':
        visit(node.left);
        return visit(node.right, SHOWING_PROPERTIES.test(node.left.property?.name) ? 'shown' : '');
      case 'MemberExpression':
        visit(node.object);
        return node.computed ? visit(node.property) : undefined;
      case 'Property':
        if (node.computed) visit(node.key);
        return visit(node.value);
      case 'ArrayExpression':
        return visit(node.elements, context);
      case 'SpreadElement':
      case 'ChainExpression':
      case 'AwaitExpression':
        return visit(node.argument ?? node.expression, context);
      case 'ArrowFunctionExpression':
        visit(node.params);
        return visit(node.body, node.expression ? context : '');
      default:
        for (const child of Object.values(node)) if (typeof child === 'object') visit(child);
        return undefined;
    }
  }

  visit(parsers.acorn.parse(source, { filepath: 'module.js' }).body);
  return { words, unknown, used };
}
