//! What the demo gateway answers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::fault::{Fault, Mode};
use super::{Gateway, tell};
use crate::gather::gather;

impl Gateway {
    /// Answers one request; a fault that it asks for is left in `ordered`.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        ordered: &Cell<Option<Fault>>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.requests.set(self.requests.get() + 1);
        let (status, body) = match request.uri().path() {
            "/health" => self.health().await,
            "/readyz" => self.readiness(),
            "/info" => (StatusCode::OK, self.info()),
            "/fault" => match Fault::from_query(request.uri().query().unwrap_or_default()) {
                Ok(fault) => {
                    self.sickness.set((fault.mode != Mode::None).then_some(fault));
                    ordered.set(Some(fault));
                    tell(&fault.announcement());
                    (StatusCode::OK, json!({ "fault": fault.announcement() }))
                }
                Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error.to_string() })),
            },
            _ => (StatusCode::NOT_FOUND, json!({ "error": "not found" })),
        };
        let mut response = Response::new(Full::from(format!("{body}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    async fn health(&self) -> (StatusCode, Value) {
        if let Some(fault) = self.sickness.get()
            && fault.mode == Mode::Slow
        {
            sleep(fault.span()).await;
        }
        if self.is_sick_with(Mode::Error500) {
            return (StatusCode::INTERNAL_SERVER_ERROR, json!({ "ok": false, "status": "broken" }));
        }
        if self.is_sick_with(Mode::WrongBody) {
            return (StatusCode::OK, json!({ "ok": false, "status": "sick" }));
        }
        (StatusCode::OK, json!({ "ok": true, "status": "live" }))
    }

    fn readiness(&self) -> (StatusCode, Value) {
        let sick = self.is_sick_with(Mode::Error500) || self.is_sick_with(Mode::WrongBody);
        let mut failing = Vec::new();
        if !self.is_ready() {
            failing.push("starting");
        }
        if sick {
            failing.push("health");
        }
        let ready = failing.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, json!({ "ready": ready, "failing": failing }))
    }

    /// What a test wants to know; of the environment only names, unless they start with `DEMO_`.
    fn info(&self) -> Value {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let env: BTreeMap<_, _> = gather(std::env::vars_os().map(|(name, value)| {
            let name = lossy(name);
            let value = name.starts_with("DEMO_").then(|| lossy(value));
            (name, value)
        }));
        json!({
            "pid": std::process::id(),
            "ppid": rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero),
            "started": self.started.as_secs_f64(),
            "requests": self.requests.get(),
            "args": std::env::args_os().map(lossy).collect::<Vec<_>>(),
            "env": env,
        })
    }
}
