//! The metrics of requests, as every HTTP service has them.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use hyper::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

/// Handles of a worker's metrics of requests, because finding one costs as much as a part of a request.
pub(super) struct Counted {
    /// Bound: the methods, routes and statuses that there are.
    requests: RefCell<HashMap<Kind, (Counter, Histogram)>>,
    upgrades: Counter,
}

/// Method, route and status.
type Kind = (&'static str, &'static str, StatusCode);

impl Counted {
    pub(super) fn new() -> Self {
        Self {
            requests: RefCell::default(),
            upgrades: counter!("fireside_lb_upgrades_total"),
        }
    }

    /// One more WebSocket was opened.
    pub(super) fn upgrade(&self) {
        self.upgrades.increment(1);
    }

    /// One more, which took so long.
    pub(super) fn request(
        &self,
        method: &'static str,
        route: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        let mut handles = self.requests.borrow_mut();
        let handles = handles.entry((method, route, status));
        let (count, time) = handles.or_insert_with(|| {
            let count = counter!("fireside_http_requests_total", "method" => method,
                "route" => route, "status" => status.as_str().to_owned());
            let time = histogram!("fireside_http_request_seconds", "method" => method,
                "route" => route);
            (count, time)
        });
        count.increment(1);
        time.record(took);
    }
}
