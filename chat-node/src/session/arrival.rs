//! A session that another node has goes on here, because its client asks for it here.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use dashmap::DashMap;
use metrics::counter;
use shared::{
    codes::{CloseCode, ErrorCode},
    id::{RoomId, Seq, SessionId, Timestamp, UserId},
    protocol::{
        codec::SharedEvent,
        command::SessionResume,
        reply::{ErrorBody, Resumed},
        room::RoomView,
    },
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Passage, Surroundings,
    actor::{Phase, Session},
    control::Close,
    directory::Handle,
    passage::{Luggage, Step},
    residence::Residence,
    splice::{Halves, reached, splice},
};
use crate::{
    bridge::BusMessage,
    bus::Topic,
    room::Caller,
    transport::{relay::Relay, sink::Sink},
};

/// How long the first word may take of a session whose user is on no other node, as far as presence
/// knows: one that has been without a socket for longer than its grace.
const SOON: Duration = Duration::from_millis(500);
/// Words to one who asks that wait; more are pieces of a ring that nobody waits for any more.
const WORDS: usize = 64;

/// Those who ask for a session, by their claims. Bound: one for each socket that resumes.
#[derive(Debug, Default)]
pub(super) struct Inquiries(DashMap<u64, Listener>);

/// How one who asks is told something.
#[derive(Debug)]
struct Listener {
    user: UserId,
    to: mpsc::Sender<Step>,
    /// Sessions of the user that began at or before this are over, wherever they are by now.
    over: Option<Timestamp>,
}

impl Inquiries {
    fn open(&self, claim: u64, user: UserId) -> mpsc::Receiver<Step> {
        let (to, heard) = mpsc::channel(WORDS);
        let over = None;
        self.0.insert(claim, Listener { user, to, over });
        heard
    }

    /// Hands on what another node says to one who asks.
    pub(super) fn hear(&self, passage: Passage) {
        if let Some(listener) = self.0.get(&passage.claim) {
            // Whoever misses a piece gives up.
            let _ = listener.to.try_send(passage.step);
        }
    }

    /// A session that is on its way here is in no directory: whoever asked for it ends it.
    pub(super) fn disconnect(&self, user: &UserId, begun_at_or_before: Timestamp) {
        for mut listener in self.0.iter_mut() {
            if listener.user == *user {
                listener.over = listener.over.max(Some(begun_at_or_before));
            }
        }
    }

    fn is_over(&self, claim: u64, begun: Timestamp) -> bool {
        let over = self.0.get(&claim).and_then(|listener| listener.over);
        over.is_some_and(|over| begun <= over)
    }
}

/// One who asks, until dropped.
struct Inquiry {
    around: Arc<Surroundings>,
    user: UserId,
    sid: SessionId,
    claim: u64,
    heard: mpsc::Receiver<Step>,
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        self.around.sessions.inquiries().0.remove(&self.claim);
    }
}

/// What came of a session.
struct Arrived {
    inquiry: Inquiry,
    residence: Residence,
    views: Vec<RoomView>,
    given: Vec<Arc<SharedEvent>>,
    luggage: Luggage,
}

impl Session {
    /// `session.resume` of a session that is not here: it may be on another node.
    pub(super) fn seek(&mut self, id: Option<u64>, body: &SessionResume, ctx: &mut Context<Self>) {
        self.phase = Phase::Starting;
        let (now, settings) = (self.worker.wheel.now(), &self.around.settings);
        self.clock.open(now, settings, rand::random());
        let (sid, s) = (body.sid.clone(), body.s);
        let arrival = arrival(
            self.around.clone(),
            self.worker.relay.clone(),
            self.sink.clone(),
            sid.clone(),
            s,
        );
        let arrival = timeout(settings.session_start_timeout, arrival);
        ctx.spawn(arrival.into_actor(self).map(move |result, session, ctx| {
            let result = result.unwrap_or_else(|_| Err(given_up("late")));
            session.arrived(id, sid, s, result, ctx);
            session.sink.wake();
        }));
    }

    fn arrived(
        &mut self,
        id: Option<u64>,
        sid: SessionId,
        s: u64,
        result: Result<Arrived, ErrorBody>,
        ctx: &mut Context<Self>,
    ) {
        if !matches!(self.phase, Phase::Starting) {
            return;
        }
        let Arrived {
            inquiry,
            residence,
            views,
            given,
            luggage,
        } = match result {
            Ok(_) if self.sink.overflowed() => {
                self.close(CloseCode::TooSlow, None);
                self.end();
                return;
            }
            Ok(arrived) => arrived,
            Err(error) => return self.not_arrived(id, &error),
        };
        let stream = splice(Halves {
            given,
            heard: luggage.rooms.iter().cloned().collect(),
            views,
            hears: self.sink.rooms().into_iter().collect(),
            held: self.sink.take_held(),
        });
        let Ok(replayed) = self.sink.go_on(s, stream) else {
            let _ = self.sink.go_on(0, Vec::new());
            return self.not_arrived(id, &given_up("overflow"));
        };
        let handle = Handle::new(
            sid.clone(),
            &self.claims,
            luggage.device,
            luggage.begun,
            ctx.address(),
        );
        let begun = handle.begun();
        let Some(displaced) = self.enter(handle, residence) else {
            return;
        };
        let inquiries = self.around.sessions.inquiries();
        if inquiries.is_over(inquiry.claim, begun) {
            self.close(CloseCode::SessionLost, None);
            self.end();
            return;
        }
        self.phase = Phase::Live;
        tracing::debug!(%sid, user = %self.claims.sub, replayed, "session taken over");
        counter!("fireside_resumes_total", "outcome" => "resumed").increment(1);
        counter!("fireside_sessions_sought_total", "outcome" => "taken").increment(1);
        counter!("fireside_replayed_events_total").increment(replayed);
        self.ok(id, &Resumed { sid, replayed });
        if !self.sink.attached() {
            self.detached();
        }
        for older in displaced {
            older.close(Close::end(CloseCode::Replaced));
        }
        self.settle_in(inquiry, luggage.open, ctx);
        self.leave_if_draining();
    }

    fn not_arrived(&mut self, id: Option<u64>, error: &ErrorBody) {
        self.worker.relay.remove(&self.sink);
        self.sink.discard();
        if !self.sink.attached() {
            self.phase = Phase::Ended;
            return;
        }
        self.phase = Phase::Greeting;
        if error.code == ErrorCode::SessionLost {
            return self.lost(id);
        }
        self.clock
            .greet_again(self.worker.wheel.now(), &self.around.settings);
        self.err(id, error);
    }

    /// What need not be done before the client goes on: the other node may let go once presence has the
    /// device here, what was open is opened, and what friends changed in between is shown.
    fn settle_in(&self, inquiry: Inquiry, open: Vec<RoomId>, ctx: &mut Context<Self>) {
        let (around, key) = (self.around.clone(), self.sink.key());
        let settle = async move {
            let user = &inquiry.user;
            around.presence.noticed(user).await;
            inquiry.say(Step::Taken);
            around.presence.missed(user);
            let caller = Caller {
                user: user.clone(),
                service: false,
            };
            for room in open {
                // The user may be out of it by now.
                if let Ok(opened) = around.rooms.open(&caller, key, &room).await {
                    around.presence.show_members(user, &opened).await;
                }
            }
        };
        ctx.spawn(settle.into_actor(self));
    }
}

async fn arrival(
    around: Arc<Surroundings>,
    relay: Relay,
    sink: Rc<Sink>,
    sid: SessionId,
    s: u64,
) -> Result<Arrived, ErrorBody> {
    let user = sink.user().clone();
    let mut residence = Residence::new(&around, sink.key(), &user);
    residence.hear().await;
    let mut inquiry = Inquiry::open(&around, user.clone(), sid);
    inquiry.seek(s).await?;
    // In the order of a start: what comes after these views is held.
    sink.hold();
    relay.register(&sink);
    relay.subscribe(&sink, around.rooms.memberships(&user).await?);
    let (_, views) = tokio::join!(residence.befriend(), around.rooms.begin(&user));
    let views = views?;
    let heads = around.rooms.heads(&views);
    let mut known: HashMap<RoomId, Seq> = heads.iter().cloned().collect();
    inquiry.say(Step::Wanted { s, heads });
    let (given, luggage) = inquiry.given().await?;
    // What the other node was ahead by would be delivered here later, and once more; so would what
    // is looked for in a direct-message room that nobody had opened here.
    for (room, seq) in reached(&given) {
        let known = known.entry(room).or_default();
        *known = (*known).max(seq);
    }
    let known: Vec<(RoomId, Seq)> = known.into_iter().collect();
    if !around.rooms.reach(&known).await {
        return Err(given_up("behind"));
    }
    relay.relays().passed(sink.key().worker()).await;
    residence.appear(luggage.state.clone());
    Ok(Arrived {
        inquiry,
        residence,
        views,
        given,
        luggage,
    })
}

impl Inquiry {
    fn open(around: &Arc<Surroundings>, user: UserId, sid: SessionId) -> Self {
        let claim = rand::random();
        let heard = around.sessions.inquiries().open(claim, user.clone());
        Self {
            around: around.clone(),
            user,
            sid,
            claim,
            heard,
        }
    }

    fn say(&self, step: Step) {
        let (topic, message) = self.passage(step);
        self.around.bridge.publish(topic, &message);
    }

    fn passage(&self, step: Step) -> (Topic, BusMessage) {
        let passage = Passage {
            user: self.user.clone(),
            sid: self.sid.clone(),
            claim: self.claim,
            step,
        };
        let topic = Topic::User(self.user.clone());
        (topic, BusMessage::Passage(passage))
    }

    /// Asks for it, and waits until somebody has it. Whoever has it hears its user: when nobody else does,
    /// as after the node died that had it, nobody is waited for.
    async fn seek(&mut self, s: u64) -> Result<(), ErrorBody> {
        let (topic, message) = self.passage(Step::Sought { s });
        let patience = self.around.settings.handover_timeout;
        let heard = self.around.bridge.publish_heard(topic, &message);
        if !timeout(patience, heard).await.unwrap_or(true) {
            return Err(given_up("unheard"));
        }
        let mut word = timeout(SOON.min(patience), self.heard.recv()).await;
        if word.is_err() && self.around.presence.is_elsewhere(&self.user).await {
            word = timeout(patience.saturating_sub(SOON), self.heard.recv()).await;
        }
        match word {
            Ok(Some(Step::Found)) => Ok(()),
            Ok(_) => Err(given_up("refused")),
            Err(_) => Err(given_up("unknown")),
        }
    }

    /// Waits until all of it is here.
    async fn given(&mut self) -> Result<(Vec<Arc<SharedEvent>>, Luggage), ErrorBody> {
        let patience = self.around.settings.handover_timeout;
        let (mut given, mut count) = (Vec::new(), 0);
        loop {
            match timeout(patience, self.heard.recv()).await {
                // A second node that has a session of that name: an older life of it.
                Ok(Some(Step::Found)) => {}
                Ok(Some(Step::Given { piece, events })) if piece == count => {
                    count += 1;
                    for event in events {
                        let event = serde_json::from_str(&event).map_err(|error| {
                            tracing::warn!(%error, "an event of a session that moves is unreadable");
                            given_up("unreadable")
                        })?;
                        given.push(Arc::new(SharedEvent::new(event)));
                    }
                }
                Ok(Some(Step::Complete { pieces, luggage })) if pieces == count => {
                    return Ok((given, *luggage));
                }
                Ok(Some(Step::Refused)) => return Err(given_up("refused")),
                Ok(_) => return Err(given_up("torn")),
                Err(_) => return Err(given_up("silent")),
            }
        }
    }
}

/// The session does not come: its client starts anew.
fn given_up(outcome: &'static str) -> ErrorBody {
    counter!("fireside_sessions_sought_total", "outcome" => outcome).increment(1);
    ErrorBody::new(ErrorCode::SessionLost, "no node has that session")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_ends_what_is_on_its_way() {
        let at = Timestamp::from_millis;
        let [anna, bert] = ["anna", "bert"].map(|user| UserId::parse(user).unwrap());
        let inquiries = Inquiries::default();
        let _heard = [(1, &anna), (2, &anna), (3, &bert)]
            .map(|(claim, user)| inquiries.open(claim, user.clone()));
        inquiries.disconnect(&anna, at(20));
        // One that comes late and is about less takes nothing back.
        inquiries.disconnect(&anna, at(10));
        for claim in [1, 2] {
            assert!(inquiries.is_over(claim, at(20)));
            assert!(!inquiries.is_over(claim, at(21)));
        }
        assert!(!inquiries.is_over(3, at(5)));
        assert!(!inquiries.is_over(4, at(5)));
    }
}
