//! What a path leads to: pure.

use std::borrow::Cow;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The WebSocket, on the user's node.
    Socket,
    /// REST on the user's node.
    Node,
    /// REST of the game's own backend, on any node.
    Server,
    /// What any node says to everybody.
    AnyNode,
    /// The store, for people.
    Store,
    /// The store, for everybody: it judges itself who may.
    PublicStore,
    /// The browser client.
    Page,
    /// Nothing. What our services say to each other is nobody else's matter.
    Nothing,
}

impl Route {
    /// The label in metrics and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Node => "node",
            Self::Server => "server",
            Self::AnyNode => "any_node",
            Self::Store => "store",
            Self::PublicStore => "public_store",
            Self::Page => "page",
            Self::Nothing => "nothing",
        }
    }

    /// What a path leads to, as [`plain`] wrote it.
    pub fn of(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/v1/") else {
            return match path {
                "/.well-known/jwks.json" => Self::PublicStore,
                "/v1" | "/readyz" | "/healthz" | "/metrics" => Self::Nothing,
                _ => Self::Page,
            };
        };
        let (first, more) = match rest.split_once('/') {
            Some((first, more)) => (first, Some(more)),
            None => (rest, None),
        };
        match (first, more) {
            ("ws", None) => Self::Socket,
            ("rooms" | "search" | "presence", _) => Self::Node,
            ("openapi.json" | "reference", None) => Self::AnyNode,
            ("server", Some("events" | "live") | None) | ("internal" | "ws" | "", _) => {
                Self::Nothing
            }
            ("server", Some(_)) => Self::Server,
            ("auth", Some(_)) | ("store", Some("openapi.json" | "reference")) => Self::PublicStore,
            _ => Self::Store,
        }
    }
}

/// A path with its escapes resolved, for [`Route::of`]: the way whoever is behind us reads it. None
/// where two could read it in two ways: with dot segments, empty segments, or separators and control
/// characters in disguise.
pub fn plain(path: &str) -> Option<Cow<'_, str>> {
    let plain = if path.contains('%') {
        Cow::Owned(resolve(path)?)
    } else {
        Cow::Borrowed(path)
    };
    let mut segments = plain.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
            return None;
        }
    }
    (!plain.contains(|c: char| c.is_control() || c == '\\')).then_some(plain)
}

fn resolve(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut resolved = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            resolved.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        let byte = u8::try_from(high * 16 + low).ok()?;
        // A second escape in disguise would be resolved by a second reader.
        if matches!(byte, b'/' | b'%' | b'?' | b'#') {
            return None;
        }
        resolved.push(byte);
    }
    String::from_utf8(resolved).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn every_path_has_its_place() {
        for (path, route) in [
            ("/v1/ws", Route::Socket),
            ("/v1/rooms", Route::Node),
            ("/v1/rooms/dm:a.b/messages", Route::Node),
            ("/v1/search", Route::Node),
            ("/v1/presence", Route::Node),
            ("/v1/openapi.json", Route::AnyNode),
            ("/v1/reference", Route::AnyNode),
            ("/v1/server/rooms", Route::Server),
            ("/v1/server/users/u1/disconnect", Route::Server),
            ("/v1/auth/login", Route::PublicStore),
            ("/v1/store/openapi.json", Route::PublicStore),
            ("/v1/store/reference", Route::PublicStore),
            ("/.well-known/jwks.json", Route::PublicStore),
            ("/v1/me", Route::Store),
            ("/v1/friends/u1", Route::Store),
            ("/v1/wallet", Route::Store),
            ("/", Route::Page),
            ("/app/main.js", Route::Page),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn what_services_say_to_each_other_is_not_reached() {
        for path in [
            "/v1/internal/names",
            "/v1/internal",
            "/v1/%69nternal/names",
            "/v1/server/events",
            "/v1/server/%65vents",
            "/v1/server/live",
            "/v1/server",
            "/v1/ws/x",
            "/v1/",
            "/v1",
            "/readyz",
            "/metrics",
        ] {
            let plain = plain(path).unwrap();
            assert_eq!(Route::of(&plain), Route::Nothing, "{path}");
        }
    }

    #[test]
    fn paths_of_two_meanings_are_none() {
        for path in [
            "/v1/rooms/../internal/names",
            "/v1/rooms/%2e%2e/internal/names",
            "/v1/rooms/.%2E/internal",
            "/v1//internal/names",
            "//v1/internal",
            "/v1/rooms/a%2fb",
            "/v1/rooms/a%252fb",
            "/v1/rooms/a%5cb",
            "/v1/rooms/a\\b",
            "/v1/rooms/a%00",
            "/v1/rooms/a%0d%0a",
            "/v1/rooms/%",
            "/v1/rooms/%4",
            "/v1/rooms/%zz",
            "/v1/rooms/%ff",
            "/./v1/internal",
            "",
            "v1",
        ] {
            assert_eq!(plain(path), None, "{path}");
        }
        assert_eq!(plain("/v1/rooms/dm%3Aa.b").unwrap(), "/v1/rooms/dm:a.b");
        assert_eq!(plain("/v1/rooms/...").unwrap(), "/v1/rooms/...");
    }

    proptest! {
        /// Whatever is written, what is inside stays inside.
        #[test]
        fn no_spelling_leads_inside(path in "/v1/[%a-zA-Z0-9./]{0,24}") {
            if let Some(plain) = plain(&path) {
                let inside = plain.starts_with("/v1/internal") && !plain[12..].starts_with(|c| c != '/');
                prop_assert!(!inside || Route::of(&plain) == Route::Nothing);
                prop_assert!(!plain.contains("/../") && !plain.contains("//"));
            }
        }
    }
}
