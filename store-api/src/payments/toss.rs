//! Toss Payments: the payer agrees in Toss's window and brings back a `paymentKey`, by which the
//! payment is confirmed; cancel, query by our order id, messages.
//!
//! Confirming and cancelling carry an `Idempotency-Key`. A cancel carries our name for it in its
//! reason, by which the payment shows it.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use shared::settings::Secret;

use super::{
    http::{Caller, Finality},
    provider::{
        CallError, Cancel, Cancelled, Charge, MessageError, Prepared, Provider, Seen, Standing,
    },
};
use crate::{error::StoreError, money::Money};

/// What stands before our name for a cancel in its reason.
const REASON: &str = "Refund ";
/// Words for failures after which the payment may have been approved, or cancelled, all the same.
const OPEN: [&str; 8] = [
    "ALREADY_PROCESSED_PAYMENT",
    "ALREADY_CANCELED_PAYMENT",
    "PROVIDER_ERROR",
    "FAILED_DB_PROCESSING",
    "FORBIDDEN_CONSECUTIVE_REQUEST",
    "FORBIDDEN_REQUEST",
    "IDEMPOTENT_REQUEST_PROCESSING",
    "UNKNOWN_PAYMENT_ERROR",
];
/// There is no payment of this order, because the payer did not agree to one.
const NOT_FOUND: &str = "NOT_FOUND_PAYMENT";

pub(super) struct Toss {
    caller: Caller,
    sdk_url: String,
    client_key: String,
    security_key: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PaymentAnswer {
    order_id: String,
    status: String,
    total_amount: i64,
    currency: String,
    balance_amount: i64,
    cancels: Option<Vec<CancelPart>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelPart {
    cancel_reason: Option<String>,
    cancel_amount: i64,
}

#[derive(Deserialize)]
struct Message {
    data: MessageData,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageData {
    order_id: String,
}

impl Toss {
    pub(super) fn new(
        (base, sdk_url): (&str, &str),
        client_key: &str,
        secret: &Secret,
        security_key: Option<Secret>,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        // A user without a password.
        let user = STANDARD.encode(format!("{}:", secret.expose()));
        let authorization = Secret::new(format!("Basic {user}"));
        Ok(Self {
            caller: Caller::new("toss", base, authorization, timeout, word)?,
            sdk_url: sdk_url.to_owned(),
            client_key: client_key.to_owned(),
            security_key,
        })
    }
}

#[async_trait]
impl Provider for Toss {
    fn takes(&self, amount: Money) -> bool {
        amount.currency().code() == "KRW"
    }

    /// Toss learns of it from the payer's window: there is nobody to ask.
    async fn prepare(&self, payment: &Charge) -> Result<Prepared, CallError> {
        let back = |outcome: &str| format!("{}&outcome={outcome}", payment.back);
        Ok(Prepared {
            key: None,
            next: json!({
                "kind": "window",
                "url": payment.window,
                "sdk_url": self.sdk_url,
                "client_key": self.client_key,
                "customer_key": payment.user,
                "order_id": payment.id,
                "order_name": payment.title,
                "amount": payment.amount.minor(),
                "currency": payment.amount.currency().code(),
                "success_url": back("approved"),
                "fail_url": back("failed"),
            }),
        })
    }

    async fn approve(&self, payment: &Charge, proof: &str) -> Result<Seen, CallError> {
        let body = json!({
            "paymentKey": proof, "orderId": payment.id, "amount": payment.amount.minor(),
        });
        let name = format!("confirm-{}", payment.id);
        let path = "/v1/payments/confirm";
        let answer: PaymentAnswer = self.caller.post(path, &body, Some(&name)).await?;
        Ok(seen(answer))
    }

    async fn cancel(&self, payment: &Charge, cancel: &Cancel) -> Result<Seen, CallError> {
        let body = json!({
            "cancelReason": format!("{REASON}{}", cancel.id), "cancelAmount": cancel.amount,
        });
        let key = payment.key.as_deref().unwrap_or_default();
        // What a payer brings back must not lead elsewhere.
        let key: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let path = format!("/v1/payments/{key}/cancel");
        let name = format!("cancel-{}", cancel.id);
        let answer: PaymentAnswer = self.caller.post(&path, &body, Some(&name)).await?;
        Ok(seen(answer))
    }

    async fn query(&self, payment: &Charge) -> Result<Seen, CallError> {
        let path = format!("/v1/payments/orders/{}", payment.id);
        match self.caller.get(&path).await {
            Ok(answer) => Ok(seen(answer)),
            Err(CallError::Refused(code)) if code == NOT_FOUND => Ok(Seen {
                id: payment.id.clone(),
                total: payment.amount.minor(),
                currency: payment.amount.currency().code().to_owned(),
                standing: Standing::Waiting,
                cancelled: 0,
                cancels: Vec::new(),
            }),
            Err(error) => Err(error),
        }
    }

    fn proof_is_key(&self) -> bool {
        true
    }

    fn message(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<String, MessageError> {
        if let Some(key) = &self.security_key {
            let sent = header("tosspayments-webhook-transmission-time");
            let signatures = header("tosspayments-webhook-signature");
            let (Some(sent), Some(signatures)) = (sent, signatures) else {
                return Err(MessageError::Forged);
            };
            if !is_signed(key.expose(), body, &sent, &signatures) {
                return Err(MessageError::Forged);
            }
        }
        let message: Message = serde_json::from_slice(body).map_err(|_| MessageError::Malformed)?;
        Ok(message.data.order_id)
    }
}

/// Whether one of `signatures` (`v1:BASE64,BASE64`) is of this body, sent then.
fn is_signed(key: &str, body: &[u8], sent: &str, signatures: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return false;
    };
    mac.update(body);
    mac.update(b":");
    mac.update(sent.as_bytes());
    signatures.split(',').any(|signature| {
        let signature = signature.trim();
        let signature = signature.strip_prefix("v1:").unwrap_or(signature);
        let signature = STANDARD.decode(signature);
        signature.is_ok_and(|signature| mac.clone().verify_slice(&signature).is_ok())
    })
}

fn seen(answer: PaymentAnswer) -> Seen {
    let standing = standing(&answer.status);
    let taken = standing == Standing::Taken;
    let cancels = answer.cancels.unwrap_or_default().into_iter();
    Seen {
        id: answer.order_id,
        total: answer.total_amount,
        currency: answer.currency,
        standing,
        cancelled: if taken {
            answer.total_amount - answer.balance_amount
        } else {
            0
        },
        cancels: cancels
            .filter_map(|cancel| {
                let reason = cancel.cancel_reason?;
                Some(Cancelled {
                    id: reason.strip_prefix(REASON)?.to_owned(),
                    amount: cancel.cancel_amount,
                })
            })
            .collect(),
    }
}

fn standing(status: &str) -> Standing {
    match status {
        "DONE" | "CANCELED" | "PARTIAL_CANCELED" => Standing::Taken,
        "ABORTED" | "EXPIRED" => Standing::Refused(status.to_owned()),
        _ => Standing::Waiting,
    }
}

/// Toss's word for a failure.
fn word(body: &Value) -> Option<(String, Finality)> {
    let code = body["code"].as_str()?;
    let finality = if OPEN.contains(&code) {
        Finality::Open
    } else {
        Finality::Refused
    };
    Some((code.to_owned(), finality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_read_with_its_cancels() {
        let answer = json!({
            "orderId": "ours", "status": "PARTIAL_CANCELED", "totalAmount": 9000, "balanceAmount": 5500,
            "currency": "KRW",
            "cancels": [
                {"cancelReason": "Refund one", "cancelAmount": 3000},
                {"cancelReason": "by hand", "cancelAmount": 500},
            ],
        });
        let seen = seen(serde_json::from_value(answer).unwrap());
        assert_eq!((seen.total, seen.cancelled), (9000, 3500));
        assert_eq!(seen.cancelled_by("one"), Some(3000));
        assert_eq!(seen.cancels.len(), 1);
        assert_eq!(standing("IN_PROGRESS"), Standing::Waiting);
    }

    #[test]
    fn a_message_is_believed_with_one_of_its_signatures() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
        mac.update(b"{}:2024-09-05T12:19:21+09:00");
        let right = STANDARD.encode(mac.finalize().into_bytes());
        let at = "2024-09-05T12:19:21+09:00";
        assert!(is_signed("key", b"{}", at, &format!("v1:AAAA,{right}")));
        assert!(is_signed("key", b"{}", at, &format!("v1:{right},v1:AAAA")));
        for (key, body, at, signatures) in [
            ("other", "{}", at, right.as_str()),
            ("key", "{ }", at, &right),
            ("key", "{}", "2024-09-05T12:19:22+09:00", &right),
            ("key", "{}", at, "v1:"),
            ("key", "{}", at, "no base64"),
        ] {
            assert!(!is_signed(key, body.as_bytes(), at, signatures));
        }
    }
}
