//! The browser client, embedded in the binary.
//!
//! File names carry no hash, so a browser asks every time and mostly hears `304`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EntityTag, Header as _,
        IfNoneMatch, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    web,
};
use rust_embed::{EmbeddedFile, RustEmbed};
use shared::problem;

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

/// Mounts the client at the root: everything no other route takes.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.default_service(web::to(serve));
}

async fn serve(request: HttpRequest) -> HttpResponse {
    let path = request.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let readable = matches!(request.method().as_str(), "GET" | "HEAD");
    match Files::get(path).filter(|_| readable) {
        Some(file) => answer(&request, path, file),
        None => problem::not_found().await,
    }
}

fn answer(request: &HttpRequest, path: &str, file: EmbeddedFile) -> HttpResponse {
    let tag = EntityTag::new_strong(hex(&file.metadata.sha256_hash()[..16]));
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|t| t.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((ETAG, tag.to_string()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CONTENT_TYPE, media_type(path)));
    if known {
        response.finish()
    } else {
        response.body(file.data.into_owned())
    }
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
            assert!(Files::get(path).is_some(), "{path}");
        }
        for path in Files::iter() {
            let private = ["test/", "node_modules/", "package", "tsconfig"];
            assert!(!private.iter().any(|p| path.starts_with(p)), "{path}");
            assert_ne!(media_type(&path), "application/octet-stream", "{path}");
        }
    }
}
