// What happened: to one's own account, and, for those who may read it, to all.

import { auth, may, signedInUser } from './auth.js';
import { h, verbatim } from './dom.js';
import { fill, formatNumber, has, keysOf, t } from './i18n.js';
import { pagedSection } from './paging.js';
import { card, field, form, relativeTime } from './ui.js';

/**
 * @typedef {{ id: string, at: string, event: string, outcome: 'done' | 'failed' | 'alarm', actor: string,
 *   target?: string, session?: string, from?: string, role?: string, key?: string, app?: string, why?: string,
 *   path?: string, more?: number }} EventRecord
 * @typedef {{ events: EventRecord[], nextCursor: string | null, users?: Record<string, string> }} EventPage
 */

const PAGE_SIZE = 20;
const PERIODS = [
  ['24h', 'events.day'],
  ['7d', 'events.week'],
  ['30d', 'events.month'],
  ['', 'events.ever'],
];

/** @param {string} name */
const eventName = (name) => (has(`event.${name}`) ? t(`event.${name}`) : name);

/**
 * Who somebody is, as far as the reader is told.
 * @param {string} id or a word for those who are no users
 * @param {Record<string, string>} users
 */
function person(id, users) {
  if (id === signedInUser().id) return t('actor.you');
  return has(`actor.${id}`) ? t(`actor.${id}`) : verbatim(users[id] ?? id);
}

/**
 * @param {EventRecord} event
 * @param {Record<string, string>} users
 */
function eventRow(event, users) {
  const { actor, target, from, session, role, app, key, path, why, more } = event;
  const isOwn = target === undefined || target === actor;
  const facts = [
    [relativeTime(event.at)],
    fill('events.by', { actor: person(actor, users) }),
    !isOwn && fill('events.about', { user: person(target, users) }),
    from && fill('events.from', { address: h('span.mono', null, from) }),
    session && fill('events.session', { id: h('span.mono', null, session.slice(0, 8)) }),
    ...[key, path].map((text) => text && [h('span.mono', null, text)]),
    // What the server says of it, in its own language.
    why && [h('bdi', { lang: 'en', dir: 'ltr' }, why)],
  ].filter((part) => part !== false && part !== undefined && part !== '');
  return h(
    'li',
    null,
    h(
      'div',
      null,
      h(
        'p.title',
        null,
        eventName(event.event),
        more !== undefined && [' ', h('span.tag', null, `+${formatNumber(more)}`)],
        role && [' ', h('span.tag', null, verbatim(role))],
        app && [' ', h('span.tag', null, verbatim(app))],
        event.outcome === 'alarm' && [' ', h('span.tag.off', null, t('events.alarm'))],
      ),
      h(
        'p.sub',
        null,
        facts.flatMap((part, i) => (i ? [' · ', ...part] : part)),
      ),
    ),
  );
}

/**
 * @param {EventPage} page
 * @param {string} nothing what to say if there is nothing
 */
function eventRows({ events, nextCursor, users = {} }, nothing) {
  if (!events.length) return h('p.empty', null, nextCursor ? t('events.goOn') : nothing);
  return h(
    'ul.rows',
    null,
    events.map((event) => eventRow(event, users)),
  );
}

/** @param {string | null} cursor */
const pageQuery = (cursor) => `limit=${PAGE_SIZE}${cursor ? `&cursor=${cursor}` : ''}`;

/** What happened to one's own account. */
export function ownEvents() {
  const section = pagedSection(
    (cursor) => auth.call('GET', `/api/users/me/events?${pageQuery(cursor)}`),
    (/** @type {EventPage} */ page) => eventRows(page, t('events.none')),
    t('events.waiting'),
  );
  return card(t('events.title'), t('events.lead'), section.element);
}

/**
 * The id of the user whom somebody names, by id or by address.
 * @param {string} name
 * @returns {Promise<string | undefined>}
 */
async function findUser(name) {
  if (!name.includes('@')) return name;
  const { users } = await auth.call('GET', `/api/users?limit=1&query=${encodeURIComponent(name)}`);
  return users.find((/** @type {{ email: string }} */ { email }) => email === name.toLowerCase())?.id;
}

/** Everything that happened, for those who may read it. */
export function auditTrail() {
  /** @type {Record<string, string>} */
  let filters = {};
  const list = pagedSection(
    (cursor) => auth.call('GET', `/api/audit?${new URLSearchParams(filters)}&${pageQuery(cursor)}`),
    (/** @type {EventPage} */ page) => eventRows(page, t('events.noneFound')),
    t('events.waiting'),
  );
  const kind = h(
    'select',
    { 'aria-label': t('events.kind') },
    h('option', { value: '' }, t('events.anyKind')),
    keysOf('event').map((name) => h('option', { value: name }, eventName(name))),
  );
  const period = h(
    'select',
    { 'aria-label': t('events.period') },
    PERIODS.map(([value, text]) => h('option', { value, selected: !value }, t(text))),
  );
  const user = field(
    t('events.user'),
    { name: 'user', autocomplete: 'off', maxlength: 254, spellcheck: 'false', dir: 'ltr' },
    t('events.userHint'),
  );
  const address = field(t('events.address'), {
    name: 'address',
    autocomplete: 'off',
    maxlength: 64,
    spellcheck: 'false',
    dir: 'ltr',
  });
  const choice = form({
    fields: [user, address],
    label: t('events.submit'),
    busy: t('events.busy'),
    kind: 'plain',
    before: [kind, period],
    action: async (values) => {
      const id = await findUser(values.user.trim());
      if (id === undefined) return user.showError(t('events.userUnknown'));
      const all = { event: kind.value, since: period.value, user: id, address: values.address.trim() };
      filters = Object.fromEntries(Object.entries(all).filter(([, value]) => value));
      return list.restart();
    },
  });
  // Whoever may not look up users knows their ids alone.
  if (!may('users:read')) user.hint.textContent = '';
  choice.classList.add('wide');
  return [h('h1', null, t('nav.events')), card(t('events.all'), t('events.allLead'), choice, list.element)];
}
