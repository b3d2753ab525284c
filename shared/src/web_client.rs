//! The browser client, embedded in the binary: files, and the headers they are served with.
//!
//! File names carry no hash, so a browser asks every time and mostly hears `304`.

use std::borrow::Cow;

use rust_embed::RustEmbed;

/// What the page may load and do: only what this server serves, and pictures from elsewhere
/// (avatars).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' https: http: data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

#[derive(RustEmbed)]
#[folder = "../web"]
#[include = "index.html"]
#[include = "style.css"]
#[include = "fireside.js"]
#[include = "msgpack.js"]
#[include = "fireside/*"]
#[include = "app/*"]
#[include = "style/*"]
#[include = "assets/*"]
struct Files;

/// One file.
#[derive(Debug)]
pub struct WebFile {
    /// What it holds.
    pub bytes: Cow<'static, [u8]>,
    /// What it is.
    pub media_type: &'static str,
    /// Its strong entity tag, without the quotes.
    pub tag: String,
}

/// The headers of every answer with a file, also of a `304`, besides its type and its tag.
pub const HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-cache"),
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// The file at a path of a request.
pub fn file(path: &str) -> Option<WebFile> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let file = Files::get(path)?;
    Some(WebFile {
        tag: hex(&file.metadata.sha256_hash()[..16]),
        bytes: file.data,
        media_type: media_type(path),
    })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml; charset=utf-8",
        Some("png") => "image/png",
        Some("webmanifest") => "application/manifest+json; charset=utf-8",
        Some("json") => "application/json; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_embedded_and_nothing_else_of_its_folder() {
        for path in ["index.html", "fireside.js", "msgpack.js"] {
            assert!(file(path).is_some(), "{path}");
        }
        for path in Files::iter() {
            let private = ["test/", "node_modules/", "package", "tsconfig"];
            assert!(!private.iter().any(|p| path.starts_with(p)), "{path}");
            assert_ne!(media_type(&path), "application/octet-stream", "{path}");
        }
    }
}
