//! Publishes to one master over one connection, in batches.
//!
//! What waits when the connection is free goes out at once, in one write; while [`WINDOW`] batches
//! are unanswered the next one gathers. So a lone message does not wait, and the batches grow
//! with the load. A timer would not do better: those of the runtime have a grain of a millisecond.

use std::{sync::Arc, task::Poll, time::Duration};

use ::redis::{Pipeline, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection};
use futures_util::{StreamExt as _, stream::FuturesOrdered};
use shared::telemetry::Sparing;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Hub,
    losses::count_lost,
    shard::{Outgoing, Shard},
};
use crate::{
    bus::BusError,
    redis::{Backoff, Push},
};

/// The most messages of one batch.
const BATCH: usize = 512;
/// How many batches may be unanswered.
const WINDOW: usize = 2;

/// Publishes for ever, over one connection after the other.
pub(super) async fn run(hub: Arc<Hub>, shard: Arc<Shard>, mut queue: mpsc::Receiver<Outgoing>) {
    let lines = Sparing::new(Duration::from_secs(10));
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut connections = 0;
    loop {
        let closed = Arc::new(Notify::new());
        let error = match hub.dialer.open_at(&shard.host, Some(until(&closed))).await {
            Ok(connection) => {
                backoff.reset();
                metrics::counter!("fireside_bus_redis_connects_total", "link" => "publish")
                    .increment(1);
                connections += 1;
                let publisher = Publisher {
                    hub: &hub,
                    shard: &shard,
                    connection,
                    number: connections,
                    under_way: 0,
                };
                shard.publish_on(connections);
                if connections > 1 {
                    // The last one may have led to a master that nobody else heard any more.
                    hub.losses.happened();
                }
                let error = publisher.publish(&mut queue, &closed).await;
                shard.publish_on(0);
                hub.losses.happened();
                // Whatever broke this connection may have broken the other as well.
                shard.suspected.notify_one();
                error
            }
            Err(error) => error,
        };
        hub.astray.notify_one();
        let wait = backoff.next_wait();
        discard(&shard, &mut queue);
        if let Some(more) = lines.due() {
            let redis = &shard.host;
            tracing::warn!(%redis, %error, more, "nothing can be published; trying on");
        }
        tokio::time::sleep(wait).await;
        discard(&shard, &mut queue);
    }
}

struct Publisher<'a> {
    hub: &'a Hub,
    shard: &'a Shard,
    connection: MultiplexedConnection,
    number: u64,
    /// Messages that were written and not answered.
    under_way: u64,
}

/// A batch as it is written, and what to do with its answers.
#[derive(Default)]
struct Batch {
    pipeline: Pipeline,
    asked: Vec<Asked>,
}

/// What one answer is to.
enum Asked {
    Message,
    Probe,
    Confirmed(oneshot::Sender<Result<Value, BusError>>),
}

/// A batch's answers.
struct Answered {
    asked: Vec<Asked>,
    answers: Vec<Value>,
}

impl Publisher<'_> {
    /// Returns why the connection is no good any more.
    async fn publish(
        mut self,
        queue: &mut mpsc::Receiver<Outgoing>,
        closed: &Notify,
    ) -> RedisError {
        let mut window = FuturesOrdered::new();
        let mut waiting = Vec::with_capacity(BATCH);
        let error = loop {
            tokio::select! {
                biased;
                Some(answered) = window.next() => match answered {
                    Ok(answered) => self.answered(answered),
                    Err(error) => break error,
                },
                () = closed.notified() => break RedisError::from(
                    std::io::Error::from(std::io::ErrorKind::ConnectionReset)
                ),
                _ = queue.recv_many(&mut waiting, BATCH), if window.len() < WINDOW => {
                    metrics::gauge!("fireside_bus_redis_queue").set(queue.len() as f64);
                    let batch = self.take(&mut waiting);
                    metrics::histogram!("fireside_bus_redis_batch").record(batch.asked.len() as f64);
                    let mut written = Box::pin(write(self.connection.clone(), batch));
                    // Once now, so that batches are written in their order.
                    match futures_util::poll!(&mut written) {
                        Poll::Pending => window.push_back(written),
                        Poll::Ready(Ok(answered)) => self.answered(answered),
                        Poll::Ready(Err(error)) => break error,
                    }
                }
            }
        };
        count_lost("broken", self.under_way);
        error
    }

    /// Out of the queue; what was meant for an earlier connection would be out of order on this.
    fn take(&mut self, waiting: &mut Vec<Outgoing>) -> Batch {
        let mut batch = Batch::default();
        let mut stale = 0;
        for outgoing in waiting.drain(..) {
            let (command, asked) = match outgoing {
                Outgoing::Message {
                    command,
                    bytes,
                    connection,
                } => {
                    self.shard.taken(bytes);
                    if connection != self.number {
                        stale += 1;
                        continue;
                    }
                    self.under_way += 1;
                    (command, Asked::Message)
                }
                Outgoing::Probe(command) => (command, Asked::Probe),
                Outgoing::Confirmed(command, done) => (command, Asked::Confirmed(done)),
            };
            batch.pipeline.add_command(command);
            batch.asked.push(asked);
        }
        if stale > 0 {
            count_lost("broken", stale);
            self.hub.losses.happened();
        }
        batch
    }

    fn answered(&mut self, Answered { asked, answers }: Answered) {
        let mut refused = 0;
        for (asked, answer) in asked.into_iter().zip(answers) {
            self.under_way -= u64::from(matches!(asked, Asked::Message));
            let refusal = match &answer {
                Value::ServerError(error) => Some(error),
                _ => None,
            };
            if let Some(error) = refusal {
                refused += u64::from(matches!(asked, Asked::Message));
                // MOVED, CLUSTERDOWN, or an ACL that somebody changed.
                self.hub.astray.notify_one();
                tracing::debug!(code = error.code(), redis = %self.shard.host, "Redis refuses");
            }
            if let Asked::Confirmed(done) = asked {
                let outcome = match refusal {
                    None => Ok(answer),
                    Some(error) => Err(BusError::Unavailable(format!(
                        "Redis refuses with {}",
                        error.code()
                    ))),
                };
                // Who does not wait any more need not know.
                let _ = done.send(outcome);
            }
        }
        if refused > 0 {
            count_lost("refused", refused);
            self.hub.losses.happened();
        }
    }
}

async fn write(
    mut connection: MultiplexedConnection,
    Batch { pipeline, asked }: Batch,
) -> Result<Answered, RedisError> {
    let answers = match asked.len() {
        0 => Vec::new(),
        count => connection.send_packed_commands(&pipeline, 0, count).await?,
    };
    Ok(Answered { asked, answers })
}

/// Empties the queue while there is nowhere to publish.
fn discard(shard: &Shard, queue: &mut mpsc::Receiver<Outgoing>) {
    let mut lost = 0;
    while let Ok(outgoing) = queue.try_recv() {
        if let Outgoing::Message { bytes, .. } = outgoing {
            shard.taken(bytes);
            lost += 1;
        }
    }
    count_lost("broken", lost);
}

/// Notes when the connection is closed.
fn until(closed: &Arc<Notify>) -> Push {
    let closed = Arc::clone(closed);
    Arc::new(move |info: PushInfo| {
        if info.kind == PushKind::Disconnection {
            closed.notify_one();
        }
    })
}
