//! The routes. Every answer comes from what the loop last published.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{Handler, Metric, Metrics};
use crate::planted::{self, place};
use crate::status::Shared;
use crate::status::document::Report;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

#[derive(Clone)]
struct App {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

/// All routes; GET and HEAD only.
pub(super) fn router(shared: Arc<Shared>, metrics: Arc<Metrics>) -> Router {
    let app = App { shared, metrics };
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .fallback(|| async { text(StatusCode::NOT_FOUND, "not found\n".to_owned()) })
        .method_not_allowed_fallback(|| async {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned())
        })
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

/// Counts each answer, and keeps caches out of it.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    planted::pass(place::REQUEST);
    let handler = handler_of(request.uri().path());
    let mut response = next.run(request).await;
    let code = handler.codes().iter().find(|code| **code == response.status().as_str());
    if let Some(code) = code {
        app.metrics.add(Metric::HttpRequests, &[handler.label(), code], 1);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn handler_of(path: &str) -> Handler {
    match path {
        "/metrics" => Handler::Metrics,
        "/livez" | "/healthz" => Handler::Livez,
        "/readyz" => Handler::Readyz,
        "/status" => Handler::Status,
        _ => Handler::Other,
    }
}

async fn metrics_page(State(app): State<App>) -> Response {
    let page = app.metrics.page(&app.shared.readings());
    ([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response()
}

async fn livez(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    checks(&[("loop", app.shared.live())], is_verbose(query.as_deref()))
}

async fn readyz(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    checks(&[("service", app.shared.ready())], is_verbose(query.as_deref()))
}

async fn status(State(app): State<App>) -> Response {
    match serde_json::to_string_pretty(&Report::new(&app.shared)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// `ok`, or the reasons; with `?verbose` each check in the way of Kubernetes' z-pages.
fn checks(checked: &[(&str, Result<(), String>)], verbose: bool) -> Response {
    let failed: Vec<&str> = checked
        .iter()
        .filter_map(|(_, result)| result.as_ref().err().map(String::as_str))
        .collect();
    let code = if failed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = if verbose {
        checked
            .iter()
            .map(|(name, result)| match result {
                Ok(()) => format!("[+]{name} ok\n"),
                Err(reason) => format!("[-]{name} failed: {reason}\n"),
            })
            .collect()
    } else if failed.is_empty() {
        "ok\n".to_owned()
    } else {
        failed.join("; ") + "\n"
    };
    text(code, body)
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="))
    })
}

fn text(code: StatusCode, body: String) -> Response {
    (code, [(header::CONTENT_TYPE, TEXT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_check_is_503_with_its_reason() {
        let late = || [("loop", Err("the supervision loop is 11 s late".to_owned()))];
        for (verbose, expected) in [
            (false, "the supervision loop is 11 s late\n"),
            (true, "[-]loop failed: the supervision loop is 11 s late\n"),
        ] {
            let response = checks(&late(), verbose);
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
            assert_eq!(body, expected);
        }
    }
}
