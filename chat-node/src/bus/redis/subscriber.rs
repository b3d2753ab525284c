//! Hears one master over one connection, which carries nothing but subscriptions.

use std::{sync::Arc, time::Duration};

use ::redis::{
    Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value, aio::MultiplexedConnection, cmd,
};
use parking_lot::Mutex;
use shared::telemetry::Sparing;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior},
};

use super::{
    Hub,
    channel::{Channel, slot},
    envelope::{self, Order},
    out_of_reach,
    shard::{Change, Request, Shard, publication},
};
use crate::{
    bus::{BusError, BusEvent, Topic},
    redis::{Backoff, Push},
};

/// The most channels of one batch.
const BATCH: usize = 500;

/// Stays subscribed for ever, over one connection after the other.
pub(super) async fn run(hub: Arc<Hub>, shard: Arc<Shard>, mut requests: mpsc::Receiver<Request>) {
    let lines = Sparing::new(Duration::from_secs(10));
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let order = Arc::default();
    loop {
        let reason = {
            let opening = Ear::open(&hub, &shard, &order);
            match refusing(&mut requests, opening).await {
                Ok(mut ear) => {
                    backoff.reset();
                    ear.listen(&mut requests).await
                }
                Err(error) => error.to_string(),
            }
        };
        hub.health.broken(shard.id);
        hub.astray.notify_one();
        if let Some(more) = lines.due() {
            let redis = &shard.host;
            tracing::warn!(%redis, %reason, more, "subscriptions are broken; trying on");
        }
        let wait = backoff.next_wait();
        refusing(&mut requests, tokio::time::sleep(wait)).await;
    }
}

/// Does something, and meanwhile answers that nothing can be subscribed to.
async fn refusing<T>(requests: &mut mpsc::Receiver<Request>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(Request { change, done }) = requests.recv() => {
                let answer = match change {
                    Change::Subscribe(_) => Err(out_of_reach()),
                    // It is not listed any more, and so not subscribed to again.
                    Change::Unsubscribe(_) => Ok(()),
                };
                let _ = done.send(answer);
            }
        }
    }
}

/// One subscription connection.
struct Ear<'a> {
    hub: &'a Arc<Hub>,
    shard: &'a Arc<Shard>,
    connection: MultiplexedConnection,
    heard: Arc<Heard>,
}

/// What its pushes say.
struct Heard {
    hub: Arc<Hub>,
    shard: u64,
    probe: Channel,
    losses: Channel,
    last: Mutex<Instant>,
    /// The connection is closed, or Redis has ended a subscription.
    ended: Notify,
    order: Arc<Mutex<Order>>,
}

impl<'a> Ear<'a> {
    /// Opens a connection and subscribes to everything that is to be heard at this master.
    async fn open(
        hub: &'a Arc<Hub>,
        shard: &'a Arc<Shard>,
        order: &Arc<Mutex<Order>>,
    ) -> RedisResult<Self> {
        let here = |slot| {
            let routes = hub.routes();
            routes.shard(slot).is_some_and(|at| at.id == shard.id)
        };
        let heard = Arc::new(Heard {
            hub: Arc::clone(hub),
            shard: shard.id,
            probe: hub.names.probe(hub.process, here),
            losses: hub.names.losses(),
            last: Mutex::new(Instant::now()),
            ended: Notify::new(),
            order: Arc::clone(order),
        });
        let push: Push = {
            let heard = Arc::clone(&heard);
            Arc::new(move |info| heard.push(info))
        };
        let connection = hub.dialer.open_at(&shard.host, Some(push)).await?;
        metrics::counter!("fireside_bus_redis_connects_total", "link" => "subscribe").increment(1);
        let since = Instant::now();
        let mut channels = vec![Arc::clone(&heard.probe)];
        if here(slot(&heard.losses)) {
            channels.push(Arc::clone(&heard.losses));
        }
        let topics: Vec<Channel> = hub.heard.read().keys().cloned().collect();
        channels.extend(topics.into_iter().filter(|channel| here(slot(channel))));
        let mut ear = Self {
            hub,
            shard,
            connection,
            heard,
        };
        ear.order("SUBSCRIBE", &channels).await?;
        let took = since.elapsed();
        metrics::histogram!("fireside_bus_redis_resubscribe_seconds").record(took);
        tracing::debug!(redis = %shard.host, channels = channels.len(), ?took, "subscribed");
        Ok(ear)
    }

    /// Returns why the connection is no good any more.
    async fn listen(&mut self, requests: &mut mpsc::Receiver<Request>) -> String {
        self.hub.health.stands(self.shard.id);
        let silence = self.hub.silence;
        let mut probes = tokio::time::interval(silence / 5);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let heard = Arc::clone(&self.heard);
        loop {
            let outcome = tokio::select! {
                biased;
                () = heard.ended.notified() => return "closed by Redis".to_owned(),
                _ = probes.tick() => {
                    if heard.last.lock().elapsed() >= silence {
                        return format!("nothing was heard for {silence:?}");
                    }
                    self.probe().await
                }
                () = self.shard.suspected.notified() => self.ping().await,
                Some(request) = requests.recv() => self.change(request).await,
            };
            if let Err(error) = outcome {
                return error.to_string();
            }
        }
    }

    /// Whether the server answers on this connection, and what is published arrives here.
    async fn probe(&mut self) -> RedisResult<()> {
        if self.shard.publishes() {
            let mark = publication(self.hub, &self.heard.probe, b"");
            self.shard.probe(mark);
        } else {
            // Nothing can be heard that nobody publishes; the ping must do.
            *self.heard.last.lock() = Instant::now();
        }
        self.ping().await
    }

    async fn ping(&mut self) -> RedisResult<()> {
        cmd("PING").query_async(&mut self.connection).await
    }

    /// Does a change and answers who waits; an error means that the connection is no good.
    async fn change(&mut self, Request { change, done }: Request) -> RedisResult<()> {
        let (answer, outcome) = match change {
            Change::Subscribe(topics) => {
                let new = self.list(&topics);
                match self.order("SUBSCRIBE", &new).await {
                    // Otherwise the master in charge by now may have looked at the list before.
                    Ok(()) if self.in_charge(&new) => (Ok(()), Ok(())),
                    Ok(()) => {
                        self.strike(&new);
                        (Err(out_of_reach()), Ok(()))
                    }
                    Err(error) => {
                        self.strike(&new);
                        let answer = Err(BusError::Unavailable(error.to_string()));
                        (answer, Self::survived(error))
                    }
                }
            }
            Change::Unsubscribe(channels) => {
                let ordered = self.order("UNSUBSCRIBE", &channels).await;
                // Nothing of them is heard any more in any case.
                (Ok(()), ordered.or_else(Self::survived))
            }
        };
        // Who does not wait any more finds out by asking again.
        let _ = done.send(answer);
        outcome
    }

    /// Lists topics as heard; returns the channels of those that were not.
    fn list(&self, topics: &[(Channel, Topic)]) -> Vec<Channel> {
        let mut heard = self.hub.heard.write();
        let new = topics
            .iter()
            .filter(|(channel, topic)| heard.insert(Arc::clone(channel), topic.clone()).is_none());
        new.map(|(channel, _)| Arc::clone(channel)).collect()
    }

    fn strike(&self, channels: &[Channel]) {
        let mut heard = self.hub.heard.write();
        for channel in channels {
            heard.remove(channel);
        }
    }

    fn in_charge(&self, channels: &[Channel]) -> bool {
        let routes = self.hub.routes();
        let here = |channel: &Channel| {
            let at = routes.shard(slot(channel));
            at.is_some_and(|at| at.id == self.shard.id)
        };
        channels.iter().all(here)
    }

    /// What Redis refuses leaves the connection as it was; anything else does not.
    fn survived(error: RedisError) -> RedisResult<()> {
        match error.kind() {
            ::redis::ErrorKind::Server(_) | ::redis::ErrorKind::Extension => Ok(()),
            _ => Err(error),
        }
    }

    /// `SUBSCRIBE` or `UNSUBSCRIBE` (or the sharded kind), one channel a command: a Cluster takes
    /// no two slots in one.
    async fn order(&mut self, name: &str, channels: &[Channel]) -> RedisResult<()> {
        let sharded = format!("S{name}");
        let name = if self.hub.sharded() { &sharded } else { name };
        for batch in channels.chunks(BATCH) {
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for channel in batch {
                pipeline.cmd(name).arg(&**channel);
            }
            let count = batch.len();
            let answers = self
                .connection
                .send_packed_commands(&pipeline, 0, count)
                .await?;
            for answer in answers {
                if let Value::ServerError(error) = answer {
                    self.hub.astray.notify_one();
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl Heard {
    /// Runs on the connection's task: waits for nothing.
    fn push(&self, PushInfo { kind, data }: PushInfo) {
        match kind {
            PushKind::Message | PushKind::SMessage => {
                *self.last.lock() = Instant::now();
                let mut data = data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(frame))) =
                    (data.next(), data.next())
                {
                    self.message(&channel, frame);
                }
            }
            PushKind::Disconnection => self.end(),
            PushKind::SUnsubscribe | PushKind::Unsubscribe => {
                // What we leave we strike off the list first. So Redis ended this one: the slot
                // has moved to another master.
                let listed = match data.first() {
                    Some(Value::BulkString(channel)) => {
                        **channel == *self.probe
                            || **channel == *self.losses
                            || self.hub.heard.read().contains_key(&channel[..])
                    }
                    _ => false,
                };
                if listed {
                    self.end();
                }
            }
            _ => {}
        }
    }

    fn end(&self) {
        self.hub.health.broken(self.shard);
        self.ended.notify_one();
    }

    fn message(&self, channel: &[u8], frame: Vec<u8>) {
        if *channel == *self.probe {
            return;
        }
        if *channel == *self.losses {
            self.hub.losses.heard(&self.hub, &frame);
            return;
        }
        let Some(topic) = self.hub.heard.read().get(channel).cloned() else {
            // Left a moment ago.
            return;
        };
        let Some((envelope, mark)) = envelope::decode(frame) else {
            tracing::debug!("a message on one of our channels is none of ours");
            return;
        };
        if !self.order.lock().admits(mark) {
            metrics::counter!("fireside_bus_redis_stale_total").increment(1);
            return;
        }
        self.hub
            .health
            .inbox()
            .offer(BusEvent::Message(topic, envelope));
    }
}
