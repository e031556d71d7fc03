//! What every route is given.

use super::origin::PublicOrigin;
use crate::app::App;
use std::sync::Arc;

/// The services and the origin they are served as.
pub struct AppState {
    /// The services.
    pub app: Arc<App>,
    /// The public origin.
    pub site: PublicOrigin,
}
