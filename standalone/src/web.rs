//! The browser client at the root: everything no other route takes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_TYPE, ETAG, EntityTag, Header as _, IfNoneMatch},
    web,
};
use shared::{
    problem,
    web_client::{self, WebFile},
};

/// Mounts the client at the root: everything no other route takes.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.default_service(web::to(serve));
}

async fn serve(request: HttpRequest) -> HttpResponse {
    let readable = matches!(request.method().as_str(), "GET" | "HEAD");
    match web_client::file(request.path()).filter(|_| readable) {
        Some(file) => answer(&request, file),
        None => problem::not_found().await,
    }
}

fn answer(request: &HttpRequest, file: WebFile) -> HttpResponse {
    let tag = EntityTag::new_strong(file.tag);
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|t| t.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    for header in web_client::HEADERS {
        response.insert_header(header);
    }
    response
        .insert_header((ETAG, tag.to_string()))
        .insert_header((CONTENT_TYPE, file.media_type));
    if known {
        response.finish()
    } else {
        response.body(file.bytes.into_owned())
    }
}
