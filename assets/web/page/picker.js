// The visitor's choice of a language, below every view.

import { drawing, h } from './dom.js';
import { chooseLanguage, language, LANGUAGES, t } from './i18n.js';

/** Below every view. A globe says what it is to those who can read none of the words. */
export function footer() {
  const options = Object.entries(LANGUAGES).map(([value, name]) =>
    h('option', { value, lang: value, dir: 'auto', selected: value === language() }, name),
  );
  const select = h('select', { id: 'language', 'aria-label': t('language.label') }, options);
  select.addEventListener('change', () => chooseLanguage(select.value));
  const globe = drawing('0 0 20 20', [
    ['globe', 'M10 1.5a8.5 8.5 0 1 0 .01 0z'],
    ['globe', 'M10 1.5c-5 5-5 12 0 17c5-5 5-12 0-17M1.5 10H18.5'],
  ]);
  return h('footer.foot', null, globe, select);
}
