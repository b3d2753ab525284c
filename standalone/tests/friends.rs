//! What every backend of chat-node's friends port has to do, held to a real store: over HTTP as
//! the `chat-node` binary asks, and in process as this one does.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

#[path = "../src/adapters.rs"]
#[allow(dead_code, reason = "the way of events is tested by the whole")]
mod adapters;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer, middleware::from_fn, rt::System, web};
use adapters::StoreFriends;
use chat_node::friends::{ById, Friends, GRAPHS_AT_ONCE, Graph, HttpFriends, Revocation};
use shared::{
    auth::{SigningKey, TokenIssuer, TokenVerifier},
    id::UserId,
    problem,
    settings::{Loader, Secret, Settings, Sources},
};
use store_api::{HttpOptions, LoggedIn, NewAccount, Routes, Store, StoreSettings};

const SERVICE_TOKEN: &str = "a service token of more than 32 characters";
const ISSUER: &str = "fireside";

#[derive(Debug, clap::Args)]
struct Only {
    #[command(flatten)]
    store: StoreSettings,
}

impl Settings for Only {}

/// A store of the test's own, and its key.
struct Fixture {
    store: Store,
    settings: StoreSettings,
    key: SigningKey,
    _data_dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let sources = Sources {
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let loaded = Loader::new("test", "0", "").load::<Only>(sources).unwrap();
        let mut settings = loaded.settings.store;
        settings.password_hash_memory_kib = 8;
        settings.password_hash_passes = 1;
        let data_dir = tempfile::tempdir().unwrap();
        let key = SigningKey::from_secret(&[7; 32]).unwrap();
        let store = Store::open(&settings, data_dir.path(), &key, ISSUER).await;
        Self {
            store: store.unwrap(),
            settings,
            key,
            _data_dir: data_dir,
        }
    }

    async fn person(&self, name: &str) -> LoggedIn {
        let account = NewAccount {
            email: Some(format!("{name}@example.org")),
            name: name.to_owned(),
            password: "correct horse battery".to_owned(),
        };
        self.store.register(account).await.unwrap()
    }

    async fn befriend(&self, a: &UserId, b: &UserId) {
        self.store.befriend(a, b).await.unwrap();
        self.store.befriend(b, a).await.unwrap();
    }

    /// The store behind HTTP, as its own binary serves it.
    fn serve(&self) -> SocketAddr {
        let options = HttpOptions {
            rate_limits: self.settings.rate_limits(),
            service_token: Some(Secret::new(SERVICE_TOKEN.to_owned())),
            trusted_proxies: Vec::new(),
            catalogue_kept: self.settings.catalogue_kept,
        };
        let routes = Routes::new(self.store.clone(), options);
        let server = HttpServer::new(move || {
            let routes = routes.clone();
            App::new()
                .configure(problem::extractors(1 << 20))
                .configure(move |config| routes.configure(config))
                .default_service(web::to(problem::not_found))
                .wrap(from_fn(problem::fill))
        });
        let server = server.workers(1).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        actix_web::rt::spawn(server.run());
        address
    }
}

async fn conforms(fixture: &Fixture, port: &dyn Friends) {
    reads_friends_and_blocks_from_both_sides(fixture, port).await;
    nobody_has_nobody(port).await;
    everybody_is_told_of_their_own(fixture, port).await;
    names_those_it_knows(fixture, port).await;
    tells_what_is_revoked(fixture, port).await;
}

async fn reads_friends_and_blocks_from_both_sides(fixture: &Fixture, port: &dyn Friends) {
    let (anna, bert) = (fixture.person("anna").await, fixture.person("bert").await);
    let (carl, dora) = (fixture.person("carl").await, fixture.person("dora").await);
    fixture.befriend(&anna.id, &bert.id).await;
    // A request is no friendship.
    fixture.store.befriend(&anna.id, &carl.id).await.unwrap();
    fixture.store.block(&dora.id, &anna.id).await.unwrap();
    let graph = graph_of(port, &anna.id).await;
    let expected = Graph {
        friends: [(bert.id.clone(), "bert")].into_iter().collect(),
        blocked: ById::default(),
        blocked_by: [dora.id.clone()].into_iter().collect(),
    };
    assert_eq!(graph, expected);
    let other = graph_of(port, &bert.id).await;
    assert!(other.befriended(&anna.id));
    assert_eq!(
        graph_of(port, &dora.id).await.blocked,
        [anna.id.clone()].into_iter().collect()
    );
    fixture.store.unblock(&dora.id, &anna.id).await.unwrap();
    fixture.store.part(&bert.id, &anna.id).await.unwrap();
    assert_eq!(graph_of(port, &anna.id).await, Graph::default());
}

async fn nobody_has_nobody(port: &dyn Friends) {
    let nobody = UserId::parse("nobody:of.that-name_").unwrap();
    assert_eq!(graph_of(port, &nobody).await, Graph::default());
}

async fn graph_of(port: &dyn Friends, user: &UserId) -> Graph {
    let graphs = port.graphs(std::slice::from_ref(user)).await.unwrap();
    graphs.into_iter().next().unwrap()
}

/// As many as are ever asked for at once, with some twice, some who block each other and some who are nobody.
async fn everybody_is_told_of_their_own(fixture: &Fixture, port: &dyn Friends) {
    let (hana, ines) = (fixture.person("hana").await, fixture.person("ines").await);
    let (jori, kaya) = (fixture.person("jori").await, fixture.person("kaya").await);
    fixture.befriend(&hana.id, &ines.id).await;
    fixture.befriend(&ines.id, &kaya.id).await;
    fixture.store.block(&ines.id, &jori.id).await.unwrap();
    fixture.store.block(&jori.id, &hana.id).await.unwrap();
    let people = [&hana.id, &ines.id, &jori.id, &kaya.id];
    let nobody = UserId::parse("nobody").unwrap();
    let mut alone = HashMap::new();
    for user in people.into_iter().chain([&nobody]) {
        alone.insert(user.clone(), graph_of(port, user).await);
    }
    let asked: Vec<UserId> = alone.keys().cycle().take(GRAPHS_AT_ONCE).cloned().collect();
    let told = port.graphs(&asked).await.unwrap();
    assert_eq!(told.len(), asked.len());
    for (user, graph) in asked.iter().zip(told) {
        assert_eq!(graph, alone[user], "{user}");
    }
    assert_eq!(port.graphs(&[]).await.unwrap(), []);
    assert!(alone[&ines.id].befriended(&kaya.id) && !alone[&ines.id].unblocked(&jori.id));
    assert_eq!(alone[&jori.id].blocked, [hana.id].into_iter().collect());
    assert_eq!(alone[&nobody], Graph::default());
}

async fn names_those_it_knows(fixture: &Fixture, port: &dyn Friends) {
    let emil = fixture.person("emil").await;
    // As many, with ids as long, as are ever asked for at once.
    let mut asked: Vec<UserId> = (0..199)
        .map(|n| UserId::parse(&format!("{n:0>64}")).unwrap())
        .collect();
    asked.push(emil.id.clone());
    let names = port.names(&asked).await.unwrap();
    assert_eq!(names, HashMap::from([(emil.id, "emil".to_owned())]));
    assert_eq!(port.names(&[]).await.unwrap(), HashMap::new());
}

async fn tells_what_is_revoked(fixture: &Fixture, port: &dyn Friends) {
    let (fred, gina) = (fixture.person("fred").await, fixture.person("gina").await);
    let verifier = TokenVerifier::of_key(&fixture.key, ISSUER);
    let token = verifier.verify(&fred.access_token).unwrap();
    fixture.store.logout(&token.jti).await.unwrap();
    fixture.store.logout_everywhere(&gina.id).await.unwrap();
    let revoked = port.revocations().await.unwrap();
    let of_token =
        |r: &&Revocation| matches!(r, Revocation::Token { jti, .. } if *jti == token.jti);
    let of_user = |r: &&Revocation| matches!(r, Revocation::User { user, .. } if *user == gina.id);
    assert_eq!(revoked.iter().filter(of_token).count(), 1, "{revoked:?}");
    assert_eq!(revoked.iter().filter(of_user).count(), 1, "{revoked:?}");
}

#[test]
fn the_store_in_process_conforms() {
    System::new().block_on(async {
        let fixture = Fixture::new().await;
        conforms(&fixture, &StoreFriends(fixture.store.clone())).await;
    });
}

#[test]
fn the_store_over_http_conforms() {
    System::new().block_on(async {
        let fixture = Fixture::new().await;
        let url = format!("http://{}", fixture.serve());
        let client = |token: &str| HttpFriends::new(&url, Secret::new(token.to_owned())).unwrap();
        conforms(&fixture, &client(SERVICE_TOKEN)).await;
        let stranger = client("wrong").revocations().await;
        assert!(stranger.is_err(), "the token is asked for");
        // A token of a service that the store's own key signed lets in too.
        let lifetime = Duration::from_mins(5);
        let issuer = TokenIssuer::new(&fixture.key, ISSUER, lifetime);
        let issued = issuer.issue_service(&UserId::parse("chat-node").unwrap(), lifetime);
        client(&issued.unwrap().token).revocations().await.unwrap();
    });
}
