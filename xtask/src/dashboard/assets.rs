//! The page: files that are part of this program, so that it needs nothing from anywhere.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::runtime::local::fnv1a;

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path, from the root.
    pub path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal: $kind:ident = $file:literal),+ $(,)?) => {
        /// All of them.
        pub const ASSETS: &[Asset] =
            &[$(Asset { path: $path, kind: $kind, text: include_str!(concat!("page/", $file)) }),+];
    };
}

assets! {
    "/": HTML = "index.html",
    "/style.css": CSS = "style.css",
    "/favicon.svg": SVG = "favicon.svg",
    "/main.js": JS = "main.js",
    "/live.js": JS = "live.js",
    "/dom.js": JS = "dom.js",
    "/overview.js": JS = "overview.js",
    "/topology.js": JS = "topology.js",
    "/calls.js": JS = "calls.js",
    "/logs.js": JS = "logs.js",
    "/timeline.js": JS = "timeline.js",
    "/policy.js": JS = "policy.js",
}

/// Names the content of all: a page of another content is to be loaded anew.
pub fn revision() -> String {
    let all: String = ASSETS.iter().map(|asset| asset.text).collect();
    format!("{:016x}", fnv1a(all.as_bytes()))
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        // An `up` of another version may serve the next one here.
        ([(CONTENT_TYPE, self.kind), (CACHE_CONTROL, "no-cache")], self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.text.len()).sum();
        assert!(bytes < 120_000, "{bytes} bytes");
        for asset in ASSETS {
            // The namespaces of SVG are names, not addresses.
            let text = asset.text.replace("http://www.w3.org/", "");
            for foreign in ["https://", "http://", "url(//", "src=\"//", "innerHTML", "eval("] {
                assert!(!text.contains(foreign), "{}: {foreign}", asset.path);
            }
        }
    }
}
