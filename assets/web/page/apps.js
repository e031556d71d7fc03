// The apps behind the gate, and who may enter which.

import { auth } from './auth.js';
import { h, verbatim } from './dom.js';
import { formatChoice, t } from './i18n.js';
import { asyncSection, card } from './ui.js';

/**
 * @typedef {{ name: string, origin: string, mayEnter: boolean, missing: 'role' | 'permission' | 'verifiedAddress' | null,
 *   roles: string[] | null, permission: string | null, takesKeys: boolean }} App
 */

/**
 * All apps, and which of them somebody may enter.
 * @param {string} [user] nothing for oneself
 * @returns {Promise<App[]>}
 */
export const listApps = async (user) => (await auth.call('GET', user ? `/api/users/${user}/apps` : '/api/apps')).apps;

/** @param {App} app */
function whoMayEnter({ roles, permission }) {
  const rules = [
    roles && t('apps.roles', { roles: formatChoice(roles) }),
    permission && t('apps.permission', { permission }),
  ].filter(Boolean);
  return rules.length ? rules.join(' · ') : t('apps.everybody');
}

/** @param {App} app */
function verdict({ mayEnter, missing }) {
  if (mayEnter) return h('span.tag', null, t('apps.open'));
  return h('span.tag.off', null, t(missing === 'verifiedAddress' ? 'users.addressUnverified' : 'apps.closed'));
}

/**
 * @param {App[]} apps
 * @param {boolean} isOwn whether to link to those that may be entered
 */
const appRows = (apps, isOwn) =>
  h(
    'ul.rows',
    null,
    apps.map((app) =>
      h(
        'li',
        null,
        h(
          'div',
          null,
          h(
            'p.title',
            null,
            isOwn && app.mayEnter ? h('a', { href: `${app.origin}/` }, verbatim(app.name)) : verbatim(app.name),
            ' ',
            isOwn && app.mayEnter ? null : verdict(app),
          ),
          h('p.sub', null, h('span.mono', null, new URL(app.origin).host), ' · ', whoMayEnter(app)),
        ),
      ),
    ),
  );

/** One's own apps. The card is there if there is an app, or if nobody can say. */
export function ownApps() {
  const section = asyncSection(
    async () => {
      try {
        const apps = await listApps();
        element.hidden = !apps.length;
        return apps;
      } catch (error) {
        element.hidden = false;
        throw error;
      }
    },
    (apps) => appRows(apps, true),
    t('apps.waiting'),
  );
  const element = card(t('apps.title'), t('apps.lead'), section.element);
  element.hidden = true;
  return element;
}

/**
 * The apps that a user may enter, for admins.
 * @param {string} user
 */
export const userApps = (user) =>
  h(
    'div.nested',
    null,
    asyncSection(
      () => listApps(user),
      (apps) => appRows(apps, false),
      t('apps.waiting'),
    ).element,
  );
