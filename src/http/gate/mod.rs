//! The gate: what proxies ask before they let a request through to an app, and the pages of that way.
//!
//! A proxy's question is answered before any other check of a request: it comes with the app's own method, query and
//! headers, of which only those that [`question`] names count. 200 is the only yes.

mod answer;
mod cookies;
mod entry;
mod headers;
mod page;
mod question;
mod verdict;

pub use answer::{Style, answer, app_asked_about, is_lost_question};
pub use entry::{done, enter, sign_out};
pub use headers::is_relayed;
