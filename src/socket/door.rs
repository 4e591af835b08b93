//! What a connection passes before it becomes a socket: the name it was asked under, and how many
//! its address has. A stream of events counts as one too.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;

use crate::{
    app::App,
    wire::{input, problem::Problem},
};

/// Where the sockets are.
const PATH: &str = "/socket.io";
/// Where the streams of events are.
const STREAMS: &str = "/api/events";
/// What one whose address has too many is told to wait, in seconds: clients come back by themselves.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Guards the way to the sockets.
#[derive(Clone)]
pub struct Door {
    app: App,
    rooms: Arc<Rooms>,
}

impl Door {
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app, rooms: Arc::default() }
    }

    /// Room for one more connection of the address that a request is from; none is needed where nothing is limited.
    fn room(&self, request: &Request) -> Result<Option<Room>, Full> {
        let settings = &self.app.settings;
        let Some(limits) = &settings.rate_limits else { return Ok(None) };
        let address = input::subscriber(request.extensions(), request.headers(), &settings.trusted_proxies);
        self.rooms.take(address, limits.sockets_by_address).map(Some).ok_or(Full)
    }
}

/// Lets a request through to the sockets, or refuses it.
pub async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if request.uri().path() == STREAMS {
        return guard_stream(&door, request, next).await;
    }
    if !request.uri().path().starts_with(PATH) {
        return next.run(request).await;
    }
    if !is_asked_by_our_name(request.headers(), &door.app) {
        let host = request.headers().get(header::HOST);
        tracing::warn!(?host, "a page asked for sockets under a name that is not ours: if it is, set APP_URL");
        return (StatusCode::FORBIDDEN, "the service has another name").into_response();
    }
    let Ok(room) = door.room(&request) else {
        let later = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())];
        return (StatusCode::TOO_MANY_REQUESTS, later, "too many sockets are open from this address").into_response();
    };
    // The connection keeps it for as long as it is open.
    request.extensions_mut().insert(Arc::new(room));
    next.run(request).await
}

/// As [`guard`], for a stream of events, which has its room for as long as it is answered.
async fn guard_stream(door: &Door, request: Request, next: Next) -> Response {
    let Ok(room) = door.room(&request) else {
        let problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_STREAMS", "too many sockets and streams are open from this address");
        return problem.retry_after(RETRY_AFTER_SECONDS).into_response();
    };
    let (head, body) = next.run(request).await.into_parts();
    let frames = body.into_data_stream().inspect(move |_| {
        let _held = &room;
    });
    Response::from_parts(head, Body::from_stream(frames))
}

/// Whether a browser has not been led here by a name that somebody else had point to us (DNS rebinding). Who sends no
/// origin is no browser; a page that the operator listed is ours whatever a proxy makes of the host.
fn is_asked_by_our_name(headers: &HeaderMap, app: &App) -> bool {
    let settings = &app.settings;
    let (Some(names), Some(origin)) = (&settings.host_names, headers.get(header::ORIGIN)) else { return true };
    let host = headers.get(header::HOST).map(header::HeaderValue::as_bytes).unwrap_or_default();
    let is_listed = || input::is_listed_origin(origin, &settings.app_url, &settings.cors_origins);
    names.has(host) || is_listed()
}

/// An address has as many connections as one may have.
struct Full;

/// How many sockets each address has.
#[derive(Default)]
struct Rooms(Mutex<HashMap<IpAddr, u32>>);

/// Room for one socket of an address; free again when this is dropped.
struct Room {
    address: IpAddr,
    rooms: Arc<Rooms>,
}

impl Rooms {
    fn take(self: &Arc<Self>, address: IpAddr, max: u32) -> Option<Room> {
        let mut taken = self.lock();
        let sockets = taken.entry(address).or_default();
        if *sockets >= max {
            return None;
        }
        *sockets += 1;
        drop(taken);
        Some(Room { address, rooms: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.rooms.lock().entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_sockets_is_forgotten() {
        let rooms = Arc::<Rooms>::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = rooms.take(here, 1);
        assert!(first.is_some() && rooms.take(here, 1).is_none() && rooms.take(there, 1).is_some());
        drop(first);
        assert!(rooms.lock().is_empty() && rooms.take(here, 1).is_some());
    }
}
