// The visitor's language: its texts, and dates and numbers as it writes them. All that pages say is in the catalogues,
// `/lang/*.json`, of which one is fetched: the one the visitor chose here, or else the one the server chooses.

/** @typedef {string | Record<string, string>} Entry a text, or its forms by the categories of Intl.PluralRules */
/** @typedef {Record<string, string | number>} Values by the names of places; `count` chooses the form */

/**
 * The languages that there are, each by its own name.
 * @type {Record<string, string>}
 */
export const LANGUAGES = {
  en: 'English',
  de: 'Deutsch',
  fr: 'Français',
  es: 'Español',
  pt: 'Português',
  ar: 'العربية',
};
const STORAGE_KEY = 'doorward-language';
const FETCH_TIMEOUT = 10e3;
const MAX_PAUSE = 8e3;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** @type {Record<string, Entry>} empty until the first one is there */
let catalogue = {};
let locale = 'en';
let plurals = new Intl.PluralRules(locale);
let isRightToLeft = false;
let choices = 0;
/** @type {Set<() => void>} */
const listeners = new Set();

/** What the visitor chose here, if they did and it is still to be had. */
function storedChoice() {
  try {
    const stored = localStorage.getItem(STORAGE_KEY);
    return stored && Object.hasOwn(LANGUAGES, stored) ? stored : null;
  } catch {
    // A browser may keep pages from storing anything.
    return null;
  }
}

/** @param {string} name */
async function fetchCatalogue(name) {
  const response = await fetch(`/lang/${name}.json`, { signal: AbortSignal.timeout(FETCH_TIMEOUT) });
  const fetched = await response.json();
  // A hotel's portal answers in its own way.
  if (!response.ok || !Object.hasOwn(LANGUAGES, fetched?.language)) throw new Error(name);
  return fetched;
}

/**
 * Loads a catalogue and uses it, unless another choice was made meanwhile. Without it the page could say nothing, not
 * even that the server is away: so it is asked for until it comes.
 * @param {string} name
 */
async function load(name) {
  const choice = ++choices;
  for (let pause = 250; choice === choices; pause = Math.min(2 * pause, MAX_PAUSE)) {
    try {
      const fetched = await fetchCatalogue(name);
      if (choice === choices) use(fetched);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

/** @param {Record<string, any>} fetched */
function use(fetched) {
  const { language, direction } = fetched;
  catalogue = fetched;
  // The visitor's own country, if their browser names one for this language: an Austrian's dates are not a German's.
  locale = navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language;
  plurals = new Intl.PluralRules(language);
  isRightToLeft = direction === 'rtl';
  document.documentElement.lang = language;
  document.documentElement.dir = direction;
  for (const listener of listeners) listener();
}

/** The language of what is shown. */
export const language = () => String(catalogue.language ?? '');

/** Whether anything can be said yet. */
export const isLanguageLoaded = () => Boolean(catalogue.language);

/**
 * Calls when another catalogue is there, and at once if one is.
 * @param {() => void} listener
 */
export function onLanguage(listener) {
  listeners.add(listener);
  if (isLanguageLoaded()) listener();
}

/**
 * The visitor's own choice, which this browser remembers.
 * @param {string} name
 */
export function chooseLanguage(name) {
  try {
    localStorage.setItem(STORAGE_KEY, name);
  } catch {}
  return load(name);
}

load(storedChoice() ?? 'auto');

/** @param {string} key */
export const has = (key) => Object.hasOwn(catalogue, key);

/**
 * The names of a group of keys.
 * @param {string} group
 */
export const keysOf = (group) =>
  Object.keys(catalogue)
    .filter((key) => key.startsWith(`${group}.`))
    .map((key) => key.slice(group.length + 1));

/**
 * The text of a key, taken apart: what stands at odd places is the name of what goes there.
 * @param {string} key
 * @param {unknown} count
 */
function template(key, count) {
  const entry = has(key) ? catalogue[key] : key;
  const text = typeof entry === 'string' ? entry : (entry[plurals.select(Number(count))] ?? entry.other);
  return text.split(/\{(\w+)\}/);
}

/**
 * A value for the middle of a sentence. Letters that run the other way would shuffle what stands around them, so it is
 * set apart by FSI and PDI where that can happen.
 * @param {string | number} value
 */
function isolated(value) {
  if (typeof value === 'number') return formatNumber(value);
  return isRightToLeft || RIGHT_TO_LEFT.test(value) ? `\u2068${value}\u2069` : value;
}

/**
 * What the catalogue says.
 * @param {string} key
 * @param {Values} [values]
 */
export const t = (key, values = {}) =>
  template(key, values.count)
    .map((part, i) => (i % 2 ? isolated(values[part] ?? '') : part))
    .join('');

/**
 * What the catalogue says, with elements in it.
 * @param {string} key
 * @param {Record<string, Node | string>} elements by the names of places
 * @returns {(string | Node)[]}
 */
export function fill(key, elements) {
  const value = (/** @type {Node | string} */ element) => (typeof element === 'string' ? isolated(element) : element);
  return template(key, 0).map((part, i) => (i % 2 ? value(elements[part] ?? '') : part));
}

/** @param {number} number */
export const formatNumber = (number) => new Intl.NumberFormat(locale).format(number);

/**
 * Names of which any will do: "editor or admin".
 * @param {string[]} names
 */
export const formatChoice = (names) =>
  new Intl.ListFormat(locale, { type: 'disjunction' }).format(names.map((name) => String(isolated(name))));

/** @param {Date} date */
export const formatDate = (date) =>
  new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' }).format(date);

/**
 * @param {number} number
 * @param {string} unit
 */
export const formatUnit = (number, unit) =>
  new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'short' }).format(number);

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * 75 is "1 min 15 sec".
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < MINUTE) return formatUnit(whole, 'second');
  const isLong = whole >= HOUR;
  const small = isLong ? Math.floor(whole / MINUTE) : whole;
  const rest = small % 60;
  const parts = [formatUnit(Math.floor(small / 60), isLong ? 'hour' : 'minute')];
  if (rest) parts.push(formatUnit(rest, isLong ? 'minute' : 'second'));
  return new Intl.ListFormat(locale, { type: 'unit', style: 'narrow' }).format(parts);
}

/** @type {{ below: number, unit: Intl.RelativeTimeFormatUnit, size: number }[]} */
const TIME_UNITS = [
  // What is nearer is now: nobody counts seconds, and clocks differ by some.
  { below: 45, unit: 'second', size: Infinity },
  { below: MINUTE, unit: 'second', size: 1 },
  { below: HOUR, unit: 'minute', size: MINUTE },
  { below: DAY, unit: 'hour', size: HOUR },
  { below: 45 * DAY, unit: 'day', size: DAY },
  { below: Infinity, unit: 'month', size: 30 * DAY },
];

/**
 * How far a moment is away, as people say it.
 * @param {number} seconds less than none: in the past
 */
export function formatRelative(seconds) {
  const { unit, size } = TIME_UNITS.find(({ below }) => Math.abs(seconds) < below) ?? TIME_UNITS[0];
  return new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }).format(Math.round(seconds / size) || 0, unit);
}
