//! What an operator may set about following messages.

use crate::settings::{Report, Settings};

/// The settings of following messages.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TraceSettings {
    /// How large a share of messages is followed, 0 to 1; above 0, so is whatever comes with a sampled `traceparent`
    #[arg(long, default_value_t = 0.0)]
    pub trace_share: f64,
    /// A collector of OpenTelemetry that is given what is followed, such as `http://127.0.0.1:4318`
    #[cfg(feature = "http-client")]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

impl Settings for TraceSettings {
    fn validate(&self, report: &mut Report) {
        let share = (0.0..=1.0).contains(&self.trace_share);
        report.require(share, "trace_share", "is 0 to 1");
        #[cfg(feature = "http-client")]
        if let Some(endpoint) = &self.otlp_endpoint {
            let http = endpoint.starts_with("http://") || endpoint.starts_with("https://");
            report.require(http, "otlp_endpoint", "begins with http:// or https://");
            let on = self.trace_share > 0.0;
            report.require(on, "otlp_endpoint", "needs a `trace_share` above 0");
        }
    }
}
