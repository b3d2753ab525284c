//! The settings of `fireside`: those of everything it contains.

use chat_node::NodeSettings;
use shared::{
    auth::TokenSettings,
    program::ProgramSettings,
    settings::{Report, ServerSettings, Settings},
    telemetry::LogSettings,
};
use store_api::StoreSettings;

/// The settings of `fireside`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FiresideSettings {
    /// Where to listen, where to keep things.
    #[command(flatten)]
    pub(crate) server: ServerSettings,
    /// What to log.
    #[command(flatten)]
    pub(crate) log: LogSettings,
    /// How tokens are signed.
    #[command(flatten)]
    pub(crate) token: TokenSettings,
    /// Chat.
    #[command(flatten)]
    pub(crate) node: NodeSettings,
    /// Accounts and friends.
    #[command(flatten)]
    pub(crate) store: StoreSettings,
}

impl ProgramSettings for FiresideSettings {
    fn server(&self) -> &ServerSettings {
        &self.server
    }

    fn log(&self) -> &LogSettings {
        &self.log
    }
}

impl Settings for FiresideSettings {
    fn validate(&self, report: &mut Report) {
        self.server.validate(report);
        self.log.validate(report);
        self.token.validate(report);
        self.node.validate(report);
        self.store.validate(report);
        report.require(
            self.token.jwks_url.is_none() && self.token.jwks_file.is_none(),
            "jwks_url",
            "is for services that do not sign; this one signs its own tokens",
        );
    }
}
