//! The HTTP port: one answer for every method and path.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use crate::{asked::Asked, service::Info};

/// Answers any path.
pub(crate) fn router(info: Info) -> Router {
    Router::new().fallback(answer).with_state(info)
}

/// The body is read to its end, for the connection to be usable again.
async fn answer(
    State(info): State<Info>,
    Extension(asked): Extension<Arc<Asked>>,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    let document = info.document(&asked).await;
    let status = if document.error.is_none() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    if prefers_text(&headers) {
        (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], document.to_string()).into_response()
    } else {
        (status, [(CONTENT_TYPE, "application/json")], document.to_json()).into_response()
    }
}

/// Whether `Accept` names plain text, and JSON not before it.
fn prefers_text(headers: &HeaderMap) -> bool {
    let types = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut types = types.flat_map(|value| value.split(',')).filter_map(|entry| entry.split(';').next());
    types.find_map(|media_type| match media_type.trim() {
        "text/plain" => Some(true),
        "application/json" | "*/*" => Some(false),
        _ => None,
    }) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_for_those_who_ask_for_it() {
        for (accept, text) in [
            ("text/plain", true),
            ("text/plain; charset=utf-8, */*", true),
            ("text/html, text/plain;q=0.9", true),
            ("application/json, text/plain", false),
            ("*/*", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(prefers_text(&headers), text, "{accept}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
    }
}
