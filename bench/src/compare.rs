//! Measures the service and its peer in turn, so that whatever else this machine does meets both.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hyper::StatusCode;
use serde_json::Value;

use crate::{
    Plan,
    http::{Answer, Connection, Request},
    load::{self, Run},
    program::Program,
    stage::Stage,
};

/// Connections that are open at a time: a busy server, and one client alone.
const CONNECTIONS: [usize; 2] = [16, 1];

/// What is asked, and how it must be answered.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Sent in turn.
    pub(crate) requests: Vec<Request>,
    pub(crate) status: StatusCode,
}

/// All runs of one server in one case.
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) connections: usize,
    pub(crate) server: &'static str,
    /// Bytes of one answer's body.
    pub(crate) answer_bytes: usize,
    pub(crate) runs: Vec<Run>,
}

/// Measures every case with every number of connections; the service's row comes before the peer's.
///
/// Errors: the servers do not answer the same, or one fails under load.
pub(crate) async fn side_by_side(stage: &Stage, cases: &[Case], plan: &Plan) -> Result<Vec<Row>> {
    let peer = stage.peer.as_ref().context("there is no peer to compare with")?;
    let servers = [&stage.service, peer];
    let mut rows = Vec::new();
    for case in cases {
        let bytes = answer_alike(servers, case).await?;
        for connections in CONNECTIONS {
            rows.extend(servers.iter().zip(bytes).map(|(server, answer_bytes)| Row {
                case: case.name,
                connections,
                server: server.name(),
                answer_bytes,
                runs: Vec::new(),
            }));
        }
    }
    for run in 1..=plan.runs {
        eprintln!("    run {run} of {}", plan.runs);
        let mut row = rows.iter_mut();
        for case in cases {
            let requests: Arc<[Request]> = case.requests.clone().into();
            for connections in CONNECTIONS {
                for server in servers {
                    let measured = load::measure(server, stage.database_pid(), &requests, case.status, connections, plan.window).await;
                    let measured = measured.with_context(|| format!("{}, {} connections, {}", case.name, connections, server.name()))?;
                    row.next().context("there is a row for each")?.runs.push(measured);
                }
            }
        }
    }
    Ok(rows)
}

/// Whether both servers answer the same, so that they did the same work; the sizes of their answers.
async fn answer_alike(servers: [&Program; 2], case: &Case) -> Result<[usize; 2]> {
    let request = case.requests.first().context("a case has a request")?;
    let mut answers = Vec::new();
    for server in servers {
        let answer = Connection::open(server.address()).await?.send(request).await?;
        if answer.status != case.status {
            bail!("{} answers {:?} with {} instead of {}: {}", server.name(), case.name, answer.status, case.status, answer.json());
        }
        answers.push(answer);
    }
    let [ours, theirs] = answers.as_slice() else { bail!("two servers give two answers") };
    if case.status == StatusCode::OK && meaning(ours) != meaning(theirs) {
        let (ours, theirs) = (meaning(ours), meaning(theirs));
        bail!("the peer's answer to {:?} is not the service's: correct it in bench/peer\nservice: {ours}\npeer: {theirs}", case.name);
    }
    Ok([ours.body.len(), theirs.body.len()])
}

/// The answer without what may differ: the layout of JSON, also inside a tool's text.
fn meaning(answer: &Answer) -> Value {
    fn read(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(read),
            Value::Array(items) => items.iter_mut().for_each(read),
            Value::String(text) if text.starts_with('{') => {
                if let Ok(inner) = serde_json::from_str(text) {
                    *value = inner;
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut value = answer.json();
    read(&mut value);
    value
}
