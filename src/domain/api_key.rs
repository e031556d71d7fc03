//! API keys: what a script has in place of a person's password.

use super::{ApiKeyId, Permission, Roles, SessionId, Timestamp, User, UserId, gate::AppName};
use std::{fmt, sync::Arc, time::Duration};

/// An API key. It acts for its owner, with some of the owner's permissions.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The id, which is not a secret.
    pub id: ApiKeyId,
    /// Whom it acts for.
    pub owner: UserId,
    /// What its maker calls it.
    pub name: String,
    /// The beginning of its secret, by which people recognise it.
    pub start: String,
    /// The most that it may do; of that it may do what its owner may do at that time.
    pub permissions: Arc<[Permission]>,
    /// The apps behind the gate that it opens, where its owner may enter them at that time.
    pub apps: Arc<[AppName]>,
    /// Keyed hash of its secret.
    pub hash: [u8; 32],
    /// The secret before this one, for as long as both are good.
    pub replaced: Option<ReplacedSecret>,
    /// Where its present secret was made; none if an operator made it.
    pub made_in: Option<MadeIn>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the hour; nothing for a key that never was.
    pub last_used_at: Option<Timestamp>,
    /// Grows with each change, so that of two states the later one is known.
    pub revision: u32,
}

/// Where a secret was made: whoever had the session then knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeIn {
    /// The session.
    pub session: SessionId,
    /// The session's generation then. Who had only an earlier refresh token did not make it.
    pub generation: u32,
}

/// A secret that was replaced and is good for a while still.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReplacedSecret {
    /// Keyed hash of it.
    pub hash: [u8; 32],
    /// Until when it is good.
    pub until: Timestamp,
}

/// Prints neither hash (I5).
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("ApiKey");
        printed.field("id", &self.id).field("owner", &self.owner).field("permissions", &self.permissions);
        printed.field("revision", &self.revision).field("hash", &"[REDACTED]").finish_non_exhaustive()
    }
}

impl ApiKey {
    /// The most keys of one user.
    pub const MAX_PER_USER: usize = 50;
    /// The longest that a secret that was replaced stays good.
    pub const MAX_OVERLAP: Duration = Duration::from_secs(24 * 3600);
    /// How long a key that has expired is still listed.
    pub const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Whether it has expired.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether it opens this app.
    #[must_use]
    pub fn opens(&self, app: &AppName) -> bool {
        self.apps.contains(app)
    }

    /// The permissions it has now: those it lists that its owner's role grants.
    #[must_use]
    pub fn effective(&self, owner: &User, roles: &Roles) -> Arc<[Permission]> {
        self.permissions.iter().filter(|permission| roles.allows(&owner.role, permission.as_str())).cloned().collect()
    }
}
