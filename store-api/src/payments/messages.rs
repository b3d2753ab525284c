//! Messages of providers (webhooks): each has us look how a payment stands, and is not believed
//! otherwise. So it does no harm if one comes twice, late, before another, or from somebody else.

use super::provider::MessageError;
use crate::{
    error::{StoreError, Violation},
    sql::{self, values},
    store::Store,
};

impl Store {
    /// Takes a message of a provider. One about a payment that nobody knows, or about which everything
    /// is known, comes to nothing.
    pub async fn payment_message(
        &self,
        provider: &str,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let adapter = self.payments().provider(provider);
        let adapter = adapter.ok_or(StoreError::NotFound)?;
        let id = match adapter.message(header, body) {
            Ok(id) => id,
            Err(MessageError::None) => return Err(StoreError::NotFound),
            Err(MessageError::Forged) => {
                return Err(StoreError::Unauthenticated("the signature does not hold"));
            }
            Err(MessageError::Malformed) => {
                let message = "not a message of this provider";
                return Err(Violation::new("body", "malformed", message).into());
            }
        };
        let now = self.now().as_millis();
        let tx = self.database().begin().await?;
        let known = sql::execute(
            &tx,
            "UPDATE payments SET check_at = ? WHERE id = ? AND provider = ? \
             AND state IN ('ready', 'approving', 'failed', 'expired', 'paid', 'partly_cancelled') \
             AND (check_at IS NULL OR check_at > ?)",
            values![now, id.as_str(), provider, now],
        )
        .await?;
        self.database().commit(tx).await?;
        if known > 0 {
            self.payments().wake.notify_one();
        }
        Ok(())
    }
}
