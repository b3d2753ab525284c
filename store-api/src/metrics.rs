//! Every metric of the store, described.

use shared::telemetry::{LATENCY_BUCKETS, Metric};

/// For [`shared::telemetry::Metrics::install`].
pub const METRICS: &[Metric] = &[
    Metric::counter("fireside_store_registrations_total", "Accounts made"),
    Metric::counter(
        "fireside_store_logins_total",
        "Log-ins: ok, refused (wrong password or no such account), failed (by a fault or load)",
    )
    .by(&["result"]),
    Metric::counter("fireside_store_withdrawals_total", "Accounts withdrawn"),
    Metric::counter(
        "fireside_store_emails_verified_total",
        "E-mail addresses proved by a code",
    ),
    Metric::counter(
        "fireside_store_password_resets_total",
        "Passwords chosen anew with a code",
    ),
    Metric::counter(
        "fireside_store_mails_total",
        "Mails done with: sent, refused (for good, by the server or for their address), outdated (nobody waits for them), dropped (too old)",
    )
    .by(&["result"]),
    Metric::counter(
        "fireside_store_mail_failures_total",
        "Attempts to send that came to nothing: later (this mail is put off), away (the server takes none)",
    )
    .by(&["kind"]),
    Metric::gauge(
        "fireside_store_mails_pending",
        "Mails not yet sent, as of the last sweep",
    ),
    Metric::counter(
        "fireside_store_provider_calls_total",
        "Questions to log-in providers who somebody is: ok, refused (the code), away (no answer, or not as agreed)",
    )
    .by(&["provider", "result"]),
    Metric::counter(
        "fireside_store_refresh_reuse_total",
        "Refresh tokens presented again after their exchange; each ended its session",
    ),
    Metric::counter(
        "fireside_store_revocations_total",
        "Tokens taken back, one by one or by user",
    )
    .by(&["kind"]),
    Metric::counter(
        "fireside_store_friend_changes_total",
        "Acts between two people",
    )
    .by(&["change"]),
    Metric::counter(
        "fireside_store_rate_limited_total",
        "Requests refused for coming too often",
    )
    .by(&["limit"]),
    Metric::counter(
        "fireside_store_transfers_total",
        "Transfers of money, those of transactions that came to nothing included",
    )
    .by(&["cause"]),
    Metric::counter("fireside_store_orders_total", "Orders paid, gifts included"),
    Metric::counter(
        "fireside_store_refunds_total",
        "Games given back, gifts that nobody took included",
    ),
    Metric::counter(
        "fireside_store_payments_total",
        "Payments that came to a state, those of transactions that came to nothing included",
    )
    .by(&["provider", "state"]),
    Metric::counter(
        "fireside_store_payment_calls_total",
        "Calls to payment providers: ok, refused, unknown (no answer, or none that decides)",
    )
    .by(&["provider", "result"]),
    Metric::counter(
        "fireside_store_payment_mismatches_total",
        "Answers of payment providers that do not go with our books; each is in the log",
    ),
    Metric::gauge(
        "fireside_store_payments_unsettled",
        "Payments and cancels of which nobody knows how they stand, as of the last sweep",
    ),
    Metric::counter(
        "fireside_store_coupons_issued_total",
        "Coupons given out: given (by name), code, drop",
    )
    .by(&["way"]),
    Metric::counter(
        "fireside_store_claims_total",
        "Claims of drops: issued, held (told the same again), sold_out, no_pass, not_open, over, unknown, refused (the token was taken back), failed, busy",
    )
    .by(&["result"]),
    Metric::gauge(
        "fireside_store_claims_waiting",
        "Claims of drops that wait for the gate",
    ),
    Metric::counter(
        "fireside_store_gate_failures_total",
        "Questions that the shared gate of drops did not answer; the store judged by itself",
    ),
    Metric::counter(
        "fireside_store_queue_joins_total",
        "People who came to queues before drops: joined, again (they had a ticket), failed, busy",
    )
    .by(&["result"]),
    Metric::gauge(
        "fireside_store_queue_joins_waiting",
        "People who wait for a ticket",
    ),
    Metric::counter(
        "fireside_store_queue_admitted_total",
        "People whose turn it was at drops",
    ),
    Metric::counter(
        "fireside_store_queue_gone_total",
        "Tickets taken away: left, unseen (nobody asked for too long), lapsed (the pass was good for its while), sold_out, over",
    )
    .by(&["reason"]),
    Metric::counter(
        "fireside_store_queue_ranks_total",
        "People told how many are ahead of them, without being asked",
    ),
    Metric::counter(
        "fireside_store_line_failures_total",
        "Questions that the shared line before drops did not answer; the database did",
    ),
    Metric::counter("fireside_store_coupons_used_total", "Coupons used on orders"),
    Metric::counter(
        "fireside_store_reads_total",
        "Statements that read the database, outside transactions",
    ),
    Metric::gauge(
        "fireside_store_password_hashes_waiting",
        "Password hashes waiting for their turn",
    ),
    Metric::gauge(
        "fireside_store_announcements_pending",
        "Changes of which somebody is still to be told, as of the last sweep",
    ),
    Metric::counter(
        "fireside_store_webhook_attempts_total",
        "Events handed to webhooks: delivered, refused (by somebody who is there), away (nobody is, or nobody who takes any), gone (410)",
    )
    .by(&["result"]),
    Metric::counter(
        "fireside_store_webhook_deliveries_total",
        "Events done with: delivered, dead (too old, or their webhook is disabled)",
    )
    .by(&["result"]),
    Metric::counter(
        "fireside_store_webhooks_disabled_total",
        "Webhooks disabled by the store: failing, gone",
    )
    .by(&["reason"]),
    Metric::gauge(
        "fireside_store_webhook_deliveries_pending",
        "Events for webhooks that wait, and dead letters, as of the last sweep",
    )
    .by(&["state"]),
    Metric::histogram(
        "fireside_store_webhook_lag_seconds",
        "Time from an event to its delivery by webhook",
        LATENCY_BUCKETS,
    ),
    Metric::gauge(
        "fireside_store_outbox_pending",
        "Events not yet taken, as of the last sweep",
    )
    .by(&["target"]),
    Metric::counter("fireside_store_outbox_delivered_total", "Events taken").by(&["target"]),
    Metric::counter(
        "fireside_store_outbox_failures_total",
        "Deliveries that failed",
    )
    .by(&["target"]),
    Metric::counter(
        "fireside_store_outbox_dropped_total",
        "Events dropped because no target took them within an hour",
    ),
    Metric::histogram(
        "fireside_store_outbox_lag_seconds",
        "Time from a change to the delivery of its event",
        LATENCY_BUCKETS,
    ),
];
