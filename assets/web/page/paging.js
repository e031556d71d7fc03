// Lists that come in pages.

import { h } from './dom.js';
import { t } from './i18n.js';
import { asyncSection } from './ui.js';

/**
 * A list in pages. The server gives a cursor for the next page alone: the way back is what was gone through.
 * @template {{ nextCursor?: string | null }} T
 * @param {(cursor: string | null) => Promise<T>} load
 * @param {(page: T, reload: () => Promise<void>) => Node | Node[]} show
 * @param {string} waiting
 */
export function pagedSection(load, show, waiting) {
  /** @type {(string | null)[]} */
  let visited = [];
  /** @type {string | null} */
  let cursor = null;
  /** @param {string | null | undefined} nextCursor */
  const pager = (nextCursor) => {
    const back = () => {
      cursor = visited.pop() ?? null;
      section.reload();
    };
    const next = () => {
      visited.push(cursor);
      cursor = nextCursor ?? null;
      section.reload();
    };
    return h(
      'nav.row.spread',
      { 'aria-label': t('users.pages') },
      h('button.plain', { type: 'button', disabled: !visited.length, onclick: back }, t('users.back')),
      h('span.sub', null, t('users.page', { number: visited.length + 1 })),
      h('button.plain', { type: 'button', disabled: !nextCursor, onclick: next }, t('users.next')),
    );
  };
  const section = asyncSection(
    () => load(cursor),
    (page, reload) => {
      const rows = [show(page, reload)].flat();
      return visited.length || page.nextCursor ? [...rows, pager(page.nextCursor)] : rows;
    },
    waiting,
  );
  /** Begins with the first page. */
  const restart = () => {
    visited = [];
    cursor = null;
    return section.reload();
  };
  return { ...section, restart };
}
