//! How domain values stand in columns.

use rusqlite::{Error, Result, Row, types::Type};
use shared::{
    id::{Epoch, RoomId, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, Role, RoomKind},
};

/// A room's short key, used in every other table.
pub(super) type Key = i64;

/// `member.muted` of somebody who is muted for good.
const FOR_GOOD: i64 = i64::MAX;

pub(super) fn seq_value(seq: Seq) -> i64 {
    i64::try_from(seq.get()).unwrap_or(i64::MAX)
}

pub(super) fn seq(row: &Row<'_>, at: usize) -> Result<Seq> {
    Ok(Seq::new(row.get::<_, i64>(at)?.unsigned_abs()))
}

pub(super) fn time(row: &Row<'_>, at: usize) -> Result<Timestamp> {
    row.get(at).map(Timestamp::from_millis)
}

pub(super) fn user(row: &Row<'_>, at: usize) -> Result<UserId> {
    UserId::parse(row.get_ref(at)?.as_str()?).map_err(|e| broken(at, Type::Text, e))
}

pub(super) fn room_id(row: &Row<'_>, at: usize) -> Result<RoomId> {
    RoomId::parse(row.get_ref(at)?.as_str()?).map_err(|e| broken(at, Type::Text, e))
}

pub(super) fn epoch(row: &Row<'_>, at: usize) -> Result<Epoch> {
    Epoch::parse(row.get_ref(at)?.as_str()?).map_err(|e| broken(at, Type::Text, e))
}

/// What an entry says; `None` when that cannot be read: its bytes have rotted, or a later version
/// wrote them. Such an entry keeps its place and takes nothing else with it; whoever meets it says
/// so ([`super::unreadable::report`]) and puts something recognisable in its place.
pub(super) fn body(row: &Row<'_>, at: usize) -> Result<Option<EntryBody>> {
    let text = row.get_ref(at)?.as_str().ok();
    Ok(text.and_then(|text| serde_json::from_str(text).ok()))
}

pub(super) fn kind_value(kind: RoomKind) -> i64 {
    match kind {
        RoomKind::Dm => 0,
        RoomKind::Group => 1,
        RoomKind::Lobby => 2,
        RoomKind::Channel => 3,
    }
}

pub(super) fn kind(row: &Row<'_>, at: usize) -> Result<RoomKind> {
    match row.get::<_, i64>(at)? {
        0 => Ok(RoomKind::Dm),
        1 => Ok(RoomKind::Group),
        2 => Ok(RoomKind::Lobby),
        3 => Ok(RoomKind::Channel),
        other => Err(Error::IntegralValueOutOfRange(at, other)),
    }
}

pub(super) fn role_value(role: Role) -> i64 {
    match role {
        Role::Member => 0,
        Role::Moderator => 1,
        Role::Owner => 2,
    }
}

pub(super) fn role(row: &Row<'_>, at: usize) -> Result<Role> {
    match row.get::<_, i64>(at)? {
        0 => Ok(Role::Member),
        1 => Ok(Role::Moderator),
        2 => Ok(Role::Owner),
        other => Err(Error::IntegralValueOutOfRange(at, other)),
    }
}

pub(super) fn muted_value(until: Option<Timestamp>) -> i64 {
    until.map_or(FOR_GOOD, Timestamp::as_millis)
}

#[expect(
    clippy::option_option,
    reason = "as in MemberRecord: muted, and until when"
)]
pub(super) fn muted(row: &Row<'_>, at: usize) -> Result<Option<Option<Timestamp>>> {
    Ok(row
        .get::<_, Option<i64>>(at)?
        .map(|until| (until != FOR_GOOD).then_some(Timestamp::from_millis(until))))
}

/// Of what names a room or a person, or says who may do what, nothing can be put in its place: what
/// does not parse is an error.
fn broken(at: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(at, kind, Box::new(error))
}
