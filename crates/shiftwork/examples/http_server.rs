//! An HTTP server and the worker that does its slow work, in one lifecycle: the server is ready before the worker begins,
//! and at the end takes in nothing more before the worker drains. A client that hangs has its share of the stop, and no more.
//!
//! ```sh
//! cargo run -p shiftwork --example http_server
//! curl -X POST http://127.0.0.1:PORT/thumbnails/7
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use shiftwork::{
    Context, Environment, Failure, Host, HostHandle, HostReport, QueueSourceExt, ServiceContext, StopBudget, System,
    queue::{MemoryQueue, Message, Queue},
};

type Pictures = MemoryQueue<u32>;

async fn serve(cx: ServiceContext, pictures: Pictures) -> Result<(), Failure> {
    let routes = Router::new()
        .route("/thumbnails/{picture}", post(accept))
        .with_state(Arc::new(pictures))
        .route("/health", get(health).with_state(cx.host()));
    // A port that is taken is a failed start of the host, with this error as its cause.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    cx.ready();
    let asked = cx.clone();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move { asked.stopped().await });
    tokio::select! {
        // Requests in flight have finished.
        served = server => served?,
        // They have had their time. Who hangs is cut off with the process, and the worker begins to drain.
        () = cx.cancelled() => tracing::warn!("a client was still connected"),
    }
    Ok(())
}

/// Whether the host should be sent work, and a word on why.
async fn health(State(host): State<HostHandle>) -> (StatusCode, &'static str) {
    let health = host.health();
    let code = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, health.as_str())
}

/// Puts the work where it outlasts the request, or says that there is too much of it.
///
/// It does not outlast the process: what waits in a [`MemoryQueue`] is gone with that. Where a 202 is a promise, the queue has to
/// be a durable one.
async fn accept(State(pictures): State<Arc<Pictures>>, Path(picture): Path<u32>) -> StatusCode {
    match pictures.push_one(Message::new(picture), System.now()).await {
        Ok(_) => StatusCode::ACCEPTED,
        // Whoever asks goes faster than the worker. Nothing is broken: later there is room.
        Err(error) if error.is_full() => StatusCode::TOO_MANY_REQUESTS,
        Err(error) => {
            // With why the store did not take it, which is for the operator and not for the client.
            tracing::error!(error = &error as &(dyn Error + 'static), picture, "could not push");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn shrink(picture: u32, _: Context) -> Result<(), Failure> {
    println!("made a thumbnail of picture {picture}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> HostReport {
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let pictures = Pictures::bounded(1_000);
    let source = pictures.clone().source();
    Host::builder()
        // So long requests are still taken in while `/health` says that the host stops: for a load balancer that looks each second.
        // One that looks every ten seconds, three times, needs half a minute, and a longer grace period of the orchestrator.
        .stop_budget(StopBudget::default().before_drain(Duration::from_secs(2)))
        .worker("thumbnails", source, shrink)
        .concurrency(2)
        .service("http", move |cx| serve(cx, pictures.clone()))
        .handshake()
        // For requests that are answered in milliseconds. The rest of the stop is the worker's.
        .drain(Duration::from_secs(3))
        // It starts after the worker and stops before it, so that there is a worker for as long as there are requests. Then the
        // cycles in flight finish; what still waits in the queue is not worked on any more.
        .after("thumbnails")
        .run_until_signal()
        .await
}
