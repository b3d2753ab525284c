//! Who belongs where, and what each sees of a room.

use shared::{
    id::{RoomId, Seq, Timestamp},
    protocol::room::{EntryBody, MemberAction, MemberChange, Role, RoomKind},
};

use super::{HistoryFactory, Log, change, room, user};

fn until(action: MemberAction, member: &str, ms: i64) -> EntryBody {
    EntryBody::Member(MemberChange {
        action,
        member: user(member),
        role: None,
        until: Some(Timestamp::from_millis(ms)),
    })
}

async fn members(log: &Log) -> Vec<(String, Role)> {
    let record = log.history.room(&log.id).await.unwrap().unwrap();
    let mut members: Vec<_> = record
        .members
        .into_iter()
        .map(|m| (m.user.to_string(), m.role))
        .collect();
    members.sort();
    members
}

pub(crate) async fn members_come_and_go(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b, c) = ("mem-go-a", "mem-go-b", "mem-go-c");
    let mut log = Log::group(&history, "mem-go", &[a, b]).await;
    log.one(a, change(MemberAction::Join, c, None)).await;
    assert_eq!(
        members(&log).await,
        [
            (a.to_owned(), Role::Owner),
            (b.to_owned(), Role::Member),
            (c.to_owned(), Role::Member)
        ]
    );
    log.one(b, change(MemberAction::Leave, b, None)).await;
    log.one(a, change(MemberAction::Kick, c, None)).await;
    log.one(a, change(MemberAction::Kick, c, None)).await;
    assert_eq!(members(&log).await, [(a.to_owned(), Role::Owner)]);
    assert_eq!(history.memberships(&user(b)).await.unwrap(), []);
    log.one(b, change(MemberAction::Join, b, Some(Role::Moderator)))
        .await;
    // Coming in twice is coming in once.
    log.one(b, change(MemberAction::Join, b, None)).await;
    assert_eq!(members(&log).await.len(), 2);
    let view = history.views(&user(b), None).await.unwrap().remove(0);
    assert_eq!((view.members, view.role), (2, Role::Moderator));
}

pub(crate) async fn a_ban_removes_and_is_kept_until_lifted(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("mem-ban-a", "mem-ban-b");
    let mut log = Log::group(&history, "mem-ban", &[a, b]).await;
    log.one(a, until(MemberAction::Ban, b, 5_000)).await;
    log.one(a, change(MemberAction::Ban, "mem-ban-never-in", None))
        .await;
    let record = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!(record.members.len(), 1);
    let mut bans = record.bans;
    bans.sort();
    assert_eq!(
        bans,
        [
            (user(b), Some(Timestamp::from_millis(5_000))),
            (user("mem-ban-never-in"), None)
        ]
    );
    log.one(a, change(MemberAction::Ban, b, None)).await;
    let record = history.room(&log.id).await.unwrap().unwrap();
    assert!(
        record.bans.contains(&(user(b), None)),
        "the later ban holds"
    );
    log.one(a, change(MemberAction::Unban, b, None)).await;
    let record = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!(record.bans, [(user("mem-ban-never-in"), None)]);
}

pub(crate) async fn mutes_and_roles_are_kept_and_strangers_have_none(
    factory: &impl HistoryFactory,
) {
    let history = factory.open().await;
    let (a, b) = ("mem-mute-a", "mem-mute-b");
    let mut log = Log::group(&history, "mem-mute", &[a, b]).await;
    let muted = async |log: &Log| {
        let record = log.history.room(&log.id).await.unwrap().unwrap();
        let member = record.members.into_iter().find(|m| m.user == user(b));
        member.unwrap().muted
    };
    let seen = async || {
        let views = history.views(&user(b), None).await.unwrap();
        views[0].muted_until
    };
    assert_eq!((muted(&log).await, seen().await), (None, None));
    log.one(a, until(MemberAction::Mute, b, 9_000)).await;
    let at = Timestamp::from_millis(9_000);
    assert_eq!(
        (muted(&log).await, seen().await),
        (Some(Some(at)), Some(at))
    );
    log.one(a, change(MemberAction::Mute, b, None)).await;
    assert_eq!(muted(&log).await, Some(None));
    assert_eq!(seen().await, Some(Timestamp::FOREVER));
    log.one(a, change(MemberAction::Unmute, b, None)).await;
    assert_eq!(muted(&log).await, None);
    log.one(a, change(MemberAction::Role, b, Some(Role::Owner)))
        .await;
    log.one(
        a,
        change(MemberAction::Role, "mem-mute-x", Some(Role::Owner)),
    )
    .await;
    log.one(a, change(MemberAction::Mute, "mem-mute-x", None))
        .await;
    assert_eq!(
        members(&log).await,
        [(a.to_owned(), Role::Owner), (b.to_owned(), Role::Owner)],
        "an entry says what it says of one member, and of no other"
    );
}

pub(crate) async fn memberships_leave_direct_messages_out(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("mem-dm-a", "mem-dm-b");
    let dm = RoomId::direct(&user(a), &user(b));
    Log::of(&history, dm.as_str(), RoomKind::Dm, &[a, b]).await;
    Log::of(&history, "mem-dm-c", RoomKind::Channel, &[a, b]).await;
    Log::of(&history, "mem-dm-l", RoomKind::Lobby, &[a]).await;
    let mut found = history.memberships(&user(a)).await.unwrap();
    found.sort();
    assert_eq!(found, [room("mem-dm-c"), room("mem-dm-l")]);
    let mut seen: Vec<_> = history.views(&user(a), None).await.unwrap();
    seen.sort_by(|x, y| x.id.cmp(&y.id));
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].id, dm);
    assert_eq!((seen[0].name.as_ref(), seen[0].kind), (None, RoomKind::Dm));
    assert_eq!(seen[0].peer.as_ref().unwrap().id, user(b));
    assert!(seen[1].peer.is_none());
}

pub(crate) async fn deserted_lobbies_are_found(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "mem-deserted-a";
    let ids = ["mem-deserted-1", "mem-deserted-2", "mem-deserted-3"];
    for (id, kind) in ids
        .into_iter()
        .zip([RoomKind::Lobby, RoomKind::Lobby, RoomKind::Group])
    {
        let mut log = Log::of(&history, id, kind, &[a]).await;
        if id != ids[1] {
            log.one(a, change(MemberAction::Leave, a, None)).await;
        }
    }
    let found = history.deserted_lobbies(1_000).await.unwrap();
    let ours: Vec<&str> = ids
        .into_iter()
        .filter(|id| found.contains(&room(id)))
        .collect();
    assert_eq!(ours, [ids[0]], "a lobby, and nobody is in");
    let head = history.room(&room(ids[0])).await.unwrap().unwrap().head;
    assert_eq!(history.remove(&room(ids[0]), head).await, Ok(true));
    let left = history.deserted_lobbies(1_000).await.unwrap();
    assert!(!left.contains(&room(ids[0])));
}

pub(crate) async fn views_show_each_member_their_own(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("mem-view-a", "mem-view-b");
    let mut log = Log::group(&history, "mem-view", &[a, b]).await;
    Log::group(&history, "mem-view-2", &[a]).await;
    log.say(a, "x").await;
    let record = history.room(&log.id).await.unwrap().unwrap();
    let of = async |who| {
        history
            .views(&user(who), Some(&room("mem-view")))
            .await
            .unwrap()
    };
    let (mine, theirs) = (of(a).await.remove(0), of(b).await.remove(0));
    assert_eq!((mine.role, mine.unread), (Role::Owner, 0));
    assert_eq!((theirs.role, theirs.unread), (Role::Member, 1));
    assert_eq!((mine.read, theirs.read), (Seq::new(2), Seq::new(3)));
    assert_eq!((mine.epoch, mine.head), (record.epoch, log.head));
    assert_eq!(mine.name.as_deref(), Some("a room"));
    assert_eq!(history.views(&user(a), None).await.unwrap().len(), 2);
    assert_eq!(of("mem-view-x").await, []);
    let none = history.views(&user(a), Some(&room("mem-view-3"))).await;
    assert_eq!(none.unwrap(), []);
}
