// The catalogues are complete, and the page says nothing that is not in them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { wordsOf } from './words.mjs';

const TOP = join(import.meta.dirname, '../..');
const WEB = join(TOP, 'assets/web');
const read = (...path) => readFileSync(join(...path), 'utf8');
const files = readdirSync(join(WEB, 'lang'));
const catalogues = Object.fromEntries(files.map((file) => [file, JSON.parse(read(WEB, 'lang', file))]));
const english = catalogues['en.json'];
const modules = readdirSync(join(WEB, 'page'));
const forms = (entry) => (typeof entry === 'string' ? [entry] : Object.values(entry));
const places = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

/** The Rust sources, without their tests' own folder. */
function rust(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return rust(path);
    return entry.name.endsWith('.rs') ? [readFileSync(path, 'utf8')] : [];
  });
}

test('every catalogue has every key, with the same places and the forms its language needs', () => {
  for (const [file, catalogue] of Object.entries(catalogues)) {
    assert.deepEqual(Object.keys(catalogue), Object.keys(english), `${file}: the keys, in the order of en.json`);
    const { language } = catalogue;
    assert.equal(`${language}.json`, file);
    const categories = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
    for (const [key, entry] of Object.entries(catalogue)) {
      assert.equal(typeof entry, typeof english[key], `${file}: ${key}`);
      if (typeof entry === 'object')
        assert.deepEqual(Object.keys(entry).sort(), [...categories].sort(), `${file}: ${key}`);
      for (const form of forms(entry)) {
        assert.equal(form.trim(), form, `${file}: ${key}`);
        assert.ok(form && !/[<>&]|\{(?!\w+\})/.test(form), `${file}: ${key} is text`);
        assert.deepEqual(places(form), places(forms(english[key])[0]), `${file}: ${key}`);
      }
    }
    assert.ok(['ltr', 'rtl'].includes(catalogue.direction));
    assert.equal(new Intl.Locale(language).getTextInfo?.().direction ?? catalogue.direction, catalogue.direction);
  }
});

test('nothing is left in English by mistake', () => {
  // Words that are the same in another language.
  const same = (key) =>
    /^(?:direction|account\.id|label\.(?:email|name|invitation)|nav\.invitations|invites\.one)$/.test(key);
  for (const [file, catalogue] of Object.entries(catalogues)) {
    if (catalogue === english) continue;
    const copied = Object.keys(english).filter((key) => !same(key) && /[a-z] [a-z]/.test(forms(english[key])[0]));
    const left = copied.filter((key) => forms(catalogue[key])[0] === forms(english[key])[0]);
    assert.deepEqual(left, [], file);
  }
});

test('French is set as French is: no sign of two parts begins a line', () => {
  for (const [key, entry] of Object.entries(catalogues['fr.json']))
    for (const form of forms(entry)) assert.ok(!/ [:;!?»]|« |\w[;!?]/.test(form), `${key}: ${form}`);
});

test('the page has a catalogue for each language that it offers, and offers each', async () => {
  const [, list] = /export const LANGUAGES = (\{.*?\});/s.exec(read(WEB, 'page/i18n.js'));
  const offered = new Function(`return ${list}`)();
  assert.deepEqual(Object.keys(offered).sort(), files.map((file) => file.replace('.json', '')).sort());
  for (const catalogue of Object.values(catalogues)) assert.equal(offered[catalogue.language], catalogue.name);
});

test('no module of the page has words of its own, and every key is there and used', () => {
  const names = new Set(Object.values(catalogues).map(({ name }) => name));
  const used = new Set();
  for (const file of modules) {
    const found = wordsOf(read(WEB, 'page', file), english);
    assert.deepEqual(
      found.words.filter((word) => !names.has(word)),
      [],
      `${file} says something itself`,
    );
    assert.deepEqual(found.unknown, [], `${file} names a key that is not there`);
    for (const key of found.used) used.add(key);
  }
  // Those that say what a catalogue is, and those of pages that the server makes.
  for (const key of ['language', 'direction', 'name']) used.add(key);
  const sources = [read(TOP, 'build.rs'), ...rust(join(TOP, 'src/http'))].join('\n');
  const isUsed = (key) => used.has(key) || sources.includes(`"${key}"`);
  assert.deepEqual(
    Object.keys(english).filter((key) => !isUsed(key)),
    [],
    'keys that nothing uses',
  );
});

test('words that are planted in a module are found', () => {
  const catalogue = { 'nav.account': 'Account', 'error.X': 'X' };
  const said = (source) => wordsOf(source, catalogue).words.length;
  for (const planted of [
    "const a = 'two words';",
    "const a = 'Word';",
    "const a = 'où';",
    'const a = `${n} left`;',
    "h('p', null, 'word');",
    "h('p', null, [isGood ? 'good' : t('nav.account')]);",
    "h('p', null, n && 'word');",
    "h('p', null, list.map((n) => `word${n}`));",
    "h('img', { alt: 'door' });",
    "h('nav', { 'aria-label': 'main' });",
    "field('word', {});",
    "field(t('nav.account'), { placeholder: 'word' });",
    "card(t('nav.account'), 'word');",
    "toast('word');",
    "actionButton({ label: 'word' });",
    "actionButton({ label: t('nav.account'), ask: { title: 'word' } });",
    "actionButton({ ask: { action: 'word' } });",
    "form({ fields: [], busy: 'word' });",
    "document.title = 'word';",
    "element.textContent = x || 'word';",
    "element.append('word');",
    "element.replaceChildren(...[n ? 'word' : '']);",
  ]) {
    assert.ok(said(planted), planted);
  }
  for (const fine of [
    "h('p.sub', { class: x ? 'wide' : 'end', id: 'main' }, t('nav.account'), ' · ', name);",
    "// two words\nh('p', null, x === 'word' ? t('nav.account') : null);",
    "auth.call('GET', `/api/users/${id}`);",
    "field(t('nav.account'), { name: 'email', type: 'email' });",
    "t('nav.account', { role: 'editor' });",
  ]) {
    assert.deepEqual(wordsOf(fine, catalogue).words, [], fine);
  }
  for (const wrong of ["t('nav.acount');", 'const a = { title: "nav.acount" };', 't(`nav${x}`);', 't(`news.${x}`);'])
    assert.equal(wordsOf(wrong, catalogue).unknown.length, 1, wrong);
  assert.deepEqual([...wordsOf("const a = 'nav.account'; t(`error.${x}`)", catalogue).used], Object.keys(catalogue));
});

test('the markup and the style have no words, but for the name and an address', () => {
  for (const [file, words] of [
    ['index.html', ['Doorward', '/health']],
    ['gate.html', ['Doorward']],
  ]) {
    const html = read(WEB, file).replace(/<!--.*?-->/gs, (comment) => (comment === '<!-- noscript -->' ? '' : 'x'));
    assert.deepEqual(
      html
        .replace(/<[^>]*>/g, ' ')
        .split(/\s+/)
        .filter(Boolean),
      words,
    );
    assert.ok(!/\s(?:title|alt|aria-label|placeholder)=/.test(html));
  }
  for (const [, content] of read(WEB, 'style.css').matchAll(/[\s{]content:\s*([^;]*);/g)) assert.equal(content, "''");
});

test('every code of an error has its words, and what the page knows of messages is what the server says', () => {
  const source = read(TOP, 'src/http/code.rs');
  const codes = [...source.matchAll(/^ {4}\w+ \d{3} "([A-Z_]+)" /gm)].map(([, code]) => code);
  assert.ok(codes.length > 30);
  // Codes of the client module itself.
  for (const code of [...codes, 'NETWORK', 'UNEXPECTED', 'USER_CHANGED']) assert.ok(english[`error.${code}`], code);
  const server = rust(join(TOP, 'src')).join('\n');
  const patterns = [...read(WEB, 'page/errors.js').matchAll(/^\s+\[?\/\^(.*)\$\/,/gm)].map(([, pattern]) => pattern);
  assert.ok(patterns.length > 20, `${patterns.length} patterns`);
  for (const pattern of patterns) {
    for (const piece of pattern.split(/\(\?<\w+>[^)]*\)/)) {
      const text = piece.replace(/\\(.)/g, '$1');
      assert.ok(server.includes(text), `the server does not say “${text}”`);
    }
  }
});
