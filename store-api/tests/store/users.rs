//! Finding people.

use serde_json::Value;

use crate::{app::TestApp, both};

both!(
    people_are_found_by_how_their_name_begins,
    results_come_in_pages,
    a_search_needs_a_beginning
);

async fn found(app: &TestApp, query: &str) -> Vec<String> {
    let me = app.user("Searcher").await;
    let body = app
        .get(&format!("/v1/users?q={query}"), &me)
        .await
        .expect(200);
    names(&body)
}

fn names(body: &Value) -> Vec<String> {
    let items = body["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn people_are_found_by_how_their_name_begins(app: TestApp) -> TestApp {
    let names = [
        "Anna",
        "annabel",
        "ANNE",
        "Hanna",
        "Ünal",
        "100% sure",
        "100_sure",
        "an\\na",
    ];
    for (number, name) in names.iter().enumerate() {
        app.register(&format!("n{number}@example.org"), name)
            .await
            .expect(201);
    }
    assert_eq!(found(&app, "ann").await, ["Anna", "annabel", "ANNE"]);
    assert_eq!(found(&app, "ANNA").await, ["Anna", "annabel"]);
    assert_eq!(found(&app, "%C3%BCn").await, ["Ünal"]);
    // What means something to LIKE means itself here.
    assert_eq!(found(&app, "100%25").await, ["100% sure"]);
    assert_eq!(found(&app, "100_").await, ["100_sure"]);
    assert_eq!(found(&app, "an%5C").await, ["an\\na"]);
    assert!(found(&app, "%25%25").await.is_empty());
    assert!(found(&app, "'%20or%201=1").await.is_empty());

    let (ann, bob) = (app.user("Relation").await, app.user("Relation").await);
    app.befriend(&ann, &bob).await;
    let body = app.get("/v1/users?q=relation", &ann).await.expect(200);
    let states: Vec<&Value> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["state"])
        .collect();
    assert_eq!(states, [&Value::Null, &Value::from("friend")]);
    let seen = app
        .get(&format!("/v1/users/{}", bob.id), &ann)
        .await
        .expect(200);
    assert_eq!(seen["state"], "friend");
    app
}

async fn results_come_in_pages(app: TestApp) -> TestApp {
    for number in 0..7 {
        app.register(&format!("p{number}@example.org"), &format!("Page {number}"))
            .await
            .expect(201);
    }
    let me = app.user("Me").await;
    let mut seen = Vec::new();
    let mut path = "/v1/users?q=page&limit=3".to_owned();
    let mut pages = 0;
    loop {
        let body = app.get(&path, &me).await.expect(200);
        seen.extend(names(&body));
        pages += 1;
        let Some(cursor) = body["next"].as_str() else {
            break;
        };
        path = format!("/v1/users?q=page&limit=3&cursor={cursor}");
    }
    assert_eq!(pages, 3);
    assert_eq!(
        seen,
        (0..7)
            .map(|number| format!("Page {number}"))
            .collect::<Vec<_>>()
    );
    app
}

async fn a_search_needs_a_beginning(app: TestApp) -> TestApp {
    let me = app.user("Me").await;
    for bad in [
        "q=",
        "q=a",
        "q=%20%20%20",
        "",
        "q=a%00b",
        "q=ab&limit=0",
        "q=ab&cursor=%25",
    ] {
        assert_eq!(
            app.get(&format!("/v1/users?{bad}"), &me).await.problem(400),
            "invalid",
            "{bad}"
        );
    }
    let long = "x".repeat(200);
    assert_eq!(
        app.get(&format!("/v1/users?q={long}"), &me)
            .await
            .problem(400),
        "invalid"
    );
    app
}
