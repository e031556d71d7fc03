//! The state that all routes share.

use super::origin::PublicOrigin;
use crate::app::App;
use std::sync::Arc;

/// The services and the public origin.
pub struct AppState {
    /// The services.
    pub app: Arc<App>,
    /// The public origin.
    pub site: PublicOrigin,
}
