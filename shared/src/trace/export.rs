//! Steps to a collector of OpenTelemetry: OTLP over HTTP, in its JSON encoding.
//!
//! The encoding is as stable as the binary one and every collector takes both; this one needs nothing that
//! the programs do not have already.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Step;
use crate::telemetry::Sparing;

/// How many steps may wait for the collector; more are lost to it, and counted.
const WAITING: usize = 4_096;
/// How many go at once.
const AT_ONCE: usize = 512;
/// How long a step waits for others to go with.
const GATHERED_FOR: Duration = Duration::from_millis(500);

/// The way to the collector.
#[derive(Debug)]
pub(super) struct Export(mpsc::Sender<Step>);

impl Export {
    /// Begins to hand over what it is given. Nothing when there can be no client.
    pub(super) fn start(endpoint: &str, process: &str) -> Option<Self> {
        // A second call finds a provider installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "nothing is handed to a collector");
                return None;
            }
        };
        let (give, take) = mpsc::channel(WAITING);
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        tokio::spawn(hand_over(client, url, process.to_owned(), take));
        Some(Self(give))
    }

    pub(super) fn give(&self, step: Step) {
        if self.0.try_send(step).is_err() {
            metrics::counter!("fireside_trace_steps_lost_total").increment(1);
        }
    }
}

async fn hand_over(
    client: reqwest::Client,
    url: String,
    process: String,
    mut take: mpsc::Receiver<Step>,
) {
    static LINES: Sparing = Sparing::each_second();
    let mut steps = Vec::new();
    while take.recv_many(&mut steps, AT_ONCE).await > 0 {
        tokio::time::sleep(GATHERED_FOR).await;
        while steps.len() < AT_ONCE
            && let Ok(step) = take.try_recv()
        {
            steps.push(step);
        }
        let sent = client.post(&url).json(&request(&process, &steps)).send();
        let answered = sent.await.and_then(reqwest::Response::error_for_status);
        if let Err(error) = answered {
            metrics::counter!("fireside_trace_steps_lost_total").increment(steps.len() as u64);
            if let Some(more) = LINES.due() {
                tracing::warn!(%error, more, "the collector did not take what was followed");
            }
        }
        steps.clear();
    }
}

/// `ExportTraceServiceRequest` in the JSON encoding: ids in hexadecimal, 64-bit numbers as text.
fn request(process: &str, steps: &[Step]) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let (service, instance) = process.split_once(' ').unwrap_or((process, ""));
    let spans: Vec<Value> = steps
        .iter()
        .map(|step| {
            let mut attributes = Vec::new();
            if let Some(room) = &step.room {
                attributes.push(text("fireside.room", room));
            }
            if let Some(seq) = step.seq {
                let value = json!({"intValue": seq.to_string()});
                attributes.push(json!({"key": "fireside.seq", "value": value}));
            }
            let links = step.over.iter();
            let links = links.map(|over| json!({"traceId": over.trace, "spanId": over.span}));
            json!({
                "traceId": step.trace,
                "spanId": step.span,
                "parentSpanId": step.parent,
                "name": step.name,
                // SPAN_KIND_INTERNAL
                "kind": 1,
                "startTimeUnixNano": (step.at * 1_000).to_string(),
                "endTimeUnixNano": ((step.at + step.took) * 1_000).to_string(),
                "attributes": attributes,
                "links": links.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.namespace", "fireside"),
            text("service.name", service),
            text("service.instance.id", instance),
        ]},
        "scopeSpans": [{
            "scope": {"name": "fireside", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}
