//! The routes. Every answer comes from what the loop last published, at once.

use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::mpsc::UnboundedSender;

use super::events::{Events, Places};
use super::gzip;
use crate::metrics::{Handler, Metric, Metrics};
use crate::page::{self, View};
use crate::planted::{self, place};
use crate::status::document::Report;
use crate::status::{Shared, Status};
use crate::supervisor::{DrillFault, Policy, State};

/// Where a drill is ordered by POST, with the fault as the query. GET asks whether it may be.
const DRILL: &str = "/drill";

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const HTML_TYPE: &str = "text/html; charset=utf-8";
const EVENTS_TYPE: &str = "text/event-stream";

/// A stream that began on an old connection would be cut off with it: what is asked next gets one
/// of its own.
const FRESH_CONNECTION: (HeaderName, &str) = (CONNECTION, "close");

/// An answer: it is there as a whole, or it is what happens from now on.
pub(super) type Answer = Response<Either<Full<Bytes>, Events>>;

/// What the routes need.
#[derive(Clone)]
pub(super) struct Routes {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    orders: Option<Orders>,
    places: Places,
}

/// What can be ordered where orders are taken at all.
type Orders = Option<DrillDesk>;

/// Takes orders for drills of the running service.
#[derive(Clone, Debug)]
pub struct DrillDesk {
    /// Where they are carried out.
    pub orders: UnboundedSender<DrillFault>,
    /// What follows when something is broken.
    pub policy: Policy,
}

impl Routes {
    /// Routes that show `shared` and count in `metrics`.
    pub(super) fn new(shared: Arc<Shared>, metrics: Arc<Metrics>) -> Self {
        Self { shared, metrics, orders: None, places: Places::new() }
    }

    /// The same, and they take orders.
    pub(super) fn with_orders(self, drills: Option<DrillDesk>) -> Self {
        Self { orders: Some(drills), ..self }
    }

    /// The same without orders: there is no way to change anything.
    pub(super) fn reading_only(self) -> Self {
        Self { orders: None, ..self }
    }

    /// Answers and counts a request, whatever its body; GET and HEAD only.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        planted::pass(place::REQUEST);
        if let (Some(drills), DRILL, method @ (&Method::GET | &Method::POST)) =
            (&self.orders, request.uri().path(), request.method())
        {
            let wanted = request.uri().query().unwrap_or_default();
            return self.drill(drills.as_ref(), wanted, method == Method::POST);
        }
        let handler = handler_of(request.uri().path());
        let mut answer = match (handler, request.method()) {
            (Handler::Other, _) | (_, &Method::GET | &Method::HEAD) => {
                self.page(handler, request.uri().query(), request.headers())
            }
            _ => method_not_allowed(),
        };
        let refused = answer.status() == StatusCode::METHOD_NOT_ALLOWED;
        let handler = if refused { Handler::Other } else { handler };
        let code = handler.codes().iter().find(|code| **code == answer.status().as_str());
        if let Some(code) = code {
            self.metrics.add(Metric::HttpRequests, &[handler.label(), code], 1);
        }
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// Says whether a drill may be; has it begun if it is ordered and the service is healthy.
    fn drill(&self, desk: Option<&DrillDesk>, wanted: &str, ordered: bool) -> Answer {
        let status = self.shared.status();
        let (desk, fault) = match permitted(desk, wanted, &status) {
            Ok(permitted) => permitted,
            Err((code, why)) => return text(code, why + "\n"),
        };
        if !ordered {
            return text(StatusCode::OK, format!("{fault}\n"));
        }
        if status.state != State::Healthy || status.tally.outage().is_some() {
            let why = format!("only a healthy service is drilled, it is {}\n", status.summary);
            return text(StatusCode::CONFLICT, why);
        }
        // The loop takes orders as long as this process lives.
        desk.orders.send(fault).ok();
        text(StatusCode::ACCEPTED, format!("{fault}\n"))
    }

    fn page(&self, handler: Handler, query: Option<&str>, headers: &HeaderMap) -> Answer {
        match handler {
            Handler::Metrics => {
                let page = self.metrics.page(&self.shared.readings());
                packed_if_wanted(headers, METRICS_TYPE, page)
            }
            Handler::Livez => checks(&[("loop", self.shared.live())], is_verbose(query)),
            Handler::Readyz => checks(&[("service", self.shared.ready())], is_verbose(query)),
            Handler::Status => match serde_json::to_string_pretty(&Report::new(&self.shared)) {
                Ok(json) => answer(StatusCode::OK, JSON_TYPE, json + "\n"),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            Handler::Page => self.html(headers),
            Handler::Events => self.events(),
            Handler::Other => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
        }
    }

    fn html(&self, headers: &HeaderMap) -> Answer {
        let page = page::document(&View::of(&self.shared, &self.metrics));
        let mut answer = packed_if_wanted(headers, HTML_TYPE, page);
        for (name, value) in [
            FRESH_CONNECTION,
            (CONTENT_SECURITY_POLICY, page::POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    fn events(&self) -> Answer {
        let (shared, metrics) = (Arc::clone(&self.shared), Arc::clone(&self.metrics));
        let events = Events::begin(shared, metrics, &self.places);
        let mut answer = Answer::new(Either::Right(events));
        // A proxy that collects before it passes on would hold news back.
        let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
        for (name, value) in [FRESH_CONNECTION, (CONTENT_TYPE, EVENTS_TYPE), unbuffered] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

/// The fault of this name, if nothing but the service's health can be in its way.
fn permitted<'d>(
    desk: Option<&'d DrillDesk>,
    wanted: &str,
    status: &Status,
) -> Result<(&'d DrillDesk, DrillFault), (StatusCode, String)> {
    let Some(desk) = desk else {
        let why = "drills are not allowed: set drills = true in [supervisor]";
        return Err((StatusCode::FORBIDDEN, why.to_owned()));
    };
    let Some(fault) = DrillFault::ALL.iter().find(|fault| fault.label() == wanted) else {
        return Err((StatusCode::BAD_REQUEST, format!("there is no fault \"{wanted}\" here")));
    };
    let refused = |why: String| Err((StatusCode::CONFLICT, why));
    if *fault == DrillFault::Hang && desk.policy.liveness.is_none() {
        return refused("nobody would notice a hang: there is no liveness probe".to_owned());
    }
    if let Some(why) = desk.policy.would_end(*fault, status.restarts_left) {
        return refused(format!("it would end the run instead of being healed: {why}"));
    }
    if status.drill.is_some() {
        return refused("another drill is not over".to_owned());
    }
    Ok((desk, *fault))
}

fn handler_of(path: &str) -> Handler {
    match path {
        "/" => Handler::Page,
        "/events" => Handler::Events,
        "/metrics" => Handler::Metrics,
        "/livez" | "/healthz" => Handler::Livez,
        "/readyz" => Handler::Readyz,
        "/status" => Handler::Status,
        _ => Handler::Other,
    }
}

/// `ok`, or the reasons; with `?verbose` each check in the way of Kubernetes' z-pages.
fn checks(checked: &[(&str, Result<(), String>)], verbose: bool) -> Answer {
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

fn method_not_allowed() -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
    answer
}

fn packed_if_wanted(headers: &HeaderMap, content_type: &'static str, body: String) -> Answer {
    let wanted = gzip::is_wanted(headers);
    let body = if wanted { gzip::packed(body.as_bytes()) } else { body.into_bytes() };
    let mut answer = answer(StatusCode::OK, content_type, body);
    answer.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    if wanted {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

fn text(code: StatusCode, body: String) -> Answer {
    answer(code, TEXT_TYPE, body)
}

fn answer(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

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
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected);
        }
    }
}
