//! Claims of drops, in batches: first before the gate, then in the database (`given`).
//!
//! Bound: [`WAITING`] claims before the gate, and as many before the database; one more is `busy`. Gauge:
//! `fireside_store_claims_waiting`.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use shared::{
    auth,
    id::{Timestamp, UserId},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    super::{Campaign, Coupon, campaign::find},
    gate::{Entry, GateDrop},
    given::in_the_database,
    outcome::{Lost, Won, count},
};
use crate::{error::StoreError, store::Store};

/// How many claims wait for a step.
const WAITING: usize = 16_384;
/// How many go on together.
pub(super) const BATCH: usize = 512;
/// How long what is known of a campaign is good.
const FRESH: Duration = Duration::from_secs(1);
/// How many campaigns are known.
const KNOWN: usize = 1000;

/// What somebody gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The coupon.
    pub coupon: Coupon,
    /// Whether they had it already.
    pub held: bool,
}

/// Where claims come in.
pub(crate) struct Claims {
    sender: mpsc::Sender<Claim>,
    receivers: Mutex<Option<Receivers>>,
}

/// Where they come out; for [`serve`].
pub(crate) struct Receivers(mpsc::Receiver<Claim>);

/// Somebody wants a coupon.
pub(super) struct Claim {
    pub(super) drop: String,
    pub(super) person: UserId,
    /// What a drop with a queue asks for.
    pass: Option<String>,
    /// The token's name, and when it was issued.
    pub(super) token: (String, Timestamp),
    pub(super) answer: oneshot::Sender<Result<Won, Lost>>,
}

/// Somebody who goes on to the database.
pub(super) struct Passed {
    pub(super) claim: Claim,
    pub(super) campaign: Campaign,
    /// Why they get no coupon unless they have one; nothing if they may get one.
    pub(super) refused: Option<Lost>,
}

impl Default for Claims {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            sender,
            receivers: Mutex::new(Some(Receivers(receiver))),
        }
    }
}

impl Claims {
    /// For whoever serves them; once.
    pub(crate) fn open(&self) -> Option<Receivers> {
        self.receivers.lock().take()
    }
}

impl Store {
    /// A coupon of a drop for whoever has this token, which verified; whether it still holds is seen here. Who
    /// has one gets the same again, also when the drop is over, and without a pass. Answered after it stands in the database.
    pub async fn claim(
        &self,
        token: &auth::Claims,
        drop: &str,
        pass: Option<&str>,
    ) -> Result<Claimed, StoreError> {
        let (answer, answered) = oneshot::channel();
        let claim = Claim {
            drop: drop.to_owned(),
            person: token.sub.clone(),
            pass: pass.map(str::to_owned),
            token: (token.jti.clone(), token.issued_at()),
            answer,
        };
        if self.claims().sender.try_send(claim).is_err() {
            count(&["busy"]);
            return Err(StoreError::Busy);
        }
        // Nobody answers when the store stops.
        let answer = answered.await.map_err(|_| StoreError::Busy)?;
        match answer {
            Ok(Won::New(coupon)) => Ok(Claimed {
                coupon: *coupon,
                held: false,
            }),
            Ok(Won::Held(coupon)) => {
                let db = self.database().reader();
                let coupon = self.coupon(db, &token.sub, &coupon).await?;
                Ok(Claimed { coupon, held: true })
            }
            Err(lost) => Err(lost.into()),
        }
    }
}

/// Serves claims until the store stops; those that are in are answered.
pub(crate) async fn serve(store: Store, receivers: Receivers, stop: watch::Receiver<bool>) {
    let (pass, passed) = mpsc::channel(WAITING);
    tokio::join!(
        before_the_gate(&store, receivers.0, pass, stop),
        in_the_database(&store, passed)
    );
}

async fn before_the_gate(
    store: &Store,
    mut claims: mpsc::Receiver<Claim>,
    pass: mpsc::Sender<Passed>,
    mut stop: watch::Receiver<bool>,
) {
    let mut known = Known::default();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            _ = claims.recv_many(&mut batch, BATCH) => {}
            // What comes later finds nobody.
            _ = stop.wait_for(|stop| *stop), if !claims.is_closed() => claims.close(),
        }
        if batch.is_empty() && claims.is_closed() && claims.is_empty() {
            return;
        }
        metrics::gauge!("fireside_store_claims_waiting").set(claims.len() as f64);
        for (drop, claims) in by(batch.drain(..), |claim| claim.drop.clone()) {
            let campaign = match known.campaign(store, &drop).await {
                Ok(campaign) => campaign,
                Err(error) => {
                    refuse(claims, &Lost::of(error));
                    continue;
                }
            };
            let Some(campaign) = campaign else {
                refuse(claims, &Lost::NotFound);
                continue;
            };
            let now = store.now();
            let over = now >= campaign.closes_at || now >= campaign.ends_at;
            if now < campaign.opens_at && !over {
                refuse(claims, &Lost::NotOpen);
                continue;
            }
            let (mut may, mut passed) = (Vec::new(), Vec::new());
            for claim in claims {
                let refused = if over {
                    Some(Lost::Over)
                } else {
                    no_pass(store, &campaign, &claim, now)
                };
                match refused {
                    Some(why) => passed.push((claim, Some(why))),
                    None => may.push(claim),
                }
            }
            if !may.is_empty()
                && let Some(let_in) = enter(store, &campaign, may).await
            {
                passed.extend(let_in.into_iter().map(|claim| (claim, None)));
            }
            for (claim, refused) in passed {
                let passed = Passed {
                    claim,
                    campaign: campaign.clone(),
                    refused,
                };
                // Waits for the database, which has ended only if it panicked.
                if pass.send(passed).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Why a claim shows no pass that its drop asks for.
fn no_pass(store: &Store, campaign: &Campaign, claim: &Claim, now: Timestamp) -> Option<Lost> {
    campaign.queue_rate?;
    let pass = claim.pass.as_deref();
    let checked = store.passes().check(pass, &campaign.id, &claim.person, now);
    checked.err().map(Lost::NoPass)
}

/// Those whom the gate lets in; the others are answered.
async fn enter(store: &Store, campaign: &Campaign, claims: Vec<Claim>) -> Option<Vec<Claim>> {
    let people: Vec<&str> = claims.iter().map(|claim| claim.person.as_str()).collect();
    let drop = gate_drop(campaign);
    let entries = match store.gates().enter(store, &drop, &people).await {
        Ok(entries) => entries,
        Err(error) => {
            refuse(claims, &Lost::of(error));
            return None;
        }
    };
    let (mut let_in, mut others) = (Vec::new(), Vec::new());
    for (claim, entry) in claims.into_iter().zip(entries) {
        match entry {
            Entry::In => let_in.push(claim),
            Entry::Full => others.push(claim),
        }
    }
    refuse(others, &Lost::SoldOut);
    Some(let_in)
}

/// Campaigns as they were lately.
#[derive(Default)]
struct Known(HashMap<String, (Instant, Option<Campaign>)>);

impl Known {
    /// A campaign that is a drop.
    async fn campaign(&mut self, store: &Store, id: &str) -> Result<Option<Campaign>, StoreError> {
        if let Some((at, campaign)) = self.0.get(id)
            && at.elapsed() < FRESH
        {
            return Ok(campaign.clone());
        }
        let found = find(store.database().reader(), "id = ?", id).await?;
        let found = found.filter(|campaign| campaign.is_drop);
        if self.0.len() >= KNOWN {
            self.0.clear();
        }
        self.0
            .insert(id.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}

pub(super) fn gate_drop(campaign: &Campaign) -> GateDrop {
    GateDrop {
        id: campaign.id.clone(),
        places: campaign.quantity.unwrap_or_default().unsigned_abs(),
        closes_at: campaign.closes_at.as_millis(),
    }
}

/// Things in their order, by what `key` says of them.
pub(super) fn by<T, K: Ord>(
    things: impl Iterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> BTreeMap<K, Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for thing in things {
        groups.entry(key(&thing)).or_default().push(thing);
    }
    groups
}

pub(super) fn refuse(claims: Vec<Claim>, lost: &Lost) {
    count(&vec![lost.word(); claims.len()]);
    for claim in claims {
        let _ = claim.answer.send(Err(lost.clone()));
    }
}
