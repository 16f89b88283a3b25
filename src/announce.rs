//! Tells a webhook of incidents: one document when one begins, one when it is over.
//!
//! Lives on a thread of its own, so that a receiver that is slow or away holds up nobody. It is
//! tried again until it takes the document or refuses it for good; what is news about an incident
//! that is still waiting replaces it. Whom else to tell, and in which words, is Alertmanager's job.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::config::Webhook;
use crate::incident::Incident;
use crate::planted::{self, place};
use crate::probe::{self, ProbeError};
use crate::report::{Announcing, Note, Teller};
use crate::threads::{self, spawn_supervised};

/// So many incidents wait to be told. The oldest make room.
const MOST_WAITING: usize = 100;

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The header by which a receiver knows a document that it has got already.
const KEY: &str = "idempotency-key";

/// Hands incidents to the thread.
#[derive(Clone, Debug)]
pub struct Announcer(UnboundedSender<Arc<Incident>>);

/// What a webhook gets, as `docs/notification.schema.json` describes it.
#[derive(Serialize)]
struct Document<'a> {
    event: &'static str,
    host: &'a str,
    instance: &'a str,
    incident: Incident,
}

impl Announcer {
    /// Starts the thread; `instance` is the name of this one.
    pub fn start(webhook: &Webhook, instance: &str, teller: Teller) -> Result<Self, NotStarted> {
        let (told, incidents) = unbounded_channel();
        let sender = Mutex::new(Sender::new(webhook, instance, incidents, teller.clone())?);
        let work = move || sender.lock().unwrap_or_else(PoisonError::into_inner).work();
        spawn_supervised(threads::WEBHOOK, work, move |message, again_in| {
            let message = message.to_owned();
            teller.note(&Note::ThreadPanicked { thread: threads::WEBHOOK, message, again_in });
        })?;
        Ok(Self(told))
    }

    /// Has an incident told, as it is now.
    pub fn tell(&self, incident: Arc<Incident>) {
        // The thread lives as long as the process.
        self.0.send(incident).ok();
    }
}

/// Why nobody is told.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The thread cannot be had.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The webhook can never be reached as configured.
    #[error("notify.webhook: {0}")]
    Webhook(#[from] ProbeError),
}

/// The work of the thread.
struct Sender {
    client: Client,
    webhook: Webhook,
    url: Url,
    host: String,
    instance: String,
    incidents: UnboundedReceiver<Arc<Incident>>,
    waiting: VecDeque<Arc<Incident>>,
    teller: Teller,
    /// That it cannot be reached.
    failing: bool,
}

/// How an attempt went badly.
enum Failed {
    /// It may go well the next time.
    ForNow(String),
    /// It never will.
    ForGood(String),
}

impl Sender {
    fn new(
        webhook: &Webhook,
        instance: &str,
        incidents: UnboundedReceiver<Arc<Incident>>,
        teller: Teller,
    ) -> Result<Self, ProbeError> {
        let (url, client) = probe::client(&webhook.url)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self {
            client,
            webhook: webhook.clone(),
            url,
            host,
            instance: instance.to_owned(),
            incidents,
            waiting: VecDeque::new(),
            teller,
            failing: false,
        })
    }

    fn work(&mut self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.go_on()),
            // Told and tried again by the caller, like any other failure of this thread.
            Err(error) => std::panic::panic_any(format!("cannot start the runtime: {error}")),
        }
    }

    /// Returns when nobody will ever have anything to tell.
    async fn go_on(&mut self) {
        let mut pauses = ExponentialBackoff {
            initial_interval: FIRST_PAUSE,
            current_interval: FIRST_PAUSE,
            multiplier: 2.0,
            max_interval: LONGEST_PAUSE,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        loop {
            while let Ok(incident) = self.incidents.try_recv() {
                self.enqueue(incident);
            }
            let Some(incident) = self.waiting.front().cloned() else {
                match self.incidents.recv().await {
                    Some(incident) => self.enqueue(incident),
                    None => return,
                }
                continue;
            };
            planted::pass(place::WEBHOOK);
            match self.send(&incident).await {
                Ok(()) => self.taken(),
                Err(Failed::ForGood(why)) => {
                    self.waiting.pop_front();
                    let id = incident.id.clone();
                    self.note(Announcing::Refused { id, why });
                }
                Err(Failed::ForNow(why)) => {
                    let pause = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
                    self.failed(why, pause);
                    sleep(pause).await;
                    continue;
                }
            }
            pauses.reset();
        }
    }

    /// What is newer about an incident takes the place of what is older.
    fn enqueue(&mut self, incident: Arc<Incident>) {
        if let Some(older) = self.waiting.iter_mut().find(|older| older.id == incident.id) {
            *older = incident;
            return;
        }
        self.waiting.push_back(incident);
        if self.waiting.len() > MOST_WAITING {
            let dropped = self.waiting.pop_front();
            let id = dropped.map(|incident| incident.id.clone()).unwrap_or_default();
            let why = format!("{MOST_WAITING} newer ones wait");
            self.note(Announcing::Refused { id, why });
        }
    }

    async fn send(&self, incident: &Incident) -> Result<(), Failed> {
        let event = if incident.is_over() { "over" } else { "began" };
        let document = Document {
            event,
            host: &self.host,
            instance: &self.instance,
            incident: without_output(incident),
        };
        let body =
            serde_json::to_vec(&document).map_err(|error| Failed::ForGood(error.to_string()))?;
        let mut request = self.client.post(self.url.clone());
        for (name, value) in &self.webhook.headers {
            request = request.header(name, value);
        }
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header(KEY, format!("{}/{event}", incident.id))
            .body(body);
        let limit = self.webhook.timeout;
        match timeout(limit, request.send()).await {
            Ok(Ok(response)) => verdict(response.status()),
            Ok(Err(error)) => Err(Failed::ForNow(probe::cause(&error))),
            Err(_) => {
                let limit = humantime::format_duration(limit);
                Err(Failed::ForNow(format!("no answer within {limit}")))
            }
        }
    }

    fn taken(&mut self) {
        self.waiting.pop_front();
        if std::mem::take(&mut self.failing) {
            self.note(Announcing::WorksAgain);
        }
    }

    fn failed(&mut self, why: String, again_in: Duration) {
        if !std::mem::replace(&mut self.failing, true) {
            self.note(Announcing::Failed { why, again_in });
        }
    }

    fn note(&self, news: Announcing) {
        self.teller.note(&Note::Announcing(news));
    }
}

/// Whoever says that the request, or its address, is wrong will say so again.
fn verdict(status: StatusCode) -> Result<(), Failed> {
    const MAY_CHANGE: [StatusCode; 2] =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    let why = || format!("status {status}");
    match status {
        _ if status.is_success() => Ok(()),
        _ if status.is_redirection() => Err(Failed::ForGood(why() + ", which is not followed")),
        _ if status.is_client_error() && !MAY_CHANGE.contains(&status) => {
            Err(Failed::ForGood(why()))
        }
        _ => Err(Failed::ForNow(why())),
    }
}

/// What programs wrote stays here: it may be long, and secret in a way that nobody has foreseen.
fn without_output(incident: &Incident) -> Incident {
    let mut told = incident.clone();
    told.output.clear();
    told.attempt_output.clear();
    told.capture = None;
    for probe in &mut told.probes {
        probe.body.clear();
    }
    for hook in &mut told.hooks {
        hook.output.clear();
    }
    told
}

#[cfg(test)]
mod tests;
