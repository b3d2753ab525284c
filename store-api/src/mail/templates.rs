//! What mails say: templates of ours, in whose stead an operator may put others.

use std::{fs, io, path::Path, time::Duration};

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use minijinja::{Environment, UndefinedBehavior, context};

use super::MailSettings;
use crate::accounts::Purpose;

/// The kinds of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Template {
    /// With a code that proves an address.
    VerifyEmail,
    /// With a code that is good for a new password.
    ResetPassword,
    /// To the address from before: there is another one now.
    EmailChanged,
    /// There is a new password.
    PasswordChanged,
    /// People log in to the account by a provider, too.
    IdentityLinked,
    /// And by another not any more.
    IdentityUnlinked,
}

/// What a mail is made of besides its template.
pub(crate) struct Facts<'a> {
    /// The name of the mail, which no other has.
    pub(crate) id: &'a str,
    /// The reader's nickname.
    pub(crate) name: &'a str,
    /// Where it goes.
    pub(crate) recipient: &'a str,
    /// The code in it, if its template has one.
    pub(crate) code: &'a str,
    /// The provider it is about, if it is about one, as people know it.
    pub(crate) provider: &'a str,
}

/// Why the templates of an operator cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file.
    #[error("mail_templates: {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is in one.
    #[error("mail_templates: {0}")]
    Template(#[from] minijinja::Error),
    /// The text of a mail does not begin with its subject.
    #[error("mail_templates: {0} begins with a line `Subject: …`, and another that is empty")]
    Subject(String),
}

/// Makes mails.
pub(crate) struct Templates {
    environment: Environment<'static>,
    from: Mailbox,
    service: String,
    link: Option<String>,
    email_code: Duration,
    password_code: Duration,
}

/// The files, and what is in ours.
const FILES: &[(&str, &str)] = &[
    ("layout.html", include_str!("templates/layout.html")),
    (
        "verify_email.txt",
        include_str!("templates/verify_email.txt"),
    ),
    (
        "verify_email.html",
        include_str!("templates/verify_email.html"),
    ),
    (
        "reset_password.txt",
        include_str!("templates/reset_password.txt"),
    ),
    (
        "reset_password.html",
        include_str!("templates/reset_password.html"),
    ),
    (
        "email_changed.txt",
        include_str!("templates/email_changed.txt"),
    ),
    (
        "email_changed.html",
        include_str!("templates/email_changed.html"),
    ),
    (
        "password_changed.txt",
        include_str!("templates/password_changed.txt"),
    ),
    (
        "password_changed.html",
        include_str!("templates/password_changed.html"),
    ),
    (
        "identity_linked.txt",
        include_str!("templates/identity_linked.txt"),
    ),
    (
        "identity_linked.html",
        include_str!("templates/identity_linked.html"),
    ),
    (
        "identity_unlinked.txt",
        include_str!("templates/identity_unlinked.txt"),
    ),
    (
        "identity_unlinked.html",
        include_str!("templates/identity_unlinked.html"),
    ),
];

impl Template {
    const ALL: [Self; 6] = [
        Self::VerifyEmail,
        Self::ResetPassword,
        Self::EmailChanged,
        Self::PasswordChanged,
        Self::IdentityLinked,
        Self::IdentityUnlinked,
    ];

    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::EmailChanged => "email_changed",
            Self::PasswordChanged => "password_changed",
            Self::IdentityLinked => "identity_linked",
            Self::IdentityUnlinked => "identity_unlinked",
        }
    }

    /// What a row says; none for a word of a newer store.
    pub(crate) fn stored(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|template| template.word() == word)
    }

    /// What the code in it is for, if there is one.
    pub(crate) fn purpose(self) -> Option<Purpose> {
        match self {
            Self::VerifyEmail => Some(Purpose::Email),
            Self::ResetPassword => Some(Purpose::Password),
            Self::EmailChanged
            | Self::PasswordChanged
            | Self::IdentityLinked
            | Self::IdentityUnlinked => None,
        }
    }
}

impl Templates {
    /// Reads them all and tries each, so that one that cannot be used is found before anything
    /// starts.
    pub(crate) fn new(settings: &MailSettings, from: Mailbox) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, ours) in FILES {
            let source = match &settings.mail_templates {
                Some(directory) => theirs(directory, name)?.unwrap_or_else(|| (*ours).to_owned()),
                None => (*ours).to_owned(),
            };
            environment.add_template_owned(*name, source)?;
        }
        let templates = Self {
            environment,
            from,
            service: settings.mail_name.clone(),
            link: settings.mail_link.clone(),
            email_code: settings.email_code_lifetime,
            password_code: settings.password_code_lifetime,
        };
        let sample = Facts {
            id: "sample",
            name: "Ann",
            recipient: "ann@example.org",
            code: "0000-0000",
            provider: "Kakao",
        };
        for template in Template::ALL {
            templates.texts(template, &sample)?;
        }
        Ok(templates)
    }

    /// A mail to be sent; none if its recipient is no address that mail can have.
    pub(crate) fn message(
        &self,
        template: Template,
        facts: &Facts<'_>,
    ) -> Result<Option<Message>, TemplateError> {
        let Some(address) = address(facts.recipient) else {
            return Ok(None);
        };
        let (subject, text, html) = self.texts(template, facts)?;
        let domain = self.from.email.domain();
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(Some(one_line(facts.name)), address))
            .subject(subject)
            // The same however often it is sent: who gets it twice can tell.
            .message_id(Some(format!("<{}@{domain}>", facts.id)))
            // No automatic answers, please (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .multipart(MultiPart::alternative_plain_html(text, html));
        Ok(message.ok())
    }

    /// Subject, text and HTML.
    fn texts(
        &self,
        template: Template,
        facts: &Facts<'_>,
    ) -> Result<(String, String, String), TemplateError> {
        let lifetime = match template.purpose() {
            Some(Purpose::Password) => self.password_code,
            _ => self.email_code,
        };
        let context = context! {
            service => self.service.as_str(),
            link => self.link.as_deref(),
            name => one_line(facts.name),
            email => facts.recipient,
            code => facts.code,
            provider => one_line(facts.provider),
            lifetime => spoken(lifetime),
        };
        let render = |kind: &str| {
            let name = format!("{}.{kind}", template.word());
            self.environment.get_template(&name)?.render(&context)
        };
        let text = render("txt")?;
        let (head, text) = text.split_once("\n\n").unwrap_or((&text, ""));
        let subject = head.strip_prefix("Subject: ").map(one_line);
        match subject.filter(|subject| !subject.is_empty()) {
            Some(subject) => Ok((subject, text.to_owned(), render("html")?)),
            None => Err(TemplateError::Subject(format!("{}.txt", template.word()))),
        }
    }
}

/// An address that mail can have; its domain as the domain name system spells it.
fn address(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@')?;
    match url::Host::parse(domain).ok()? {
        url::Host::Domain(domain) => Address::new(local, domain).ok(),
        _ => None,
    }
}

/// A file that stands in for one of ours, if it is there.
fn theirs(directory: &Path, name: &str) -> Result<Option<String>, TemplateError> {
    let path = directory.join(name);
    match fs::read_to_string(&path) {
        Ok(source) => Ok(Some(source)),
        // Of a directory that is not there nothing would be said.
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory.is_dir() => Ok(None),
        Err(source) => Err(TemplateError::File {
            path: path.display().to_string(),
            source,
        }),
    }
}

/// A text on one line: what goes into a header must not begin another.
fn one_line(text: &str) -> String {
    let seen = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    seen.collect::<String>().trim().to_owned()
}

/// A span of time as people say it.
fn spoken(span: Duration) -> String {
    let (number, unit) = match span.as_secs() {
        seconds @ 0..120 => (seconds, "second"),
        seconds @ 120..7200 => (seconds / 60, "minute"),
        seconds => (seconds / 3600, "hour"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use shared::settings::{Loader, Sources};

    use super::*;

    fn settings() -> MailSettings {
        let sources = Sources {
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let loaded = Loader::new("test", "0", "").load::<MailSettings>(sources);
        loaded.unwrap().settings
    }

    fn templates(settings: &MailSettings) -> Result<Templates, TemplateError> {
        Templates::new(settings, "Oak <no-reply@oak.example>".parse().unwrap())
    }

    fn facts<'a>(name: &'a str, recipient: &'a str) -> Facts<'a> {
        Facts {
            id: "01J0",
            name,
            recipient,
            code: "ABCD-EFGH",
            provider: "Oak & Elm",
        }
    }

    #[test]
    fn a_mail_says_its_code_in_text_and_html() {
        let mut settings = settings();
        settings.mail_name = "Oak & Sons".into();
        settings.mail_link = Some("https://oak.example/play".into());
        let templates = templates(&settings).unwrap();
        for template in [Template::VerifyEmail, Template::ResetPassword] {
            let facts = facts("<b>Ann</b>", "ann@example.org");
            let (subject, text, html) = templates.texts(template, &facts).unwrap();
            assert!(subject.contains("Oak & Sons"), "{subject}");
            assert!(
                text.contains("ABCD-EFGH") && text.contains("<b>Ann</b>"),
                "{text}"
            );
            assert!(text.contains("https://oak.example/play"), "{text}");
            assert!(
                html.contains("ABCD-EFGH") && html.contains("Oak &amp; Sons"),
                "{html}"
            );
            assert!(!html.contains("<b>"), "{html}");
        }
    }

    #[test]
    fn a_mail_about_a_provider_names_it() {
        let templates = templates(&settings()).unwrap();
        for template in [Template::IdentityLinked, Template::IdentityUnlinked] {
            let facts = facts("Ann", "ann@example.org");
            let (subject, text, html) = templates.texts(template, &facts).unwrap();
            assert!(subject.contains("Oak & Elm"), "{subject}");
            assert!(text.contains("Oak & Elm"), "{text}");
            assert!(html.contains("Oak &amp; Elm"), "{html}");
        }
    }

    #[test]
    fn nothing_in_a_name_begins_another_header() {
        let templates = templates(&settings()).unwrap();
        let name = "Ann\r\nBcc: eve@example.org\r\n\r\nHello";
        let message = templates
            .message(Template::VerifyEmail, &facts(name, "ann@example.org"))
            .unwrap()
            .unwrap();
        let formatted = String::from_utf8(message.formatted()).unwrap();
        assert!(!formatted.contains("\nBcc"), "{formatted}");
        assert_eq!(message.envelope().to().len(), 1);
    }

    #[test]
    fn what_is_no_address_gets_no_mail() {
        let templates = templates(&settings()).unwrap();
        for bad in ["", "ann", "ann@example.org\r\nRCPT TO:<eve@example.org>"] {
            let message = templates.message(Template::VerifyEmail, &facts("Ann", bad));
            assert!(message.unwrap().is_none(), "{bad}");
        }
    }

    #[test]
    fn a_domain_of_another_script_is_spelled_for_all_servers() {
        let address = address("ann@bücher.example").unwrap();
        assert_eq!(address.to_string(), "ann@xn--bcher-kva.example");
    }

    #[test]
    fn templates_of_an_operator_stand_in_for_ours_and_are_tried_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.mail_templates = Some(directory.path().to_owned());
        let file = directory.path().join("verify_email.txt");
        fs::write(&file, "Subject: Hi {{ name }}\n\nYour code: {{ code }}").unwrap();
        let made = templates(&settings).unwrap();
        let (subject, text, _) = made
            .texts(Template::VerifyEmail, &facts("Ann", "ann@example.org"))
            .unwrap();
        assert_eq!(
            (subject.as_str(), text.as_str()),
            ("Hi Ann", "Your code: ABCD-EFGH")
        );
        for bad in ["Subject: {{ nmae }}\n\nx", "{{", "no subject"] {
            fs::write(&file, bad).unwrap();
            assert!(templates(&settings).is_err(), "{bad}");
        }
        settings.mail_templates = Some(directory.path().join("elsewhere"));
        assert!(templates(&settings).is_err());
    }

    #[test]
    fn spans_are_spoken() {
        assert_eq!(spoken(Duration::from_mins(30)), "30 minutes");
        assert_eq!(spoken(Duration::from_hours(24)), "24 hours");
        assert_eq!(spoken(Duration::from_secs(1)), "1 second");
    }
}
