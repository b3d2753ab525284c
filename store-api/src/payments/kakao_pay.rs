//! KakaoPay, single payments: ready, the payer agrees on a page or in the app, approve with the
//! `pg_token` they bring back, cancel, order.
//!
//! KakaoPay knows no idempotency keys. A `tid` is approved once; a cancel says how much can still be
//! cancelled, which a second one gets wrong; and it carries our name for it as `payload`, by which
//! the order shows it. It sends no messages about single payments.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::settings::Secret;

use super::{
    http::{Caller, Finality},
    provider::{
        CallError, Cancel, Cancelled, Charge, MessageError, Prepared, Provider, Seen, Standing,
    },
};
use crate::{error::StoreError, money::Money};

/// The one currency it knows, which its answers do not name.
const WON: &str = "KRW";
/// Numbers of failures that say nothing of what was asked for: KakaoPay failed, is being worked on, or
/// wants to be asked less.
const OPEN: [i64; 3] = [-1, -7, -10];

pub(super) struct KakaoPay {
    caller: Caller,
    cid: String,
}

#[derive(Deserialize)]
struct ReadyAnswer {
    tid: String,
    next_redirect_pc_url: String,
    next_redirect_mobile_url: Option<String>,
    next_redirect_app_url: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    total: i64,
}

#[derive(Deserialize)]
struct ApproveAnswer {
    partner_order_id: String,
    amount: Amount,
}

#[derive(Deserialize)]
struct CancelAnswer {
    partner_order_id: String,
    amount: Amount,
    approved_cancel_amount: Amount,
    canceled_amount: Amount,
}

#[derive(Deserialize)]
struct OrderAnswer {
    status: String,
    partner_order_id: String,
    amount: Amount,
    canceled_amount: Option<Amount>,
    #[serde(default)]
    payment_action_details: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    payment_action_type: String,
    amount: i64,
    payload: Option<String>,
}

impl KakaoPay {
    pub(super) fn new(
        base: &str,
        cid: &str,
        secret: &Secret,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let authorization = Secret::new(format!("SECRET_KEY {}", secret.expose()));
        Ok(Self {
            caller: Caller::new("kakao_pay", base, authorization, timeout, word)?,
            cid: cid.to_owned(),
        })
    }
}

#[async_trait]
impl Provider for KakaoPay {
    fn takes(&self, amount: Money) -> bool {
        amount.currency().code() == WON
    }

    async fn prepare(&self, payment: &Charge) -> Result<Prepared, CallError> {
        let back = |outcome: &str| format!("{}&outcome={outcome}", payment.back);
        let body = json!({
            "cid": self.cid,
            "partner_order_id": payment.id,
            "partner_user_id": payment.user,
            "item_name": payment.title,
            "quantity": 1,
            "total_amount": payment.amount.minor(),
            "tax_free_amount": 0,
            "approval_url": back("approved"),
            "cancel_url": back("cancelled"),
            "fail_url": back("failed"),
        });
        let path = "/online/v1/payment/ready";
        let answer: ReadyAnswer = self.caller.post(path, &body, None).await?;
        Ok(Prepared {
            next: json!({
                "kind": "redirect",
                "url": answer.next_redirect_pc_url,
                "mobile_url": answer.next_redirect_mobile_url,
                "app_url": answer.next_redirect_app_url,
            }),
            key: Some(answer.tid),
        })
    }

    async fn approve(&self, payment: &Charge, proof: &str) -> Result<Seen, CallError> {
        let body = json!({
            "cid": self.cid,
            "tid": payment.key,
            "partner_order_id": payment.id,
            "partner_user_id": payment.user,
            "pg_token": proof,
            "total_amount": payment.amount.minor(),
        });
        let path = "/online/v1/payment/approve";
        let answer: ApproveAnswer = self.caller.post(path, &body, None).await?;
        Ok(Seen {
            id: answer.partner_order_id,
            total: answer.amount.total,
            currency: WON.to_owned(),
            standing: Standing::Taken,
            cancelled: 0,
            cancels: Vec::new(),
        })
    }

    async fn cancel(&self, payment: &Charge, cancel: &Cancel) -> Result<Seen, CallError> {
        let body = json!({
            "cid": self.cid,
            "tid": payment.key,
            "cancel_amount": cancel.amount,
            "cancel_tax_free_amount": 0,
            "cancel_available_amount": payment.amount.minor() - payment.cancelled,
            "payload": cancel.id,
        });
        let path = "/online/v1/payment/cancel";
        let answer: CancelAnswer = self.caller.post(path, &body, None).await?;
        Ok(Seen {
            id: answer.partner_order_id,
            total: answer.amount.total,
            currency: WON.to_owned(),
            standing: Standing::Taken,
            cancelled: answer.canceled_amount.total,
            cancels: vec![Cancelled {
                id: cancel.id.clone(),
                amount: answer.approved_cancel_amount.total,
            }],
        })
    }

    async fn query(&self, payment: &Charge) -> Result<Seen, CallError> {
        let body = json!({"cid": self.cid, "tid": payment.key});
        let path = "/online/v1/payment/order";
        let answer: OrderAnswer = self.caller.post(path, &body, None).await?;
        let cancels = answer.payment_action_details.into_iter();
        let cancels = cancels.filter(|action| action.payment_action_type == "CANCEL");
        Ok(Seen {
            standing: standing(&answer.status),
            id: answer.partner_order_id,
            total: answer.amount.total,
            currency: WON.to_owned(),
            cancelled: answer.canceled_amount.map_or(0, |amount| amount.total),
            cancels: cancels
                .filter_map(|action| {
                    Some(Cancelled {
                        id: action.payload?,
                        amount: action.amount,
                    })
                })
                .collect(),
        })
    }

    fn proof_is_key(&self) -> bool {
        false
    }

    fn message(
        &self,
        _: &dyn Fn(&str) -> Option<String>,
        _: &[u8],
    ) -> Result<String, MessageError> {
        Err(MessageError::None)
    }
}

fn standing(status: &str) -> Standing {
    match status {
        "SUCCESS_PAYMENT" | "PART_CANCEL_PAYMENT" | "CANCEL_PAYMENT" => Standing::Taken,
        "FAIL_AUTH_PASSWORD" | "QUIT_PAYMENT" | "FAIL_PAYMENT" => {
            Standing::Refused(status.to_owned())
        }
        // Somewhere between ready and approved; one that is new to us is nothing to decide by.
        _ => Standing::Waiting,
    }
}

/// KakaoPay's number for a failure.
fn word(body: &Value) -> Option<(String, Finality)> {
    let code = body["error_code"].as_i64()?;
    let finality = if OPEN.contains(&code) {
        Finality::Open
    } else {
        Finality::Refused
    };
    Some((code.to_string(), finality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_what_it_means_for_the_money() {
        for taken in ["SUCCESS_PAYMENT", "PART_CANCEL_PAYMENT", "CANCEL_PAYMENT"] {
            assert_eq!(standing(taken), Standing::Taken);
        }
        for waiting in ["READY", "SEND_TMS", "OPEN_PAYMENT", "AUTH_PASSWORD", "NEW?"] {
            assert_eq!(standing(waiting), Standing::Waiting);
        }
        let refused = Standing::Refused("QUIT_PAYMENT".to_owned());
        assert_eq!(standing("QUIT_PAYMENT"), refused);
    }

    #[test]
    fn a_failure_is_a_number() {
        let body = json!({"error_code": -780, "error_message": "approval failure!"});
        assert_eq!(word(&body), Some(("-780".to_owned(), Finality::Refused)));
        let body = json!({"error_code": -1, "error_message": "internal error"});
        assert_eq!(word(&body), Some(("-1".to_owned(), Finality::Open)));
        assert_eq!(word(&json!({"message": "bad gateway"})), None);
    }
}
