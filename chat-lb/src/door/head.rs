//! What is wrong with the head of an HTTP/1.1 request: pure.
//!
//! Stricter than the standard wants, where two readers of one request could disagree about where it
//! ends: whoever stands behind us must never see as a request what we took for a body.

use std::mem::MaybeUninit;

use bytes::Bytes;
use hyper::{
    Request, Uri, Version,
    header::{HeaderName, HeaderValue},
};
use shared::{codes::ErrorCode, problem::Problem};

/// So many header lines at most.
pub(super) const MAX_HEADERS: usize = 100;
/// The longest request line.
pub(super) const MAX_LINE: usize = 8 << 10;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not HTTP/1.1.
    #[error("this is no HTTP/1.1 request")]
    Malformed,
    /// Lines that end in a bare LF.
    #[error("the lines of a request end in CRLF")]
    BareLineFeed,
    /// No `Host`, or several.
    #[error("a request has exactly one `Host`")]
    Host,
    /// A whole URL, an authority, or `*`, where a path is wanted.
    #[error("the target of a request is a path")]
    Target,
    /// Lengths that contradict each other, or are none.
    #[error("`Content-Length` is one decimal number, and not given beside `Transfer-Encoding`")]
    Length,
    /// A transfer encoding that is not exactly `chunked`.
    #[error("the only `Transfer-Encoding` is `chunked`, once, in HTTP/1.1")]
    Encoding,
    /// A body where none belongs.
    #[error("this request has no body")]
    Body,
    /// The head is too long.
    #[error("the head of this request is too long")]
    HeadTooLong,
    /// The request line is too long.
    #[error("the target of this request is too long")]
    LineTooLong,
    /// The head did not arrive in time.
    #[error("the head of the request did not arrive in time")]
    Slow,
}

impl Flaw {
    /// The label in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BareLineFeed => "bare_lf",
            Self::Host => "host",
            Self::Target => "target",
            Self::Length => "length",
            Self::Encoding => "encoding",
            Self::Body => "body",
            Self::HeadTooLong => "head_too_long",
            Self::LineTooLong => "line_too_long",
            Self::Slow => "slow_head",
        }
    }

    /// As a client is told.
    pub fn problem(self) -> Problem {
        let problem = |code, status: u16| {
            let mut problem = Problem::new(code, self.to_string());
            problem.status = status;
            problem
        };
        match self {
            Self::HeadTooLong => problem(ErrorCode::TooLarge, 431),
            Self::LineTooLong => problem(ErrorCode::TooLarge, 414),
            Self::Slow => problem(ErrorCode::Invalid, 408),
            _ => Problem::invalid(self.to_string()),
        }
    }
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// A body of this length, and then another head.
    Length(u64),
    /// A chunked body, after which the connection ends.
    Chunks,
    /// Whatever an upgrade makes of it.
    Upgrade,
}

/// The head at the beginning of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// It is not whole yet.
    Partial,
    /// It has this length.
    Whole(usize, Follows),
}

/// Reads the head at the beginning of `bytes`.
pub fn read(bytes: &[u8], max_head: usize) -> Result<Head, Flaw> {
    let line = bytes.iter().position(|byte| *byte == b'\n');
    if line.unwrap_or(bytes.len()) > MAX_LINE.min(max_head) {
        return Err(Flaw::LineTooLong);
    }
    // Not filled with headers that are none: that takes longer than to read what there is.
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete(length)) if length <= max_head => length,
        Ok(httparse::Status::Partial) if bytes.len() < max_head => return Ok(Head::Partial),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Flaw::HeadTooLong),
        Err(_) => return Err(Flaw::Malformed),
    };
    let head = &bytes[..length];
    let bare = |n: usize| head[n] == b'\n' && (n == 0 || head[n - 1] != b'\r');
    if (0..length).any(bare) {
        return Err(Flaw::BareLineFeed);
    }
    judge(&request).map(|follows| Head::Whole(length, follows))
}

/// The request at the beginning of `bytes` and the length of its head, which was read and judged already. It holds on to
/// the bytes it was made of.
pub(super) fn request(bytes: &Bytes) -> Option<(usize, Request<()>)> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let whole = parsed.parse_with_uninit_headers(bytes, &mut lines);
    let Ok(httparse::Status::Complete(length)) = whole else {
        return None;
    };
    let mut request = Request::new(());
    *request.method_mut() = parsed.method?.parse().ok()?;
    let target = bytes.slice_ref(parsed.path?.as_bytes());
    *request.uri_mut() = Uri::from_maybe_shared(target).ok()?;
    *request.version_mut() = match parsed.version? {
        1 => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len() + 4);
    for line in &*parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value));
        headers.append(name, value.ok()?);
    }
    Some((length, request))
}

fn judge(request: &httparse::Request<'_, '_>) -> Result<Follows, Flaw> {
    let values = |name: &'static str| {
        let named = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        request
            .headers
            .iter()
            .filter(named)
            .map(|header| header.value)
    };
    let modern = request.version == Some(1);
    let hosts = values("host").count();
    if hosts > 1 || (modern && hosts == 0) {
        return Err(Flaw::Host);
    }
    if !request.path.is_some_and(|path| path.starts_with('/')) {
        return Err(Flaw::Target);
    }
    let length = match (
        values("content-length").count(),
        values("content-length").next(),
    ) {
        (0, _) => None,
        (1, Some(text)) => Some(number(text).ok_or(Flaw::Length)?),
        _ => return Err(Flaw::Length),
    };
    let chunked = match (
        values("transfer-encoding").count(),
        values("transfer-encoding").next(),
    ) {
        (0, _) => false,
        (1, Some(text)) if modern && text.eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Flaw::Encoding),
    };
    if chunked && length.is_some() {
        return Err(Flaw::Length);
    }
    let upgrade = values("upgrade").next().is_some();
    let bodiless = upgrade || request.method.is_some_and(has_no_body);
    if bodiless && (chunked || length.is_some_and(|length| length > 0)) {
        return Err(Flaw::Body);
    }
    Ok(match (upgrade, chunked) {
        (true, _) => Follows::Upgrade,
        (_, true) => Follows::Chunks,
        _ => Follows::Length(length.unwrap_or(0)),
    })
}

/// Whether a body means nothing in requests of this method.
pub fn has_no_body(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Digits and nothing else: no sign, no list, no blank.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    const MAX: usize = 16 << 10;

    fn of(head: &str) -> Result<Head, Flaw> {
        read(head.as_bytes(), MAX)
    }

    fn with(method: &str, headers: &str) -> Result<Head, Flaw> {
        of(&format!(
            "{method} /v1/rooms HTTP/1.1\r\nHost: a\r\n{headers}\r\n"
        ))
    }

    fn follows(head: Result<Head, Flaw>) -> Follows {
        match head {
            Ok(Head::Whole(_, follows)) => follows,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn honest_requests_pass() {
        assert_eq!(follows(with("GET", "")), Follows::Length(0));
        assert_eq!(
            follows(with("POST", "Content-Length: 12\r\n")),
            Follows::Length(12)
        );
        assert_eq!(
            follows(with("POST", "transfer-encoding: Chunked\r\n")),
            Follows::Chunks
        );
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        assert_eq!(follows(with("GET", upgrade)), Follows::Upgrade);
        let old = of("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(follows(old), Follows::Length(0));
        assert_eq!(of("GET / HTTP/1.1\r\nHo"), Ok(Head::Partial));
        let two = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n";
        assert_eq!(of(two), Ok(Head::Whole(27, Follows::Length(0))));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for headers in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length:\r\n",
        ] {
            assert_eq!(with("POST", headers), Err(Flaw::Length), "{headers}");
        }
        for headers in [
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
        ] {
            assert_eq!(with("POST", headers), Err(Flaw::Encoding), "{headers}");
        }
        for headers in [
            "Transfer-Encoding : chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            "X: a\r\n Content-Length: 5\r\n",
            "X\0: a\r\n",
            "X: a\rContent-Length: 5\r\n",
            "Transfer-Encoding\u{b}: chunked\r\n",
        ] {
            assert_eq!(with("POST", headers), Err(Flaw::Malformed), "{headers:?}");
        }
        assert_eq!(
            with("POST", "X: a\nContent-Length: 5\r\n"),
            Err(Flaw::BareLineFeed)
        );
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(of(old), Err(Flaw::Encoding));
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(with(method, "Content-Length: 5\r\n"), Err(Flaw::Body));
            assert_eq!(
                with(method, "Transfer-Encoding: chunked\r\n"),
                Err(Flaw::Body)
            );
        }
        let upgrade = "Upgrade: websocket\r\nContent-Length: 5\r\n";
        assert_eq!(with("POST", upgrade), Err(Flaw::Body));
    }

    #[test]
    fn targets_and_hosts_are_plain() {
        assert_eq!(with("GET", "Host: b\r\n"), Err(Flaw::Host));
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Err(Flaw::Host));
        for target in ["http://evil/v1/rooms", "*", "evil:443", "v1/rooms"] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(of(&head), Err(Flaw::Target), "{target}");
        }
        for head in [
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(of(head), Err(Flaw::Malformed), "{head:?}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let long = "a".repeat(MAX);
        assert_eq!(
            with("GET", &format!("X: {long}\r\n")),
            Err(Flaw::HeadTooLong)
        );
        assert_eq!(
            with("GET", &"X: a\r\n".repeat(MAX_HEADERS)),
            Err(Flaw::HeadTooLong)
        );
        assert_eq!(of(&format!("GET /{long}")), Err(Flaw::LineTooLong));
        let unfinished = format!("GET / HTTP/1.1\r\nX: {long}");
        assert_eq!(of(&unfinished), Err(Flaw::HeadTooLong));
    }

    #[test]
    fn every_flaw_is_a_problem_of_its_own_status() {
        assert_eq!(Flaw::Slow.problem().status, 408);
        assert_eq!(Flaw::HeadTooLong.problem().status, 431);
        assert_eq!(Flaw::LineTooLong.problem().status, 414);
        assert_eq!(Flaw::Length.problem().status, 400);
    }

    proptest! {
        /// However it arrives, a head is read as the same, and never before it is whole.
        #[test]
        fn pieces_do_not_matter(cut in any::<prop::sample::Index>(), length in 0_u32..9) {
            let whole = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let piece = &whole[..cut.index(whole.len())];
            prop_assert_eq!(of(piece), Ok(Head::Partial));
            let expected = Head::Whole(whole.len(), Follows::Length(u64::from(length)));
            prop_assert_eq!(of(&whole), Ok(expected));
        }
    }

    #[test]
    fn a_head_becomes_a_request() {
        let of = |bytes: &'static [u8]| super::request(&Bytes::from_static(bytes));
        let bytes = b"GET /v1/ws?a=b HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two:  2 \r\n\r\nframes";
        let (length, request) = of(bytes).unwrap();
        assert_eq!(&bytes[length..], b"frames");
        assert_eq!(request.uri(), "/v1/ws?a=b");
        assert_eq!(request.version(), Version::HTTP_11);
        let two: Vec<_> = request.headers().get_all("x-two").iter().collect();
        assert_eq!(two, ["1", "2"]);
        assert!(of(b"GET / HTTP/1.1\r\nHost: a\r\n").is_none());
        let (_, old) = of(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(old.version() < Version::HTTP_11);
    }
}
