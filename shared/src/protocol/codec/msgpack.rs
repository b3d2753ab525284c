//! Cuts a MessagePack frame into commands by walking over values without building them.

use std::borrow::Cow;

use rmp::Marker;

use super::{DecodeError, MAX_COMMANDS_PER_FRAME, MAX_DEPTH, RawBody, RawCommand, too_many};

/// Cuts `frame` into commands.
pub(super) fn commands(frame: &[u8]) -> Result<Vec<RawCommand<'_>>, DecodeError> {
    let mut walker = Walker { frame, at: 0 };
    let mut commands = Vec::with_capacity(1);
    while walker.at < frame.len() {
        if commands.len() == MAX_COMMANDS_PER_FRAME {
            return Err(too_many());
        }
        commands.push(walker.command()?);
    }
    Ok(commands)
}

struct Walker<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Walker<'a> {
    fn command(&mut self) -> Result<RawCommand<'a>, DecodeError> {
        let Head::Map(pairs) = self.head()? else {
            return Err(error("a command is a map"));
        };
        let mut command = RawCommand {
            id: None,
            bad_id: false,
            op: Cow::Borrowed(""),
            body: RawBody::Absent,
        };
        for _ in 0..pairs {
            let key = self.value()?;
            let value = self.value()?;
            match text(key) {
                Some("id" | "d") if value == [Marker::Null.to_u8()] => {}
                Some("id") => command.identify(rmp_serde::from_slice(value).ok()),
                Some("op") => command.op = Cow::Borrowed(text(value).unwrap_or_default()),
                Some("d") => command.body = RawBody::MsgPack(value),
                _ => {}
            }
        }
        Ok(command)
    }

    /// Steps over one value of any shape and returns its bytes.
    ///
    /// `open` counts what is still to come at each level. A count never makes memory: a lying
    /// length runs into the end of the frame.
    fn value(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let mut open: levels::Levels = levels::Levels::new();
        loop {
            match self.head()? {
                Head::Plain => {}
                Head::Array(n) => open.push(u64::from(n))?,
                Head::Map(n) => open.push(u64::from(n) * 2)?,
            }
            if !open.step() {
                return Ok(&self.frame[start..self.at]);
            }
        }
    }

    /// Steps over a marker and, unless it opens a container, over its payload.
    fn head(&mut self) -> Result<Head, DecodeError> {
        let marker = Marker::from_u8(self.take(1)?[0]);
        let payload = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                0
            }
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 | Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 => 4,
            Marker::FixExt4 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::FixStr(n) => usize::from(n),
            Marker::Str8 | Marker::Bin8 => self.length(1)?,
            Marker::Str16 | Marker::Bin16 => self.length(2)?,
            Marker::Str32 | Marker::Bin32 => self.length(4)?,
            Marker::Ext8 => self.length(1)? + 1,
            Marker::Ext16 => self.length(2)? + 1,
            Marker::Ext32 => self.length(4)? + 1,
            Marker::FixArray(n) => return Ok(Head::Array(u32::from(n))),
            Marker::Array16 => return Ok(Head::Array(self.length(2)? as u32)),
            Marker::Array32 => return Ok(Head::Array(self.length(4)? as u32)),
            Marker::FixMap(n) => return Ok(Head::Map(u32::from(n))),
            Marker::Map16 => return Ok(Head::Map(self.length(2)? as u32)),
            Marker::Map32 => return Ok(Head::Map(self.length(4)? as u32)),
            Marker::Reserved => return Err(error("a reserved marker")),
        };
        self.take(payload)?;
        Ok(Head::Plain)
    }

    fn length(&mut self, bytes: usize) -> Result<usize, DecodeError> {
        Ok(self
            .take(bytes)?
            .iter()
            .fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let end = self
            .at
            .checked_add(n)
            .filter(|end| *end <= self.frame.len());
        let end = end.ok_or_else(|| error("the frame ends inside a value"))?;
        let bytes = &self.frame[self.at..end];
        self.at = end;
        Ok(bytes)
    }
}

enum Head {
    Plain,
    Array(u32),
    Map(u32),
}

/// The text of a value that is a string.
fn text(value: &[u8]) -> Option<&str> {
    let skip = match Marker::from_u8(*value.first()?) {
        Marker::FixStr(_) => 1,
        Marker::Str8 => 2,
        Marker::Str16 => 3,
        Marker::Str32 => 5,
        _ => return None,
    };
    std::str::from_utf8(value.get(skip..)?).ok()
}

fn error(what: &str) -> DecodeError {
    DecodeError(what.into())
}

/// The counts of open containers, in a fixed array: nesting is bounded, so memory is.
mod levels {
    use super::{DecodeError, MAX_DEPTH, error};

    pub(super) struct Levels {
        left: [u64; MAX_DEPTH],
        depth: usize,
    }

    impl Levels {
        pub(super) fn new() -> Self {
            Self {
                left: [0; MAX_DEPTH],
                depth: 0,
            }
        }

        /// A container of `n` values opens. It is itself one value of the level around it,
        /// which `step` accounts for when the container closes.
        pub(super) fn push(&mut self, n: u64) -> Result<(), DecodeError> {
            if self.depth == MAX_DEPTH {
                return Err(error("nested too deep"));
            }
            // One more than its content: `step` counts the container's own head.
            self.left[self.depth] = n + 1;
            self.depth += 1;
            Ok(())
        }

        /// A head was stepped over. Returns whether more is to come.
        pub(super) fn step(&mut self) -> bool {
            while self.depth > 0 {
                self.left[self.depth - 1] -= 1;
                if self.left[self.depth - 1] > 0 {
                    return true;
                }
                self.depth -= 1;
            }
            false
        }
    }
}
