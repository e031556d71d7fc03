//! Executes `doorward audit`.

use super::protocol::CommandError;
use crate::{
    app::App,
    domain::EventId,
    service::audit::{EventView, InvalidWord, QueryWords},
};
use serde_json::{Map, Value, json};

/// The most events of one answer.
const MAX_PAGE_SIZE: usize = 500;

/// Events that meet a query: the latest first, from those before an id; or from those after one in the order of time.
pub async fn page(
    app: &App,
    words: QueryWords,
    before: Option<String>,
    after: Option<String>,
    limit: usize,
) -> Result<Value, CommandError> {
    let query = words.parse(app.now()).map_err(|InvalidWord { field, message }| CommandError(format!("--{field}: {message}")))?;
    let id = |text: Option<String>| {
        text.map(|text| text.parse::<EventId>()).transpose().map_err(|error| CommandError(format!("the cursor: {error}")))
    };
    let limit = limit.clamp(1, MAX_PAGE_SIZE);
    // Before the page is read: what is written meanwhile comes again rather than never.
    let last = app.audit().last().await?;
    let page = match id(after)? {
        Some(after) => app.audit().after(&query, Some(after), limit).await?,
        None => app.audit().before(&query, id(before)?, limit).await?,
    };
    let views: Vec<_> = page.events.iter().map(EventView::new).collect();
    let mut users = Map::new();
    for id in views.iter().flat_map(EventView::users) {
        if let Ok(user) = app.accounts().user(id).await {
            users.insert(id.to_string(), user.email.as_str().into());
        }
    }
    Ok(json!({ "events": views, "next": page.next, "last": last.unwrap_or_default(), "users": users }))
}
