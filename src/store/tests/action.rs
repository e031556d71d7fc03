//! The steps of a script that the store and its model both follow.

use crate::domain::OnReuse;
use proptest::prelude::*;
use std::time::Duration;

/// A step. Users and sessions are picked by number among all there ever were, so that deleted ones are asked for
/// too.
#[derive(Debug, Clone)]
pub enum Action {
    Create {
        email: u8,
        admin: bool,
        with_session: bool,
    },
    Login {
        user: u8,
        stale: bool,
        replaces: Option<u8>,
    },
    /// Rotates the token `back` generations before the current one; -1 is one that was never issued.
    Rotate {
        session: u8,
        back: i8,
        other_transport: bool,
        windows: Windows,
        on_reuse: OnReuse,
        /// The request's `Idempotency-Key`.
        key: Option<u8>,
    },
    Race {
        session: u8,
        runners: u8,
    },
    EndSession {
        session: u8,
        owner: Option<u8>,
    },
    EndAll {
        user: u8,
    },
    SetRole {
        user: u8,
        admin: bool,
    },
    SetDisabled {
        user: u8,
        disabled: bool,
    },
    SetPassword {
        user: u8,
    },
    Delete {
        user: u8,
    },
    Sweep,
    Wait {
        seconds: u16,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct Windows {
    pub conflict: Duration,
    pub grace: Duration,
}

pub fn action() -> impl Strategy<Value = Action> {
    // The clock here moves by whole seconds, so let the windows end between two of them: a window opens when its
    // winner was durable, a little after the moment that the model knows.
    let seconds = |seconds: u64| Duration::from_millis((seconds * 1000).saturating_sub(500));
    let windows =
        (0u64..3, 0u64..3).prop_map(move |(conflict, grace)| Windows { conflict: seconds(conflict * 2), grace: seconds(grace * 5) });
    let on_reuse = prop_oneof![Just(OnReuse::User), Just(OnReuse::Session)];
    prop_oneof![
        3 => (0u8..5, any::<bool>(), any::<bool>()).prop_map(|(email, admin, with_session)| Action::Create { email, admin, with_session }),
        4 => (0u8..6, proptest::bool::weighted(0.1), proptest::option::weighted(0.2, 0u8..12))
            .prop_map(|(user, stale, replaces)| Action::Login { user, stale, replaces }),
        6 => (0u8..12, -1i8..4, proptest::bool::weighted(0.1), windows, on_reuse, proptest::option::of(0u8..2))
            .prop_map(|(session, back, other_transport, windows, on_reuse, key)| {
                Action::Rotate { session, back, other_transport, windows, on_reuse, key }
            }),
        3 => (0u8..12, -1i8..1).prop_map(|(session, back)| Action::Rotate {
            session,
            back: back.max(0),
            other_transport: false,
            windows: Windows { conflict: Duration::ZERO, grace: Duration::ZERO },
            on_reuse: OnReuse::User,
            key: Some(0),
        }),
        2 => (0u8..12, 2u8..6).prop_map(|(session, runners)| Action::Race { session, runners }),
        2 => (0u8..12, proptest::option::of(0u8..6)).prop_map(|(session, owner)| Action::EndSession { session, owner }),
        1 => (0u8..6).prop_map(|user| Action::EndAll { user }),
        2 => (0u8..6, any::<bool>()).prop_map(|(user, admin)| Action::SetRole { user, admin }),
        2 => (0u8..6, any::<bool>()).prop_map(|(user, disabled)| Action::SetDisabled { user, disabled }),
        1 => (0u8..6).prop_map(|user| Action::SetPassword { user }),
        2 => (0u8..6).prop_map(|user| Action::Delete { user }),
        2 => Just(Action::Sweep),
        4 => prop_oneof![0u16..8, 600u16..2500].prop_map(|seconds| Action::Wait { seconds }),
    ]
}
