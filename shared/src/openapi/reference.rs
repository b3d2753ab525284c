//! An [`OpenApi`] document as a page to read: one file of HTML, without a script.
//!
//! What the document only names is put where it is used: the kind of each field, and an example of each body, made of the
//! examples of its fields where the document has none.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use minijinja::{AutoEscape, Environment, Value as Shown, value::Serde};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

const TEMPLATE: &str = include_str!("reference.html");
const SCHEMAS: &str = "#/components/schemas/";
/// How far an example goes into things that hold others.
const DEPTH: usize = 6;
/// The page is its own: nothing is loaded, run or framed.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    version: &'a str,
    description: &'a str,
    document: &'a str,
    groups: Vec<Group>,
    schemas: Vec<Schema>,
}

/// Operations of one tag.
#[derive(Serialize)]
struct Group {
    name: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: String,
    /// Names of the schemes of whom it is for; nobody's if it is for everybody.
    callers: Vec<String>,
    parameters: Vec<Field>,
    body: Option<Body>,
    answers: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    status: String,
    description: String,
    body: Option<Body>,
}

#[derive(Serialize)]
struct Body {
    media: String,
    kind: Kind,
    /// JSON, or nothing where there is none to show.
    example: Option<String>,
}

#[derive(Serialize)]
struct Schema {
    name: String,
    description: String,
    kind: Option<Kind>,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    /// Of a parameter: `path`, `query` or `header`.
    place: String,
    kind: Kind,
    required: bool,
    description: String,
}

/// What a value is, in words, and the schema that says more.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Kind {
    words: String,
    schema: Option<String>,
}

/// The page of a document that is served at `address`. Nothing, and a line in the log, if it cannot be made.
pub fn page(document: &OpenApi, address: &str) -> Option<String> {
    let page = serde_json::to_value(document)
        .map_err(|error| error.to_string())
        .and_then(|document| render(&document, address).map_err(|error| format!("{error:#}")));
    page.inspect_err(|error| tracing::error!(error, address, "no reference page"))
        .ok()
}

/// The answer with a page.
pub fn answer(page: Option<&str>) -> HttpResponse {
    let Some(page) = page else {
        return HttpResponse::InternalServerError().finish();
    };
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("cache-control", "no-cache"))
        .insert_header(("content-security-policy", POLICY))
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("referrer-policy", "no-referrer"))
        .body(page.to_owned())
}

fn render(document: &Value, address: &str) -> Result<String, minijinja::Error> {
    let info = &document["info"];
    let schemas = document["components"]["schemas"].as_object();
    let reader = Reader { schemas };
    let mut groups: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("other").to_owned();
            let read = reader.operation(method, path, operation);
            groups.entry(tag).or_default().push(read);
        }
    }
    let groups = groups
        .into_iter()
        .map(|(name, operations)| Group { name, operations });
    let schemas = schemas.into_iter().flatten();
    let page = Page {
        title: text(&info["title"]),
        version: text(&info["version"]),
        description: text(&info["description"]),
        document: address,
        groups: groups.collect(),
        schemas: schemas
            .map(|(name, schema)| reader.schema(name, schema))
            .collect(),
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("prose", |words: String| {
        Shown::from_safe_string(prose(&words))
    });
    environment.add_template("reference.html", TEMPLATE)?;
    environment
        .get_template("reference.html")?
        .render(Serde(page))
}

/// Reads a document that may name schemas.
struct Reader<'a> {
    schemas: Option<&'a Map<String, Value>>,
}

impl Reader<'_> {
    fn operation(&self, method: &str, path: &str, operation: &Value) -> Operation {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let responses = operation["responses"].as_object().into_iter().flatten();
        Operation {
            id: format!(
                "{method}-{}",
                path.trim_start_matches('/').replace(['/', '{', '}'], "-")
            ),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]).to_owned(),
            description: text(&operation["description"]).to_owned(),
            callers: super::schemes(operation).map(str::to_owned).collect(),
            parameters: parameters
                .map(|parameter| Field {
                    name: text(&parameter["name"]).to_owned(),
                    place: text(&parameter["in"]).to_owned(),
                    kind: kind(&parameter["schema"]),
                    required: parameter["required"] == true,
                    description: text(&parameter["description"]).to_owned(),
                })
                .collect(),
            body: self.body(&operation["requestBody"]["content"]),
            answers: responses
                .map(|(status, answer)| Answer {
                    status: status.clone(),
                    description: text(&answer["description"]).to_owned(),
                    body: self.body(&answer["content"]),
                })
                .collect(),
        }
    }

    /// The first kind of content.
    fn body(&self, content: &Value) -> Option<Body> {
        let (media, content) = content.as_object()?.iter().next()?;
        let schema = &content["schema"];
        let given = [&content["example"], &content["examples"]];
        let given = given.into_iter().find(|example| !example.is_null());
        let example = match given {
            Some(Value::Object(named)) if !content["examples"].is_null() => named
                .values()
                .next()
                .map(|example| example["value"].clone()),
            Some(example) => Some(example.clone()),
            None => self.example(schema, 0),
        };
        Some(Body {
            media: media.clone(),
            kind: kind(schema),
            example: example
                .filter(|example| example.is_object() || example.is_array())
                .and_then(|example| serde_json::to_string_pretty(&example).ok()),
        })
    }

    fn schema(&self, name: &str, schema: &Value) -> Schema {
        let fields = self.properties(schema, 0);
        Schema {
            name: name.to_owned(),
            description: text(&schema["description"]).to_owned(),
            kind: fields.is_empty().then(|| kind(schema)),
            fields: fields
                .into_iter()
                .map(|(name, property, required)| Field {
                    name: name.to_owned(),
                    place: String::new(),
                    kind: kind(property),
                    required,
                    description: text(&property["description"]).to_owned(),
                })
                .collect(),
        }
    }

    /// The properties of an object, also of one that is made of several: name, schema, and whether it is always there.
    fn properties<'b>(
        &'b self,
        schema: &'b Value,
        depth: usize,
    ) -> Vec<(&'b str, &'b Value, bool)> {
        let schema = self.named(schema).unwrap_or(schema);
        let always = |name: &str| {
            let required = schema["required"].as_array();
            required.is_some_and(|all| all.iter().any(|one| one == name))
        };
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut all: Vec<_> = own
            .map(|(name, property)| (name.as_str(), property, always(name)))
            .collect();
        if depth < DEPTH {
            for part in schema["allOf"].as_array().into_iter().flatten() {
                all.extend(self.properties(part, depth + 1));
            }
        }
        all
    }

    /// The schema that another one names.
    fn named(&self, schema: &Value) -> Option<&Value> {
        let name = schema["$ref"].as_str()?.strip_prefix(SCHEMAS)?;
        self.schemas?.get(name)
    }

    /// An example of a schema, of those of its parts where it has none.
    fn example(&self, schema: &Value, depth: usize) -> Option<Value> {
        if !schema["example"].is_null() {
            return Some(schema["example"].clone());
        }
        if let Some(first) = schema["examples"].get(0).or(schema["enum"].get(0)) {
            return Some(first.clone());
        }
        if depth > DEPTH {
            return None;
        }
        if let Some(named) = self.named(schema) {
            return self.example(named, depth + 1);
        }
        for choice in ["oneOf", "anyOf"] {
            let mut choices = schema[choice].as_array().into_iter().flatten();
            if let Some(one) = choices.find(|one| one["type"] != "null") {
                return self.example(one, depth + 1);
            }
        }
        let properties = self.properties(schema, 0);
        if !properties.is_empty() {
            let parts = properties.into_iter().filter_map(|(name, property, _)| {
                Some((name.to_owned(), self.example(property, depth + 1)?))
            });
            return Some(Value::Object(parts.collect()));
        }
        match types(schema).first()? {
            &"array" => {
                let item = self.example(&schema["items"], depth + 1);
                Some(Value::Array(item.into_iter().collect()))
            }
            &"string" => Some(json!("…")),
            &"integer" | &"number" => Some(json!(schema["minimum"].as_i64().unwrap_or(1))),
            &"boolean" => Some(json!(true)),
            _ => Some(json!({})),
        }
    }
}

/// The types that a schema says, but for null.
fn types(schema: &Value) -> Vec<&str> {
    let said = match &schema["type"] {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    };
    said.into_iter().filter(|said| *said != "null").collect()
}

fn kind(schema: &Value) -> Kind {
    let plain = |words: String| Kind {
        words,
        schema: None,
    };
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix(SCHEMAS))
    {
        return Kind {
            words: name.to_owned(),
            schema: Some(name.to_owned()),
        };
    }
    for choice in ["allOf", "oneOf", "anyOf"] {
        let choices = schema[choice].as_array().into_iter().flatten();
        let mut choices = choices.filter(|one| one["type"] != "null");
        if let Some(first) = choices.next() {
            let first = kind(first);
            let others = choices.map(|one| kind(one).words).collect::<Vec<_>>();
            if others.is_empty() {
                return first;
            }
            return plain(format!("{} or {}", first.words, others.join(" or ")));
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or("null")));
        return plain(words.collect::<Vec<_>>().join(" "));
    }
    match types(schema)[..] {
        [] => plain("anything".to_owned()),
        ["array"] => {
            let item = kind(&schema["items"]);
            Kind {
                words: format!("list of {}", item.words),
                schema: item.schema,
            }
        }
        ["object"] if schema["additionalProperties"].is_object() => {
            let value = kind(&schema["additionalProperties"]);
            Kind {
                words: format!("{} by name", value.words),
                schema: value.schema,
            }
        }
        ref said => plain(said.join(" or ")),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Words as HTML: what stands between backticks is code, and an empty line begins a paragraph.
fn prose(words: &str) -> String {
    let escape = |part: &str| {
        part.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    let paragraph = |words: &str| {
        let parts = words.split('`').enumerate();
        let parts = parts.map(|(number, part)| match number % 2 {
            0 => escape(part),
            _ => format!("<code>{}</code>", escape(part)),
        });
        format!("<p>{}</p>", parts.collect::<String>())
    };
    let paragraphs = words.split("\n\n").filter(|words| !words.trim().is_empty());
    paragraphs.map(paragraph).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "info": {"title": "Things & more", "version": "1", "description": "What `there` is."},
            "paths": {"/v1/things/{id}": {"put": {
                "tags": ["things"], "summary": "Changes <one>", "description": "First.\n\nThen `it`.",
                "security": [{"bearer": []}, {"service": []}],
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {
                    "200": {"description": "Changed", "content": {"application/json": {
                        "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}}}},
                    "204": {"description": "Nothing"},
                },
            }}},
            "components": {"schemas": {
                "Thing": {"type": "object", "description": "A thing.", "required": ["name"], "properties": {
                    "name": {"type": "string", "example": "Oak"},
                    "parts": {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Thing"}},
                    "colour": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Colour"}]},
                }},
                "Colour": {"type": "string", "enum": ["red", "blue"]},
            }},
        })
    }

    #[test]
    fn everything_of_a_document_is_on_the_page() {
        let page = render(&document(), "/v1/openapi.json").unwrap();
        let page = page.replace("&#x2f;", "/");
        for part in [
            "<title>Things &amp; more</title>",
            "What <code>there</code> is.",
            "Changes &lt;one&gt;",
            "<p>First.</p><p>Then <code>it</code>.</p>",
            "/v1/things/{id}",
            "bearer or service",
            r##"<a href="#schema-Thing">list of Thing</a>"##,
            r#"id="schema-Thing""#,
            r##"<a href="#schema-Colour">Colour</a>"##,
            "&quot;name&quot;: &quot;Oak&quot;",
            "&quot;colour&quot;: &quot;red&quot;",
            "204",
            "/v1/openapi.json",
        ] {
            assert!(page.contains(part), "{part} is not on {page}");
        }
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_thing_that_holds_itself_has_an_example_with_an_end() {
        let document = document();
        let reader = Reader {
            schemas: document["components"]["schemas"].as_object(),
        };
        let example = reader
            .example(&json!({"$ref": "#/components/schemas/Thing"}), 0)
            .unwrap();
        assert_eq!(example["parts"][0]["name"], "Oak");
        assert!(example.to_string().len() < 1000, "{example}");
    }

    #[test]
    fn kinds_are_said_in_words() {
        let words = |schema: Value| kind(&schema).words;
        assert_eq!(words(json!({"type": ["integer", "null"]})), "integer");
        assert_eq!(
            words(json!({"type": "string", "enum": ["a", "b"]})),
            "`a` `b`"
        );
        assert_eq!(
            words(json!({"type": "object", "additionalProperties": {"type": "integer"}})),
            "integer by name"
        );
        assert_eq!(
            words(json!({"oneOf": [{"type": "string"}, {"type": "integer"}]})),
            "string or integer"
        );
        assert_eq!(words(json!({})), "anything");
    }
}
