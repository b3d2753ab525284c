//! The one table of error and close codes. Documentation and clients are checked against it.

use serde::{Deserialize, Serialize};

/// A stable word for what went wrong, the same in WebSocket replies and in REST problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No token, or one that does not hold.
    Unauthenticated,
    /// The caller may know of the thing but not do this to it.
    Forbidden,
    /// No such thing, or none that the caller may know of.
    NotFound,
    /// The request breaks a rule; `message` says which.
    Invalid,
    /// Over a size limit.
    TooLarge,
    /// A token bucket of the caller is empty.
    RateLimited,
    /// The room's slow mode asks for more time between two messages.
    SlowMode,
    /// The caller is muted in the room.
    Muted,
    /// The state it would change has changed, or already stands so that it cannot apply.
    Conflict,
    /// The session cannot be resumed; start a new one.
    SessionLost,
    /// The server sheds load; nothing was stored.
    Busy,
    /// Something the request needs is out of reach.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// A row of the error table.
#[derive(Debug, Clone, Copy)]
pub struct ErrorRow {
    /// The code.
    pub code: ErrorCode,
    /// Its word on the wire.
    pub word: &'static str,
    /// Whether the same request may succeed later, unchanged.
    pub retry: bool,
    /// The HTTP status REST answers with.
    pub status: u16,
}

/// Every error code.
pub const ERRORS: &[ErrorRow] = &[
    row(ErrorCode::Unauthenticated, "unauthenticated", false, 401),
    row(ErrorCode::Forbidden, "forbidden", false, 403),
    row(ErrorCode::NotFound, "not_found", false, 404),
    row(ErrorCode::Invalid, "invalid", false, 400),
    row(ErrorCode::TooLarge, "too_large", false, 413),
    row(ErrorCode::RateLimited, "rate_limited", true, 429),
    row(ErrorCode::SlowMode, "slow_mode", true, 429),
    row(ErrorCode::Muted, "muted", false, 403),
    row(ErrorCode::Conflict, "conflict", false, 409),
    row(ErrorCode::SessionLost, "session_lost", false, 410),
    row(ErrorCode::Busy, "busy", true, 503),
    row(ErrorCode::Unavailable, "unavailable", true, 503),
    row(ErrorCode::Internal, "internal", true, 500),
];

const fn row(code: ErrorCode, word: &'static str, retry: bool, status: u16) -> ErrorRow {
    ErrorRow {
        code,
        word,
        retry,
        status,
    }
}

impl ErrorCode {
    /// This code's row of [`ERRORS`].
    pub fn row(self) -> &'static ErrorRow {
        // The table lists the variants in declaration order; a test holds it to that.
        &ERRORS[self as usize]
    }

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// Whether the same request may succeed later, unchanged.
    pub fn retry(self) -> bool {
        self.row().retry
    }

    /// The HTTP status REST answers with.
    pub fn status(self) -> u16 {
        self.row().status
    }
}

/// What a client does about a close, by the range of its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterClose {
    /// 4000–4099: connect again and resume.
    Resume,
    /// 4100–4199: get a new token, then resume or start.
    Renew,
    /// 4200–4299: wait `delay_ms`, then resume.
    Wait,
    /// 4400–4499: stop.
    Stop,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal, $after:ident;)*) => {
        /// Why the server closes a socket.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum CloseCode { $($(#[$doc])* $name = $code,)* }

        /// Every close code with its word and what the client does about it.
        pub const CLOSES: &[(CloseCode, &str, AfterClose)] =
            &[$((CloseCode::$name, $word, AfterClose::$after),)*];
    };
}

close_codes! {
    /// A fault of ours.
    Internal = 4000, "internal", Resume;
    /// The node is going away in an orderly manner.
    Draining = 4001, "draining", Resume;
    /// Nothing was heard for too long.
    HeartbeatLost = 4002, "heartbeat_lost", Resume;
    /// The reader fell behind the bound of its outbox.
    TooSlow = 4008, "too_slow", Resume;
    /// The session belongs on another node now.
    Rebalance = 4009, "rebalance", Resume;
    /// The access token ran out.
    TokenExpired = 4100, "token_expired", Renew;
    /// The session is gone.
    SessionLost = 4101, "session_lost", Renew;
    /// The node sheds connections.
    Overloaded = 4200, "overloaded", Wait;
    /// This client sends too much.
    Flooding = 4201, "flooding", Wait;
    /// A frame could not be decoded.
    Undecodable = 4400, "undecodable", Stop;
    /// The token was revoked.
    Revoked = 4401, "revoked", Stop;
    /// The account is banned.
    Banned = 4403, "banned", Stop;
    /// Another socket took the session over.
    Replaced = 4406, "replaced", Stop;
    /// The client speaks no version this server knows.
    UpgradeNeeded = 4426, "upgrade_needed", Stop;
}

impl CloseCode {
    /// The number in the close frame.
    pub const fn code(self) -> u16 {
        self as u16
    }

    fn row(self) -> &'static (CloseCode, &'static str, AfterClose) {
        CLOSES
            .iter()
            .find(|row| row.0 == self)
            .unwrap_or(&CLOSES[0])
    }

    /// The reason in the close frame.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// What the client does about it.
    pub fn after(self) -> AfterClose {
        self.row().2
    }

    /// Whether the session may be resumed.
    pub fn resumable(self) -> bool {
        !matches!(self.after(), AfterClose::Stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_table_is_in_declaration_order_and_spells_as_serde_does() {
        for (index, row) in ERRORS.iter().enumerate() {
            assert_eq!(row.code as usize, index, "{}", row.word);
            assert_eq!(serde_json::to_value(row.code).unwrap(), row.word);
        }
        assert_eq!(ERRORS.len(), ErrorCode::Internal as usize + 1);
    }

    #[test]
    fn the_range_of_a_close_code_tells_what_to_do() {
        for (code, word, after) in CLOSES {
            let range = match after {
                AfterClose::Resume => 4000..4100,
                AfterClose::Renew => 4100..4200,
                AfterClose::Wait => 4200..4300,
                AfterClose::Stop => 4400..4500,
            };
            assert!(range.contains(&code.code()), "{word}");
        }
    }
}
