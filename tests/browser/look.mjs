// How a view looks and whether everybody can use it: axe, in each colour scheme and width, with pictures in shots/.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const SHOTS = join(import.meta.dirname, 'shots');

/** Removes pictures of before, so that none is taken for one of now. */
export function removeShots(isOurs) {
  mkdirSync(SHOTS, { recursive: true });
  for (const name of readdirSync(SHOTS).filter(isOurs)) rmSync(join(SHOTS, name));
}

const EVERY_LOOK = [
  ['light', 1280],
  ['dark', 1280],
  ['light', 390],
  ['dark', 390],
];

/** axe finds nothing, in light and dark, wide and narrow; and a picture of each. */
export async function inspect(page, name, looks = EVERY_LOOK) {
  for (const [scheme, width] of looks) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ width, height: width < 500 ? 844 : 860 });
    await page.locator('[aria-busy]').first().waitFor({ state: 'detached' });
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: join(SHOTS, `${name}-${width < 500 ? 'phone-' : ''}${scheme}.png`), fullPage: true });
    // The test's own script; the page itself may not do this.
    const found = await page.evaluate(async (source) => {
      if (!globalThis.axe) (0, eval)(source);
      const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
      return violations.map(
        ({ id, nodes }) =>
          `${id}: ${nodes.map((node) => `${node.html} ${node.any.map((each) => each.message)}`).join(' | ')}`,
      );
    }, AXE);
    assert.deepEqual(found, [], `${name} ${scheme} ${width}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name} scrolls sideways by ${wide} px at ${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 860 });
}

/** What the page says in a language. */
export const textsOf = (language) =>
  JSON.parse(readFileSync(join(import.meta.dirname, `../../assets/web/lang/${language}.json`), 'utf8'));
