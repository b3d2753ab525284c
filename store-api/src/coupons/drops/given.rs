//! Coupons given to those whom the gate of a drop let in, in one transaction for many; and told to the gate.

use std::collections::{HashMap, HashSet};

use sea_orm::{DatabaseTransaction, FromQueryResult, Value};
use shared::id::UserId;
use tokio::sync::mpsc;

use super::{
    super::{
        Campaign,
        grant::{Place, count_issued, holders},
    },
    claims::{BATCH, Claim, Passed, by, gate_drop, refuse},
    outcome::{Lost, Won, count},
};
use crate::{
    error::StoreError,
    sql,
    store::{Store, lock_users},
};

#[derive(FromQueryResult)]
struct Revoked {
    subject: String,
}

/// Gives coupons to those who were let in, batch by batch, until nobody is any more.
pub(super) async fn in_the_database(store: &Store, mut passed: mpsc::Receiver<Passed>) {
    let mut batch = Vec::with_capacity(BATCH);
    while passed.recv_many(&mut batch, BATCH).await > 0 {
        let may = |passed: &Passed| (passed.claim.drop.clone(), passed.refused.is_none());
        for batch in by(batch.drain(..), may).into_values() {
            let campaign = batch[0].campaign.clone();
            let (claims, refused) = batch.into_iter().map(|p| (p.claim, p.refused)).unzip();
            settle(store, &campaign, claims, refused).await;
        }
    }
}

/// Gives people their coupons, answers them, and tells the gate.
async fn settle(
    store: &Store,
    campaign: &Campaign,
    claims: Vec<Claim>,
    refused: Vec<Option<Lost>>,
) {
    let open = refused.iter().all(Option::is_none);
    let outcome = if open {
        give(store, campaign, &claims).await
    } else {
        look(store, campaign, &claims, refused).await
    };
    let answers = match outcome {
        Ok(answers) => answers,
        // The gate keeps their places: what became of the commit nobody knows.
        Err(error) => return refuse(claims, &Lost::of(error)),
    };
    let (mut have, mut lack) = (Vec::new(), Vec::new());
    let (mut issued, mut words, mut full) = (0, Vec::new(), false);
    for (claim, answer) in claims.into_iter().zip(answers) {
        words.push(match &answer {
            Ok(Won::New(_)) => "issued",
            Ok(Won::Held(_)) => "held",
            Err(lost) => lost.word(),
        });
        issued += usize::from(matches!(answer, Ok(Won::New(_))));
        full |= matches!(answer, Err(Lost::SoldOut));
        if answer.is_ok() {
            have.push(claim.person);
        } else {
            lack.push(claim.person);
        }
        let _ = claim.answer.send(answer);
    }
    count(&words);
    count_issued("drop", issued);
    if !open {
        return;
    }
    let drop = gate_drop(campaign);
    let have: Vec<&str> = have.iter().map(UserId::as_str).collect();
    let lack: Vec<&str> = lack.iter().map(UserId::as_str).collect();
    store.gates().told(&drop, &have, &lack).await;
    if full && let Err(error) = store.gates().mend(store, &drop).await {
        tracing::warn!(%error, "telling the gate of a drop who has a coupon");
    }
}

/// Gives coupons, in one transaction: to each claim an answer.
async fn give(
    store: &Store,
    campaign: &Campaign,
    claims: &[Claim],
) -> Result<Vec<Result<Won, Lost>>, StoreError> {
    let people: Vec<&UserId> = claims.iter().map(|claim| &claim.person).collect();
    let tx = store.database().begin().await?;
    let users = lock_users(&tx, &people).await?;
    let since: HashMap<&str, i64> = users
        .iter()
        .map(|user| (user.id.as_str(), user.tokens_not_before))
        .collect();
    let revoked = revoked(&tx, claims).await?;
    let holds = |claim: &Claim| {
        let (name, issued_at) = &claim.token;
        let since = since.get(claim.person.as_str());
        since.is_some_and(|since| *since <= issued_at.as_millis()) && !revoked.contains(name)
    };
    let good: Vec<&UserId> = claims
        .iter()
        .filter(|c| holds(c))
        .map(|c| &c.person)
        .collect();
    let now = store.now();
    let places = store.grant(&tx, &campaign.id, &good, now).await?;
    store.database().commit(tx).await?;
    let mut places = places.into_iter();
    let answer = |claim: &Claim| {
        if !holds(claim) {
            return Err(Lost::Unauthenticated);
        }
        match places.next() {
            Some(Place::New(id)) => Ok(Won::New(Box::new(campaign.coupon(id, now)))),
            Some(Place::Held(id)) => Ok(Won::Held(id)),
            Some(Place::Over) => Err(Lost::Over),
            _ => Err(Lost::SoldOut),
        }
    };
    Ok(claims.iter().map(answer).collect())
}

/// Who of those that get none now has a coupon from before.
async fn look(
    store: &Store,
    campaign: &Campaign,
    claims: &[Claim],
    refused: Vec<Option<Lost>>,
) -> Result<Vec<Result<Won, Lost>>, StoreError> {
    let people: Vec<&UserId> = claims.iter().map(|claim| &claim.person).collect();
    let held = holders(store.database().reader(), &campaign.id, &people).await?;
    let answer = |(claim, refused): (&Claim, Option<Lost>)| match held.get(claim.person.as_str()) {
        Some(id) => Ok(Won::Held(id.clone())),
        None => Err(refused.unwrap_or(Lost::Over)),
    };
    Ok(claims.iter().zip(refused).map(answer).collect())
}

/// Which of the claims' tokens were taken back one by one.
async fn revoked(
    tx: &DatabaseTransaction,
    claims: &[Claim],
) -> Result<HashSet<String>, StoreError> {
    let text = format!(
        "SELECT subject FROM revocations WHERE kind = 'jti' AND subject IN {}",
        sql::list(claims.len())
    );
    let names = claims
        .iter()
        .map(|claim| Value::from(claim.token.0.as_str()));
    let rows: Vec<Revoked> = sql::all(tx, &text, names.collect()).await?;
    Ok(rows.into_iter().map(|row| row.subject).collect())
}
