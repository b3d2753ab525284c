//! Toss's messages: none, one or several for each change, each at a time of its own, so that they come
//! in any order; and now and then an old state.

use actix_web::{rt, web::Data};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::{simulator::Simulator, toss};

/// Tells the merchant that something happened to a payment.
pub fn tell(simulator: &Data<Simulator>, key: &str) {
    let Some(to) = simulator.settings.messages_to.clone() else {
        return;
    };
    let well = simulator.settings.trouble == 0;
    let copies = if well { 1 } else { simulator.below(4) };
    for _ in 0..copies {
        let Some(mut data) = simulator.books.lock().find(key).map(toss::shown) else {
            return;
        };
        if !well && simulator.below(4) == 0 {
            data["status"] = "IN_PROGRESS".into();
        }
        let at = "2024-09-05T12:19:21+09:00";
        let body = json!({"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": at, "data": data});
        let (body, to, simulator) = (body.to_string(), to.clone(), simulator.clone());
        rt::spawn(async move {
            rt::time::sleep(simulator.pause()).await;
            let signature = signature(&simulator.settings.toss_security_key, &body, at);
            let request = simulator.client.post(to);
            // One that does not arrive is lost: merchants have to do without.
            let _ = request
                .header("content-type", "application/json")
                .header("tosspayments-webhook-transmission-time", at)
                .header("tosspayments-webhook-signature", format!("v1:{signature}"))
                .body(body)
                .send()
                .await;
        });
    }
}

fn signature(key: &str, body: &str, at: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{body}:{at}").as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}
