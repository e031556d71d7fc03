//! How a sign-in or a refresh went, as it is counted. The labels are those of these types: no client can add one.

use crate::service::Error;

macro_rules! outcomes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The label `outcome`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

outcomes! {
    /// How a sign-in went.
    SignIn {
        /// Signed in.
        Ok "ok",
        /// No such account, a wrong password, or a disabled account.
        Wrong "wrong",
        /// A limit refused it.
        Limited "limited",
        /// Too many passwords waited to be hashed.
        Overloaded "overloaded",
        /// The fault was ours.
        Failed "failed",
    }
}

outcomes! {
    /// How a refresh went.
    Refresh {
        /// New tokens.
        Ok "ok",
        /// Another refresh came first.
        Conflict "conflict",
        /// The token had been used before: everything it could reach was revoked.
        Reuse "reuse",
        /// The token had expired.
        Expired "expired",
        /// The session had ended.
        Ended "ended",
        /// A limit refused it.
        Limited "limited",
        /// There was no token, or none of ours, or no proof that an allowed page sent it.
        Invalid "invalid",
        /// The fault was ours.
        Failed "failed",
    }
}

impl SignIn {
    pub const fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(Error::InvalidCredentials) => Self::Wrong,
            Err(Error::Limited(_)) => Self::Limited,
            Err(Error::Overloaded) => Self::Overloaded,
            Err(_) => Self::Failed,
        }
    }
}

impl Refresh {
    pub const fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(Error::RefreshConflict) => Self::Conflict,
            Err(Error::RefreshTokenReused) => Self::Reuse,
            Err(Error::RefreshTokenExpired) => Self::Expired,
            Err(Error::SessionEnded) => Self::Ended,
            Err(Error::Limited(_)) => Self::Limited,
            Err(Error::Store(_) | Error::Overloaded) => Self::Failed,
            Err(_) => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn every_outcome_has_its_number_and_a_label_of_its_own() {
        assert!(SignIn::ALL.iter().enumerate().all(|(number, outcome)| *outcome as usize == number));
        assert!(Refresh::ALL.iter().enumerate().all(|(number, outcome)| *outcome as usize == number));
        for labels in [SignIn::ALL.iter().map(|o| o.label()).collect::<Vec<_>>(), Refresh::ALL.iter().map(|o| o.label()).collect()] {
            let distinct: std::collections::HashSet<_> = labels.iter().collect();
            assert_eq!(distinct.len(), labels.len());
        }
    }

    #[test]
    fn what_is_ours_to_answer_for_is_not_counted_as_a_guess() {
        let failed = || Err::<(), _>(Error::Store(store::Error::Full));
        assert_eq!((SignIn::of(&failed()), Refresh::of(&failed())), (SignIn::Failed, Refresh::Failed));
        assert_eq!(SignIn::of(&Err::<(), _>(Error::InvalidCredentials)), SignIn::Wrong);
        assert_eq!(Refresh::of(&Err::<(), _>(Error::MissingRefreshToken)), Refresh::Invalid);
    }
}
